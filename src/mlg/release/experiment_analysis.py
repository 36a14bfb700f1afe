"""What an experiment's figures say: a verdict of each metric, and whether the split holds."""

from collections.abc import Sequence
from math import exp, log
from typing import Final

from mlg.release.verdicts import LARGEST_E, GateResult
from mlg.stats.confidence_sequence import ArmMean, difference_interval
from mlg.stats.sequential import log_e_mismatch

RATIO_ALPHA: Final = 1e-4
"""Chance that a sound split is ever called broken, over a whole experiment."""


def judge_metric(
    name: str, cell: ArmMean, control: ArmMean, *, alpha: float, min_effect: float
) -> GateResult:
    """Return PASS: better, or no difference that matters; FAIL: worse; else INCONCLUSIVE.

    Args:
        name: The metric's.
        cell: One value a viewer of the cell.
        control: The same of the control.
        alpha: Of this metric of this cell (`ExperimentPlan.alpha_each`).
        min_effect: Smallest difference that matters, the value's own unit, > 0; fixed before
            the experiment begins, or the interval does not hold.

    Raises:
        ValueError: `alpha` or `min_effect` is out of range.
    """
    low, high = difference_interval(cell, control, alpha=alpha, tuned_for=min_effect)
    if low > 0:
        verdict, word = "PASS", "better"
    elif high < 0:
        verdict, word = "FAIL", "worse"
    elif -min_effect < low and high < min_effect:
        verdict, word = "PASS", f"no difference of {min_effect:g}"
    else:
        verdict, word = "INCONCLUSIVE", "undecided"
    reason = (
        f"{word}: {cell.mean:.4g} against {control.mean:.4g}, difference {low:.4g} to "
        f"{high:.4g}, {cell.units} and {control.units} viewers"
    )
    return GateResult(name=name, verdict=verdict, n=cell.units, reason=reason, engagement=True)


def judge_ratio(
    viewers: Sequence[int], shares_bp: Sequence[int], *, alpha: float = RATIO_ALPHA
) -> GateResult:
    """Return ERROR where viewers do not fall into the arms by their shares, else PASS.

    Args:
        viewers: Of each arm, since the split was last changed.
        shares_bp: Shares of the same arms, each above 0; need not be the whole traffic.
        alpha: Chance that these, since then, are called broken while they are sound.

    Raises:
        ValueError: Viewers and shares do not belong together.
    """
    whole = sum(shares_bp)
    log_e = log_e_mismatch(viewers, [bp / whole for bp in shares_bp]) if whole else 0.0
    broken = log_e >= log(1 / alpha)
    return GateResult(
        name="sample_ratio",
        verdict="ERROR" if broken else "PASS",
        e_value=exp(min(log_e, log(LARGEST_E))),
        bound=1 / alpha,
        n=sum(viewers),
        reason=f"viewers {list(viewers)} for shares {list(shares_bp)}",
    )
