"""One gate's verdict from what was counted: pure, one function a kind of gate.

The unit is the sticky key. Chance alone sends a unit to an arm, so the first failure of each
unit falls into the candidate's arm with the probability that the split says, for as long as
the version makes no difference: one client that repeats a failing request, a bad hour, or
viewers unlike each other change nothing about that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log
from typing import Final

import numpy as np
from scipy.special import betaincinv

from mlg.core.measure import Verdict
from mlg.core.traffic import FULL_BP
from mlg.release.rollout_types import GatePlan, RolloutPlan
from mlg.release.seen import ArmSeen, GateFacts
from mlg.release.verdicts import LARGEST_E, GateResult
from mlg.release.visible import PASS_ALPHA, smallest_visible, viewers_needed
from mlg.stats.sequential import (
    DROPS,
    SLOWER,
    ArmCounts,
    Counts,
    Randomised,
    control_quantile,
    log_e_above,
    log_e_below,
    log_e_drop,
    log_e_not_above,
    log_e_rise,
    mixed,
)

QUANTILES: Final = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
"""Latency gates, and the quantile that each reads."""
_LEAST_ENGAGED: Final = 100
"""Viewers an arm below which the normal approximation is not read."""
_LEAST_ALIKE: Final = 100
"""Units below which two groups may differ in what they ask, and so in what it costs."""
SLOWER_SHARE: Final = 0.05
"""Largest added share of slow answers that a latency gate accepts."""
FAR_BELOW: Final = 0.5
"""A gate is unsupported when fewer than this part of the viewers it needs will come."""
_WORDS: Final = {
    "errors": "a failure",
    "sanity": "a bad answer",
    "rescue": "to be rescued",
    "abstention": "abstained",
    "fallback": "fell_back",
}
_FIRST: Final = {"abstention": "an abstention", "fallback": "the popularity list"}


def latency_limits(
    plan: RolloutPlan, baseline: Sequence[int], edges_ms: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """Return from where on an answer is slow, by latency gate: of the candidate, the control.

    The control's own quantile before the rollout, and for the candidate the gate's margin on
    top of it; both at edges of the bins, so neighbours should lie within some 10 %.

    Args:
        plan: Its gates.
        baseline: Latencies of the control before the rollout, by bin, one more than edges;
            without any, no gate has a limit.
        edges_ms: Ascending upper edges of the bins.

    Examples:
        >>> latency_limits(RolloutPlan(), (1, 0), (5.0,))
        {}
    """
    found: dict[str, tuple[float, float]] = {}
    for gate in plan.gates:
        if gate.name not in QUANTILES:
            continue
        slow = control_quantile(baseline, edges_ms, QUANTILES[gate.name])
        if isfinite(slow):
            limit = slow * (1.0 + gate.margin)
            place = int(np.searchsorted(edges_ms, limit * (1.0 - 1e-9)))
            far = edges_ms[place] if place < len(edges_ms) else inf
            found[gate.name] = (float(far), slow)
    return found


def _rare(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:
    """Judge failures, which should hardly happen, beside all stable traffic."""
    insane = gate.name == "sanity"

    def failed(arm: ArmSeen) -> int:
        # a withheld answer is known by its count only: never more of them than failed units
        return min(arm.insane, arm.failed) if insane else arm.failed

    counts = tuple(
        Randomised(
            events=failed(s.candidate),
            control_events=failed(s.control) + failed(s.stable),
            share=s.share_bp / FULL_BP,
        )
        for s in facts.stages
    )
    units = sum(s.candidate.at_risk for s in facts.stages)
    seen = _Seen(
        events=sum(c.events for c in counts),
        units=units,
        more=0 if insane else sum(s.candidate.unlogged for s in facts.stages),
        control_events=sum(c.control_events for c in counts),
        control_units=sum(s.control.at_risk + s.stable.at_risk for s in facts.stages),
        now=facts.stages[-1].candidate.at_risk,
        words=f"units had {_WORDS[gate.name]}",
    )
    return _verdict(plan, gate, counts, seen, log_e_rise(counts), gate.margin)


def _first_answers(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:
    """Judge how often a unit's first answer was none of the model's."""
    what = f"first_{_WORDS[gate.name]}"
    counts = tuple(
        ArmCounts(
            events=getattr(s.candidate, what),
            units=s.candidate.sampled,
            control_events=getattr(s.control, what) + getattr(s.stable, what),
            control_units=s.control.sampled + s.stable.sampled,
        )
        for s in facts.stages
    )
    seen = _Seen.of(counts, f"units began with {_FIRST[gate.name]}")
    # what a ranker may do more often than before has room in the null
    bound = room_above(gate.margin, seen.control_events, seen.control_units)
    against = log_e_above(seen.events, seen.units, bound)
    return _verdict(plan, gate, counts, seen, against, gate.margin)


def room_above(margin: float, events: int, units: int) -> float:
    """Return the rate that is still accepted: the control's and a margin, in (0, 1).

    The control's rate is taken at its upper 99.9 % limit (Clopper and Pearson 1934), so that
    a small control condemns nobody.

    Examples:
        >>> round(room_above(0.1, 0, 10_000), 3), room_above(0.1, 0, 0)
        (0.101, 0.99)
    """
    if not units:
        return 0.99
    upper = 1.0 if events >= units else float(betaincinv(events + 1, units - events, 0.999))
    return min(0.99, margin + upper)


def _latency(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:
    """Judge in how many moments more units were slow than in the control, margin included."""
    limits = facts.limits_ms.get(gate.name)
    if limits is None:
        return _open(gate, "the control's latency before the rollout is not known", 0)
    counts = tuple(
        ArmCounts(
            events=s.candidate.first_slow.get(gate.name, 0),
            units=s.candidate.sampled,
            control_events=s.control.first_slow.get(gate.name, 0),
            control_units=s.control.sampled,
        )
        for s in facts.stages
    )
    worse, better = _windows(gate, facts)
    words = f"first answers over {limits[0]:g} ms"
    seen = replace(
        _Seen.of(counts, words), also=f"; worse in {worse} of {worse + better} moments"
    )
    # what the control's quantile leaves over, and at most as much again
    over = 1.0 - QUANTILES[gate.name]
    allowed = over + min(over, SLOWER_SHARE)
    return _verdict(plan, gate, counts, seen, _log_e_windows(worse, better), allowed)


def _resource(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:  # noqa: ARG001
    """Judge in how many spans it was over its limit, which is the control's and the margin."""
    worse, better = _windows(gate, facts)
    judged = _spans(gate, facts, worse, better)
    return replace(judged, events=float(worse), margin=gate.margin)


def _spans(gate: GatePlan, facts: GateFacts, worse: int, better: int) -> GateResult:
    against = _log_e_windows(worse, better)
    units = facts.stages[-1].candidate.units
    said = f"over the control by {gate.margin:.0%} in {worse} of {worse + better} spans"
    if gate.name == "cache_hits":
        said = said.replace("over", "under", 1)
    if units < _LEAST_ALIKE:
        short = f"{said}; {units} of {_LEAST_ALIKE} units, by which the groups are alike"
        return _open(gate, short, worse + better, against)
    if against >= log(1.0 / gate.alpha):
        return _result(gate, "FAIL", against, worse + better, said)
    if _log_e_windows(better, worse) >= log(1.0 / PASS_ALPHA):
        return _result(gate, "PASS", against, worse + better, said)
    return _open(gate, f"{said}; not shown yet", worse + better, against)


def _windows(gate: GatePlan, facts: GateFacts) -> tuple[int, int]:
    """Return the windows that speak against the candidate and for it, over all stages."""
    seen = [s.windows.get(gate.name, (0, 0)) for s in facts.stages]
    return sum(w for w, _ in seen), sum(b for _, b in seen)


def _log_e_windows(against: int, other: int) -> float:
    """Return the evidence that one side wins more than half of the windows: a sign test."""
    counts = Randomised(events=against, control_events=other, share=0.5)
    return log_e_rise((counts,), ratios=SLOWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a verdict rests on, and how it is said."""

    events: int
    units: int
    control_events: int
    control_units: int
    now: int
    """Units of the candidate in the step that is judged."""
    words: str
    more: int = 0
    """Events that count against a PASS only."""
    also: str = ""

    @classmethod
    def of(cls, counts: Sequence[ArmCounts], words: str) -> "_Seen":
        return cls(
            events=sum(c.events for c in counts),
            units=sum(c.units for c in counts),
            control_events=sum(c.control_events for c in counts),
            control_units=sum(c.control_units for c in counts),
            now=counts[-1].units,
            words=words,
        )


def _verdict(
    plan: RolloutPlan,
    gate: GatePlan,
    counts: Sequence[Counts],
    seen: _Seen,
    against: float,
    allowed: float,
) -> GateResult:
    return replace(
        _said(plan, gate, counts, seen, against, allowed),
        events=float(seen.events),
        control_events=float(seen.control_events),
        control_n=seen.control_units,
        margin=allowed,
    )


def _said(
    plan: RolloutPlan,
    gate: GatePlan,
    counts: Sequence[Counts],
    seen: _Seen,
    against: float,
    allowed: float,
) -> GateResult:
    said = (
        f"{seen.events} of {seen.units} {seen.words}, control {seen.control_events} of "
        f"{seen.control_units}{seen.also}"
    )
    if seen.more:
        said += f"; {seen.more} more failed attempts are in no answer"
    if against >= log(1.0 / gate.alpha):
        return _result(gate, "FAIL", against, seen.units, said)
    if not seen.now:
        why = "the candidate was not seen in this step"
        return _open(gate, why, seen.units, against)
    bound = min(0.99, max(allowed, smallest_visible(plan.min_units)))
    events = min(seen.units, seen.events + seen.more)
    shown = [log_e_below(events, seen.units, bound)]
    if seen.control_events and not seen.more:
        margin = bound * seen.control_units / seen.control_events
        shown.append(log_e_not_above(counts, margin=margin))
    if float(mixed(shown)) >= log(1.0 / PASS_ALPHA):
        worse = f"{said}; shown not to be worse by {bound:.2%}"
        return _result(gate, "PASS", against, seen.units, worse)
    return _open(gate, f"{said}; {bound:.2%} more is not ruled out yet", seen.units, against)


def _engagement(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:  # noqa: ARG001
    """Judge what viewers do, one viewer one vote, beside the control."""
    of, total = ("viewers", "clicked") if gate.name == "ctr" else ("watchers", "watched")
    stages = [s for s in facts.stages if s.share_bp >= gate.from_bp]
    return replace(
        _engaged(gate, facts),
        events=sum(getattr(s.candidate, total) for s in stages),
        control_events=sum(getattr(s.control, total) for s in stages),
        control_n=sum(getattr(s.control, of) for s in stages),
        margin=gate.margin,
    )


def _engaged(gate: GatePlan, facts: GateFacts) -> GateResult:
    of, total = ("viewers", "clicked") if gate.name == "ctr" else ("watchers", "watched")
    stages = [s for s in facts.stages if s.share_bp >= gate.from_bp]
    n = sum(getattr(s.candidate, of) for s in stages)
    m = sum(getattr(s.control, of) for s in stages)
    got, control = (
        sum(getattr(s.candidate, total) for s in stages),
        sum(getattr(s.control, total) for s in stages),
    )
    rate = control / m if m and 0 < control < m else 0.5
    needed = viewers_needed(rate, gate.margin)
    null = 1.0 - gate.margin
    against = for_it = 0.0
    if min(n, m) >= _LEAST_ENGAGED:
        # a stage's own rates could differ, but candidate and control have equal shares
        against = log_e_drop(
            got, n, control, m, null_ratio=null, ratios=[null * r for r in DROPS]
        )
        better = [null + gate.margin * part for part in (0.5, 1.0, 1.5)]
        for_it = log_e_drop(got, n, control, m, null_ratio=null, ratios=better)
    said = (
        f"{got / n if n else 0.0:.3f} of {n} viewers, control {rate if m else 0.0:.3f} of {m}"
    )
    if against >= log(1.0 / gate.alpha):
        return _result(gate, "FAIL", against, n, said)
    if for_it >= log(1.0 / PASS_ALPHA):
        worse = f"{said}; shown not to be lower by {gate.margin:.0%}"
        return _result(gate, "PASS", against, n, worse)
    expected = facts.expected_viewers
    supported = expected is None or n + expected >= FAR_BELOW * needed
    short = f"{said}; about {needed} viewers an arm are needed"
    if expected is not None:
        short += f", about {n + expected:.0f} will come"
    return _open(gate, short, n, against, supported=supported)


def _open(
    gate: GatePlan, reason: str, n: int, log_e: float = 0.0, *, supported: bool = True
) -> GateResult:
    return _result(gate, "INCONCLUSIVE", log_e, n, reason, supported=supported)


def _result(
    gate: GatePlan,
    verdict: Verdict,
    log_e: float,
    n: int,
    reason: str,
    *,
    supported: bool = True,
) -> GateResult:
    return GateResult(
        name=gate.name,
        verdict=verdict,
        e_value=e_of(log_e),
        bound=1.0 / gate.alpha,
        n=n,
        reason=reason,
        engagement=gate.engagement,
        supported=supported,
    )


def e_of(log_e: float) -> float:
    """Return an e-value from its logarithm, cut where JSON would know no number."""
    return LARGEST_E if log_e == inf else min(LARGEST_E, exp(min(690.0, log_e)))


JUDGES: Final[Mapping[str, Callable[[RolloutPlan, GatePlan, GateFacts], GateResult]]] = {
    **dict.fromkeys(("errors", "sanity", "rescue"), _rare),
    **dict.fromkeys(("abstention", "fallback"), _first_answers),
    **dict.fromkeys(QUANTILES, _latency),
    **dict.fromkeys(("cpu", "cache_hits"), _resource),
    "ctr": _engagement,
    "watch_through": _engagement,
}
"""Judge by name of the gate."""
