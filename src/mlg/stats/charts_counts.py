"""Attribute charts: p, np, c and u, and Laney's p' and u' where points vary more than chance.

Counts and sizes are arrays with time on the last axis, shape `(..., T)`. With many items a
point, ordinary wobble between points is far more than the binomial or Poisson law allows, and
p and u charts signal at every second point; p' and u' widen the limits by what is seen.
"""

import numpy as np
from numpy.typing import ArrayLike

from mlg.stats.charts import Charted, Floats

_D2 = 1.128379167095513
"""Mean range of two standard normal numbers: 2 / sqrt(pi)."""


def p_chart(
    counts: ArrayLike,
    sizes: ArrayLike,
    *,
    rate: float | None = None,
    dispersion: float = 1.0,
    limit: float = 3.0,
) -> Charted:
    r"""Return a p chart of shares, with limits by the size of each point.

    :math:`p_0 \pm L \sigma_z \sqrt{p_0 (1 - p_0) / n_t}`, cut at 0 and 1; with
    :math:`\sigma_z` over 1 it is Laney's p'.

    Args:
        counts: Items that count, shape (..., T), 0 <= counts <= sizes.
        sizes: Items of each point, broadcasts against `counts`; 0 gives NaN.
        rate: Usual share, 0..1; None takes the mean of the points themselves (phase I).
        dispersion: sigma_z, from `laney_sigma` over a baseline; 1 is a plain p chart.
        limit: L > 0, in sigmas.

    Returns:
        Shares and limits, shape (..., T). NaN counts give NaN, which never signal.

    Raises:
        ValueError: A count is negative or over its size, or a parameter is out of range.

    Source:
        D. C. Montgomery, Introduction to Statistical Quality Control, section 7.2;
        D. B. Laney (2002), Quality Engineering 14:531-537.

    Examples:
        >>> chart = p_chart([10, 30], [100, 100], rate=0.1)
        >>> chart.upper.round(3).tolist(), chart.out.tolist()
        ([0.19, 0.19], [False, True])
    """
    counts, sizes = _counted(counts, sizes)
    with np.errstate(invalid="ignore"):
        if np.any(counts > sizes):
            raise ValueError("expected counts of at most their sizes")
    centre = _rate(counts, sizes, rate)
    if not np.all((centre >= 0) & (centre <= 1) | np.isnan(centre)):
        raise ValueError(f"expected 0 <= rate <= 1, got {rate}")
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = _reach(limit, dispersion) * np.sqrt(centre * (1 - centre) / sizes)
        share = np.where(sizes > 0, counts / sizes, np.nan)
    return Charted(share, centre, _floor(centre - reach), np.minimum(centre + reach, 1.0))


def np_chart(
    counts: ArrayLike,
    size: float,
    *,
    rate: float | None = None,
    dispersion: float = 1.0,
    limit: float = 3.0,
) -> Charted:
    """Return an np chart: a p chart in counts, of points of one size.

    Args:
        counts: Items that count, shape (..., T).
        size: Items of every point, > 0.
        rate: Usual share; None takes that of the points themselves.
        dispersion: sigma_z; 1 is a plain np chart.
        limit: L > 0, in sigmas.

    Returns:
        Counts and limits, shape (..., T).

    Raises:
        ValueError: As `p_chart`.

    Source:
        As `p_chart`.

    Examples:
        >>> np_chart([10, 30], 100, rate=0.1).upper.tolist()
        [19.0, 19.0]
    """
    chart = p_chart(counts, size, rate=rate, dispersion=dispersion, limit=limit)
    return Charted(
        chart.statistic * size, chart.centre * size, chart.lower * size, chart.upper * size
    )


def u_chart(
    counts: ArrayLike,
    sizes: ArrayLike,
    *,
    rate: float | None = None,
    dispersion: float = 1.0,
    limit: float = 3.0,
) -> Charted:
    r"""Return a u chart of events a unit, with limits by the units of each point.

    :math:`u_0 \pm L \sigma_z \sqrt{u_0 / n_t}`, cut at 0; with :math:`\sigma_z` over 1 it is
    Laney's u'.

    Args:
        counts: Events, shape (..., T), >= 0.
        sizes: Units of each point, broadcasts against `counts`; 0 gives NaN.
        rate: Usual events a unit; None takes the mean of the points themselves.
        dispersion: sigma_z, from `laney_sigma`; 1 is a plain u chart.
        limit: L > 0, in sigmas.

    Returns:
        Rates and limits, shape (..., T). NaN counts give NaN, which never signal.

    Raises:
        ValueError: A count is negative, or a parameter is out of range.

    Source:
        As `p_chart`.

    Examples:
        >>> u_chart([20, 60], [10, 10], rate=2.5).out.tolist()
        [False, True]
    """
    counts, sizes = _counted(counts, sizes)
    centre = _rate(counts, sizes, rate)
    if np.any(centre < 0):
        raise ValueError(f"expected rate >= 0, got {rate}")
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = _reach(limit, dispersion) * np.sqrt(centre / sizes)
        shown = np.where(sizes > 0, counts / sizes, np.nan)
    return Charted(shown, centre, _floor(centre - reach), centre + reach)


def c_chart(
    counts: ArrayLike,
    *,
    rate: float | None = None,
    dispersion: float = 1.0,
    limit: float = 3.0,
) -> Charted:
    """Return a c chart: events of points that are one unit each.

    Args:
        counts: Events, shape (..., T), >= 0.
        rate: Usual events a point; None takes the mean of the points themselves.
        dispersion: sigma_z; 1 is a plain c chart.
        limit: L > 0, in sigmas.

    Returns:
        Counts and limits, shape (..., T).

    Raises:
        ValueError: As `u_chart`.

    Source:
        As `p_chart`.

    Examples:
        >>> c_chart([16, 29], rate=16.0).out.tolist()
        [False, True]
    """
    return u_chart(counts, 1.0, rate=rate, dispersion=dispersion, limit=limit)


def laney_sigma(chart: Charted, *, limit: float = 3.0) -> Floats:
    r"""Return sigma_z of a plain p or u chart: how much more than chance its points vary.

    The mean moving range of the standardised points, by 1.128. Below 1 there is less
    variation than by chance; charts then keep 1.

    Args:
        chart: From `p_chart` or `u_chart` with dispersion 1, of a baseline.
        limit: The L that the chart was made with.

    Returns:
        Shape (...), >= 0. NaN points are left out; with fewer than two points NaN.

    Raises:
        ValueError: `limit` is not positive.

    Source:
        D. B. Laney (2002), Quality Engineering 14:531-537.

    Examples:
        >>> chart = p_chart([50, 70, 50, 70], [100] * 4, rate=0.5)
        >>> round(float(laney_sigma(chart)), 3)
        3.545
    """
    if not limit > 0:
        raise ValueError(f"expected limit > 0, got {limit}")
    reach = np.maximum(chart.upper - chart.centre, chart.centre - _open(chart.lower))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.atleast_1d(limit * (chart.statistic - chart.centre) / reach)
    ranges = np.abs(np.diff(z, axis=-1))
    known = ~np.isnan(ranges)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known, ranges, 0.0).sum(axis=-1) / known.sum(axis=-1) / _D2


def _counted(counts: ArrayLike, sizes: ArrayLike) -> tuple[Floats, Floats]:
    counts = np.asarray(counts, dtype=np.float64)
    sizes = np.broadcast_to(np.asarray(sizes, dtype=np.float64), counts.shape)
    with np.errstate(invalid="ignore"):
        if np.any(counts < 0) or np.any(sizes < 0):
            raise ValueError("expected counts and sizes >= 0")
    return counts, sizes


def _rate(counts: Floats, sizes: Floats, rate: float | None) -> Floats:
    """Return the usual rate, shape (..., 1)."""
    if rate is not None:
        return np.asarray([rate], dtype=np.float64)
    known = ~np.isnan(counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(known, counts, 0.0).sum(axis=-1, keepdims=True)
        return total / np.where(known, sizes, 0.0).sum(axis=-1, keepdims=True)


def _reach(limit: float, dispersion: float) -> float:
    if not limit > 0 or not dispersion > 0:
        raise ValueError(f"expected limit and dispersion > 0, got {limit} and {dispersion}")
    return limit * dispersion


def _floor(lower: Floats) -> Floats:
    """Return lower limits; one at or below zero is none."""
    return np.where(lower > 0, lower, -np.inf)


def _open(lower: Floats) -> Floats:
    return np.where(np.isinf(lower), np.inf, lower)
