
function all(tag, box = "rollouts") {
  const found = [];
  (function walk(item) {
    if (!item || item instanceof Text) return;
    if (item.tag === tag) found.push(item);
    (item.children || []).forEach(walk);
  })(boxes[box]);
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
  const tests = { words: words(boxes.experiments), told: [] };
  for (const label of ["Stop", "What it needs", "Start"]) {
    for (const input of all("input", "experiments")) input.value = "seen it";
    all("button", "experiments").find((button) => button.children[0].text === label).click();
    await settled();
    tests.told.push(boxes["experiments-told"].textContent);
  }
  const keys = new Set(posts.map((post) => post[2].key));
  posts.forEach((post) => delete post[2].key);
  console.log(JSON.stringify({ labels, posts, asked, keys: keys.size, told: boxes.told.textContent,
    problem: boxes.problem.textContent, listed: shown.includes("approve by ada"),
    tests, others: shown.includes("no lever") }));
  process.exit(0);
})();
