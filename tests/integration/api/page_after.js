
function all(tag) {
  const found = [];
  (function walk(item) {
    if (!item || item instanceof Text) return;
    if (item.tag === tag) found.push(item);
    (item.children || []).forEach(walk);
  })(boxes.rollouts);
  return found;
}
function words(item) { return item instanceof Text ? item.text : (item.children || []).map(words).join(" "); }
async function settled() { for (let turn = 0; turn < 50; turn += 1) await Promise.resolve(); }
(async () => {
  await settled();
  const labels = all("button").map((button) => button.children[0].text);
  const shown = words(boxes.rollouts);
  for (const label of labels) {  // each act draws the view anew
    for (const input of all("input")) input.value = input.attributes.id.startsWith("reason") ? "seen it" : " v3 ";
    all("button").find((button) => button.children[0].text === label).click();
    await settled();
  }
  await pull("home", "promote", "not confirmed");
  const keys = new Set(posts.map((post) => post[2].key));
  posts.forEach((post) => delete post[2].key);
  console.log(JSON.stringify({ labels, posts, asked, keys: keys.size, told: boxes.told.textContent,
    problem: boxes.problem.textContent, listed: shown.includes("approve by ada"),
    others: shown.includes("no lever") }));
  process.exit(0);
})();
