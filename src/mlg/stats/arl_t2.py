"""Run lengths of Hotelling's T squared chart, and its limits with an estimated covariance."""

from math import log, sqrt

import numpy as np
from scipy.special import chdtrc, chdtri, gammaln
from scipy.stats import beta, f

from mlg.stats.grid import finite
from mlg.stats.run_length import Law, geometric


def t2_law(limit: float, *, dims: int, shift: float = 0.0) -> Law:
    """Return the run length's law of a T squared chart; as `t2_arl`.

    Raises:
        ValueError: A parameter is outside its range.
    """
    checked(limit, dims, shift)
    return geometric(tail(limit, dims, abs(shift)))


def t2_arl(limit: float, *, dims: int, shift: float = 0.0) -> float:
    """Return the average run length of Hotelling's T squared with known covariance.

    Also called the chi-squared chart. It has no memory, so its steady state is its zero state.

    Args:
        limit: On T squared, > 0.
        dims: Number of variables p, >= 1.
        shift: Mahalanobis distance of the mean from its usual one.

    Returns:
        Points, >= 1; infinity where no point can be beyond in double precision.

    Raises:
        ValueError: A parameter is outside its range.

    Source:
        H. Hotelling (1947), in Techniques of Statistical Analysis, 111-184; T squared of a
        shifted mean is noncentral chi-squared.

    Examples:
        >>> round(t2_arl(9.0, dims=1), 2)  # a Shewhart chart with three sigma
        370.4
    """
    return t2_law(limit, dims=dims, shift=shift).mean


def t2_limit(
    chance: float, *, dims: int, baseline: int | None = None, phase: int = 2, size: int = 1
) -> float:
    """Return the limit that T squared of a point without a shift is over with this chance.

    With an estimated mean and covariance the chance is the mean over baselines. All points
    share one baseline, so the average run length is then not 1 / chance but longer, and that
    of a given baseline may be much shorter.

    Args:
        chance: In 0..1, of each point.
        dims: Number of variables p, >= 1.
        baseline: Points of phase I (with `size` > 1: subgroups) that mean and covariance are
            estimated from; None where both are known.
        phase: 2 for new points, 1 for the points of the baseline themselves.
        size: Observations of a subgroup; above 1 the covariance is pooled from within them,
            and T squared is of the subgroup's mean.

    Returns:
        The limit on T squared.

    Raises:
        ValueError: A parameter is outside its range, or the baseline has too few points to
            invert their covariance.

    Source:
        N. D. Tracy, J. C. Young and R. L. Mason (1992), Journal of Quality Technology
        24:88-95; D. C. Montgomery, Introduction to Statistical Quality Control, section 11.3.

    Examples:
        >>> round(t2_limit(0.005, dims=2), 3)
        10.597
        >>> round(t2_limit(0.005, dims=2, baseline=50), 2)
        12.35
    """
    if not 0 < chance < 1 or dims < 1 or phase not in {1, 2} or size < 1:
        raise ValueError(
            f"expected 0 < chance < 1, dims >= 1, phase 1 or 2 and size >= 1, "
            f"got {chance}, {dims}, {phase} and {size}"
        )
    if baseline is None:
        return float(chdtri(dims, chance))
    m, p, n = baseline, dims, size
    spare = m - p if n == 1 else m * n - m - p + 1
    if m < 2 or spare < 1 or (phase == 1 and n == 1 and m - p - 1 < 1):
        raise ValueError(f"{m} points are too few to learn {p} variables from")
    if n == 1 and phase == 1:
        return float((m - 1) ** 2 / m * beta.isf(chance, p / 2, (m - p - 1) / 2))
    if n == 1:
        return float(p * (m + 1) * (m - 1) / (m * (m - p)) * f.isf(chance, p, m - p))
    times = p * ((m + 1) if phase == 2 else (m - 1)) * (n - 1) / spare
    return float(times * f.isf(chance, p, spare))


def tail(limit: float, dims: int, distance: float) -> float:
    """Return P(T squared > limit) at this distance: a Poisson mixture of chi-squared tails."""
    half = distance**2 / 2
    if half == 0:
        return float(chdtrc(dims, limit))
    reach = 12 * sqrt(half) + 40
    j = np.arange(max(0, int(half - reach)), int(half + reach) + 1)
    weights = np.exp(j * log(half) - half - gammaln(j + 1))
    return min(float(weights @ chdtrc(dims + 2 * j, limit)), 1.0)


def checked(limit: float, dims: int, shift: float) -> None:
    """Refuse parameters that no chart on T squared has.

    Raises:
        ValueError: One is out of range.
    """
    finite(limit=limit, shift=shift)
    if limit <= 0:
        raise ValueError(f"expected a limit > 0 on T squared, got {limit}")
    if dims < 1 or dims != int(dims):
        raise ValueError(f"expected a whole number of variables >= 1, got {dims}")
