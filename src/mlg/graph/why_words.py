"""One event in one clause: what its facts say, in plain words; no language model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.events import Event, StoredEvent
from mlg.core.nodes import Attr
from mlg.core.uris import Uri, parse_uri
from mlg.graph.why_judged import OF_STEP

Facts = Mapping[str, Attr]

_MOST_NAMES: Final = 5
"""Things that one clause names; the others are counted."""


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """One event, in words."""

    text: str
    at: str
    """RFC 3339."""
    seq: int
    event: str
    """Idempotency key of the event."""
    subject: str


def clause_of(stored: StoredEvent, root: Uri | None = None, text: str = "") -> Clause:
    """Return an event as a clause.

    Args:
        stored: The event.
        root: The thing that was asked about: an event that happened to another thing says
            what it says of this one.
        text: The words; empty: the event's own.
    """
    event = stored.event
    words = text or said(event, root or event.subject)
    plain = words.partition(" ")[0].rstrip(":").isalpha()  # a name keeps its letters
    return Clause(
        text=words[:1].upper() + words[1:] if plain else words,
        at=rfc3339(event.at),
        seq=stored.seq,
        event=event.key,
        subject=event.subject,
    )


def said(event: Event, root: Uri) -> str:
    """Return what an event says, in one clause without a stop."""
    noun = event.type.split(".")[1] if event.type.count(".") > 1 else ""
    try:
        return _SAID.get(noun, _plainly)(event, facts_of(event), root)
    except KeyError:  # an event of other times, without some fact of its type
        return _plainly(event, facts_of(event), root)


def facts_of(event: Event, uri: Uri | None = None) -> dict[str, Attr]:
    """Return what an event says of a thing, its subject if none is given, and its data."""
    of = uri or event.subject
    facts: dict[str, Attr] = {k: v for n in event.nodes if n.uri == of for k, v in n.attrs}
    return facts | dict(event.data)


def word_of(event: Event) -> str:
    """Return the last word of an event's type."""
    return event.type.rpartition(".")[2].replace("_", " ")


def short(uri: str) -> str:
    """Return a thing's name as a person says it, its version cut to 12 characters.

    Examples:
        >>> short("mlg://model_version/mlg/movies/ranker@3f2a4b5c6d7e8f")
        'ranker@3f2a4b5c6d7e'
    """
    parts = parse_uri(uri)
    return parts.name + (f"@{parts.version[:12]}" if parts.version else "")


def percent(bp: Attr) -> str:
    """Return basis points as a share.

    Examples:
        >>> percent(50)
        '0.5 %'
    """
    return f"{(bp if isinstance(bp, int | float) else 0) / 100:g} %"


def names(uris: Sequence[str]) -> str:
    """Return things by name, the first few of many."""
    told = ", ".join(short(uri) for uri in uris[:_MOST_NAMES])
    return f"{told} and {len(uris) - _MOST_NAMES} more" if len(uris) > _MOST_NAMES else told


def because(facts: Facts, name: str = "reason") -> str:
    """Return `, because …`, or nothing where there is no reason."""
    return f", because {facts[name]}" if facts.get(name) else ""


def gates_of(event: Event) -> str:
    """Return how many gates passed at a transition, and what the others said."""
    pairs = [pair for fact in event.nodes for pair in fact.attrs] + list(event.data)
    told = {n.removeprefix("gate."): str(text) for n, text in pairs if n.startswith("gate.")}
    passed = sorted(name for name, text in told.items() if text.startswith("PASS"))
    others = [f"{name} {text}" for name, text in sorted(told.items()) if name not in passed]
    words = [f"{', '.join(passed)} PASS"] if passed else []
    return f"; gates: {'; '.join([*words, *others])}" if told else ""


def _ends(
    event: Event, role: str, *, src: Uri | None = None, dst: Uri | None = None
) -> list[Uri]:
    """Return the other ends of an event's arrows of a role that touch a thing."""
    if src is not None:
        return [e.dst for e in event.edges if (e.src, e.role) == (src, role)]
    return [e.src for e in event.edges if (e.dst, e.role) == (dst, role)]


def _figure(value: Attr) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _by(event: Event) -> str:
    kind, _, name = event.actor.partition(":")
    return f" by {name}" if kind in {"local", "automation"} and name else ""


def _manifest(event: Event, facts: Facts, root: Uri) -> str:
    del root
    made = [parse_uri(node.uri) for node in event.nodes if not node.ended]
    gone = [short(node.uri) for node in event.nodes if node.ended]
    parts = [
        f"{kind}s {', '.join(sorted(p.name for p in made if p.kind == kind))}"
        for kind in ("dataset", "pipeline", "service")
        if any(p.kind == kind for p in made)
    ]
    parts += [f"monitors {facts['monitors']}"] if facts.get("monitors") else []
    retired = f"; {', '.join(gone)} retired" if gone else ""
    return (
        f"manifest {short(event.subject)} was applied{_by(event)}: {'; '.join(parts)}{retired}"
    )


def _failure(event: Event, facts: Facts, root: Uri) -> str:
    del root
    of = parse_uri(event.subject)
    where = f" ({facts['where']})" if facts.get("where") else ""
    command = facts.get("command") or "a command"
    return f"{command} failed for {of.kind} {of.name}: {facts.get('what', '')}{where}"


def _dataset_version(event: Event, facts: Facts, root: Uri) -> str:
    if parse_uri(root).kind in {"feature", "column"} and root != event.subject:
        return f"{short(root)} went into {short(event.subject)}"
    rows = f" with {facts['rows']} rows" if "rows" in facts else ""
    sources = [u for u in _ends(event, "derived_from", dst=event.subject) if "://source/" in u]
    steps = _ends(event, "produced", dst=event.subject)
    origin = f" from {names(sources)}" if sources else ""
    maker = f" by step {names(steps)}" if steps else ""
    return f"{short(event.subject)} was stored{rows}{origin}{maker}"


def _run(event: Event, facts: Facts, root: Uri) -> str:
    del root
    of = parse_uri(event.subject)
    if word_of(event) == "failed":
        step = f" at step {facts['failed_step']}" if facts.get("failed_step") else ""
        what = facts.get("what") or facts.get("error") or ""
        return f"the run of {of.name} failed{step}: {what}"
    if word_of(event) == "started":
        by = _ends(event, "triggered", dst=event.subject)
        return f"a run of {of.name} was started{f' for {names(by)}' if by else ''}"
    verdict = f" ({facts['verdict']})" if facts.get("verdict") else ""
    step = f" at step {facts['step']}" if facts.get("step") else ""
    return f"a run of {of.name} was {word_of(event)}{verdict}{step}"


def _step(event: Event, facts: Facts, root: Uri) -> str:
    word, name = word_of(event), short(event.subject)
    used = [u for u in _ends(event, "used", dst=event.subject) if "://commit/" not in u]
    if word == "failed":
        return f"step {name} failed: {facts.get('what', '')}"
    if word == "cached":
        return f"step {name} took what an earlier run had made of {names(used) or 'the same'}"
    if word == "finished":
        made = _ends(event, "produced", src=event.subject)
        made = [uri for uri in made if uri != root] or made
        out = f" and made {names(made)}" if made else ""
        seconds = facts.get("seconds")
        took = f" in {seconds:.3g} s" if isinstance(seconds, int | float) else ""
        return f"step {name} read {names(used) or 'its source'}{out}{took}"
    return f"step {name} was {word}"


def _model_version(event: Event, facts: Facts, root: Uri) -> str:
    if word_of(event) == "packaged":
        images = _ends(event, "packaged_as", src=event.subject)
        return f"{short(event.subject)} was packaged as {names(images) or 'its artifact alone'}"
    if word_of(event) == "refused":
        return f"{facts['process']} refused {short(event.subject)}{because(facts)}"
    if word_of(event) != "registered":
        return _plainly(event, facts, root)
    data = _ends(event, "trained_on", dst=event.subject)
    steps = _ends(event, "produced", dst=event.subject)
    metrics = sorted((k, v) for k, v in facts.items() if k.startswith("metric."))
    told = ", ".join(
        f"{k.removeprefix('metric.')} {_figure(v)}" for k, v in metrics[:_MOST_NAMES]
    )
    maker = f" by step {names(steps)}" if steps else ""
    on = f" on {names(data)}" if data else ""
    return f"{short(event.subject)} was trained{maker}{on}{f': {told}' if told else ''}"


def _evaluation(event: Event, facts: Facts, root: Uri) -> str:
    del root
    verdict = "passed" if facts.get("passed") else "did not pass"
    told = [(k, v) for k, v in sorted(facts.items()) if k.startswith(("gate.", "metric."))]
    words = ", ".join(f"{k.partition('.')[2]} {_figure(v)}" for k, v in told[: 2 * _MOST_NAMES])
    return f"{short(event.subject)} {verdict} its evaluation{f': {words}' if words else ''}"


def _deployment(event: Event, facts: Facts, root: Uri) -> str:
    word, of = word_of(event), parse_uri(event.subject)
    if word == "share changed":
        shares = {n.uri: dict(n.attrs).get("share_bp") for n in event.nodes}
        if root in shares:
            return f"its share of {of.name} became {percent(shares[root])}"
        told = ", ".join(f"{short(u)} {percent(bp)}" for u, bp in sorted(shares.items()))
        return f"traffic of {of.name} moved: {told}"
    if word == "started":
        version = str(facts.get("model_version") or "")
        what = f" of {short(version)}" if version.startswith("mlg://") else ""
        return f"a deployment{what} to {of.name} began at {percent(facts.get('share_bp'))}"
    if word == "ended":
        return f"deployment {short(event.subject)} ended{because(facts, 'end_reason')}"
    if word == "health changed":
        return f"health of {short(event.subject)} became {facts.get('health', 'unknown')}"
    return _plainly(event, facts, root)


def _policy(event: Event, facts: Facts, root: Uri) -> str:
    if "abstain_below" not in facts:
        return _plainly(event, facts, root)
    values = [
        f"abstains below {_figure(facts['abstain_below'])}",
        f"explores {percent(facts.get('explore_bp'))}",
        f"drift severity {_figure(facts.get('drift_severity', 0.0))}",
        f"diversity {_figure(facts.get('diversity', 0.0))}",
        f"layout {facts.get('layout')}",
    ]
    version = parse_uri(event.subject).version
    return (
        f"policy {version} of {facts['service']} came into force: {', '.join(values)}"
        f"{because(facts)}"
    )


def _segment(event: Event, facts: Facts, root: Uri) -> str:
    del event, root
    return (
        f"{facts.get('rows', 0)} predictions of {facts.get('service', '')} from "
        f"{facts.get('first_at', '')} to {facts.get('last_at', '')} were sealed under root "
        f"{str(facts.get('merkle_root', ''))[:12]}"
    )


def _process(event: Event, facts: Facts, root: Uri) -> str:
    del root
    code = facts.get("exit_code")
    ended = f" with exit code {code}" if code is not None else ""
    detail = f": {facts['detail']}" if facts.get("detail") else ""
    what = "crashes in a loop" if word_of(event) == "crash looped" else word_of(event)
    return f"process {facts.get('process', '')} {what}{ended}{detail}"


def _log(event: Event, facts: Facts, root: Uri) -> str:
    del event, root
    return f"{facts['process']} could not write {facts['records']} records to the log"


def _replica(event: Event, facts: Facts, root: Uri) -> str:
    del root
    who = facts["process"] or f"the replicas of {facts['service']} {facts['version']}"
    if word_of(event) == "restarted":
        return f"{who} was restarted{because(facts)}"
    return f"{who} {'was' if facts['process'] else 'were'} not restarted: {facts['reason']}"


def _rollout(event: Event, facts: Facts, root: Uri) -> str:
    asked, own = parse_uri(root), parse_uri(event.subject)
    told = {k: v for n in event.nodes if n.uri == root for k, v in n.attrs}
    if asked.kind in OF_STEP and told:
        return OF_STEP[asked.kind](told)
    other = asked.kind in {"deployment", "service"} and asked.version != own.version
    which = f"rollout {short(event.subject)}" if other else "the rollout"
    word = word_of(event)
    if word == "begun":
        before = f" from {facts['stable']}" if facts.get("stable") else ""
        return f"version {facts['candidate']} asked to take over {facts['service']}{before}"
    if word in {"noted", "called"}:
        return f"{'a person was called' if word == 'called' else 'noted'}: {facts['reason']}"
    if word == "asked":
        version = f" of version {facts['version']}" if facts.get("version") else ""
        refused = f"; refused: {facts['refused']}" if facts.get("refused") else ""
        return f"{facts['by']} asked for {facts['act']}{version}{because(facts)}{refused}"
    share = f" at {percent(facts['share_bp'])}" if "share_bp" in facts else ""
    if word == "approved":
        before = "the canary" if facts["before"] == "canary" else "all of the traffic"
        return f"{facts['by']} approved it before {before}{share}{because(facts)}"
    if word == "held":
        return f"{which} was held in {facts['phase']}{share}{because(facts)}{gates_of(event)}"
    return f"{which} came to {word}{share}{because(facts)}{gates_of(event)}"


def _staging(event: Event, facts: Facts, root: Uri) -> str:
    del event, root
    tests = sorted((k, str(v)) for k, v in facts.items() if k.startswith("test."))
    told = "; ".join(f"{k.removeprefix('test.')} {v}" for k, v in tests)
    return (
        f"staging said {facts['verdict']}{because(facts)}{f'; tests: {told}' if told else ''}"
    )


def _alert(event: Event, facts: Facts, root: Uri) -> str:
    if root != event.subject:
        own = facts_of(event, root)
        if own.get("statistic") is not None and own.get("metric"):
            return (
                f"{own['metric']} was at {_figure(own['statistic'])}, its limit being "
                f"{_figure(own.get('limit'))} (usually {_figure(own.get('usual'))}, "
                f"now {_figure(own.get('now'))})"
            )
    kind = str(facts["kind"]).replace("_", " ")
    if word_of(event) == "closed":
        return f"the alert of {kind} closed"
    if facts.get("unit") == "records":  # counted, and no chart of anything
        return f"{facts['monitor']}: alert of {kind} {word_of(event)}: {facts['text']}"
    where = f" where {facts['slice']}" if facts.get("slice") else ""
    chart = f"{facts['metric']} at {_figure(facts['statistic'])}, its limit being"
    return (
        f"{facts['monitor']}: alert of {kind} {word_of(event)}, with {chart} "
        f"{_figure(facts['limit'])}{where} on {facts['n']} answers"
    )


def _baseline(event: Event, facts: Facts, root: Uri) -> str:
    del root
    version, windows = parse_uri(event.subject).version, facts.get("windows_learned", 0)
    return (
        f"what monitor {facts['monitor']} holds for usual of {facts['stream']} was kept as "
        f"{version}, from {windows} windows{_KEPT.get(str(facts.get('reason')), '')}"
    )


def _monitor(event: Event, facts: Facts, root: Uri) -> str:
    if word_of(event) != "learned":
        return _plainly(event, facts, root)
    return (
        f"monitor {facts['monitor']} had learned what is usual in stream {facts['stream']}, "
        f"{facts['windows']} windows after it began"
    )


def _service(event: Event, facts: Facts, root: Uri) -> str:
    if word_of(event) != "restarted":
        return _plainly(event, facts, root)
    return f"the replicas of {facts['service']} were replaced, asked for by {facts['by']}"


def _incident(event: Event, facts: Facts, root: Uri) -> str:
    del root
    word = word_of(event)
    if word in {"opened", "grown"}:
        reasons = f" ({facts['reasons']})" if facts.get("reasons") else ""
        heals = facts.get("on_alert", "heal") == "heal"
        alone = "" if heals else "; its monitor does not heal"
        return (
            f"the incident of {facts['service']} {word}, taken for {facts['cause']}{reasons}: "
            f"{facts['remediation']}{alone}"
        )
    if word == "closed":
        return "the incident closed"
    return f"healing: {word}{because(facts)}"


def _rule(event: Event, facts: Facts, root: Uri) -> str:
    del root
    word, rule = word_of(event), facts.get("rule", "")
    if word == "decided":
        return f"rule {rule} answered {facts['event_type']}: {facts['outcome']}{because(facts)}"
    if word in {"acted", "noted", "begun", "failed"}:
        what = facts.get("what") or facts.get("note") or facts.get("to") or ""
        return f"its action {facts['action']} was {word}{f': {what}' if what else ''}"
    if word in {"approved", "dismissed"}:
        return f"the answer of rule {rule} was {word}{_by(event)}{because(facts)}"
    return f"the answer of rule {rule} was {word}{because(facts)}"


def _hook(event: Event, facts: Facts, root: Uri) -> str:
    del root
    if word_of(event) != "accepted":
        return f"a hook was {word_of(event)}{because(facts)}"
    of = parse_uri(event.subject)
    author = f" by {facts['author']}" if facts.get("author") else ""
    return f"commit {(of.version or '')[:12]} of {of.name}{author} came in"


def _freeze(event: Event, facts: Facts, root: Uri) -> str:
    del root
    what = "everything but rollbacks was frozen" if facts.get("frozen") else "the freeze ended"
    return f"{what}{_by(event)}{because(facts)}"


def _export(event: Event, facts: Facts, root: Uri) -> str:
    del root
    return (
        f"the proof of {facts.get('prediction', 'a prediction')} was taken{_by(event)}: "
        f"{facts.get('files', 0)} files"
    )


def _lineage(event: Event, facts: Facts, root: Uri) -> str:
    state = facts.get("state")
    told = f" {state}" if state else ""
    of = parse_uri(event.subject)
    about = "" if root == event.subject else f", which names {short(root)}"
    return f"{facts.get('producer', 'another tool')} told of {of.kind} {of.name}{told}{about}"


def _plainly(event: Event, facts: Facts, root: Uri) -> str:
    del root
    parts = event.type.split(".")[1:]
    of = parse_uri(event.subject)
    what = " ".join(part.replace("_", " ") for part in parts)
    return f"{what} ({of.kind} {of.name}){because(facts)}"


_KEPT: Final = {
    "learned": ", when it had learned",
    "season": ", when a season came into use",
    "incident": ", as an incident opened",
}
"""Why a baseline was kept."""

_SAID: Final[dict[str, Callable[[Event, Facts, Uri], str]]] = {
    "alert": _alert,
    "audit_export": _export,
    "automation_run": _rule,
    "baseline": _baseline,
    "dataset_version": _dataset_version,
    "deployment": _deployment,
    "evaluation": _evaluation,
    "failure": _failure,
    "freeze": _freeze,
    "hook": _hook,
    "incident": _incident,
    "lineage": _lineage,
    "log": _log,
    "manifest": _manifest,
    "model_version": _model_version,
    "monitor": _monitor,
    "policy": _policy,
    "prediction_segment": _segment,
    "process": _process,
    "replica": _replica,
    "rollout": _rollout,
    "run": _run,
    "service": _service,
    "staging": _staging,
    "step": _step,
}
"""Words by the noun of an event's type; another noun is said plainly."""
