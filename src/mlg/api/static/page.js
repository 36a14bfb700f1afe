
const page = { live: null, status: null, production: {}, events: [], rates: {}, last: {}, seq: 0, traced: 0 };
const NEWEST_EVENTS = 30;
const RATE_POINTS = 120;
const EXPERIMENTS_MS = 5000;

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const error = await answer.json().catch(() => ({ what: `status ${answer.status}` }));
  throw new Error([error.where, error.what, error.hint].filter(Boolean).join(": "));
}

async function json(path) { return (await ask(path)).json(); }

function problem(error) {
  const box = at("problem");
  box.hidden = !error;
  box.textContent = error ? error.message || String(error) : "";
}

// Several causes may ask for the same refresh; at most one a second goes out.
function soon(update) {
  let waiting = null;
  return () => {
    if (waiting === null) waiting = setTimeout(() => { waiting = null; update().catch(problem); }, 1000);
  };
}

function drawServices() {
  const live = page.live || { services: [], caveats: {} };
  const states = new Map(((page.status || {}).services || []).map((one) => [one.service, one]));
  const counted = new Map(live.services.map((one) => [one.service, one]));
  const names = [...new Set([...states.keys(), ...counted.keys()])].sort();
  if (!names.length) return;
  refresh("services", names.map((name) => counted.has(name)
    ? serviceView(counted.get(name), { status: states.get(name), production: page.production[name],
      rates: page.rates[name] || [], caveats: live.caveats || {} })
    : h("section", { "aria-label": "service " + name }, h("div", { class: "head" }, h("h3", {}, name),
      stateText(states.get(name).health), h("span", { class: "quiet" }, "no requests yet")))));
}

function countLive(live) {
  const now = performance.now();
  for (const service of live.services || []) {
    const before = page.last[service.service];
    const total = service.total.requests;
    if (before && now > before.now + 100) {
      const rate = Math.max(0, (1000 * (total - before.total)) / (now - before.now));
      page.rates[service.service] = [...(page.rates[service.service] || []), rate].slice(-RATE_POINTS);
    }
    page.last[service.service] = { now, total };
  }
  page.live = live;
  if (live.project) {
    at("project").textContent = live.project;
    document.title = `mlg ${live.project}`;
  }
  if ((live.recent_predictions || []).length) refresh("recent", recentView(live.recent_predictions));
  drawServices();
}

function addEvents(events) {
  const known = new Set(page.events.map((event) => event.seq));
  page.events = [...events.filter((event) => !known.has(event.seq)), ...page.events]
    .sort((a, b) => b.seq - a.seq).slice(0, NEWEST_EVENTS);
  page.seq = Math.max(page.seq, ...page.events.map((event) => event.seq));
  if (page.events.length) refresh("events", eventView(page.events));
}

async function refreshStatus() {
  page.status = await json("/api/v1/status").catch(() => null);
  const names = ((page.status || {}).services || []).map((one) => one.service);
  await Promise.all(names.map(async (name) => {
    const answer = await json("/api/v1/production?service=" + encodeURIComponent(name));
    page.production[name] = answer.versions;
  }));
  const ports = (page.status || {}).ports || {};
  at("addresses").textContent = Object.entries(ports).map(([name, port]) => ` · ${name} port ${port}`).join("");
  drawServices();
}

async function refreshRuns() {
  const { runs } = await json("/api/v1/runs");
  if (runs.length) refresh("runs", runs.slice(0, 5).map(runView));
}

async function readRollout(service) {
  const path = `/api/v1/services/${encodeURIComponent(service)}/rollout`;
  const rollout = await json(path).catch(() => null);  // none yet
  if (!rollout) return null;
  const told = await json(path + "/timeline").catch(() => null);
  return { rollout, rows: told ? told.rows.filter((r) => r.event.startsWith("mlg.rollout.")) : [] };
}

// After an act the view is drawn anew although the reader's focus is in it.
async function refreshRollouts(draw = refresh) {
  const names = ((page.status || {}).services || []).map((one) => one.service).sort();
  const found = (await Promise.all(names.map(readRollout))).filter(Boolean);
  if (found.length) draw("rollouts", found.map(({ rollout, rows }) => rolloutView(rollout, {
    rows,
    act: (lever, reason) => pull(rollout.service, lever, reason).catch(problem),
    start: (version, reason) => begins(rollout.service, version.trim(), reason).catch(problem) })));
}

// Its figures move without an event, so while one runs it is read again by itself.
async function refreshExperiments(draw = refresh) {
  const { experiments } = await json("/api/v1/experiments");
  page.testing = experiments.some((one) => ["pending", "running"].includes(one.phase));
  if (experiments.length) draw("experiments", experiments.map((one) => experimentView(one, {
    act: (lever, reason) => tries(one.name, lever, reason).catch(problem) })));
}

async function tries(experiment, act, reason) {
  const told = (words) => { at("experiments-told").textContent = `${experiment}: ${words}`; };
  if (act !== "stop") {
    const needs = planText(await json(`/api/v1/experiments/${encodeURIComponent(experiment)}/plan`));
    if (act === "plan") return told(needs);
    if (!confirm(`${experiment}: start? ${needs}`)) return;
  }
  await post("/api/v1/experiments/acts", { experiment, act, reason });
  told(`${act} is told`);
  problem(null);
  await refreshExperiments(show);
}

async function post(path, body) {
  await ask(path, { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, key: crypto.randomUUID() }) });
}

async function tell(path, body, words) {
  await post(path, body);
  at("told").textContent = words;
  problem(null);
  await refreshRollouts(show);
}

async function pull(service, act, reason) {
  if (["promote", "rollback"].includes(act) && !confirm(`${service}: ${act}?`)) return;
  await tell("/api/v1/rollouts/acts", { service, act, reason }, `${service}: ${act} is told`);
}

async function begins(service, version, reason) {
  if (!version || !confirm(`${service}: start the rollout of ${version}?`)) return;
  await tell("/api/v1/rollouts/start", { service, version, reason }, `${service}: ${version} starts`);
}

function download(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function exportAudit(predictionId) {
  const answer = await ask("/api/v1/audit-exports", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prediction_id: predictionId }) });
  const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "");
  download(name ? name[1] : "audit.zip", await answer.blob());
}

function predictionId(uri) {
  if (!uri.startsWith("mlg://")) return uri;
  return uri.startsWith("mlg://prediction/") ? decodeURIComponent(uri.split("@").pop()) : null;
}

async function trace(uri, direction = "trace") {
  const mine = ++page.traced;
  const walk = await json(`/api/v1/${direction}?uri=${encodeURIComponent(uri)}&limit=500`);
  if (mine !== page.traced) return;
  const id = predictionId(uri);
  show("trace-view", traceView(walk, {
    turn: () => trace(uri, direction === "trace" ? "impact" : "trace").catch(problem),
    exportAudit: id === null ? null : () => exportAudit(id).catch(problem) }));
  at("trace").hidden = false;
  at("trace").focus();
  problem(null);
}

async function search(text) {
  const { nodes } = await json("/api/v1/search?q=" + encodeURIComponent(text));
  show("found-list", foundView(nodes));
  at("found").hidden = false;
  problem(null);
}

function followAddress() {
  const uri = /^#trace=(.+)$/.exec(location.hash);
  if (uri) trace(decodeURIComponent(uri[1])).catch(problem);
}

const statusSoon = soon(refreshStatus);
const runsSoon = soon(refreshRuns);
const rolloutsSoon = soon(refreshRollouts);
const experimentsSoon = soon(refreshExperiments);

function connect() {
  const source = new EventSource("/stream?after=" + page.seq);
  const connection = at("connection");
  source.onopen = () => { connection.textContent = "live"; connection.className = "on"; };
  source.onerror = () => {
    connection.textContent = "not connected, trying again"; connection.className = "off";
    // The browser tries again by itself, except after an error status.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
  source.addEventListener("graph", (message) => {
    addEvents([JSON.parse(message.data)]);
    statusSoon();
    runsSoon();
    rolloutsSoon();
    experimentsSoon();
  });
  source.addEventListener("live", (message) => countLive(JSON.parse(message.data)));
  source.addEventListener("problem", (message) => problem(new Error(JSON.parse(message.data).what)));
}

function listen() {
  at("find").addEventListener("submit", (event) => {
    event.preventDefault();
    search(at("query").value.trim()).catch(problem);
  });
  at("trace-query").addEventListener("click", () => {
    const uri = at("query").value.trim();
    if (uri) location.hash = "trace=" + encodeURIComponent(uri);
  });
  window.addEventListener("hashchange", followAddress);
}

async function begin() {
  const first = await json("/api/v1/events?newest=" + NEWEST_EVENTS);
  page.seq = first.head.seq;
  addEvents(first.events);
  await Promise.all([refreshStatus(), refreshRuns()]);
  await refreshRollouts();
  await refreshExperiments();
  problem(null);
  connect();
  followAddress();
}

function start() {
  begin().catch((error) => { problem(error); setTimeout(start, 3000); });
}

setInterval(() => { if (page.testing) experimentsSoon(); }, EXPERIMENTS_MS);
listen();
start();
