"""Signals become incidents: one opens, grows, and closes when all is quiet again.

`step(state, facts) -> (state, commands)` is pure. All signals of one service that are out at
the same time are one incident, so one shift seen by twenty charts pages once. A statistic that
goes in and out around its limit is one incident too: after one closed, its statistics must stay
out for a while before they open another.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from mlg.core.clock import parse_time
from mlg.core.measure import Alert, Measurement
from mlg.core.uris import Digest, Uri, make_uri
from mlg.monitors.diagnose import Cause
from mlg.monitors.evaluate import QUALITY, Signal
from mlg.monitors.group_quality import group_of, group_words, measured
from mlg.monitors.lasting import AWAY, COOL_DOWN, QUIET
from mlg.monitors.severity import PolicyChange, policy_change
from mlg.monitors.slices import Slice
from mlg.monitors.windows import REQUESTS

LASTING: Final = 5
"""Windows, one after the other, for which they must signal in that time to open one."""

WORSE: Final = 0.1
"""Rise of severity that is news."""

MOST_CLOSED: Final = 5
"""Closed incidents that are remembered."""

MOST_SAMPLE: Final = 1_000
MOST_SIGNALS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One thing that happened, as long as it lasts."""

    key: str
    """`<service>:<number>`: the same through its whole life; the key of what is sent."""
    opened_at: str
    signals: dict[str, Signal]
    """Worst signal of each statistic so far, by `stream/metric`."""
    first: tuple[str, ...]
    """The statistics that opened it."""
    cause: Cause
    slice: Slice | None = None
    quiet: int = 0
    """Windows since the newest signal."""
    away: int = 0
    """Windows of all requests since the newest window of a stream that signalled."""
    policy: PolicyChange
    revision: int = 0
    """Counts growths; part of each command's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What is remembered of an incident that is over, so that it does not open again."""

    signals: tuple[str, ...]
    """Its statistics, as `stream/metric`."""
    cause: str
    severity: float
    at: str
    """End of the newest window that it saw, RFC 3339; older ones come late."""
    cooling: dict[str, int] = field(default_factory=dict[str, int])
    """Windows of each of its streams for which it may flap; empty when it was dealt with,
    because its streams have learned anew."""
    again: dict[str, int] = field(default_factory=dict[str, int])
    """Windows of each stream, one after the other, in which its statistics signalled again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """The incidents of one monitor; goes through msgspec both ways."""

    service: str
    number: int = 0
    """Incidents so far."""
    incident: Incident | None = None
    closed: tuple[Closed, ...] = ()
    """The newest that are over, newest last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """What one window brought."""

    at: str
    """End of the window, RFC 3339."""
    stream: str
    """Whose window it was; quiet windows count only of streams that signalled."""
    signals: tuple[Signal, ...]
    cause: Cause | None = None
    """The diagnosis of all open signals; None takes the one before."""
    slice: Slice | None = None
    sample: tuple[str, ...] = ()
    """Prediction ids of live rows in the slice."""
    handled: bool = False
    """The cause was dealt with (a healed version serves, the shift is the new usual): close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing to do; with the same key it is done once."""

    kind: Literal["open", "grow", "close"]
    key: str
    """`<incident key>:<kind>:<revision>`."""
    incident: Incident
    sample: tuple[str, ...] = ()
    """At most 1,000 prediction ids; the caller stores the rows and refers to them by digest."""


def step(state: AlertState, facts: AlertFacts) -> tuple[AlertState, tuple[Command, ...]]:
    """Return the state after one window, and what to do.

    An incident opens at the first signal that is worth a page: one whose change reaches the
    floor, or a small one of which a slice is named. It grows when another statistic joins,
    the cause changes, or its severity rises by `WORSE`. It closes after `QUIET` quiet windows.

    What was out in an incident that closed opens another only when it is news: in a later
    window, and for `COOL_DOWN` windows only with another statistic, another cause, a severity
    that rose by `WORSE`, or after `LASTING` windows in a row.
    """
    worth = tuple(s for s in facts.signals if not s.small or facts.slice is not None)
    incident = state.incident
    if incident is None:
        known = _known_again(state, facts, worth)
        state = replace(state, closed=_cooled(state.closed, facts, worth))
        if known or not worth or facts.handled or facts.cause is None:
            return state, ()
        return _opened(state, facts, facts.cause, worth)
    mine = facts.stream in {signal.stream for signal in incident.signals.values()}
    quiet = incident.quiet + (mine and not facts.signals)
    away = 0 if mine or facts.signals else incident.away + (facts.stream == REQUESTS)
    incident = replace(incident, away=away)
    if facts.handled or quiet >= QUIET or away >= AWAY:
        closed = replace(incident, quiet=quiet)
        command = Command(kind="close", key=f"{incident.key}:close:0", incident=closed)
        over = (*state.closed, _over(closed, facts))[-MOST_CLOSED:]
        return replace(state, incident=None, closed=over), (command,)
    if not facts.signals:
        return replace(state, incident=replace(incident, quiet=quiet)), ()
    grown = _grown(incident, facts, worth)
    changed = (
        len(grown.signals) > len(incident.signals)
        or (grown.cause.cause, grown.cause.action)
        != (incident.cause.cause, incident.cause.action)
        or grown.policy.drift_severity >= incident.policy.drift_severity + WORSE
        or (grown.slice is not None and incident.slice is None)
    )
    if not changed:
        return replace(state, incident=replace(grown, policy=incident.policy)), ()
    grown = replace(grown, revision=incident.revision + 1)
    key = f"{grown.key}:grow:{grown.revision}"
    command = Command(kind="grow", key=key, incident=grown, sample=facts.sample[:MOST_SAMPLE])
    return replace(state, incident=grown), (command,)


def _known_again(state: AlertState, facts: AlertFacts, worth: tuple[Signal, ...]) -> bool:
    """Return whether these signals are of an incident that is over, and no news."""
    names = {_name(signal) for signal in worth}
    severity = policy_change(state.service, worth, "").drift_severity
    for one in state.closed:
        if not names <= set(one.signals):
            continue
        if parse_time(facts.at) <= parse_time(one.at):
            return True
        cause = one.cause if facts.cause is None else facts.cause.cause
        news = cause != one.cause or severity >= one.severity + WORSE - 1e-9
        lasting = one.again.get(facts.stream, 0) + 1 >= LASTING
        if one.cooling.get(facts.stream, 0) and not news and not lasting:
            return True
    return False


def _cooled(
    closed: tuple[Closed, ...], facts: AlertFacts, worth: tuple[Signal, ...]
) -> tuple[Closed, ...]:
    """Return what is remembered after one window; late windows count for nothing."""
    names, after = {_name(signal) for signal in worth}, list[Closed]()
    for one in closed:
        stream, left = facts.stream, one.cooling.get(facts.stream, 0)
        if not left or parse_time(facts.at) <= parse_time(one.at):
            after.append(one)
            continue
        again = one.again.get(stream, 0) + 1 if names & set(one.signals) else 0
        after.append(
            replace(
                one,
                cooling={**one.cooling, stream: left - 1},
                again={**one.again, stream: again},
            )
        )
    return tuple(after)


def _over(incident: Incident, facts: AlertFacts) -> Closed:
    ends = [facts.at, *(signal.end for signal in incident.signals.values())]
    streams = {signal.stream for signal in incident.signals.values()}
    return Closed(
        signals=tuple(sorted(incident.signals)),
        cause=incident.cause.cause,
        severity=incident.policy.drift_severity,
        at=max(ends, key=parse_time),
        cooling={} if facts.handled else dict.fromkeys(sorted(streams), COOL_DOWN),
    )


def _opened(
    state: AlertState, facts: AlertFacts, cause: Cause, worth: tuple[Signal, ...]
) -> tuple[AlertState, tuple[Command, ...]]:
    number = state.number + 1
    key = f"{state.service}:{number}"
    named = {_name(signal): signal for signal in worth[:MOST_SIGNALS]}
    incident = Incident(
        key=key,
        opened_at=facts.at,
        signals=named,
        first=tuple(named),
        cause=cause,
        slice=facts.slice,
        policy=policy_change(state.service, worth, cause.cause),
    )
    command = Command(
        kind="open",
        key=f"{key}:open:0",
        incident=incident,
        sample=facts.sample[:MOST_SAMPLE],
    )
    return replace(state, number=number, incident=incident), (command,)


def _grown(incident: Incident, facts: AlertFacts, worth: tuple[Signal, ...]) -> Incident:
    signals = dict(incident.signals)
    for signal in worth:
        name = _name(signal)
        before = signals.get(name)
        if before is None and len(signals) >= MOST_SIGNALS:
            continue
        if before is None or _excess(signal) > _excess(before):
            signals[name] = signal
    cause = facts.cause or incident.cause
    return replace(
        incident,
        signals=signals,
        cause=cause,
        slice=incident.slice or facts.slice,
        quiet=0,
        policy=policy_change(incident.policy.service, signals.values(), cause.cause),
    )


def worst(incident: Incident) -> Signal:
    """Return the signal that is furthest beyond its limit."""
    return max(incident.signals.values(), key=_excess)


def alert_of(
    incident: Incident,
    *,
    project: str,
    sample: Digest | None = None,
    suspects: tuple[Uri, ...] = (),
    closed_at: str | None = None,
) -> Alert:
    """Return the incident as the alert that the graph keeps: its worst signal, and what to do.

    Args:
        incident: The incident.
        project: Namespace of its URIs.
        sample: Digest of the stored sample rows.
        suspects: What upstream may have caused it; the caller asks the graph.
        closed_at: When it closed, RFC 3339.
    """
    signal = worst(incident)
    service = incident.policy.service
    bound = abs(signal.limit)
    version = None if signal.stream == REQUESTS else signal.stream.removeprefix(QUALITY)
    subject = (
        make_uri("service", project, service)
        if version is None
        else make_uri("model_version", project, service, version)
    )
    return Alert(
        uri=make_uri("alert", project, incident.key),
        measurement=Measurement(
            subject=subject,
            metric=signal.metric,
            value=signal.statistic,
            unit=f"{signal.chart}_sd",
            n=signal.n,
            start=parse_time(signal.start),
            end=parse_time(signal.end),
            limits=(-bound, bound),
            verdict="FAIL",
        ),
        slice=_words(signal, incident.slice),
        sample=sample,
        suspects=suspects,
        remediation=incident.cause.remediation,
        opened_at=parse_time(incident.opened_at),
        closed_at=None if closed_at is None else parse_time(closed_at),
    )


def sentence(incident: Incident) -> str:
    """Return what happened in one sentence, for a mail or a page.

    It names the worst statistic as a person reads it, the slice, and the cause.
    """
    signal = worst(incident)
    name = signal.metric.removeprefix("viewer:")
    where = ""
    if whose := _whose(signal):
        name = f"{measured(signal.metric)} of {whose}"
    elif incident.slice is not None:
        one = incident.slice
        where = (
            f"; {one.words}: {one.usual_share:.0%} of viewers before, {one.live_share:.0%} now"
        )
    return (
        f"{name} was {signal.usual:.3g} and is {signal.now:.3g} "
        f"({signal.chart} {signal.statistic:.2f}, limit {signal.limit:.2f}){where}. "
        f"Taken for: {incident.cause.cause}."
    )


def _whose(signal: Signal) -> str:
    """Return the group that a signal is of, in words; empty: it is of no group."""
    return group_words(signal.metric) if signal.stream.startswith(QUALITY) else ""


def _words(signal: Signal, found: Slice | None) -> str:
    """Return the group that a signal is of, else the slice that was found, in words."""
    if _whose(signal) and group_of(signal.metric)[1]:
        return _whose(signal)
    return found.words if found else ""


def _name(signal: Signal) -> str:
    return f"{signal.stream}/{signal.metric}"


def _excess(signal: Signal) -> float:
    return abs(signal.statistic) / max(abs(signal.limit), 1e-9)
