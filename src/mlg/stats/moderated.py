"""Variances of many alike series, each too short to know its own: shrunk towards all.

Fifty features of one traffic are estimated from a handful of independent stretches each.
Alone, a limit needs Student's t with seven degrees of freedom and finds little; together
they say how much such variances differ, and by that each is moved towards their common
value. Where they differ as much as chance allows, nothing is borrowed.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

Floats = NDArray[np.float64]

MOST_DF = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderated:
    """Variances after moderation, and how well they are known."""

    variance: Floats
    """Shape ``(m,)``, as given."""
    df: float
    """Degrees of freedom of each: its own and those borrowed; at most 1e6."""
    common: float
    """The value that all were moved towards."""


def moderated(variance: Floats, df: float, *, least: float = 0.0) -> Moderated:
    r"""Return each variance moved towards the common one, as far as they agree.

    With :math:`s_i^2` of d degrees of freedom and a scaled inverse chi-square prior of
    :math:`d_0` and :math:`s_0^2`, both from the moments of :math:`\log s_i^2`, the posterior
    is :math:`(d_0 s_0^2 + d s_i^2) / (d_0 + d)`, and a mean over it is Student's t with
    :math:`d_0 + d` degrees of freedom.

    Args:
        variance: Estimates, shape ``(m,)``, >= 0.
        df: Degrees of freedom of each estimate, > 0.
        least: Added to each before its logarithm is taken, so that a 0 is none of minus
            infinity.

    Returns:
        As many; fewer than three estimates are returned as they are.

    Raises:
        ValueError: `df` is not positive, or an estimate is negative or no number.

    Source:
        G. K. Smyth (2004), Linear models and empirical Bayes methods for assessing
        differential expression, Stat. Appl. Genet. Mol. Biol. 3(1):3, section 6.

    Examples:
        >>> moderated(np.array([1.0, 1.0, 1.0, 1.0]), 7.0).df > 1e5  # all agree
        True
        >>> found = moderated(np.array([1e-6, 1.0, 1e6]), 7.0)
        >>> round(found.df)  # they do not: almost nothing is borrowed
        7
    """
    if not df > 0:
        raise ValueError(f"expected df > 0, got {df}")
    if not np.all(np.isfinite(variance)) or np.any(variance < 0):
        raise ValueError("expected finite variances >= 0")
    if variance.size < 3:
        return Moderated(
            variance=variance.astype(np.float64),
            df=df,
            common=float(variance.mean()) if variance.size else 0.0,
        )
    prior, common = prior_of(variance, np.full(variance.shape, df), least=least)
    return Moderated(
        variance=(prior * common + df * variance) / (prior + df),
        df=min(prior + df, MOST_DF),
        common=common,
    )


def prior_of(variance: Floats, df: Floats, *, least: float = 0.0) -> tuple[float, float]:
    r"""Return the prior's degrees of freedom :math:`d_0` and its value :math:`s_0^2`.

    Args:
        variance: At least two estimates, shape ``(m,)``, >= 0.
        df: Degrees of freedom of each, shape ``(m,)``, > 0.
        least: As in `moderated`.

    Returns:
        At most 1e6 degrees, where the estimates agree as far as chance allows.

    Examples:
        >>> prior_of(np.array([1.0, 1.0, 1.0]), np.array([5.0, 9.0, 7.0]))[0]
        1000000.0
    """
    floor = max(least, float(np.median(variance)) * 1e-9, 1e-300)
    logs = np.log(variance + floor) - digamma(df / 2) + np.log(df / 2)
    # a few series of another kind must not make all look unlike
    middle = float(np.median(logs))
    spread = float(np.mean((logs - logs.mean()) ** 2) * logs.size / (logs.size - 1))
    excess = spread - float(np.mean(polygamma(1, df / 2)))
    prior = inf if excess <= 0 else 2 * _trigamma_inverse(excess)
    prior = min(prior, MOST_DF)
    centre = float(logs.mean()) if excess > 0 else middle
    return prior, float(np.exp(centre + digamma(prior / 2) - np.log(prior / 2)))


def _trigamma_inverse(x: float) -> float:
    """Return y with trigamma(y) = x > 0, by Newton's steps (Smyth 2004, appendix)."""
    if x > 1e7:
        return 1 / np.sqrt(x)
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        here = float(polygamma(1, y))
        step = here * (1 - here / x) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return float(y)
