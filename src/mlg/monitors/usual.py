"""What is usual for every statistic of one stream, as arrays: level, season, spread, memory.

A statistic of a window is a level, waves of the day and the week where enough of them was
seen, and a rest that varies and resembles its neighbours. All of it comes from sums that
forget what is old, so a baseline costs the same after an hour and after a year. Statistics of
one traffic tell each other what few windows cannot tell of each: how strongly windows resemble
their neighbours, and how much variances differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.packed import array, packed
from mlg.monitors.points import Kind
from mlg.monitors.spreads import MAX_AR, STILL, held, memories, sigmas
from mlg.monitors.vectors import Vector, vectors_of
from mlg.stats.season import LEVEL, columns_for, waves

MOST_LOST: Final = 0.5
"""Part of the spread that a mean of few windows may have taken along, at most."""

_TRIM: Final = 4.0
_AGAIN: Final = 20
"""What is derived is derived anew after each such part of the windows."""
_SWITCHED: Final = 0.2
"""Part of the windows that count on when a season begins to be told."""
_TAKEN: Final = 0.5
"""Autocorrelation that is taken for theirs."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What was learned of m statistics; arrays are little-endian float64, bounded."""

    metrics: tuple[str, ...]
    kinds: tuple[Kind, ...]
    shown: tuple[float, ...]
    """The usual value as a person reads it."""
    noise: bytes
    """Standard deviation that chance among rows gives, on average; (m,)."""
    origin: bytes
    """Levels of phase I: values are summed as distances from them; (m,)."""
    memory: float
    """Windows after which the weight of one has fallen to 1/e."""
    learned: int
    """Windows learned from."""
    first_s: float
    last_s: float
    """Event time of the first and the last of them, seconds since 1970."""
    step_s: float
    """Usual time between windows; 0: not known."""
    kept: int
    """Columns of the sums."""
    columns: int
    """Of them those in use."""
    gram: bytes
    """Sum of products of the regressors, (kept, kept)."""
    moments: bytes
    """Sum of products of regressors and values, (kept, m)."""
    total: bytes
    """Sum of squares of values; (m,)."""
    squares: bytes
    """Weight, and sums of e e, e e' and e e'' of the rests of neighbours; (4, m)."""
    before: bytes
    """Rests of the two windows learned last, newest first; NaN: none; (2, m)."""
    vectors: tuple[Vector, ...] = ()
    """Statistics that are components of one vector."""
    derived_at: int = 0
    """`learned` when what follows was derived."""
    level: bytes = b""
    """Coefficients, (columns, m)."""
    cover: bytes = b""
    """Inverse of the gram, (columns, columns)."""
    sigma: bytes = b""
    """Between-window standard deviation, upper confidence bound; (m,)."""
    ar: bytes = b""
    """Lag-1 autocorrelation, upper bound of one standard error, 0..MAX_AR; (m,)."""
    fade: bytes = b""
    """How it falls from lag to lag: the lag-k one is ar * fade**(k - 1); (m,)."""
    moving: int = 0
    """Statistics that ever moved: the others (nothing is ever missing) give no false alarm."""

    @property
    def sds(self) -> Floats:
        """Return `sigma` as an array."""
        return array(self.sigma)

    @property
    def autocorrelations(self) -> Floats:
        """Return `ar` as an array."""
        return array(self.ar)


def fitted(
    values: Floats, at_s: Floats, *, metrics: Sequence[str], kinds: Sequence[Kind],
    shown: Sequence[float], noise: Floats, memory: float,
) -> Usual:  # fmt: skip
    """Return what is usual from the windows of phase I.

    Rests beyond 4 robust standard deviations are pulled back to there. Autocorrelations and
    spreads are corrected for what the fit took along.

    Args:
        values: Shape ``(n, m)`` in time order, n >= 3; NaN: the window lacks the statistic. At
            least three of each statistic are there.
        at_s: Event time of each window, seconds since 1970, shape ``(n,)``.
        metrics: Names, m of them.
        kinds: What they are.
        shown: Usual values as a person reads them.
        noise: Least standard deviation to believe, > 0, shape ``(m,)``.
        memory: Windows that are remembered, >= n.

    Raises:
        ValueError: There are fewer than three windows.

    Source:
        M. G. Kendall (1954), Biometrika 41:403-404 (bias of r); J. D. Laney (2002), Quality
        Engineering 14:531-537 (spread between windows in place of chance's).
    """
    n = len(values)
    if n < 3:
        raise ValueError(f"expected at least 3 windows, got {n}")
    gaps_s = np.diff(at_s)
    step_s = float(np.median(gaps_s))
    span_s = float(at_s[-1] - at_s[0])
    kept = columns_for(memory * step_s, step_s)
    used = columns_for(span_s, step_s)
    used = used if n >= 4 * used else LEVEL
    design = waves(at_s, kept)
    origin = np.nanmedian(values, axis=0)
    y = values - origin
    for _ in range(2):
        fit = _fit(design[:, :used], y)
        rest = y - fit
        middle = np.nanmedian(rest, axis=0)
        robust = 1.4826 * np.nanmedian(np.abs(rest - middle), axis=0)
        reach = _TRIM * np.maximum(robust, noise)
        y = fit + np.clip(rest, middle - reach, middle + reach)
    fit = _fit(design[:, :used], y)
    rest = y - fit
    usual = Usual(
        metrics=tuple(metrics), kinds=tuple(kinds), shown=tuple(shown), noise=packed(noise),
        origin=packed(origin), memory=max(memory, float(n)), learned=n,
        first_s=float(at_s[0]), last_s=float(at_s[-1]), step_s=step_s, kept=kept, columns=used,
        gram=packed(design.T @ design),
        moments=packed(design.T @ np.where(np.isnan(y), fit, y)),
        total=packed((np.where(np.isnan(y), fit, y) ** 2).sum(axis=0)),
        squares=packed(_squares(rest, used)), before=packed(rest[:-3:-1]),
        vectors=vectors_of(metrics, rest),
    )  # fmt: skip
    return _derived(usual)


def _fit(design: Floats, y: Floats) -> Floats:
    """Return the fitted values; what is missing is filled by what is fitted, twice."""
    missing = np.isnan(y)
    filled = np.where(missing, np.nanmedian(y, axis=0), y)
    fit = filled
    for _ in range(3 if missing.any() else 1):
        fit = design @ np.linalg.lstsq(design, filled, rcond=None)[0]
        filled = np.where(missing, fit, y)
    return fit


def _squares(rest: Floats, used: int) -> Floats:
    """Return weights and sums of products, corrected for the columns that were fitted."""
    e = np.nan_to_num(rest)
    n = (~np.isnan(rest)).sum(axis=0).astype(np.float64)
    square = (e * e).sum(axis=0)
    scale = np.where(square > 0, square, 1.0)
    r1 = (e[1:] * e[:-1]).sum(axis=0) / scale
    r2 = (e[2:] * e[:-2]).sum(axis=0) / scale
    # of one column this is (1 + 3 r) / n
    r1 = np.clip(r1 + (used + (2 + used) * r1) / n, -MAX_AR, MAX_AR)
    r2 = np.clip(r2 + (used + (2 + used) * r2) / n, -MAX_AR, MAX_AR)
    follow = np.maximum(r1, 0.0)
    lost = np.minimum(used * (1 + follow) / (1 - follow), MOST_LOST * n)
    square = square * n / (n - lost)
    return np.stack([n, square, r1 * square, r2 * square])


def expected(usual: Usual, at_s: float) -> tuple[Floats, Floats]:
    """Return each statistic's centre at a time, and how far it may be off, shape ``(m,)``.

    The second is one standard error, of a mean of windows that resemble their neighbours.
    """
    x = waves(np.array([at_s]), usual.columns)[0]
    cover = array(usual.cover).reshape(usual.columns, usual.columns)
    level = array(usual.level).reshape(usual.columns, -1)
    # exponential weights: half as sure as equal ones of the same sum, where old ones faded
    faded = np.exp(-max(usual.learned - usual.memory, 0.0) / usual.memory)
    leverage = float(x @ cover @ x) * (1 + faded) / 2
    doubt = usual.sds * np.sqrt(long_run(usual) * max(leverage, 0.0))
    return array(usual.origin) + x @ level, doubt


def long_run(usual: Usual) -> Floats:
    """Return the variance of a long mean in units of an independent one's, shape ``(m,)``."""
    ar, fade = array(usual.ar), array(usual.fade)
    return 1 + 2 * ar / (1 - fade)


def ewma_spread(usual: Usual, lam: float) -> Floats:
    r"""Return the sd of an EWMA in units of a window's, shape ``(m,)``.

    :math:`\sqrt{\frac{\lambda}{2-\lambda} (1 + 2 \sum_k \rho_k (1-\lambda)^k)}` with
    :math:`\rho_k` falling by a factor from lag to lag.

    Source:
        W. Schmid (1997), Frontiers in Statistical Quality Control 5:115-137 (EWMA charts of
        autocorrelated series).
    """
    ar, fade = array(usual.ar), array(usual.fade)
    carry = 1 - lam
    return np.sqrt(lam / (2 - lam) * (1 + 2 * ar * carry / (1 - fade * carry)))


def learn(usual: Usual, values: Floats, at_s: float, calm: Bools) -> Usual:
    """Return what is usual after one more quiet window.

    Args:
        usual: Before.
        values: Shape ``(m,)``; NaN: the window lacks the statistic.
        at_s: Event time of the window.
        calm: Statistics that may learn; of the others it is taken that all was usual.
    """
    x = waves(np.array([at_s]), usual.kept)[0]
    centre, doubt = expected(usual, at_s)
    sds = usual.sds
    known = calm & ~np.isnan(values)
    rest = np.clip(np.where(known, values - centre, 0.0), -_TRIM * sds, _TRIM * sds)
    y = centre - array(usual.origin) + rest
    forget = 1.0 if usual.learned < usual.memory else 1 - 1 / usual.memory
    squares = array(usual.squares).reshape(4, -1) * np.where(known, forget, 1.0)
    before = array(usual.before).reshape(2, -1)
    # a centre that is off adds its own square
    sure = 1 / (1 + (doubt / sds) ** 2)
    own = np.where(known, rest, np.nan)
    squares[0] += known
    squares[1] += rest * rest * sure
    squares[2] += np.nan_to_num(own * before[0]) * sure
    squares[3] += np.nan_to_num(own * before[1]) * sure
    kept = usual.kept
    usual = replace(
        usual,
        learned=usual.learned + 1,
        last_s=at_s,
        total=packed(array(usual.total) * forget + y * y),
        gram=packed(array(usual.gram).reshape(kept, kept) * forget + np.outer(x, x)),
        moments=packed(array(usual.moments).reshape(kept, -1) * forget + np.outer(x, y)),
        squares=packed(squares),
        before=packed(np.stack([own, before[0]])),
    )
    columns = min(columns_for(at_s - usual.first_s, usual.step_s), kept)
    if columns > usual.columns:
        return _derived(_switched(replace(usual, columns=columns)))
    if usual.learned - usual.derived_at >= min(usual.learned, usual.memory) / _AGAIN:
        return _derived(usual)
    return usual


def _switched(usual: Usual) -> Usual:
    """Return the sums of rests as if the columns now in use had been from the beginning.

    The wave was in the rests, and windows followed each other by it. How they do without it is
    not known yet: more than usual is taken, until the new windows say.
    """
    kept, used = usual.kept, usual.columns
    gram = array(usual.gram).reshape(kept, kept)
    moments = array(usual.moments).reshape(kept, -1)[:used]
    level = np.linalg.lstsq(gram[:used, :used], moments, rcond=None)[0]
    left = np.maximum(array(usual.total) - (level * moments).sum(axis=0), 0.0)
    n = _SWITCHED * array(usual.squares).reshape(4, -1)[0]
    square = n * left / gram[0, 0]
    follow = _TAKEN * square
    return replace(usual, squares=packed(np.stack([n, square, follow, _TAKEN * follow])))


def _derived(usual: Usual) -> Usual:
    kept, used = usual.kept, usual.columns
    gram = array(usual.gram).reshape(kept, kept)[:used, :used]
    moments = array(usual.moments).reshape(kept, -1)[:used]
    cover = np.linalg.inv(gram + 1e-9 * np.trace(gram) * np.eye(used))
    noise = array(usual.noise)
    n, square, lag1, lag2 = array(usual.squares).reshape(4, -1)
    variance = square / n
    alive = variance > noise**2
    scale = np.where(square > 0, square, 1.0)
    r1, r2 = (np.clip(lag / scale, -MAX_AR, MAX_AR) for lag in (lag1, lag2))
    ar, error = memories(r1, n, alive)
    kept_part = held(r1[alive], r2[alive], n[alive])
    upper = np.where(alive, np.clip(ar + error, 0.0, MAX_AR), 0.0)
    follow = np.clip(ar, 0.0, MAX_AR)
    df = np.maximum(n * (1 - follow**2) / (1 + follow**2), 2.0)
    return replace(
        usual,
        derived_at=usual.learned,
        level=packed(cover @ moments),
        cover=packed(cover),
        sigma=packed(sigmas(variance, noise, df, usual.kinds)),
        ar=packed(upper),
        fade=packed(np.clip(upper / kept_part, 0.0, 0.95)),
        moving=int((variance > STILL * noise**2).sum()),
    )


def known(
    metrics: Sequence[str], kinds: Sequence[Kind], *, centre: float = 0.0, sigma: float = 1.0
) -> Usual:
    """Return what is usual as if it were known without a doubt: to try charts."""
    m = len(metrics)
    one = np.ones(m)
    return Usual(
        metrics=tuple(metrics), kinds=tuple(kinds), shown=(centre,) * m,
        noise=packed(one * 1e-9), origin=packed(one * centre), memory=1e12, learned=10**12,
        first_s=0.0, last_s=0.0, step_s=0.0, kept=1, columns=1, gram=packed(np.ones(1) * 1e12),
        moments=packed(np.zeros(m)),
        total=packed(one * 1e12), squares=packed(np.outer([1e12, 1e12, 0, 0], one)),
        before=packed(np.full((2, m), np.nan)), derived_at=10**12, level=packed(np.zeros(m)),
        cover=packed(np.full(1, 1e-12)), sigma=packed(one * sigma), ar=packed(np.zeros(m)),
        fade=packed(np.zeros(m)), moving=m,
    )  # fmt: skip
