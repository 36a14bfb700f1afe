"""The charts of all statistics of one stream, one step of each as arrays.

Each statistic has an EWMA (weight 0.1) and a two-sided CUSUM (reference 0.25) on the same
between-window spread; the components of a vector have one MEWMA together. A statistic is *out*
when any is beyond its limit, and *signals* when it was out in two of its last three windows.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.budget import ChartLimits, vector_limit
from mlg.monitors.packed import array, packed
from mlg.monitors.points import Kind, Points
from mlg.monitors.usual import Usual, ewma_spread, expected, long_run

LAMBDA: Final = 0.1
SLACK: Final = 0.25
SUMMED: Final = 1.4
"""Standard errors of the centre that a CUSUM allows for: it adds them up, window by window."""

CLIP: Final = 4.0
"""A window counts as at most so many standard deviations: one wild one is no shift."""

GROSS: Final = 12.0
"""Beyond so many standard deviations a statistic is out at once: something is broken."""

FLOOR: Final[dict[Kind, float]] = {
    "location": 0.05,
    "spread": 0.05,
    "share": 0.01,
    "mean": 0.01,
}
"""Least change worth a page: 0.05 sd of a feature, 5 % of its spread, a share by 0.01, a mean
of a probability by 0.01."""

PERSIST: Final = (2, 3)
"""A statistic signals when it was out in so many of its so many last windows."""

Chart = Literal["ewma", "cusum", "gross", "mewma"]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bits = NDArray[np.uint8]

_SIGNALS: Final = np.array(
    [bits & 1 == 1 and bits.bit_count() >= PERSIST[0] for bits in range(2 ** PERSIST[1])]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charts:
    """What the charts of m statistics remember between two windows; little-endian arrays."""

    metrics: tuple[str, ...] = ()
    ewma: bytes = b""
    """In standard deviations of one window, from the centre; of a vector its length; (m,)."""
    up: bytes = b""
    down: bytes = b""
    out: bytes = b""
    """Whether it was out in the last three windows, as bits, the newest lowest; uint8, (m,)."""
    close: bytes = b""
    """The same at the limits of calibration."""
    recent: bytes = b""
    """Values of the last three windows, newest first; NaN: none; (3, m)."""
    shown: bytes = b""

    @property
    def alarmed(self) -> bool:
        """Whether any statistic was out in its newest window."""
        return bool((np.frombuffer(self.out, dtype=np.uint8) & 1).any())

    def drawn(self) -> dict[str, tuple[float, float]]:
        """Return EWMA and CUSUM of each statistic by name, a fall negative."""
        up, down = array(self.up), array(self.down)
        cusum = np.where(up >= down, up, -down).tolist()
        pairs = zip(array(self.ewma).tolist(), cusum, strict=True)
        return dict(zip(self.metrics, pairs, strict=True))


def begun(metrics: tuple[str, ...]) -> Charts:
    """Return charts at their centres."""
    m = len(metrics)
    zeros, none = bytes(8 * m), packed(np.full((3, m), np.nan))
    return Charts(
        metrics=metrics, ewma=zeros, up=zeros, down=zeros, out=bytes(m), close=bytes(m),
        recent=none, shown=none,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one window did to the charts of m statistics; arrays of shape ``(m,)``."""

    signals: Bools
    close: Bools
    """What would signal at the limits of calibration."""
    chart: NDArray[np.int64]
    """Place in `CHARTS` of the one that says it most plainly."""
    statistic: Floats
    limit: Floats
    """Greater than 0."""
    effect: Floats
    """Change of the statistic: sd of the feature, log of the sd, share, or mean."""
    small: Bools
    """Whether the effect is below the floor."""
    usual: Floats
    now: Floats
    calm: Floats
    """The EWMA as a part of its limit, >= 0."""


CHARTS: Final[tuple[Chart, ...]] = ("ewma", "cusum", "gross", "mewma")


def advanced(
    charts: Charts, usual: Usual, points: Points, at_s: float, limits: ChartLimits,
    calibration: ChartLimits,
) -> tuple[Charts, Step]:  # fmt: skip
    """Return the charts after one window, and what that did.

    Args:
        charts: Before, of the statistics that `usual` knows.
        usual: What is usual.
        points: The window's statistics, in the same order; NaN: it has none, and the charts
            stay as they are.
        at_s: End of the window, seconds since 1970.
        limits: Of the monitor.
        calibration: Nearer ones, at which nothing is told.
    """
    centre, doubt = expected(usual, at_s)
    there = ~np.isnan(points.value)
    sigma = _sigma(usual, points.noise)
    spread, doubt = ewma_spread(usual, LAMBDA), doubt / sigma
    raw = np.where(there, (points.value - centre) / sigma, 0.0)
    z = np.clip(raw, -CLIP, CLIP)
    ewma = np.where(there, (1 - LAMBDA) * array(charts.ewma) + LAMBDA * z, array(charts.ewma))
    # the cumulated sum's own unit: the long-run spread, and a centre that may be off
    unit = np.sqrt(long_run(usual))
    slack = SLACK + SUMMED * doubt / unit
    up = np.where(there, np.maximum(0.0, array(charts.up) + z / unit - slack), array(charts.up))
    down = np.where(
        there, np.maximum(0.0, array(charts.down) - z / unit - slack), array(charts.down)
    )
    gross = there & (np.abs(raw) > GROSS)
    bound, at, most = limits.ewma * spread + doubt, np.abs(ewma), np.maximum(up, down)
    beyond = gross | (at > bound) | (most > limits.cusum)
    close = gross | (at > calibration.ewma * spread + doubt) | (most > calibration.cusum)
    chart = np.where(gross, 2, np.where(at > bound, 0, 1))
    for vector in usual.vectors:
        own, parts = vector.chart, list(vector.parts)
        length = vector.length(ewma[parts] / spread[parts])
        off = float(np.linalg.norm(doubt[parts] / spread[parts]))
        ewma[own], up[own], down[own], chart[own] = length, 0.0, 0.0, 3
        bound[own] = vector_limit(limits.arl, len(parts)) + off
        broken = bool(gross[parts].any())
        beyond[own] = broken or length > bound[own]
        close[own] = broken or length > vector_limit(calibration.arl, len(parts)) + off
        beyond[parts] = close[parts] = False
    out = _shifted(charts.out, beyond, there)
    near = _shifted(charts.close, close, there)
    recent = _rolled(charts.recent, points.value, there)
    shown = _rolled(charts.shown, points.shown, there)
    after = Charts(
        metrics=charts.metrics, ewma=packed(ewma),
        # so that they come down again
        up=packed(np.minimum(up, 2 * limits.cusum)),
        down=packed(np.minimum(down, 2 * limits.cusum)),
        out=out.tobytes(), close=near.tobytes(), recent=packed(recent), shown=packed(shown),
    )  # fmt: skip
    side = np.where(up >= down, up, -down)
    signals, warned = there & _SIGNALS[out], there & _SIGNALS[near]
    usually, effect, now = _effects(usual, points, centre, recent, shown)
    step = Step(
        signals=signals, close=warned, chart=chart,
        statistic=np.where(chart == 2, raw, np.where(chart == 1, side, ewma)),
        limit=np.where(chart == 2, GROSS, np.where(chart == 1, limits.cusum, bound)),
        effect=effect, small=np.abs(effect) < _floors(usual.kinds), usual=usually, now=now,
        calm=np.abs(ewma) / bound,
    )  # fmt: skip
    return after, step


def _sigma(usual: Usual, noise: Floats) -> Floats:
    """Return the spread of this window: with fewer rows than usual chance adds more to it."""
    sds, mean = usual.sds, array(usual.noise)
    between = np.maximum(sds**2 - mean**2, 0.0)
    fresh = np.where(np.isnan(noise), mean, np.maximum(noise, 0.5 * mean))
    return np.sqrt(between + fresh**2)


def _effects(
    usual: Usual, points: Points, centre: Floats, recent: Floats, shown: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return what is usual as a person reads it, the change, and what is now."""
    now, mean = _mean(shown), _mean(recent)
    kinds = np.array(usual.kinds)
    share, plain = kinds == "share", kinds == "mean"
    n = np.where(points.n > 0, points.n, 1.0)
    usually = np.where(plain, centre, np.array(usual.shown))
    back = np.clip(((n + 0.75) * np.sin(centre) ** 2 - 0.375) / n, 0.0, 1.0)
    usually = np.where(share, back, usually)
    return usually, np.where(share, now - usually, mean - centre), now


def _mean(rows: Floats) -> Floats:
    there = ~np.isnan(rows)
    return np.where(there, rows, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


@lru_cache(maxsize=64)
def _floors(kinds: tuple[Kind, ...]) -> Floats:
    return np.array([FLOOR[kind] for kind in kinds])


def _shifted(bits: bytes, now: Bools, there: Bools) -> Bits:
    before = np.frombuffer(bits, dtype=np.uint8)
    after = ((before << 1) & (len(_SIGNALS) - 1)) | now
    return np.where(there, after, before).astype(np.uint8)


def _rolled(rows: bytes, values: Floats, there: Bools) -> Floats:
    before = array(rows).reshape(PERSIST[1], -1)
    return np.where(there, np.vstack([values, before[:-1]]), before)
