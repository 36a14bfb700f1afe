
const SAID = { "metric.": "metric", "guard.": "guard" };

// A verdict in words, as the document has it: "PASS: better: 0.40 against 0.31, …".
function saidRows(cell) {
  const said = Object.entries(cell).filter(([key]) => Object.keys(SAID).some((kind) => key.startsWith(kind)));
  return (said.length ? said : [["", ""]]).map(([key, words]) => {
    const [verdict, ...reason] = String(words).split(": ");
    return [key.replace(/^metric\./, "").replace(/^guard\./, "guard: "), verdictText(verdict), reason.join(": ")];
  });
}

function dayText(seconds) {
  return typeof seconds === "number" ? `about ${number(seconds / 86400, 1)} days` : "an unknown time";
}

function planText(plan) {
  const cells = plan.cells.map((cell) => `${cell.cell} needs ${number(cell.viewers)} viewers`);
  return [`${dayText(plan.seconds)} until it is decided`, ...cells, ...plan.warnings, plan.refused]
    .filter(Boolean).join("; ");
}

// `act` gets the lever and what the reader wrote.
function experimentView(experiment, { act }) {
  const name = experiment.name;
  const phase = experiment.phase || "not started";
  const open = ["pending", "running"].includes(phase);
  const reason = h("input", { id: "experiment-reason-" + name, type: "text", autocomplete: "off", maxlength: 500 });
  const rows = (experiment.cells || []).flatMap((cell) => saidRows(cell).map((said, place) => [
    ...(place ? ["", "", "", ""] : [cell.stopped ? `${cell.cell} (ended)` : cell.cell, cell.version,
      number(cell.share_bp / 100, 2) + " %", number(cell.viewers || 0)]), ...said]));
  return h("section", { "aria-label": "experiment " + name },
    h("div", { class: "head" }, h("h3", {}, name), stateText(phase),
      h("span", { class: "quiet" }, experiment.service)),
    experiment.reason ? h("p", {}, experiment.reason) : null,
    experiment.control ? h("p", { class: "quiet" }, `against ${experiment.control}`,
      experiment.holdout ? `; ${number(experiment.holdout_bp / 100, 2)} % held out on ${experiment.holdout}` : "") : null,
    h("div", { class: "row levers" }, labelled("Reason", reason),
      (open ? ["stop"] : ["plan", "start"]).map((lever) =>
        h("button", { type: "button", onclick: () => act(lever, reason.value) },
          { stop: "Stop", plan: "What it needs", start: "Start" }[lever]))),
    rows.length ? table(["cell", "version", "share", "viewers", "measure", "verdict", "reason"], rows) : null);
}
