"""Many series of one kind: which of them moved, judged by how they varied while all was well.

Two charts a series. `mean` compares the two tables as wholes: Student's t on the difference of
their means, with a variance from stretches of the baseline, so that windows which resemble
their neighbours count as fewer. `ewma` follows the live windows and finds what began on the
way. Variances are moderated over all series of the kind.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log10
from typing import Final

import numpy as np
from scipy.special import ndtr
from scipy.stats import t as student

from mlg.monitors.frame import Floats
from mlg.stats.arl import LONGEST, design
from mlg.stats.charts import ewma
from mlg.stats.long_run import (
    batch_means,
    cut,
    ewma_factor,
    mean_factor,
    pooled_acf,
    without_season,
)
from mlg.stats.moderated import Moderated, moderated

LAMBDA: Final = 0.1
CLIP: Final = 4.0
"""A window counts as at most so many standard deviations in the EWMA."""
BATCHES: Final = 8
FEW: Final = 24
"""With fewer windows they are taken to be independent."""
LEAST: Final = 5
"""With fewer they say nothing of how windows vary: the rows are taken to be independent."""
_ALONE: Final = 8
"""Fewer series cannot lend one another much: their variance comes from their common memory."""
_LAGS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What both charts say of each series, shape ``(m,)`` where not said otherwise."""

    mean: Floats
    """Difference of the means in its standard errors."""
    mean_limit: float
    mean_shift: Floats
    """The difference itself, in the unit of the series."""
    ewma: Floats
    """Most extreme value of the EWMA over the live windows, in its standard deviations."""
    ewma_limit: float
    ewma_shift: Floats
    """The EWMA there, in the unit of the series."""
    ewma_at: Floats
    """Window of it."""
    ewma_unit: Floats
    """Standard deviation of the EWMA, in the unit of the series."""
    ewma_track: Floats
    """The EWMA of the live windows, in the unit of the series, shape ``(m, V)``."""
    centre: Floats
    sigma: Floats
    """Between-window standard deviation."""


def levels(
    base: Floats,
    live: Floats,
    noise: Floats,
    live_noise: Floats,
    *,
    alpha: float,
    seasons: tuple[float, float] = (0.0, 0.0),
) -> Levels:
    """Return what the charts say of each series.

    Args:
        base: Shape ``(m, W)``, no NaN.
        live: Shape ``(m, V)``, no NaN.
        noise: Standard deviation of one baseline window among independent rows, ``(m,)``.
        live_noise: The same of a live window.
        alpha: Chance of a false alarm of one chart of one series over the whole check.
        seasons: Cycles of a season in the baseline and in the live table; 0 for none.
    """
    usual, now = without_season(base, seasons[0]), without_season(live, seasons[1])
    usual = _trimmed(usual, noise)
    centre = usual.mean(axis=1)
    gaps = usual - centre[:, None]
    windows, lives = usual.shape[1], now.shape[1]
    acf = np.array([1.0])
    if windows >= FEW:
        acf = cut(pooled_acf(gaps / noise[:, None], min(_LAGS, windows // 4)))
    one = _one(gaps, noise, acf)
    whole = _whole(gaps, noise, acf)
    ratio = (mean_factor(acf, lives) / lives) / (mean_factor(acf, windows) / windows)
    # a live window of fewer rows has more noise of its own
    extra = np.maximum(live_noise**2 - noise**2, 0.0)
    error = np.sqrt(whole.variance * (1 + ratio) + extra / lives)
    shift = now.mean(axis=1) - centre
    sigma = np.sqrt(one.variance + extra)
    moving = _ewma(gaps, one, acf)
    unit = np.sqrt(moving.variance * (1 + extra / one.variance) + whole.variance)
    z = np.clip((now - centre[:, None]) / sigma[:, None], -CLIP, CLIP)
    track = ewma(z, lam=LAMBDA) * sigma[:, None]
    at = np.abs(track).argmax(axis=1)
    peak = np.take_along_axis(track, at[:, None], axis=1)[:, 0]
    limit = _limit(10 ** (round(log10(min(lives / alpha, LONGEST)), 2)))
    return Levels(
        mean=shift / error,
        mean_limit=float(student.isf(alpha / 2, whole.df)),
        mean_shift=shift,
        ewma=peak / unit,
        ewma_limit=float(student.isf(ndtr(-limit), moving.df)),
        ewma_shift=peak,
        ewma_at=at.astype(np.float64),
        ewma_unit=unit,
        ewma_track=track,
        centre=centre,
        sigma=sigma,
    )


@lru_cache(maxsize=64)
def _limit(arl0: float) -> float:
    return design("ewma", arl0, lam=LAMBDA, two_sided=True)


def _trimmed(series: Floats, noise: Floats) -> Floats:
    """Return the series with wild windows pulled in: an incident in it widens no limit."""
    middle = np.median(series, axis=1, keepdims=True)
    robust = 1.4826 * np.median(np.abs(series - middle), axis=1, keepdims=True)
    reach = 5.0 * np.maximum(robust, noise[:, None])
    return np.clip(series, middle - reach, middle + reach)


def _one(gaps: Floats, noise: Floats, acf: Floats) -> Moderated:
    """Return the variance of one window."""
    windows = gaps.shape[1]
    if windows < LEAST:
        return _independent(noise**2)
    # the mean that was subtracted took its own variance along
    lost = mean_factor(acf, windows) / windows
    own = (gaps**2).mean(axis=1) / max(1 - lost, 0.1)
    df = max(1 / lost - 1, 1.0)
    return _moderated(own, df, noise**2)


def _whole(gaps: Floats, noise: Floats, acf: Floats) -> Moderated:
    """Return the variance of the mean of all windows."""
    windows = gaps.shape[1]
    if windows < LEAST:
        return _independent(noise**2 / windows)
    if windows < FEW:
        own = (gaps**2).sum(axis=1) / max(windows - 1, 1) / windows
        return _moderated(own, max(windows - 1, 1), noise**2 / windows)
    if len(gaps) < _ALONE:
        return _by_memory(_one(gaps, noise, acf), mean_factor(acf, windows) / windows, windows)
    size = windows // BATCHES
    spread = batch_means(gaps, BATCHES).var(axis=1, ddof=1)
    whole = mean_factor(acf, windows) / windows
    part = mean_factor(acf, size) / size
    expected = max(part - whole, 0.1 * part) * BATCHES / (BATCHES - 1)
    return _moderated(spread * whole / expected, BATCHES - 1, noise**2 / windows)


def _ewma(gaps: Floats, one: Moderated, acf: Floats) -> Moderated:
    """Return the variance of the EWMA of windows."""
    factor = ewma_factor(acf, LAMBDA)
    windows = gaps.shape[1]
    begun = round(2 / LAMBDA)
    if len(gaps) < _ALONE and windows >= FEW:
        return _by_memory(one, factor, windows)
    if windows < 3 * begun:
        return Moderated(variance=one.variance * factor, df=one.df, common=one.common * factor)
    track = ewma(gaps, lam=LAMBDA)[:, begun:]
    lost = mean_factor(acf, windows) / windows
    own = (track**2).mean(axis=1) * factor / max(factor - lost, 0.3 * factor)
    # windows further apart than about 2 / lambda say something of their own
    df = max(track.shape[1] * LAMBDA / 2, 2.0)
    return _moderated(own, df, one.variance * LAMBDA / (2 - LAMBDA) * 0.5)


def _by_memory(one: Moderated, factor: float, windows: int) -> Moderated:
    """Return the variance of a weighted mean from that of one window.

    A sum of estimated autocorrelations is off by about 40 % with 100 windows of one series: as
    much as a variance of twelve degrees of freedom.
    """
    known = 0.12 * windows * len(one.variance)
    return Moderated(
        variance=one.variance * factor,
        df=min(one.df, max(known, 2.0)),
        common=one.common * factor,
    )


def _independent(variance: Floats) -> Moderated:
    return Moderated(variance=variance, df=1e6, common=float(variance.mean()))


def _moderated(own: Floats, df: float, least: Floats) -> Moderated:
    """Return moderated variances, none below what chance among rows alone would give."""
    found = moderated(np.maximum(own, 0.5 * least), df)
    return Moderated(
        variance=np.maximum(found.variance, least), df=found.df, common=found.common
    )
