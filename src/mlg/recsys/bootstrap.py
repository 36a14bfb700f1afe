"""Intervals by resampling whole viewers, alone and for paired differences."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlg.recsys.columns import Floats

REPEATS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval; JSON-ready."""

    value: float
    low: float
    high: float
    n: int
    """Observations."""
    clusters: int
    """Viewers, or observations where there is no viewer."""

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the interval as a JSON object; NaN becomes null."""
        found: dict[str, float | int | None] = {
            name: None if np.isnan(number) else number
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }
        return {**found, "n": self.n, "clusters": self.clusters}


def resamples(clusters: int, *, seed: int, repeats: int = REPEATS) -> NDArray[np.int32]:
    """Return how often each cluster is drawn in each resample, shape ``(repeats, clusters)``.

    Source:
        A. C. Cameron, J. B. Gelbach, D. L. Miller (2008), Review of Economics and Statistics
        90(3):414-427 (pairs cluster bootstrap).
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, clusters, size=(repeats, clusters)) if clusters else None
    if drawn is None:
        return np.zeros((repeats, 0), dtype=np.int32)
    return np.stack([np.bincount(row, minlength=clusters) for row in drawn]).astype(np.int32)


def ratio_interval(
    top: Floats, bottom: Floats, cluster: NDArray[np.int64], *, seed: int
) -> Interval:
    """Return sum(top) / sum(bottom) with a 95 % cluster bootstrap percentile interval.

    A mean is `bottom` of ones; a mean of paired differences has the differences as `top`.

    Args:
        top: Numerators, shape ``(n,)``.
        bottom: Denominators >= 0, shape ``(n,)``.
        cluster: Which viewer each observation belongs to, shape ``(n,)``.
        seed: Seed of the resamples; equal clusters and seed give the same resamples.

    Returns:
        NaN where there is no observation.

    Source:
        B. Efron, R. J. Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.
    """
    if not top.size:
        nan = float("nan")
        return Interval(value=nan, low=nan, high=nan, n=0, clusters=0)
    _, place = np.unique(cluster, return_inverse=True)
    tops = np.bincount(place, weights=top)
    bottoms = np.bincount(place, weights=bottom)
    drawn = resamples(tops.size, seed=seed).astype(np.float64)
    below = drawn @ bottoms
    ratios = np.divide(drawn @ tops, below, out=np.full(below.size, np.nan), where=below > 0)
    total = float(bottoms.sum())
    value = float(tops.sum()) / total if total else float("nan")
    return _interval(value, ratios, int(top.size), int(tops.size))


def spread(value: float, draws: Floats, *, n: int, clusters: int) -> Interval:
    """Return an interval from the statistic's value in each resample; NaN draws are dropped."""
    return _interval(value, draws, n, clusters)


def _interval(value: float, draws: Floats, n: int, clusters: int) -> Interval:
    known = draws[~np.isnan(draws)]
    if known.size:
        low, high = (float(q) for q in np.quantile(known, [0.025, 0.975]))
    else:
        low = high = float("nan")
    return Interval(value=value, low=low, high=high, n=n, clusters=clusters)
