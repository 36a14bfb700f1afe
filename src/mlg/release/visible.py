"""What so many observations can show: the closed forms behind a plan."""

from math import ceil, exp, log
from typing import Final

from mlg.stats.sequential import FALLS

PASS_ALPHA: Final = 0.05
"""Chance that a gate passes a version that is worse than its margin."""


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
