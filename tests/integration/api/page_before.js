// What the page's script needs of a browser, and a control plane with one paused rollout.
Element.prototype.addEventListener = function (type, listener) { this[type] = listener; };
Element.prototype.replaceChildren = function (...children) { this.children = children; };
Element.prototype.contains = () => false;
Element.prototype.focus = () => {};
const boxes = {};
document.getElementById = (id) => boxes[id] || (boxes[id] = new Element(id));
document.getSelection = () => null;
document.activeElement = null;
const posts = [];
const told = {
  "/api/v1/status": { services: [{ service: "home", health: "healthy", live: true }], ports: {} },
  "/api/v1/services/home/rollout": { service: "home", state: "paused", candidate: "v2", share_bp: 50,
    explanation: "…", acts: ["resume", "rollback"], gates: [], only: { approve: ["ada"] } },
  "/api/v1/services/home/rollout/timeline": { rows: [
    { at: "", by: "local:ada", event: "mlg.rollout.asked", node: "mlg://x", words: "asked" },
    { at: "", by: "workflow:train", event: "mlg.run.started", node: "mlg://y", words: "no lever" }] },
  "/api/v1/experiments": { experiments: [
    { name: "rows", service: "home", phase: "running", reason: "ctr of A undecided", control: "v1",
      holdout: "v0", holdout_bp: 100, cells: [{ cell: "A", version: "v2", share_bp: 1000, stopped: false,
        viewers: 77, "metric.ctr": "INCONCLUSIVE: undecided: 0.4 against 0.3", "guard.errors": "PASS: fine" }] },
    { name: "tiles", service: "home", phase: "", reason: "" }] },
  "/api/v1/experiments/tiles/plan": { seconds: 172800, warnings: ["max_run is 1.0"], refused: "rows has not ended",
    cells: [{ cell: "B", viewers: 1200 }] },
  "/api/v1/runs": { runs: [] },
  "/api/v1/production?service=home": { versions: [] },
};
globalThis.fetch = async (path, options) => {
  if (options) posts.push([path, options.headers["Content-Type"], JSON.parse(options.body)]);
  const answer = options ? {} : told[path] || { events: [], head: { seq: 0 } };
  return { ok: true, json: async () => answer };
};
globalThis.EventSource = class { addEventListener() {} };
globalThis.window = { addEventListener() {} };
globalThis.location = { hash: "" };
const asked = [];
globalThis.confirm = (question) => { asked.push(question); return !question.includes("promote"); };
