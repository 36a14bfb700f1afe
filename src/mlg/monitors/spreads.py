"""How much many statistics of one traffic vary, and follow themselves, from few windows.

Alone each would need limits so wide that it finds little. Together they say how much such
statistics differ, and each is moved towards the others as far as they agree.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from mlg.monitors.points import Kind
from mlg.stats.moderated import MOST_DF, prior_of

CONFIDENCE: Final = 0.9
"""Probability, over repeated baselines, that a spread is not taken for smaller than it is."""

SURE: Final = 1.0
UNSURE: Final = 0.5
"""Standard errors by which windows may resemble each other more than they seem to: and where a
statistic is alone, and they may not do so at all."""

MAX_AR: Final = 0.8
"""Strongest autocorrelation allowed for: beyond, windows are too short to be charted."""

ALIKE: Final = 10.0
"""So many statistics of one traffic say as much as one that is independent of them."""

STILL: Final = 0.05
"""Part of chance's variance below which a statistic does not vary at all."""

FEW: Final = 8
"""Fewer statistics than that learn nothing from each other."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def memories(r: Floats, n: Floats, alive: Bools) -> tuple[Floats, Floats]:
    """Return autocorrelations moved towards their mean as far as they agree, and errors.

    A statistic alone is allowed less where it may have none: to cover that too would cost
    twice the delay of every chart.
    """
    own = (1 - r * r) / n
    if alive.sum() < FEW:
        error = np.sqrt(own)
        return r, np.where(r > error, SURE, UNSURE) * error
    mean = float(r[alive].mean())
    chance = (1 - mean * mean) / n
    differ = max(float(r[alive].var(ddof=1)) - float(chance[alive].mean()), 1e-6)
    weight = differ / (differ + chance)
    of_mean = float(r[alive].var(ddof=1)) * ALIKE / float(alive.sum())
    error = weight * chance + (1 - weight) ** 2 * of_mean
    return mean + weight * (r - mean), SURE * np.sqrt(error)


def held(r1: Floats, r2: Floats, n: Floats) -> float:
    r"""Return by what factor chance among rows makes all autocorrelations smaller.

    With :math:`\rho_k = s \varphi^k` of each, s is :math:`\sum \rho_1^2 / \sum \rho_2`.
    """
    if len(r1) < FEW:
        return 1.0
    first, second = float((r1 * r1 - (1 - r1 * r1) / n).sum()), float(r2.sum())
    return float(np.clip(first / second, 0.4, 1.0)) if min(first, second) > 0 else 1.0


def sigmas(variance: Floats, noise: Floats, df: Floats, kinds: Sequence[Kind]) -> Floats:
    """Return upper confidence bounds of the spreads, none below what chance would give."""
    ratio = variance / noise**2
    of = np.array(kinds)
    sds = np.empty_like(ratio)
    for kind in dict.fromkeys(kinds):
        mine = of == kind
        varied = mine & (ratio > STILL)
        prior, common = 0.0, 0.0
        if varied.sum() >= FEW:
            prior, common = prior_of(ratio[varied], df[varied])
            prior = min(prior, float(df[varied].sum()) / ALIKE)
        borrowed = np.where(varied[mine], prior, 0.0)  # what never varied is of another kind
        whole = np.minimum(borrowed + df[mine], MOST_DF)
        moved = (borrowed * common + df[mine] * ratio[mine]) / whole
        sds[mine] = np.sqrt(moved) * _widening(whole)
    return np.maximum(sds, 1.0) * noise


def _widening(df: Floats) -> Floats:
    """Return the factor from a sample's spread to its upper confidence bound."""
    # half a quantile of chi squared, without the weight of scipy.stats
    return np.sqrt(0.5 * df / gammaincinv(0.5 * df, 1 - CONFIDENCE))
