"""How much a weighted mean of windows varies when windows resemble their neighbours.

A series of windows has a spread, and a memory. The spread of the mean of all of them, or of
an EWMA, depends on both. One short series says little of its memory; many of one traffic,
taken together, say it well: `pooled_acf` is the mean of their autocorrelations.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TRIED = 81
"""Frequencies tried around a line: a step is a fortieth of a cycle."""


def pooled_acf(series: Floats, lags: int) -> Floats:
    r"""Return the mean autocorrelation of many series, for lags 0 to `lags`.

    The autocorrelation about a sample's own mean is too small by about the variance of that
    mean; :math:`\rho_k \approx r_k + (1 - r_k)\,\kappa / n` with :math:`\kappa = 1 + 2 \sum
    \rho_k` gives it back, found by repetition.

    Args:
        series: Shape ``(m, n)``, one series a row, no NaN, of about unit size; rows that do
            not vary are passed over.
        lags: At least 0 and below n / 2.

    Returns:
        Shape ``(lags + 1,)``, the first is 1; zeros after it where no row varies.

    Raises:
        ValueError: `lags` is out of range.

    Source:
        F. H. C. Marriott and J. A. Pope (1954), Biometrika 41:390-402 (bias of r_k).

    Examples:
        >>> pooled_acf(np.zeros((2, 10)), 2).tolist()
        [1.0, 0.0, 0.0]
    """
    n = series.shape[1]
    if not 0 <= lags < max(n / 2, 1):
        raise ValueError(f"expected 0 <= lags < {n / 2}, got {lags}")
    gaps = series - series.mean(axis=1, keepdims=True)
    scale = (gaps**2).mean(axis=1)
    gaps = gaps[scale > 1e-20]  # what rounding leaves of a constant has a memory of its own
    found = np.zeros(lags + 1)
    found[0] = 1.0
    if not len(gaps):
        return found
    gaps = gaps / np.sqrt((gaps**2).mean(axis=1, keepdims=True))
    raw = np.array(
        [1.0, *((gaps[:, k:] * gaps[:, :-k]).sum(1).mean() / n for k in range(1, lags + 1))]
    )
    raw[1:] *= n / (n - np.arange(1, lags + 1))
    found = raw.copy()
    for _ in range(20):
        kappa = min(
            max(1 + 2 * float((cut(found)[1:] * (1 - np.arange(1, lags + 1) / n)).sum()), 1.0),
            n / 4,
        )
        after = raw + (1 - raw) * kappa / n
        after[0] = 1.0
        if np.abs(after - found).max() < 1e-6:
            break
        found = after
    return np.clip(found, -1.0, 1.0)


def cut(acf: Floats) -> Floats:
    """Return the autocorrelations up to where pairs of them stop being positive, then zeros.

    Source:
        C. J. Geyer (1992), Practical Markov chain Monte Carlo, Statistical Science
        7(4):473-483 (initial positive sequence).

    Examples:
        >>> cut(np.array([1.0, 0.5, 0.2, 0.1, -0.3, 0.1])).tolist()
        [1.0, 0.5, 0.2, 0.1, 0.0, 0.0]
    """
    kept = acf.copy()
    for k in range(1, len(acf) - 1, 2):
        if acf[k] + acf[k + 1] <= 0:
            kept[k + (acf[k] > 0) :] = 0.0
            return kept
    return kept


def mean_factor(acf: Floats, n: int) -> float:
    r"""Return Var(mean of n) over Var(one) / n: :math:`1 + 2 \sum (1 - k/n) \rho_k`, >= 1/n.

    Args:
        acf: From lag 0 on; lags beyond it count as 0.
        n: Points averaged, >= 1.

    Examples:
        >>> mean_factor(np.array([1.0, 0.5]), 4)
        1.75
    """
    lags = min(len(acf), n)
    k = np.arange(1, lags)
    return max(1 + 2 * float((acf[1:lags] * (1 - k / n)).sum()), 1 / n)


def ewma_factor(acf: Floats, lam: float) -> float:
    r"""Return the variance of an EWMA in units of one point's: asymptotic, with memory.

    :math:`\frac{\lambda}{2 - \lambda} (1 + 2 \sum \rho_k (1 - \lambda)^k)`.

    Source:
        W. Schmid (1997), Frontiers in Statistical Quality Control 5:115-137.

    Examples:
        >>> round(ewma_factor(np.array([1.0]), 0.1), 4)
        0.0526
    """
    k = np.arange(1, len(acf))
    return lam / (2 - lam) * max(1 + 2 * float((acf[1:] * (1 - lam) ** k).sum()), 1e-3)


def batch_means(series: Floats, batches: int) -> Floats:
    """Return the means of so many stretches of equal length, shape ``(m, batches)``.

    Points at the end that fill no stretch are left out.

    Raises:
        ValueError: There are fewer points than batches.
    """
    size = series.shape[1] // batches
    if not size:
        raise ValueError(f"{series.shape[1]} points make no {batches} batches")
    return series[:, : size * batches].reshape(len(series), batches, size).mean(axis=2)


def line_frequency(series: Floats, *, least_cycles: int = 2, stands_out: float = 6.0) -> int:
    """Return the cycles per series of a season that many series share; 0 for none.

    The mean periodogram of all rows, each of unit variance; a line is a frequency whose mean
    power is so many times the median of those around it.

    Args:
        series: Shape ``(m, n)``.
        least_cycles: A season must come round so often to be told from a trend.
        stands_out: Times the power of its neighbours.

    Source:
        R. A. Fisher (1929), Proc. R. Soc. A 125:54-59 (a line in a periodogram).
    """
    n = series.shape[1]
    if n < 8 * least_cycles or not len(series):
        return 0
    gaps = series - series.mean(axis=1, keepdims=True)
    scale = np.sqrt((gaps**2).mean(axis=1, keepdims=True))
    gaps = (gaps / np.where(scale > 0, scale, 1.0))[scale[:, 0] > 0]
    if not len(gaps):
        return 0
    power = (np.abs(np.fft.rfft(gaps, axis=1)) ** 2).mean(axis=0)[: n // 2 + 1]
    best, found = 0.0, 0
    for at in range(least_cycles, n // 4):
        near = [*range(max(1, at - 6), at - 1), *range(at + 2, min(at + 7, n // 2))]
        ratio = power[at] / max(float(np.median(power[near])), 1e-12)
        # of a memory the power falls from the lowest on: a line rises above both sides
        if ratio > stands_out and power[at] > 1.5 * max(power[near[0]], 1e-12) and ratio > best:
            best, found = ratio, at
    return found


def season_cycles(series: Floats) -> float:
    """Return how often a season that many series share comes round, in fractions; 0 for none.

    Near the line of the periodogram, whose frequencies come round a whole number of times, the
    one is taken whose waves leave the smallest squares over all series, each of unit variance.

    Args:
        series: Shape ``(m, n)``.

    Source:
        B. G. Quinn, E. J. Hannan (2001), The Estimation and Tracking of Frequency, ch. 3 (the
        maximiser of the periodogram between its ordinates is efficient).

    Examples:
        >>> at = np.arange(200) / 200 * 5.4
        >>> rng = np.random.default_rng(0)
        >>> made = np.sin(2 * np.pi * at + np.arange(9.0)[:, None])
        >>> round(season_cycles(made + 0.5 * rng.standard_normal((9, 200))), 1)
        5.4
    """
    whole = line_frequency(series)
    if not whole:
        return 0.0
    scale = series.std(axis=1, keepdims=True)
    rows = (series / np.where(scale > 0, scale, 1.0))[scale[:, 0] > 0]
    tried = np.linspace(whole - 1.0, whole + 1.0, _TRIED)
    left = [float(without_season(rows, one).var(axis=1).sum()) for one in tried.tolist()]
    return float(tried[int(np.argmin(left))])


def without_season(
    series: Floats, cycles: float, *, harmonics: Sequence[int] = (1, 2)
) -> Floats:
    """Return the series less the waves of a season, each row's own; means stay as they are.

    Args:
        series: Shape ``(m, n)``.
        cycles: How often it comes round in n points; 0 returns the series.
        harmonics: Waves fitted, as multiples.
    """
    if not cycles:
        return series
    n = series.shape[1]
    angle = 2 * np.pi * np.arange(n) / n * cycles
    waves = np.stack([f(angle * h) for h in harmonics for f in (np.sin, np.cos)], axis=1)
    design = np.column_stack([np.ones(n), waves])
    weights = np.linalg.lstsq(design, series.T, rcond=None)[0]
    return series - (waves @ weights[1:]).T
