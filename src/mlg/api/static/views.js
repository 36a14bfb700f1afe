
function figure(value, label) { return h("div", { class: "figure" }, h("b", {}, value), h("span", {}, label)); }

function tone(state) {
  if (["healthy", "ok", "done", "succeeded", "success", "live", "decided"].includes(state)) return "good";
  if (["failed", "unhealthy", "error", "cancelled", "stopped"].includes(state)) return "bad";
  return "warn";
}

function stateText(state) { return h("span", { class: tone(String(state)) }, state); }

function versionRows(service, production) {
  const counted = new Map((service.versions || []).map((v) => [v.version, v]));
  const rows = (production || []).map((p) => {
    const version = String(p.model_version).split("@").pop();
    const counts = counted.get(version);
    counted.delete(version);
    return [traceLink(p.model_version, version), number(p.share_bp / 100, 2) + " %",
      stateText(p.health), moment(p.since), counts];
  });
  for (const [version, counts] of counted) rows.push([version || "–", "–", "–", "–", counts]);
  return rows.map(([name, share, health, since, c]) => [name, share, health, since,
    number(c && c.requests), c ? number(c.latency_ms.p50, 1) : "–",
    c ? number(c.latency_ms.p99, 1) : "–"]);
}

function splitText(counts) {
  const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
  if (!total) return "–";
  return Object.entries(counts).map(([name, n]) => `${name} ${percent(n / total)}`).join(" · ");
}

function bandTable(bands) {
  const used = bands.filter((band) => band.answers);
  return table(["raw confidence", "answers", "hit rate", "rated", "watch-through"],
    used.map((b) => [`${b.from.toFixed(1)}–${b.to.toFixed(1)}`, number(b.answers),
      percent(b.hit_rate), number(b.watch_n), percent(b.watch_through)]));
}

function serviceView(service, { status, production, rates, caveats }) {
  const t = service.total;
  const now = rates.length ? rates[rates.length - 1] : null;
  return h("section", { "aria-label": "service " + service.service },
    h("div", { class: "head" }, h("h3", {}, service.service),
      stateText(status ? status.health : "unknown"),
      status ? h("span", { class: "quiet" }, status.live ? "live" : "not live yet") : null),
    h("div", { class: "figures" },
      figure(number(now, 1), "requests/s"),
      figure(number(t.requests), "requests counted"),
      figure(number(t.latency_ms.p50, 1) + " / " + number(t.latency_ms.p99, 1), "ms p50 / p99"),
      figure(number(t.confidence.mean_raw, 3), "mean raw confidence"),
      figure(percent(t.hits.rate), `hit rate (${number(t.hits.n)} hits)`),
      figure(percent(t.watch_through.mean), `watch-through (${number(t.watch_through.n)} rated)`)),
    h("p", {}, "Served by: ", splitText(t.served_by)),
    h("p", { class: "quiet" }, "Reasons: ", splitText(t.reasons)),
    h("div", { class: "charts" },
      h("div", {}, h("h4", {}, "Requests/s"), line(rates, { title: `requests per second, now ${number(now, 1)}` })),
      h("div", {}, h("h4", {}, "Raw confidence of answers"), bars(t.confidence.bins, {
        title: `histogram of raw confidence, mean ${number(t.confidence.mean_raw, 3)}`, left: "0", right: "1" })),
      h("div", {}, h("h4", {}, "Hit rate by raw confidence"), bars(t.bands.map((b) => b.hit_rate), {
        title: "hit rate by band of raw confidence", left: "0", right: "1", tone: "b", top: 1 }))),
    h("p", { class: "caveat" }, caveats.hit || "", " ", caveats.watch_through || ""),
    h("h4", {}, "Versions"),
    table(["version", "share", "health", "since", "requests", "p50 ms", "p99 ms"],
      versionRows(service, production)),
    h("h4", {}, "By confidence"),
    bandTable(t.bands));
}

function runView(run) {
  const steps = run.steps || [];
  return h("section", { "aria-label": "run " + run.run_id },
    h("div", { class: "head" }, h("h3", {}, run.pipeline || "run"), stateText(run.state),
      run.uri ? traceLink(run.uri, run.run_id) : h("code", {}, run.run_id)),
    h("ol", { class: "steps" }, steps.map((step) => h("li", {}, step.name, " ", stateText(step.state),
      typeof step.seconds === "number" ? h("span", { class: "quiet" }, ` ${number(step.seconds, 1)} s`) : null,
      step.error ? h("span", { class: "bad" }, " ", typeof step.error === "string" ? step.error : step.error.what) : null))));
}

function recentView(predictions) {
  return table(["at", "service", "served by", "confidence", "prediction"], predictions.map((p) => [
    moment(p.at), p.service, p.reason ? `${p.served_by} (${p.reason})` : p.served_by,
    number(p.confidence, 3), traceLink(p.prediction_id)]));
}

function eventView(events) {
  return table(["seq", "at", "what", "subject", "by"], events.map((e) => [
    e.seq, moment(e.at), e.type, traceLink(e.subject, short(e.subject)), e.actor]));
}

function foundView(nodes) {
  if (!nodes.length) return h("p", { class: "quiet" }, "nothing found");
  return table(["kind", "name", "URI"], nodes.map((n) => [n.kind, n.name, traceLink(n.uri, short(n.uri))]));
}

function traceView(walk, { turn, exportAudit }) {
  const depths = new Map();
  for (const node of walk.nodes) {
    if (!depths.has(node.depth)) depths.set(node.depth, []);
    depths.get(node.depth).push(node);
  }
  const roles = new Map();
  for (const edge of walk.edges) {
    const end = walk.direction === "up" ? edge.src : edge.dst;
    if (!roles.has(end)) roles.set(end, new Set());
    roles.get(end).add(edge.role);
  }
  const up = walk.direction === "up";
  return [
    h("p", {}, up ? "Where it came from: " : "What came of it: ", h("code", {}, walk.root)),
    h("div", { class: "row" },
      h("button", { type: "button", onclick: turn }, up ? "Show its impact" : "Show its origin"),
      exportAudit ? h("button", { type: "button", onclick: exportAudit }, "Export audit bundle") : null),
    h("p", { class: "quiet" }, `${number(walk.total)} things`, walk.truncated ? ", more than shown" : ""),
    [...depths.keys()].sort((a, b) => a - b).map((depth) => h("div", { class: "depth" },
      h("h4", {}, depth === 0 ? "itself" : depth === 1 ? "1 step away" : `${depth} steps away`),
      h("ul", {}, depths.get(depth).map((node) => h("li", {}, h("b", {}, node.kind), " ",
        traceLink(node.uri, node.name || short(node.uri)),
        h("span", { class: "quiet" }, " ", [...(roles.get(node.uri) || [])].join(", ")),
        Object.keys(node.attrs || {}).length ? h("details", {}, h("summary", {}, "attributes"),
          h("code", {}, Object.entries(node.attrs).map(([k, v]) => `${k}=${v}`).join("  "))) : null)))))];
}

const LEVERS = { pause: "Pause", resume: "Resume", approve: "Approve", promote: "Promote", rollback: "Roll back" };

function verdictText(verdict) {
  const tones = { PASS: "good", FAIL: "bad", ERROR: "bad" };
  return h("span", { class: tones[verdict] || "warn" }, verdict);
}

function labelled(label, input) {
  return h("label", { for: input.id || input.attributes.id }, label, " ", input);
}

// `act` and `start` get what the reader wrote; the buttons are those that would change something.
function rolloutView(rollout, { rows, act, start }) {
  const name = rollout.service;
  const reason = h("input", { id: "reason-" + name, type: "text", autocomplete: "off", maxlength: 500 });
  const version = h("input", { id: "version-" + name, type: "text", autocomplete: "off", maxlength: 64 });
  const only = Object.entries(rollout.only || {});
  const ended = ["done", "failed", "rolled_back"].includes(rollout.state);
  return h("section", { "aria-label": "rollout of " + name },
    h("div", { class: "head" }, h("h3", {}, name), stateText(rollout.state),
      h("span", { class: "quiet" }, `${rollout.candidate}, ${number(rollout.share_bp / 100, 2)} %`)),
    h("p", {}, rollout.explanation),
    (rollout.waiting || []).map((one) => h("p", { class: "warn" },
      `${one.version} waits for ${one.waits_for}`)),
    only.length ? h("p", { class: "warn" }, "Needs an approval: ", only.map(([what, who]) =>
      `${what} by ${who.join(", ")}`).join("; ")) : null,
    h("div", { class: "row levers" }, labelled("Reason", reason),
      Object.keys(LEVERS).filter((lever) => (rollout.acts || []).includes(lever)).map((lever) =>
        h("button", { type: "button", onclick: () => act(lever, reason.value) }, LEVERS[lever]))),
    h("div", { class: "row levers" }, labelled("Version", version),
      h("button", { type: "button", onclick: () => start(version.value, reason.value) },
        ended ? "Start" : "Start after this one")),
    (rollout.gates || []).length ? table(["gate", "verdict", "evidence against it", "n", "reason"],
      rollout.gates.map((g) => [g.name, verdictText(g.verdict),
        `${number(g.e_value, 2)} of ${number(g.bound)}`, number(g.n), g.reason])) : null,
    rows && rows.length ? h("details", {}, h("summary", {}, "Who did what"),
      table(["at", "by", "what happened"], rows.map((r) => [moment(r.at), r.by,
        traceLink(r.node, r.words)]))) : null);
}
