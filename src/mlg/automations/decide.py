"""Which rules answer an event, and what each may do: a function of values.

The same rules, event and facts always give the same decisions with the same keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from mlg.automations.actions import NOT_YET, Command, RollBackService, commands_of, firing_key
from mlg.automations.conditions import GraphFunctions, holds, unmet
from mlg.automations.freeze import Freeze
from mlg.automations.happened import project_of
from mlg.automations.triggers import matches
from mlg.core.events import Event
from mlg.core.uris import EventId
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_automations import AutomationSpec

Outcome = Literal[
    "acts", "proposed", "observed", "frozen", "condition_false", "condition_error",
    "cooldown", "limited", "loop",
]  # fmt: skip

FIRED: Final[frozenset[Outcome]] = frozenset(("acts", "proposed", "observed", "frozen"))
"""Outcomes that count for `cooldown` and `per_hour`; the others did not fire."""

MAX_DEPTH: Final = 3
"""Most rules in a row that may each have been started by what the one before did."""
MAX_CHAIN: Final = 64

ACTOR: Final = "automation:"
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a manifest, by value: what a workflow carries."""

    name: str
    project: str
    spec: AutomationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One earlier firing of a rule."""

    rule: str
    key: str
    """The decision's key, so that a firing never holds itself back."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """The events that led to an event, nearest first."""

    events: tuple[Event, ...] = ()
    cut: bool = False
    """The chain is longer than `MAX_CHAIN`, or a circle: then no rule answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known when an event is answered."""

    now: datetime
    """Event time; aware UTC."""
    freeze: Freeze | None = None
    fired: tuple[Fired, ...] = ()
    """Firings of the last hour and of every rule's cooldown, in any order."""
    causes: Causes = Causes()
    graph: GraphFunctions = field(default_factory=dict)
    """See `mlg.automations.asking.graph_functions`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A rule's answer to an event."""

    key: str
    """Idempotency key of the answer; each command has its own."""
    rule: str
    event: EventId
    outcome: Outcome
    commands: tuple[Command, ...] = ()
    """In order; only those with `acts` are to be done. Empty unless the rule fired."""
    reason: str = ""
    """One sentence for the record."""
    approved_by: str = ""
    """Who let a proposal act."""


def rules_of(spec: ManifestSpec) -> tuple[Rule, ...]:
    """Return a manifest's rules, by name."""
    return tuple(
        Rule(name=name, project=spec.project, spec=one)
        for name, one in sorted(spec.automations.items())
    )


def actor_of(rule: str) -> str:
    """Return who a rule's events say that they are by; the loop guard reads it.

    Examples:
        >>> actor_of("promo-guard")
        'automation:promo-guard'
    """
    return f"{ACTOR}{rule}"


def causes_of(event: Event, lookup: Callable[[EventId], Event | None]) -> Causes:
    """Return the chain of an event's causes.

    Args:
        event: Whose causes.
        lookup: Gives an event by its id; None where it is not known, which ends the chain.
            It must know every event that came of what a rule did.
    """
    found: list[Event] = []
    seen = {event.id}
    cause = event.cause
    while cause is not None:
        if cause in seen or len(found) >= MAX_CHAIN:
            return Causes(events=tuple(found), cut=True)
        before = lookup(cause)
        if before is None:
            break
        seen.add(before.id)
        found.append(before)
        cause = before.cause
    return Causes(events=tuple(found))


def decide(rules: Sequence[Rule], event: Event, facts: Facts) -> tuple[Decision, ...]:
    """Return the answer of every rule that the event starts, by the rules' names.

    Args:
        rules: The rules in force.
        event: What happened.
        facts: What is known besides.

    Returns:
        One decision a started rule, also where it comes to nothing: each has its outcome
        and a reason. A rule of another project is never started.

    Raises:
        BackendError: A condition's question to the graph could not be answered; the whole
            decision may be asked for again.
    """
    project = project_of(event.subject)
    started = [
        rule for rule in rules if rule.project == project and matches(rule.spec.on, event)
    ]
    return tuple(
        _decided(rule, event, facts) for rule in sorted(started, key=lambda one: one.name)
    )


def approved(decision: Decision, by: str, freeze: Freeze | None = None) -> Decision:
    """Return a proposal as a person let it act; a freeze still holds all but rollbacks.

    Any other decision comes back unchanged.
    """
    if decision.outcome != "proposed":
        return decision
    commands = _released(decision.commands, freeze)
    outcome: Outcome = "acts" if any(one.acts for one in commands) else "frozen"
    return replace(
        decision,
        outcome=outcome,
        commands=commands,
        reason=f"approved by {by}",
        approved_by=by,
    )


def _decided(rule: Rule, event: Event, facts: Facts) -> Decision:
    key = firing_key(rule.name, event)
    outcome, reason = _held_back(rule, key, event, facts)
    if outcome is not None:
        return Decision(key=key, rule=rule.name, event=event.id, outcome=outcome, reason=reason)
    commands = tuple(commands_of(rule.name, rule.spec.do, event))
    if rule.spec.autonomy == "act":
        commands = _released(commands, facts.freeze)
        acting = any(one.acts for one in commands)
        held = [one for one in commands if not one.acts]
        fired: Outcome = "frozen" if facts.freeze is not None and not acting else "acts"
        reason = f"{len(held)} of {len(commands)} actions are held back" if held else ""
    elif rule.spec.autonomy == "propose":
        fired, reason = "proposed", "a person must approve"
        commands = _kept(commands, "waits for approval")
    else:
        fired, reason = "observed", "the rule only observes"
        commands = _kept(commands, "the rule only observes")
    return Decision(
        key=key,
        rule=rule.name,
        event=event.id,
        outcome=fired,
        commands=commands,
        reason=reason,
    )


def _held_back(rule: Rule, key: str, event: Event, facts: Facts) -> tuple[Outcome | None, str]:
    """Return why the rule does not fire, or None; cheap reasons first."""
    if reason := _loop(rule.name, event, facts.causes):
        return "loop", reason
    verdict = holds(rule.spec.condition, event, facts.graph)
    if verdict.outcome == "error":
        return "condition_error", verdict.reason
    if verdict.outcome == "false":
        part = unmet(rule.spec.condition or "", event, facts.graph)
        return "condition_false", f"the condition does not hold: {part}"
    before = [one for one in facts.fired if one.rule == rule.name and one.key != key]
    cooldown = rule.spec.cooldown_s
    if cooldown is not None and before:
        last = max(one.at for one in before)
        if facts.now - last < timedelta(seconds=cooldown):
            return "cooldown", f"it fired at {last.isoformat()}, less than {cooldown:g} s ago"
    recent = [one for one in before if facts.now - one.at < _HOUR]
    if len(recent) >= rule.spec.per_hour:
        return "limited", f"it fired {len(recent)} times within an hour"
    return None, ""


def _loop(rule: str, event: Event, causes: Causes) -> str:
    """Return why answering would close a circle, or an empty text."""
    actors = [one.actor for one in (event, *causes.events) if one.actor.startswith(ACTOR)]
    if actor_of(rule) in actors:
        return "the event came of what this rule did"
    depth = len(set(actors))
    if depth >= MAX_DEPTH:
        return f"{depth} rules in a row led to the event"
    if causes.cut:
        return "the event's causes could not be followed to their beginning"
    return ""


def _released(commands: tuple[Command, ...], freeze: Freeze | None) -> tuple[Command, ...]:
    """Return the commands as they may act."""
    made: list[Command] = []
    for one in commands:
        why_not = NOT_YET.get(str(one.__struct_config__.tag), "")
        if freeze is not None and not isinstance(one, RollBackService):
            why_not = f"frozen by {freeze.by}: {freeze.reason}".rstrip(": ")
        made.append(msgspec.structs.replace(one, acts=not why_not, why_not=why_not))
    return tuple(made)


def _kept(commands: tuple[Command, ...], why_not: str) -> tuple[Command, ...]:
    return tuple(msgspec.structs.replace(one, acts=False, why_not=why_not) for one in commands)
