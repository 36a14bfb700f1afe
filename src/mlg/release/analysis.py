"""From counters of candidate, control and stable to the gates' verdicts: pure.

FAIL and PASS are two questions with two e-processes. FAIL: is it worse than what serves
now? PASS: is it shown not to be worse by more than a margin? What neither shows is
INCONCLUSIVE. Looking often costs nothing; see `mlg.stats.sequential`.

Errors, sanity, abstention, rescue and fallback are compared with all stable traffic of the
same stages (a control of equal share would need several times as long); latency and
engagement with the control group, which is as cold and as small as the candidate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, inf, isfinite, log
from typing import Final

import numpy as np

from mlg.core.measure import Verdict
from mlg.core.traffic import FULL_BP
from mlg.release.rollout_types import GatePlan, RolloutPlan
from mlg.release.verdicts import LARGEST_E, GateResult
from mlg.stats.sequential import (
    DROPS,
    FALLS,
    SLOWER,
    ArmCounts,
    control_quantile,
    log_e_below,
    log_e_drop,
    log_e_mismatch,
    log_e_not_above,
    log_e_rise,
)

PASS_ALPHA: Final = 0.05
"""Chance that a gate passes a version that is worse than its margin."""
MISMATCH_ALPHA: Final = 0.001
"""Chance that a good split is called a mismatch."""
_LEAST_ENGAGED: Final = 100
"""Viewers an arm below which the normal approximation is not read."""
_SLOWER_SHARE: Final = 0.05
"""Largest added share of slow answers that a latency gate accepts."""
_FAR_BELOW: Final = 0.5
"""A gate is unsupported when fewer than this part of the viewers it needs will come."""
_QUANTILES: Final = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSeen:
    """What one arm did in one stage, by the version that viewers were assigned to."""

    units: int = 0
    """Sticky units (viewers or sessions)."""
    attempts: int = 0
    """Calls of the arm's replicas; a retrying client counts once where that can be known."""
    errors: int = 0
    """Attempts without a good answer: 5xx, none, or one that the sanity check refused."""
    insane: int = 0
    """Of these, refused by the sanity check (NaN, length, duplicates, unknown items)."""
    answers: int = 0
    """Viewer requests assigned to the arm that were answered, by whomever."""
    abstained: int = 0
    rescued: int = 0
    """Answered by another version."""
    fell_back: int = 0
    """Answered by the popularity list after a failure."""
    latency: tuple[int, ...] = ()
    """Attempts by bin of `GateFacts.edges_ms`, one more than edges: the last is open."""
    viewers: int = 0
    """Viewers who gave feedback, or were shown something."""
    clicked: float = 0.0
    """Sum over these viewers of the share of what they were shown that they engaged with."""
    watchers: int = 0
    watched: float = 0.0
    """Sum over watchers of their mean watch-through, 0..1 each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeen:
    """One stage: a span in which the split did not change."""

    share_bp: int
    candidate: ArmSeen
    control: ArmSeen
    stable: ArmSeen
    """The rest of the stable traffic, without the control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """Everything that the gates read."""

    stages: tuple[StageSeen, ...]
    """In order; the last is the step that is judged."""
    edges_ms: tuple[float, ...] = ()
    """Ascending upper edges of the latency bins; a limit is taken at the next edge above it,
    so neighbours should lie within some 10 % of each other."""
    baseline: tuple[int, ...] = ()
    """Latencies of the control before the first stage (its warm-up), by the same bins: what
    is slow is fixed before it is counted."""
    expected_viewers: float | None = None
    """Viewers that the candidate will have at this step until its time is over; None when
    nobody knows, and then no gate is excused."""


def judge(plan: RolloutPlan, facts: GateFacts) -> tuple[GateResult, ...]:
    """Return a verdict of each gate that is read at the current share, and of the split.

    Args:
        plan: Gates with their parts of alpha.
        facts: What was counted; without stages nothing is said.
    """
    if not facts.stages:
        return ()
    share_bp = facts.stages[-1].share_bp
    results = [
        _JUDGES[gate.name](plan, gate, facts) for gate in plan.gates if share_bp >= gate.from_bp
    ]
    return (*results, _split(facts))


def explanation(results: Sequence[GateResult]) -> str:
    """Return in one sentence what the gates say together.

    Examples:
        >>> explanation((GateResult(name="errors", verdict="PASS"),))
        'All 1 gates pass.'
    """
    for word, meaning in (
        ("ERROR", "The comparison itself is broken"),
        ("FAIL", "The candidate is worse"),
        ("INCONCLUSIVE", "Not shown yet"),
    ):
        found = [r for r in results if r.verdict == word]
        if found:
            return f"{meaning}: " + "; ".join(f"{r.name}, {r.reason}" for r in found) + "."
    return f"All {len(results)} gates pass." if results else "Nothing was measured yet."


def smallest_visible(units: int) -> float:
    """Return the smallest rate that so many clean units rule out, at the level of a PASS.

    Examples:
        >>> round(smallest_visible(50), 3), round(smallest_visible(200), 3)
        (0.088, 0.023)
    """
    return 1.0 - exp(log(PASS_ALPHA / len(FALLS)) / max(1, units))


def viewers_needed(rate: float, margin: float) -> int:
    """Return about how many viewers an arm needs to show a drop no larger than the margin.

    From the growth of the normal e-process at no difference, doubled for the mixture.

    Args:
        rate: Engagement of the control, in (0, 1).
        margin: Relative drop that is accepted.

    Examples:
        >>> viewers_needed(0.05, 0.1)
        45536
    """
    growth = (rate * margin) ** 2 / (4.0 * rate * (1.0 - rate))
    return ceil(2.0 * log(1.0 / PASS_ALPHA) / growth)


def _rare(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:
    """Judge something that should hardly happen, beside all stable traffic."""
    field, of = _RARE[gate.name]
    counts = tuple(
        ArmCounts(
            events=getattr(s.candidate, field),
            units=getattr(s.candidate, of),
            control_events=getattr(s.control, field) + getattr(s.stable, field),
            control_units=getattr(s.control, of) + getattr(s.stable, of),
        )
        for s in facts.stages
    )
    # what a ranker may do more often than before (abstain, fall back) has room in the null
    ratio = 1.0
    if gate.name in _ROOMY:
        events = sum(c.control_events for c in counts)
        ratio += gate.margin * sum(c.control_units for c in counts) / max(1, events)
    against = log_e_rise(counts, null_ratio=ratio)
    words = gate.name if gate.name != "sanity" else "bad answers"
    return _verdict(gate, counts, against, plan.min_units, words, gate.margin)


def _latency(plan: RolloutPlan, gate: GatePlan, facts: GateFacts) -> GateResult:
    """Judge how often it is slower than the control's quantile and its margin allow."""
    slow = control_quantile(facts.baseline, facts.edges_ms, _QUANTILES[gate.name])
    if not isfinite(slow):
        return _open(gate, "the control's latency before the rollout is not known", 0)
    near = facts.edges_ms.index(slow) + 1
    limit_ms = slow * (1.0 + gate.margin)
    far = int(np.searchsorted(facts.edges_ms, limit_ms * (1.0 - 1e-9))) + 1
    counts = tuple(
        ArmCounts(
            events=sum(s.candidate.latency[far:]),
            units=sum(s.candidate.latency),
            control_events=sum(s.control.latency[near:]),
            control_units=sum(s.control.latency),
        )
        for s in facts.stages
    )
    against = log_e_rise(counts, ratios=SLOWER)
    words = f"answers over {limit_ms:g} ms ({gate.margin:.0%} over the control's)"
    # what the control's quantile leaves over, and at most as much again
    over = 1.0 - _QUANTILES[gate.name]
    allowed = over + min(over, _SLOWER_SHARE)
    return _verdict(gate, counts, against, plan.min_units, words, allowed)


def _verdict(
    gate: GatePlan,
    counts: Sequence[ArmCounts],
    against: float,
    min_units: int,
    words: str,
    allowed: float,
) -> GateResult:
    return replace(
        _said(gate, counts, against, min_units, words, allowed),
        events=float(sum(c.events for c in counts)),
        control_events=float(sum(c.control_events for c in counts)),
        control_n=sum(c.control_units for c in counts),
        margin=allowed,
    )


def _said(
    gate: GatePlan,
    counts: Sequence[ArmCounts],
    against: float,
    min_units: int,
    words: str,
    allowed: float,
) -> GateResult:
    events, units = sum(c.events for c in counts), sum(c.units for c in counts)
    control = sum(c.control_events for c in counts)
    control_units = sum(c.control_units for c in counts)
    said = f"{events} of {units} {words}, control {control} of {control_units}"
    if against >= log(1.0 / gate.alpha):
        return _result(gate, "FAIL", against, units, said)
    if not counts[-1].units:
        return _open(gate, "the candidate was not seen in this step", units, against)
    bound = min(0.99, max(allowed, smallest_visible(min_units)))
    shown = [log_e_below(events, units, bound)]
    if control:
        margin = bound * control_units / control
        shown.append(log_e_not_above(counts, margin=margin))
    if float(np.logaddexp.reduce(shown)) - log(len(shown)) >= log(1.0 / PASS_ALPHA):
        worse = f"{said}; shown not to be worse by {bound:.2%}"
        return _result(gate, "PASS", against, units, worse)
    return _open(gate, f"{said}; {bound:.2%} more is not ruled out yet", units, against)


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
    supported = expected is None or n + expected >= _FAR_BELOW * needed
    short = f"{said}; about {needed} viewers an arm are needed"
    if expected is not None:
        short += f", about {n + expected:.0f} will come"
    return _open(gate, short, n, against, supported=supported)


def _split(facts: GateFacts) -> GateResult:
    """Judge whether units fall into the arms as the split says."""
    evidence, n = 0.0, 0
    for stage in facts.stages:
        control_bp = min(stage.share_bp, FULL_BP - stage.share_bp)
        shares = (stage.share_bp, control_bp, FULL_BP - stage.share_bp - control_bp)
        arms = (stage.candidate, stage.control, stage.stable)
        there = [(arm.units, bp) for arm, bp in zip(arms, shares, strict=True) if bp]
        seen = [units for units, _ in there]
        evidence += log_e_mismatch(seen, [bp / FULL_BP for _, bp in there])
        n += sum(seen)
    broken = evidence >= log(1.0 / MISMATCH_ALPHA)
    last = facts.stages[-1]
    reason = f"{last.candidate.units} units, control {last.control.units}"
    return GateResult(
        name="sample_ratio",
        verdict="ERROR" if broken else "PASS",
        e_value=_e(evidence),
        bound=1.0 / MISMATCH_ALPHA,
        n=n,
        reason=f"{reason}: {'not as' if broken else 'as'} the split says",
    )


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
        e_value=_e(log_e),
        bound=1.0 / gate.alpha,
        n=n,
        reason=reason,
        engagement=gate.engagement,
        supported=supported,
    )


def _e(log_e: float) -> float:
    return LARGEST_E if log_e == inf else min(LARGEST_E, exp(min(690.0, log_e)))


_RARE: Final = {
    "errors": ("errors", "attempts"),
    "sanity": ("insane", "attempts"),
    "abstention": ("abstained", "answers"),
    "rescue": ("rescued", "answers"),
    "fallback": ("fell_back", "answers"),
}
_ROOMY: Final = frozenset(("abstention", "fallback"))
_JUDGES: Final[dict[str, Callable[[RolloutPlan, GatePlan, GateFacts], GateResult]]] = {
    **dict.fromkeys(_RARE, _rare),
    **dict.fromkeys(_QUANTILES, _latency),
    "ctr": _engagement,
    "watch_through": _engagement,
}
