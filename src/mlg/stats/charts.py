"""Control charts of a measured quantity: Shewhart, EWMA, CUSUM and runs rules.

Series are arrays with time on the last axis, so many are charted at once: shape `(..., T)`.
Each chart has its series form and a step form, state in and state out, for a live monitor that
sees one point at a time; both give the same numbers. Attribute charts are in `charts_counts`,
charts over several variables in `charts_vector`, and what a limit means is in `arl`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from mlg.stats.arl_rules import Rule

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Charted:
    """A charted statistic, its centre and its limits; all in one unit, shapes broadcast."""

    statistic: Floats
    """Shape (..., T)."""
    centre: Floats
    lower: Floats
    """-inf where low points do not signal."""
    upper: Floats

    @property
    def out(self) -> NDArray[np.bool_]:
        """Which points signal: beyond a limit, not on it. NaN never does. Shape (..., T)."""
        with np.errstate(invalid="ignore"):
            return (self.statistic > self.upper) | (self.statistic < self.lower)


def shewhart_z(
    x: ArrayLike, *, mean: ArrayLike, sigma: ArrayLike, size: ArrayLike = 1.0
) -> Floats:
    r"""Return each point of a Shewhart (x-bar) chart in its own standard deviations.

    :math:`z_t = (\bar x_t - \mu) \sqrt{n} / \sigma`, to be held against +-L, mostly 3.

    Args:
        x: Points, or means of `size` observations each, shape (..., T).
        mean: In-control mean, the unit of `x`; broadcasts against `x`.
        sigma: In-control standard deviation of one observation, same unit, > 0.
        size: Observations behind each point, > 0.

    Returns:
        Dimensionless, shape (..., T). NaN in, NaN out at that point; empty in, empty out.

    Raises:
        ValueError: `sigma` or `size` is not positive.

    Source:
        W. A. Shewhart (1931), Economic Control of Quality of Manufactured Product.

    Examples:
        >>> shewhart_z([9.0, 11.0], mean=10.0, sigma=2.0, size=4).tolist()
        [-1.0, 1.0]
    """
    sigma, size = _positive("sigma", sigma), _positive("size", size)
    return (np.asarray(x, dtype=np.float64) - np.asarray(mean)) * np.sqrt(size) / sigma


def ewma(z: ArrayLike, *, lam: float, start: ArrayLike = 0.0) -> Floats:
    r"""Return the EWMA of a series, :math:`z_t = \lambda x_t + (1-\lambda) z_{t-1}`.

    Args:
        z: Points, shape (..., T), mostly standardised.
        lam: Weight of the newest point, 0 < lam <= 1.
        start: The EWMA before the first point, unit of `z`, shape (...) or a number.

    Returns:
        Shape (..., T), unit of `z`. NaN in `z` gives NaN from there on; empty gives empty.

    Raises:
        ValueError: `lam` is outside (0, 1].

    Source:
        S. W. Roberts (1959), Technometrics 1(3):239-250.

    Examples:
        >>> ewma([1.0, 1.0], lam=0.5).tolist()
        [0.5, 0.75]
    """
    _weight(lam)
    z = np.asarray(z, dtype=np.float64)
    if z.shape[-1] == 0:
        return z.copy()
    before = np.broadcast_to(np.asarray(start, dtype=np.float64), z.shape[:-1])[..., None]
    return np.asarray(lfilter([lam], [1.0, lam - 1.0], z, zi=before * (1.0 - lam))[0])


def ewma_step(state: ArrayLike, z: ArrayLike, *, lam: float) -> Floats:
    """Return the EWMA after one more point; a NaN point leaves it as it was.

    Args:
        state: The EWMA before, shape (...).
        z: The newest point of each series, same shape.
        lam: Weight of the newest point, 0 < lam <= 1.

    Raises:
        ValueError: `lam` is outside (0, 1].

    Source:
        As `ewma`.

    Examples:
        >>> ewma_step([0.5, 0.5], [1.0, np.nan], lam=0.5).tolist()
        [0.75, 0.5]
    """
    _weight(lam)
    state, z = np.asarray(state, dtype=np.float64), np.asarray(z, dtype=np.float64)
    return np.where(np.isnan(z), state, (1 - lam) * state + lam * z)


def ewma_sigma(count: int, *, lam: float, exact: bool = True) -> Floats:
    r"""Return the standard deviation of an EWMA at each point, in that of one point.

    :math:`\sqrt{\frac{\lambda}{2-\lambda}(1-(1-\lambda)^{2t})}`, or its asymptote.

    Args:
        count: Number of points T, >= 0.
        lam: Weight of the newest point, 0 < lam <= 1.
        exact: By the number of points so far; else the asymptote at each.

    Returns:
        Shape (T,).

    Raises:
        ValueError: `lam` is outside (0, 1].

    Source:
        D. C. Montgomery, Introduction to Statistical Quality Control, section 9.2.

    Examples:
        >>> ewma_sigma(2, lam=1.0).tolist()
        [1.0, 1.0]
    """
    _weight(lam)
    left = (1 - lam) ** (2 * np.arange(1, count + 1)) if exact else np.zeros(count)
    return np.sqrt(lam / (2 - lam) * (1 - left))


def ewma_z(
    x: ArrayLike,
    *,
    mean: ArrayLike,
    sigma: ArrayLike,
    lam: float = 0.2,
    exact: bool = True,
) -> Floats:
    r"""Return the standardised EWMA statistic of each point of a series.

    With :math:`z_t = \lambda x_t + (1-\lambda) z_{t-1}`, :math:`z_0 = \mu`, returns
    :math:`(z_t - \mu) / \sigma_{z_t}`, to be held against +-L. With the exact, time-varying
    :math:`\sigma_{z_t}` the first points are not over-trusted; with the asymptotic one the
    limits are those that `mlg drift arl` takes.

    Args:
        x: Observations in time order, shape (..., T), in the feature's own unit.
        mean: In-control mean, same unit as `x`; a number or shape (..., 1).
        sigma: In-control standard deviation of one observation, same unit; > 0.
        lam: Weight of the newest point, 0 < lam <= 1; 1 is a Shewhart chart.
        exact: Whether the standard deviation is that after t points.

    Returns:
        Dimensionless z-scores, shape (..., T). NaN in `x` gives NaN from there on.

    Raises:
        ValueError: `sigma` is not positive, or `lam` is outside (0, 1].

    Source:
        S. W. Roberts (1959), Technometrics 1(3):239-250; D. C. Montgomery,
        Introduction to Statistical Quality Control, ch. 9 (EWMA chart).

    Examples:
        >>> ewma_z(np.array([1.0, 1.0]), mean=0.0, sigma=1.0, lam=1.0).tolist()
        [1.0, 1.0]
    """
    z = ewma(shewhart_z(x, mean=mean, sigma=sigma), lam=lam)
    return z / ewma_sigma(z.shape[-1], lam=lam, exact=exact)


def ewma_chart(
    x: ArrayLike,
    *,
    mean: float,
    sigma: float,
    lam: float,
    limit: float,
    exact: bool = False,
    two_sided: bool = True,
) -> Charted:
    """Return an EWMA chart in the unit of the series, to be drawn.

    Args:
        x: Observations in time order, shape (..., T).
        mean: In-control mean, same unit.
        sigma: In-control standard deviation of one observation, same unit, > 0.
        lam: Weight of the newest point, 0 < lam <= 1.
        limit: L > 0, in standard deviations of the EWMA; from `arl.design`.
        exact: Limits by the number of points so far; else fixed at the asymptote.
        two_sided: Whether low points signal.

    Returns:
        The EWMA with centre and limits, unit of `x`. NaN in `x` gives NaN from there on.

    Raises:
        ValueError: `sigma` or `limit` is not positive, or `lam` is outside (0, 1].

    Source:
        As `ewma_z`.

    Examples:
        >>> chart = ewma_chart([0.0, 9.0], mean=0.0, sigma=1.0, lam=0.2, limit=3.0)
        >>> chart.out.tolist()
        [False, True]
    """
    _positive("sigma", sigma)
    _positive("limit", limit)
    values = ewma(x, lam=lam, start=mean)
    reach = limit * sigma * ewma_sigma(values.shape[-1], lam=lam, exact=exact)
    lower = mean - reach if two_sided else np.full_like(reach, -np.inf)
    return Charted(values, np.asarray(mean), lower, mean + reach)


def cusum(
    z: ArrayLike, *, k: float = 0.25, head_start: ArrayLike = 0.0
) -> tuple[Floats, Floats]:
    r"""Return both arms of a tabular CUSUM.

    :math:`S^+_t = \max(0, S^+_{t-1} + z_t - k)`, and the same of :math:`-z_t`; each signals
    over its decision interval h. They go on after a signal.

    Args:
        z: Standardised points, shape (..., T).
        k: Reference value >= 0, in standard deviations: half the shift that matters.
        head_start: Both arms before the first point, >= 0, shape (...) or a number.

    Returns:
        Upper and lower arm, each >= 0 and of shape (..., T), in standard deviations. NaN in
        `z` gives NaN from there on; empty gives empty.

    Raises:
        ValueError: `k` or `head_start` is negative.

    Source:
        E. S. Page (1954), Biometrika 41:100-115; J. M. Lucas and R. B. Crosier (1982),
        Technometrics 24(3):199-205 (head start).

    Examples:
        >>> up, down = cusum([1.0, 1.0, -3.0], k=0.5)
        >>> up.tolist(), down.tolist()
        ([0.5, 1.0, 0.0], [0.0, 0.0, 2.5])
    """
    z = np.asarray(z, dtype=np.float64)
    start = np.asarray(head_start, dtype=np.float64)
    if k < 0 or np.any(start < 0):
        raise ValueError(f"expected k >= 0 and head_start >= 0, got {k} and {head_start}")
    return _arm(z - k, start), _arm(-z - k, start)


def _arm(steps: Floats, start: Floats) -> Floats:
    """Return max(0, sum) step by step: the walk above its lowest point so far."""
    walk = np.cumsum(steps, axis=-1) + np.broadcast_to(start, steps.shape[:-1])[..., None]
    return walk - np.minimum(np.minimum.accumulate(walk, axis=-1), 0.0)


def cusum_step(
    state: tuple[ArrayLike, ArrayLike], z: ArrayLike, *, k: float = 0.25
) -> tuple[Floats, Floats]:
    """Return both arms of a CUSUM after one more point; a NaN point leaves them as they were.

    Args:
        state: Upper and lower arm before, shape (...) each, >= 0.
        z: The newest standardised point of each series, same shape.
        k: Reference value >= 0.

    Raises:
        ValueError: `k` is negative.

    Source:
        As `cusum`.

    Examples:
        >>> up, down = cusum_step((1.0, 0.0), -3.0, k=0.5)
        >>> float(up), float(down)
        (0.0, 2.5)
    """
    if k < 0:
        raise ValueError(f"expected k >= 0, got {k}")
    z, known = np.asarray(z, dtype=np.float64), ~np.isnan(z)
    up, down = (np.asarray(arm, dtype=np.float64) for arm in state)
    return (
        np.where(known, np.maximum(up + z - k, 0.0), up),
        np.where(known, np.maximum(down - z - k, 0.0), down),
    )


def runs_flags(
    z: ArrayLike, rules: Sequence[Rule], *, two_sided: bool = True
) -> NDArray[np.bool_]:
    """Return at which points which runs rule signals.

    A rule looks at the last `span` points up to this one, at the beginning at fewer. Unlike
    in the run length, points before a signal are not forgotten after it.

    Args:
        z: Standardised points, shape (..., T).
        rules: From `arl_rules`.
        two_sided: Whether each rule holds on the other side as well.

    Returns:
        Shape (rules, ..., T). A NaN point is in no zone; empty gives empty.

    Raises:
        ValueError: There is no rule.

    Source:
        C. W. Champ and W. H. Woodall (1987), Technometrics 29:393-399; Western Electric,
        Statistical Quality Control Handbook (1956).

    Examples:
        >>> runs_flags([2.5, 0.0, 2.1], (Rule(hits=2, span=3, above=2.0),)).tolist()
        [[False, False, True]]
    """
    if not rules:
        raise ValueError("expected a rule")
    z = np.asarray(z, dtype=np.float64)
    sides = (z, -z) if two_sided else (z,)
    return np.stack(
        [
            np.any([_enough(one, side) for side in sides], axis=0)
            if z.size
            else np.zeros(z.shape, dtype=bool)
            for one in rules
        ]
    )


def _enough(rule: Rule, z: Floats) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        inside = ((z > rule.above) & (z < rule.below)).astype(np.int64)
    sums = np.cumsum(inside, axis=-1)
    sums[..., rule.span :] -= sums[..., : -rule.span].copy()
    return (sums >= rule.hits) & (inside > 0)


def settles_at(shift: float, lam: float) -> float:
    r"""Return where a standardised EWMA settles after a lasting shift of the mean.

    :math:`\delta \sqrt{(2 - \lambda) / \lambda}`: under the limit, the shift is found by luck.

    Args:
        shift: In standard deviations of one point.
        lam: Weight of the newest point, 0 < lam <= 1.

    Raises:
        ValueError: `lam` is outside (0, 1].

    Source:
        S. W. Roberts (1959), Technometrics 1(3):239-250.

    Examples:
        >>> round(settles_at(1.0, 0.2), 9)
        3.0
    """
    _weight(lam)
    return shift * sqrt((2 - lam) / lam)


def _weight(lam: float) -> None:
    if not 0 < lam <= 1:
        raise ValueError(f"expected 0 < lam <= 1, got {lam}")


def _positive(name: str, value: ArrayLike) -> Floats:
    found = np.asarray(value, dtype=np.float64)
    if not np.all(found > 0):
        raise ValueError(f"expected {name} > 0, got {value}")
    return found
