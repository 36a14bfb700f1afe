"""Why a thing is as it is: the events that made it so, each in one clause.

No language model: every clause is one event, in the words that its facts give.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.events import Event, StoredEvent
from mlg.core.nodes import ROLE_CLASS, Attr
from mlg.core.uris import Uri, parse_uri

_DEPTH: Final = 3
"""How many causes of causes are told."""
_MOST: Final = 40
_QUIET: Final = ("mlg.step.", "mlg.process.", "mlg.dataset.")

Facts = dict[str, Attr]


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """One event, in words."""

    text: str
    at: str
    """RFC 3339."""
    seq: int
    event: str
    """Idempotency key of the event."""
    subject: str


class WhyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A paragraph, and the clauses that it is made of."""

    uri: str
    paragraph: str
    clauses: list[Clause]
    truncated: bool
    """Whether the oldest clauses were left out."""


def why(events: Iterable[StoredEvent], uri: Uri) -> WhyAnswer:
    """Return what led to a thing and what became of it, oldest first.

    Args:
        events: The log, in order.
        uri: The thing.

    Returns:
        A clause for each event that happened to the thing, and to what caused it, up to
        three causes back. No clauses if nothing in the log is about it.
    """
    kept = tuple(stored for stored in events if not stored.event.type.startswith(_QUIET))
    wanted = _with_causes(kept, uri)
    whole = [one for one in kept if one.event.subject in wanted]
    told = _without_growth(whole, causes=True)
    if len(told) > _MOST:  # a cause that is found anew again and again is no story
        told = _without_growth(whole, causes=False)
    clauses = [clause(one) for one in told[-_MOST:]]
    sentences = [f"{clause.text} [{clause.seq}]." for clause in clauses]
    return WhyAnswer(
        uri=uri,
        paragraph=" ".join(sentences),
        clauses=clauses,
        truncated=len(told) > _MOST,
    )


def _without_growth(told: Sequence[StoredEvent], *, causes: bool) -> list[StoredEvent]:
    """Return the events with only the last growth of each thing, and those to a new cause."""
    last = {one.event.subject: one.seq for one in told if one.event.type.endswith(".grown")}
    known: dict[Uri, Attr] = {}
    kept: list[StoredEvent] = []
    for one in told:
        uri = one.event.subject
        before, now = known.get(uri), _facts(one.event).get("cause")
        known[uri] = now if now is not None else before
        new = causes and before != now and one.event.type == "mlg.incident.grown"
        if not one.event.type.endswith(".grown") or last[uri] == one.seq or new:
            kept.append(one)
    return kept


def _with_causes(events: Sequence[StoredEvent], uri: Uri) -> set[Uri]:
    """Return the thing and what caused it, by the causal arrows of the log."""
    above: dict[Uri, set[Uri]] = {}
    for stored in events:
        for arrow in stored.event.edges:
            if ROLE_CLASS[arrow.role] == "causal" and not arrow.ended:
                cause, effect = arrow.src, arrow.dst
                if arrow.role == "healed_by":
                    continue  # a healing explains the incident, not the other way round
                above.setdefault(effect, set()).add(cause)
    found, edge = {uri}, {uri}
    for _ in range(_DEPTH):
        edge = {cause for one in edge for cause in above.get(one, ())} - found
        edge = {one for one in edge if parse_uri(one).kind not in {"actor", "service"}}
        found |= edge
    return found


def clause(stored: StoredEvent) -> Clause:
    """Return one event in words; one without the facts of its type is told plainly."""
    event = stored.event
    facts = _facts(event)
    noun = event.type.split(".")[1]
    try:
        words = _SAID.get(noun, _plainly)(event, facts)
    except KeyError:
        words = _plainly(event, facts)
    return Clause(
        text=words[:1].upper() + words[1:],
        at=rfc3339(event.at),
        seq=stored.seq,
        event=event.key,
        subject=event.subject,
    )


def _facts(event: Event) -> Facts:
    """Return what an event says of its subject."""
    facts: Facts = {k: v for n in event.nodes if n.uri == event.subject for k, v in n.attrs}
    return facts | dict(event.data)


def _rollout(event: Event, facts: Facts) -> str:
    word = _word(event)
    if word == "begun":
        before = f" from {facts['stable']}" if facts.get("stable") else ""
        return f"version {facts['candidate']} asked to take over {facts['service']}{before}"
    if word in {"noted", "called"}:
        return f"{'a person was called' if word == 'called' else 'noted'}: {facts['reason']}"
    share = f" at {int(facts['share_bp'] or 0) / 100:g} %" if "share_bp" in facts else ""
    return f"the rollout came to {word}{share}{_because(facts)}{_gates(event)}"


def _gates(event: Event) -> str:
    """Return how many gates passed at a transition, and what the others said."""
    said = {
        name.removeprefix("gate."): str(text)
        for fact in event.nodes
        for name, text in fact.attrs
        if name.startswith("gate.")
    }
    passed = sorted(name for name, text in said.items() if text.startswith("PASS"))
    others = [f"{name} {text}" for name, text in sorted(said.items()) if name not in passed]
    words = [f"{', '.join(passed)} PASS"] if passed else []
    return f"; gates: {'; '.join([*words, *others])}" if said else ""


def _alert(event: Event, facts: Facts) -> str:
    kind = str(facts["kind"]).replace("_", " ")
    if _word(event) == "closed":
        return f"the alert of {kind} closed"
    where = f" where {facts['slice']}" if facts.get("slice") else ""
    chart = f"{facts['metric']} at {_figure(facts['statistic'])}, its limit being"
    return (
        f"{facts['monitor']}: alert of {kind} {_word(event)}, with {chart} "
        f"{_figure(facts['limit'])}{where} on {facts['n']} answers"
    )


def _incident(event: Event, facts: Facts) -> str:
    word = _word(event)
    if word in {"opened", "grown"}:
        said = f" ({facts['reasons']})" if facts.get("reasons") else ""
        return (
            f"the incident of {facts['service']} {word}, taken for {facts['cause']}{said}: "
            f"{facts['remediation']}"
        )
    if word == "closed":
        return "the incident closed"
    return f"healing: {word}{_because(facts)}"


def _figure(value: Attr) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _run(event: Event, facts: Facts) -> str:
    name = parse_uri(event.subject).name
    if _word(event) == "failed":
        return f"the run of {name} failed: {facts.get('what') or facts.get('error') or ''}"
    verdict = facts.get("verdict")
    told = f" ({verdict})" if verdict else ""
    return f"a run of {name} was {_word(event)}{told}"


def _rule(event: Event, facts: Facts) -> str:
    word, rule = _word(event), facts.get("rule", "")
    if word == "decided":
        return (
            f"rule {rule} answered {facts['event_type']}: {facts['outcome']}{_because(facts)}"
        )
    if word in {"acted", "noted", "begun", "failed"}:
        what = facts.get("what") or facts.get("note") or facts.get("to") or ""
        return f"its action {facts['action']} was {word}{f': {what}' if what else ''}"
    return f"the answer of rule {rule} was {word}{_because(facts)}"


def _commit(event: Event, facts: Facts) -> str:
    of = parse_uri(event.subject)
    author = f" by {facts['author']}" if facts.get("author") else ""
    return f"commit {(of.version or '')[:12]} of {of.name}{author} came in"


def _plainly(event: Event, facts: Facts) -> str:
    parts = event.type.split(".")[1:]
    of = parse_uri(event.subject)
    what = " ".join(part.replace("_", " ") for part in parts)
    return f"{what} ({of.kind} {of.name}){_because(facts)}"


def _word(event: Event) -> str:
    return event.type.rpartition(".")[2].replace("_", " ")


def _because(facts: Facts) -> str:
    return f", because {facts['reason']}" if facts.get("reason") else ""


_SAID: Final[dict[str, Callable[[Event, Facts], str]]] = {
    "rollout": _rollout,
    "alert": _alert,
    "incident": _incident,
    "run": _run,
    "automation_run": _rule,
    "hook": _commit,
}
