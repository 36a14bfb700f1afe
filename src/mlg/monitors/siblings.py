"""Which one replica differs from its siblings, and whether to restart it: pure decisions.

`step(state, facts) -> (state, commands)`. A replica is replaced when its raw confidence fell
against its siblings beyond the limit of an e-detector, while they answer as before, the
input is quiet and nothing else moves in the service. What moves all replicas alike, such as
a promotion, is no evidence, and never restarts anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from typing import Final, Literal

from mlg.stats.detector import Detector, limit_for, looked

Counts = tuple[float, ...]
"""Answers by bin of raw confidence, equal bins over 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a restart takes; times in seconds."""

    looks: float = 90 * 86_400.0
    """Looks between two false restarts of one group on average: 90 days of one a second."""
    fall: float = 0.2
    """Least fall worth a restart, as a share of the siblings' mean confidence."""
    least_usual: float = 100.0
    """Answers of the siblings from which on it is known what is usual."""
    cooldown_s: float = 300.0
    """After a restart nothing is restarted for so long, and twice as long after each further
    one."""
    forgiven_s: float = 21_600.0
    """A restart counts for so long."""
    retold_s: float = 300.0
    """What was held is told again when it was over for so long in between."""


PATIENCE: Final = Patience()
_NOW: Final = 30.0
"""Answers that count as now: after so many more, one counts exp(-1) times as much."""
_USUAL: Final = 3_000.0
"""The same of what counts as usual."""
_LEAST_NOW: Final = 5.0
"""Answers, so weighted, that a mean of now must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLook:
    """One ready replica since the last look."""

    process: str
    """`replica-home-2`."""
    life: str
    """Of this process alone; another one of the same name begins anew."""
    service: str
    version: str
    """Version or label: replicas are compared within it only."""
    confidence: Counts
    """Answers by bin since the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingFacts:
    """What is so at one look."""

    now_s: float
    """Seconds since 1970: they outlive this process."""
    replicas: tuple[ReplicaLook, ...]
    held: Mapping[str, str] = field(default_factory=dict[str, str])
    """By service, why nothing may be restarted: input drifts, frozen, processes change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What is remembered of one replica."""

    process: str
    service: str
    version: str
    detector: Detector = field(default_factory=Detector)
    now: Counts = ()
    usual: Counts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One replica beside its siblings, for a person."""

    statistic: float
    """Natural logarithm of the evidence that it differs."""
    limit: float
    mean: float | None
    """Mean raw confidence of now; None: too few answers."""
    siblings_mean: float | None
    siblings: int
    """How many others it was compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingState:
    """Everything between two looks; only `restarts` need outlive the process."""

    members: dict[str, Member] = field(default_factory=dict[str, Member])
    """By life."""
    compared: dict[str, Comparison] = field(default_factory=dict[str, Comparison])
    """By life."""
    restarts: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """Times of the restarts of each service that still count."""
    told: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])
    """What is held, by process or `<service> <version>`: why, and when it was last so."""
    leaving: frozenset[str] = frozenset()
    """Lives that were to be replaced and are still there: nobody is compared with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingCommand:
    """Replace one replica, or tell why none is replaced."""

    kind: Literal["restart", "hold"]
    service: str
    version: str
    process: str
    """Empty: about all replicas of the version."""
    life: str = ""
    reason: str
    """One clause."""
    hindrance: str = ""
    """What holds a restart, the same as long as it does; empty: nothing."""
    statistic: float | None = None
    limit: float | None = None
    mean: float | None = None
    siblings_mean: float | None = None


def step(
    state: SiblingState, facts: SiblingFacts, *, patience: Patience = PATIENCE
) -> tuple[SiblingState, tuple[SiblingCommand, ...]]:
    """Return what to remember and what to do after one look.

    Args:
        state: What the last step returned.
        facts: What is so.
        patience: When to act.

    Returns:
        At most one restart a service. A hold is told once until it has been over for a while.
    """
    groups: dict[tuple[str, str], list[ReplicaLook]] = {}
    for one in (r for r in facts.replicas if r.life not in state.leaving):
        groups.setdefault((one.service, one.version), []).append(one)
    restarts = {
        service: kept
        for service, times in state.restarts.items()
        if (kept := tuple(t for t in times if facts.now_s - t < patience.forgiven_s))
    }
    members: dict[str, Member] = {}
    compared: dict[str, Comparison] = {}
    wanted: list[SiblingCommand] = []
    for (service, version), looks in sorted(groups.items()):
        group = _group(state, looks, patience)
        members.update(group.members)
        compared.update(group.compared)
        found = _verdict(service, version, group, patience)
        if found is not None and found.kind == "restart":
            held = facts.held.get(service) or _cooling(
                restarts.get(service, ()), facts.now_s, patience
            )
            if held:
                reason = f"{found.reason}, but {held}"
                found = replace(found, kind="hold", reason=reason, hindrance=held)
        if found is not None:
            wanted.append(found)
    commands: list[SiblingCommand] = []
    told = _told(state, facts.now_s, patience)
    leaving = state.leaving & {one.life for one in facts.replicas}
    for one in wanted:
        if one.kind == "restart" and one.service not in {c.service for c in commands}:
            commands.append(one)
            restarts[one.service] = (*restarts.get(one.service, ()), facts.now_s)
            members.pop(one.life, None)
            leaving |= {one.life}
        elif one.kind == "hold":
            key = one.process or f"{one.service} {one.version}"
            if told.get(key, ("", 0.0))[0] != one.hindrance:
                commands.append(one)
            told[key] = (one.hindrance, facts.now_s)
    return (
        SiblingState(
            members=members,
            compared=compared,
            restarts=restarts,
            told=told,
            leaving=leaving,
        ),
        tuple(commands),
    )


def mean_of(counts: Sequence[float], least: float = _LEAST_NOW) -> float | None:
    """Return the mean of binned values in 0..1; None with less than `least` answers.

    Examples:
        >>> mean_of((0.0, 6.0))
        0.75
        >>> mean_of((1.0, 1.0)) is None
        True
    """
    total = sum(counts)
    if total < least or not total:
        return None
    return sum(n * (place + 0.5) for place, n in enumerate(counts)) / len(counts) / total


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    members: dict[str, Member]
    compared: dict[str, Comparison]
    usual_mean: dict[str, float | None]
    """Of each one's siblings, before they answered as now."""


def _group(state: SiblingState, looks: Sequence[ReplicaLook], patience: Patience) -> _Group:
    former = {
        one.life: state.members.get(one.life)
        or Member(process=one.process, service=one.service, version=one.version)
        for one in looks
    }
    members: dict[str, Member] = {}
    compared: dict[str, Comparison] = {}
    usual_mean: dict[str, float | None] = {}
    for one in looks:
        before = former[one.life]
        others = [other for other in looks if other.life != one.life]
        usual = _sum([former[other.life].usual for other in others], len(one.confidence))
        known = sum(usual) >= patience.least_usual
        detector = before.detector
        if others and known:
            seen = _sum([other.confidence for other in others], len(one.confidence))
            detector = looked(detector, one.confidence, seen, usual)
        members[one.life] = replace(
            before,
            detector=detector,
            now=_faded(before.now, one.confidence, _NOW),
            usual=_faded(before.usual, one.confidence, _USUAL),
        )
        usual_mean[one.life] = mean_of(usual) if known else None
    for one in looks:
        mine = members[one.life]
        others = [members[other.life].now for other in looks if other.life != one.life]
        compared[one.life] = Comparison(
            statistic=mine.detector.statistic,
            limit=limit_for(patience.looks, len(looks)),
            mean=mean_of(mine.now),
            siblings_mean=mean_of(_sum(others, len(one.confidence))),
            siblings=len(others),
        )
    return _Group(members=members, compared=compared, usual_mean=usual_mean)


def _verdict(
    service: str, version: str, group: _Group, patience: Patience
) -> SiblingCommand | None:
    """Return what should be done in one group, if nothing holds it back."""
    over = sorted(
        (one.statistic, life) for life, one in group.compared.items() if _falls(one, patience)
    )
    if over:
        life = over[-1][1]
        one, usual = group.compared[life], group.usual_mean[life]
        mine, theirs = one.mean or 0.0, one.siblings_mean or 0.0
        found = SiblingCommand(
            kind="restart",
            service=service,
            version=version,
            process=group.members[life].process,
            life=life,
            reason=f"its confidence is {mine:.3f} where its siblings have {theirs:.3f}",
            statistic=one.statistic,
            limit=one.limit,
            mean=mine,
            siblings_mean=theirs,
        )
        if usual is None or abs(theirs - usual) > patience.fall * usual:
            moved = f"from {usual:.3f} to {theirs:.3f}" if usual is not None else "too"
            reason = f"{found.reason}, but its siblings moved {moved}"
            return replace(found, kind="hold", reason=reason, hindrance="siblings moved")
        return found
    return _alike(service, version, group, patience)


def _falls(one: Comparison, patience: Patience) -> bool:
    if one.mean is None or one.siblings_mean is None or one.statistic < one.limit:
        return False
    return one.mean <= (1 - patience.fall) * one.siblings_mean


def _alike(
    service: str, version: str, group: _Group, patience: Patience
) -> SiblingCommand | None:
    """Return that all replicas fell alike, if they did."""
    falls: list[tuple[float, float]] = []
    for life, member in group.members.items():
        usual, now = group.usual_mean[life], mean_of(member.now)
        if usual is None or now is None or now > (1 - patience.fall) * usual:
            return None
        falls.append((usual, now))
    if len(falls) < 2:
        return None
    before = sum(usual for usual, _ in falls) / len(falls)
    now = sum(now for _, now in falls) / len(falls)
    return SiblingCommand(
        kind="hold",
        service=service,
        version=version,
        process="",
        reason=f"confidence fell from {before:.3f} to {now:.3f}, but siblings were alike",
        hindrance="siblings alike",
        mean=now,
        siblings_mean=now,
    )


def _told(
    state: SiblingState, now_s: float, patience: Patience
) -> dict[str, tuple[str, float]]:
    """Return what was held not long ago."""
    return {
        key: (why, at_s)
        for key, (why, at_s) in state.told.items()
        if now_s - at_s < patience.retold_s
    }


def _cooling(times: Sequence[float], now_s: float, patience: Patience) -> str:
    """Return why the last restarts forbid another one now; empty: they do not."""
    if not times:
        return ""
    wait_s = patience.cooldown_s * 2.0 ** (len(times) - 1)
    left_s = max(times) + wait_s - now_s
    if left_s <= 0:
        return ""
    return f"{len(times)} restarts are recent, none follows for {wait_s:g} s"


def _sum(counts: Sequence[Counts], bins: int) -> Counts:
    total = [0.0] * bins
    for one in counts:
        for place, n in enumerate(one):
            total[place] += n
    return tuple(total)


def _faded(before: Counts, new: Counts, size: float) -> Counts:
    old, kept = before or (0.0,) * len(new), exp(-sum(new) / size)
    return tuple(kept * was + n for was, n in zip(old, new, strict=True))
