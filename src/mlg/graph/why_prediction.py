"""Why one recommendation was given: the answer's own facts, and the events behind them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from mlg.core.events import StoredEvent
from mlg.core.nodes import Attr
from mlg.core.ports import GraphHistory, GraphReader
from mlg.core.traffic import FULL_BP
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph.lineage import Answered
from mlg.graph.why import EACH, WhyAnswer, causes_of, from_clauses, is_told, twins
from mlg.graph.why_words import Clause, clause_of, facts_of, percent, short

_MOST_CAUSES: Final = 12


def why_prediction(reader: GraphReader, history: GraphHistory, answered: Answered) -> WhyAnswer:
    """Return why an answer was what it was, each clause with the event that it rests on.

    In this order: who answered and what (the seal), the policy's threshold against the
    confidence, the share of the version then, what made it serve, how it was trained.

    Args:
        reader: The graph.
        history: Its log, by index.
        answered: The answer, as the log of predictions has it; from `attrs` are read
            `served_by`, `reason`, `confidence`, `raw_confidence`, `policy` and `arm`.
    """
    facts = dict(answered.attrs)
    clauses: list[Clause] = []
    if answered.segment is not None:
        sealed = history.told([answered.segment], limit=1)[:1]
        clauses += [clause_of(one, text=_given(answered, facts)) for one in sealed]
    clauses += _policy(history, answered, facts)
    if answered.model_version is not None:
        clauses += _serving(reader, history, answered, answered.model_version)
        clauses += _making(reader, history, answered.model_version, answered.at)
    return from_clauses(answered.uri, list({(c.seq, c.text): c for c in clauses}.values()))


def _given(answered: Answered, facts: dict[str, Attr]) -> str:
    who = "the fallback's list" if facts.get("served_by") == "fallback" else "the model"
    version = f" {short(answered.model_version)}" if answered.model_version else ""
    reasons = {
        "abstain": "the model abstained",
        "explore": "the exploration share let the model answer all the same",
        "rescue": "no replica of the version answered, so the rescue did",
        "ranked": "it was sure enough",
    }
    reason = str(facts.get("reason") or "")
    why = reasons.get(reason, reason)
    arm = f" in arm {facts['arm']}" if facts.get("arm") else ""
    return (
        f"{who}{version} answered {answered.service} at {facts.get('event_time', '')}{arm}"
        f"{f', because {why}' if why else ''}, with confidence {_share(facts, 'confidence')}; "
        f"the answer is sealed in {short(answered.segment or '')}"
    )


def _share(facts: dict[str, Attr], name: str) -> str:
    value = facts.get(name)
    return f"{value:.3g}" if isinstance(value, int | float) else "unknown"


def _policy(history: GraphHistory, answered: Answered, facts: dict[str, Attr]) -> list[Clause]:
    """Return the confidence against the threshold of the policy that the answer names."""
    version = str(facts.get("policy") or "")
    if not version:
        return []
    uri = make_uri("policy", answered.project, answered.service, version)
    told = [s for s in history.told([uri], limit=1) if s.event.subject == uri]
    if not told:
        return []
    rule = facts_of(told[0].event)
    below = rule.get("abstain_below")
    raw = facts.get("raw_confidence")
    sure = isinstance(raw, int | float) and isinstance(below, int | float) and raw >= below
    side = "not below" if sure else "below"
    text = (
        f"its own confidence {_share(facts, 'raw_confidence')} was {side} the threshold "
        f"{_share(rule, 'abstain_below')} of policy {version}, which explores "
        f"{percent(rule.get('explore_bp'))} at drift severity {_share(rule, 'drift_severity')}"
    )
    return [clause_of(told[0], text=text)]


def _serving(
    reader: GraphReader, history: GraphHistory, answered: Answered, version: Uri
) -> list[Clause]:
    """Return the version's share then, and what made it serve."""
    service = make_uri("service", answered.project, answered.service)
    serving = reader.production(service, answered.at).versions
    found = [one for one in serving if one.model_version == version]
    if not found:
        return []
    deployment = found[0].deployment
    told = [s for s in history.told([deployment, *twins([deployment])]) if _by(s, answered.at)]
    clauses: list[Clause] = []
    shares = [s for s in told if s.event.type == "mlg.deployment.share_changed"]
    rollout = twins([deployment])[0]
    moved = [s for s in told if s.event.subject == rollout]
    begun = [s for s in moved if s.event.type == "mlg.rollout.begun"]
    kept = [
        s for s in moved if not s.event.type.endswith((".begun", ".held", ".noted", ".called"))
    ]
    clauses += [clause_of(one) for one in begun]
    clauses += [clause_of(one) for one in kept[-2:]]
    if shares:
        part = "all" if found[0].share_bp == FULL_BP else percent(found[0].share_bp)
        text = f"{short(version)} had {part} of the traffic of {answered.service} then"
        clauses.append(clause_of(shares[-1], text=text))
    return clauses


def _by(stored: StoredEvent, at: datetime) -> bool:
    return stored.event.at <= at


def _making(
    reader: GraphReader, history: GraphHistory, version: Uri, at: datetime
) -> list[Clause]:
    """Return how the version was made, and why."""
    causes = [uri for uri in causes_of(reader, version) if _is_story(uri)][:_MOST_CAUSES]
    shown = {version, *causes}
    told = history.told([version, *causes], limit=EACH)
    kept = [one for one in told if is_told(one.event, version, shown) and _by(one, at)]
    return [clause_of(one, version) for one in _first_of_each(kept)]


def _is_story(uri: Uri) -> bool:
    return parse_uri(uri).kind in {"run", "commit", "incident", "alert", "automation_run"}


def _first_of_each(told: Iterable[StoredEvent]) -> list[StoredEvent]:
    """Return one event of a type and thing: the first; a growth adds nothing here."""
    kept = {(one.event.type, one.event.subject): one for one in reversed(list(told))}
    whole = (one for one in kept.values() if not one.event.type.endswith(".grown"))
    return sorted(whole, key=lambda one: one.seq)
