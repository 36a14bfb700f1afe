const counts = { [hostile]: 3 };
const band = { from: 0, to: 0.1, answers: 3, hit_rate: 0.1, watch_n: 1, watch_through: 0.5 };
const total = { requests: 3, served_by: counts, reasons: counts, feedback: counts,
  confidence: { bins: Array(20).fill(1), mean_raw: 0.4 }, hits: { n: 1, rate: 0.3 },
  watch_through: { n: 1, mean: 0.5 }, bands: Array(10).fill(band), latency_ms: { p50: 1, p99: 2 } };
const node = { uri: "javascript:" + hostile, kind: hostile, name: hostile, depth: 0,
  attrs: { [hostile]: hostile } };
const edge = { src: node.uri, dst: node.uri, role: hostile };
const drawn = [
  serviceView({ service: hostile, total, versions: [{ version: hostile, ...total }] }, {
    status: { health: hostile, live: true }, rates: [1, 2], caveats: { hit: hostile },
    production: [{ model_version: hostile, share_bp: 1, health: hostile, since: hostile }] }),
  runView({ run_id: hostile, uri: hostile, pipeline: hostile, state: hostile,
    steps: [{ name: hostile, state: hostile, seconds: 1, error: { what: hostile } }] }),
  recentView([{ at: hostile, service: hostile, served_by: hostile, reason: hostile,
    confidence: 0.1, prediction_id: hostile }]),
  eventView([{ seq: 1, at: hostile, type: hostile, subject: hostile, actor: hostile }]),
  foundView([node]),
  rolloutView({ service: hostile, state: hostile, candidate: hostile, share_bp: 50, explanation: hostile,
    acts: ["pause", hostile], only: { [hostile]: [hostile] },
    gates: [{ name: hostile, verdict: hostile, e_value: 1, bound: 2, n: 3, reason: hostile }] }, {
    rows: [{ at: hostile, by: hostile, node: node.uri, words: hostile }], act: () => 0, start: () => 0 }),
  experimentView({ name: hostile, service: hostile, phase: hostile, reason: hostile, control: hostile,
    holdout: hostile, holdout_bp: 1, cells: [{ cell: hostile, version: hostile, share_bp: 1, stopped: true,
      viewers: 3, ["metric." + hostile]: hostile }, { cell: hostile, version: hostile }] }, { act: () => 0 }),
  traceView({ root: hostile, direction: "up", total: 1, truncated: true, nodes: [node], edges: [edge] },
    { turn: () => 0, exportAudit: () => 0 }),
].flat(Infinity);
const seen = { texts: 0, tags: [], links: [] };
(function walk(item) {
  if (item instanceof Text) { if (item.text.includes(hostile)) seen.texts += 1; return; }
  seen.tags.push(item.tag);
  if ("href" in item.attributes) seen.links.push(item.attributes.href);
  item.children.forEach(walk);
})({ tag: "div", attributes: {}, children: drawn, __proto__: Element.prototype });
console.log(JSON.stringify(seen));
