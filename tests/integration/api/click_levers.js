Element.prototype.addEventListener = function (type, listener) { this[type] = listener; };
const calls = [];
const view = rolloutView({ service: "home", state: "paused", candidate: "v2", share_bp: 50, explanation: "…",
  acts: ["resume", "rollback"], gates: [] }, {
  rows: [], act: (...told) => calls.push(told), start: (...told) => calls.push(["start", ...told]) });
const found = { button: [], input: [], label: [] };
(function walk(item) {
  if (item instanceof Text) return;
  if (found[item.tag]) found[item.tag].push(item);
  item.children.forEach(walk);
})(view);
for (const input of found.input) input.value = input.attributes.id === "reason-home" ? "seen it" : "v3";
found.button.forEach((button) => button.click());
console.log(JSON.stringify({ buttons: found.button.map((b) => b.children[0].text), calls,
  labels: found.label.map((label) => label.attributes.for) }));
