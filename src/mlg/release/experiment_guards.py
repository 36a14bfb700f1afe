"""What guards an experiment's cells: harm that ends a cell at the look that shows it.

All guards together have `GUARD_ALPHA`, apart from the metrics' own alpha: half of it is the
errors guard's, the other half the latency guards', in equal parts; and each part goes in
equal parts over the cells (Bonferroni). So `GUARD_ALPHA` bounds the chance that an experiment
whose cells are all as good as the control ever loses one of them. Guards only ever end a
cell, so the metrics' verdicts stay what they are.
"""

from dataclasses import replace
from typing import Final

from mlg.release.experiment_analysis import judge_metric
from mlg.release.gates import JUDGES, QUANTILES
from mlg.release.rollout_types import GatePlan, RolloutPlan
from mlg.release.seen import GateFacts, StageSeen
from mlg.release.verdicts import GateResult
from mlg.stats.confidence_sequence import ArmMean

GUARD_ALPHA: Final = 0.001
"""Chance that any cell as good as the control is ever dropped, over all cells and guards."""
_ERRORS_PART: Final = 0.5
_ERRORS_EFFECT: Final = 0.05
_DEFAULT: Final = GatePlan(name="latency_p99", alpha=GUARD_ALPHA, margin=0.2)


def latency_gates(plan: RolloutPlan, cells: int) -> tuple[GatePlan, ...]:
    """Return the latency gates of an experiment's cells, each with its part of the alpha.

    Those of the service's rollouts, with their margins: what a release may not do to viewers
    an experiment may not do either. Where its rollouts read none: p99 with a margin of 20 %.

    Args:
        plan: Of the service's rollouts.
        cells: How many cells the alpha is shared by.

    Examples:
        >>> [(gate.name, gate.alpha) for gate in latency_gates(RolloutPlan(), 2)]
        [('latency_p99', 0.00025)]
    """
    own = [gate for gate in plan.gates if gate.name in QUANTILES] or [_DEFAULT]
    part = GUARD_ALPHA * (1.0 - _ERRORS_PART) / (len(own) * cells)
    return tuple(replace(gate, alpha=part, from_bp=0) for gate in own)


def errors_guard(
    cell: tuple[int, int], control: tuple[int, int], *, cells: int = 1
) -> GateResult:
    """Return FAIL where more of the cell's sticky units had a failed answer.

    Args:
        cell: Units that failed, and all units.
        control: The same of the control.
        cells: How many cells the alpha is shared by.
    """
    alpha = GUARD_ALPHA * _ERRORS_PART / cells
    found = judge_metric(
        "errors", _unfailed(*cell), _unfailed(*control), alpha=alpha, min_effect=_ERRORS_EFFECT
    )
    if found.verdict != "FAIL":
        return found
    failed = f"{cell[0]} of {cell[1]} units failed"
    return replace(found, reason=f"{failed}, {control[0]} of {control[1]}")


def latency_guards(
    gates: tuple[GatePlan, ...],
    limits_ms: dict[str, tuple[float, float]],
    stages: tuple[StageSeen, ...],
    *,
    min_units: int,
) -> tuple[GateResult, ...]:
    """Return FAIL where in more moments more units of the cell were slow than of the control.

    The judgement is the canary's (`release.gates`): what is slow was fixed by the control's
    latency before the experiment, and a moment is won by either arm with equal chance while
    the version makes no difference.

    Args:
        gates: As `latency_gates` has them.
        limits_ms: From where on an answer is slow, of the cell and of the control, by gate;
            a gate without one says so.
        stages: What was counted, one for each split.
        min_units: Units that a cell is meant to have: a PASS rules out what they can show.
    """
    facts = GateFacts(stages=stages, limits_ms=limits_ms)
    found: list[GateResult] = []
    for gate in gates:
        if gate.name in limits_ms and stages:
            found.append(JUDGES[gate.name](RolloutPlan(min_units=min_units), gate, facts))
        else:
            why = "the control's latency before the experiment is not known"
            found.append(GateResult(name=gate.name, verdict="INCONCLUSIVE", reason=why))
    return tuple(found)


def _unfailed(failed: int, units: int) -> ArmMean:
    """Return the share of units without a failure; never 0 variance, or nothing is said."""
    ok = (units - min(failed, units) + 0.5) / (units + 1)
    return ArmMean(units=units, mean=ok, variance=ok * (1 - ok))
