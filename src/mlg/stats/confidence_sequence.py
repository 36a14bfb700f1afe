"""Confidence sequences: intervals for a difference that hold at every look at once."""

from dataclasses import dataclass
from math import inf, log, log1p, sqrt
from statistics import NormalDist
from typing import Final

LEAST_UNITS: Final = 100
"""Units an arm below which the normal approximation is not used."""
_MOST_UNITS: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMean:
    """Mean of one value a unit in one arm; the unit is the viewer."""

    units: int
    mean: float
    variance: float
    """Of one unit's value, >= 0."""

    def __post_init__(self) -> None:
        if self.units < 0 or not self.variance >= 0:
            raise ValueError(f"expected units >= 0 and variance >= 0, got {self}")


def difference_interval(
    arm: ArmMean, control: ArmMean, *, alpha: float, tuned_for: float
) -> tuple[float, float]:
    r"""Return the interval of `arm` minus `control` that holds at all looks together.

    The normal-mixture interval: with v the variance of the difference and t² the mixture's,
    its half width is :math:`\sqrt{2 v (v + t^2) / t^2 \cdot \log(\sqrt{(v + t^2)/v}/\alpha)}`.
    Asymptotic, so nothing is said before `LEAST_UNITS` units an arm.

    Args:
        arm: The cell.
        control: The control.
        alpha: Chance that the interval ever misses, in (0, 1).
        tuned_for: Difference at which it is to be narrow, the value's own unit; > 0.

    Returns:
        Lower and upper limit; infinite where an arm is too small or nothing varies.

    Raises:
        ValueError: `alpha` or `tuned_for` is out of range.

    Source:
        H. Robbins (1970), Annals of Mathematical Statistics 41(5); R. Johari et al. (2022),
        Operations Research 70(3); asymptotics: I. Waudby-Smith et al. (2024), Annals of
        Statistics 52(6), Time-uniform central limit theory.

    Examples:
        >>> few = ArmMean(units=9, mean=0.5, variance=0.25)
        >>> difference_interval(few, few, alpha=0.05, tuned_for=0.1)
        (-inf, inf)
    """
    if not 0 < alpha < 1 or not tuned_for > 0:
        raise ValueError(f"expected 0 < alpha < 1 and tuned_for > 0, got {alpha}, {tuned_for}")
    if min(arm.units, control.units) < LEAST_UNITS:
        return -inf, inf
    variance = arm.variance / arm.units + control.variance / control.units
    if variance <= 0:
        return -inf, inf
    seen, half = arm.mean - control.mean, half_width(variance, alpha, tuned_for)
    return seen - half, seen + half


def half_width(variance: float, alpha: float, tuned_for: float) -> float:
    """Return the half width of the interval at one variance of the difference, all > 0.

    Source:
        As `difference_interval`.
    """
    mixture = tuned_for**2
    evidence = log(1 / alpha) + log1p(mixture / variance) / 2
    return sqrt(2 * variance * (variance + mixture) / mixture * evidence)


def units_needed(
    effect: float,
    variance: float,
    *,
    alpha: float,
    power: float = 0.8,
    control_size: float = 1.0,
) -> int:
    """Return the units an arm after which a true `effect` is shown with chance `power`.

    From that one look alone, so an upper estimate: earlier looks may show it sooner.

    Args:
        effect: Difference to be found, the value's own unit; not 0.
        variance: Of one unit's value, > 0, alike in both arms.
        alpha: Of the interval.
        power: In (0, 1).
        control_size: Units of the control for each unit of the arm, > 0.

    Raises:
        ValueError: A value is out of range.

    Source:
        Normal power of the half width, by bisection.
    """
    if not effect or not variance > 0 or not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"no plan for {effect}, {variance}, {alpha}, {power}")
    if not control_size > 0:
        raise ValueError(f"no plan for a control of {control_size} units a unit")
    wanted, z = abs(effect), NormalDist().inv_cdf(power)
    low, high = LEAST_UNITS - 1, _MOST_UNITS
    while high - low > 1:
        middle = (low + high) // 2
        of_both = (1 + 1 / control_size) * variance / middle
        shown = half_width(of_both, alpha, wanted) + z * sqrt(of_both) <= wanted
        low, high = (low, middle) if shown else (middle, high)
    return high
