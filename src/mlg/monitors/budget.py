"""How far a chart may go: limits from how often the whole monitor may be wrong.

The manifest's `false_alarms: 1/30d` is a budget over *all* charts of a monitor. Each chart
gets the same part of it as an average run length in windows. How much less often incidents
open than that says (charts go together, signals persist, small changes page nobody) is
measured by the monitor itself (`calibrate`) and given back to the limits.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import floor, log10, sqrt
from typing import Final

from mlg.monitors.calibrate import near
from mlg.stats.arl import LAMBDA, SLACK, design

LEAST_ARL: Final = 500.0
"""No chart is designed for fewer windows between false alarms, however small the budget."""

MOST_ARL: Final = 1e8

NOMINAL_PER_S: Final = 1.0
"""Answers a second that a window of events is taken to fill at, where nothing is known.

A window of N events has no length in time of its own. A replay runs through months of event
time in minutes, so event time is no measure of how often a person is disturbed either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartLimits:
    """The limits of one monitor's charts."""

    ewma: float
    """In standard deviations of the EWMA."""
    cusum: float
    """In standard deviations of one window."""
    arl: float
    """Windows between two false alarms of one chart, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How often a whole monitor may be wrong."""

    windows: float
    """Windows between two false alarms of the whole monitor."""

    def limits(self, charts: int, rate: float) -> ChartLimits:
        """Return the limits of each chart; arguments as of `limits_for`."""
        return limits_for(self.windows, charts, rate=rate)

    def near(self, charts: int, rate: float) -> ChartLimits:
        """Return the limits at which the monitor counts how often it comes near."""
        return limits_for(near(self.windows), charts, rate=rate)


def windows_between(
    *,
    false_alarm_every_s: float,
    seconds: float | None,
    events: int | None,
    events_per_s: float = NOMINAL_PER_S,
) -> float:
    """Return how many windows one false alarm of the whole monitor is worth.

    Args:
        false_alarm_every_s: Mean time between false alarms, from the manifest.
        seconds: Length of a window, or None where it is of events.
        events: Events of a window, or None.
        events_per_s: Rate at which events come; measured, or `NOMINAL_PER_S`.

    Raises:
        ValueError: Neither length is given.

    Examples:
        >>> windows_between(false_alarm_every_s=86_400, seconds=2, events=None)
        43200.0
    """
    if seconds is not None:
        return false_alarm_every_s / seconds
    if events is None:
        raise ValueError("expected seconds or events of a window")
    return false_alarm_every_s * events_per_s / events


def limits_for(windows: float, charts: int, *, rate: float = 1.0) -> ChartLimits:
    """Return the limits of each of `charts` charts, one false alarm in `windows` windows.

    Args:
        windows: From `windows_between`.
        charts: All charts of the monitor, >= 1; from `evaluate.charts_of`.
        rate: Incidents of the whole monitor in units of what this design says; 1: not known.

    Examples:
        >>> limits_for(1_000, 100).arl, limits_for(1_000, 100, rate=0.5).arl
        (100000.0, 50000.0)
    """
    arl = min(max(windows * max(charts, 1) * rate, LEAST_ARL), MOST_ARL)
    # limits are all but straight in the logarithm: charts that come and go need no new design
    low, part = _steps(arl)
    below, above = _designed(low), _designed(low + 1)
    return ChartLimits(
        ewma=below.ewma + part * (above.ewma - below.ewma),
        cusum=below.cusum + part * (above.cusum - below.cusum),
        arl=arl,
    )


def vector_limit(arl: float, dims: int) -> float:
    """Return the limit of an MEWMA's length, the root of T squared.

    Args:
        arl: Windows between two false alarms; as `ChartLimits.arl`.
        dims: Components.
    """
    low, part = _steps(min(max(arl, LEAST_ARL), MOST_ARL))
    below, above = _vector(low, dims), _vector(low + 1, dims)
    return below + part * (above - below)


def _steps(arl: float) -> tuple[int, float]:
    """Return the tenth of a decade below, and how far it lies beyond it."""
    tenths = round(log10(arl) * 10, 9)
    return floor(tenths), tenths - floor(tenths)


@lru_cache(maxsize=64)
def _designed(tenths: int) -> ChartLimits:
    arl = 10 ** (tenths / 10)
    return ChartLimits(
        ewma=design("ewma", arl, lam=LAMBDA, two_sided=True),
        cusum=design("cusum", arl, k=SLACK, two_sided=True),
        arl=arl,
    )


@lru_cache(maxsize=256)
def _vector(tenths: int, dims: int) -> float:
    arl = 10 ** (tenths / 10)
    if dims == 1:
        return design("ewma", arl, lam=LAMBDA, two_sided=True)
    return sqrt(design("mewma", arl, lam=LAMBDA, dims=dims))
