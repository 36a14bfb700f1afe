"""How far a chart may go: limits from how often the whole monitor may be wrong.

The manifest's `false_alarms: 1/30d` is a budget over *all* charts of a monitor. Each chart
gets the same part of it as an average run length in windows. Two charts watch each statistic
and statistics go together, so dividing by their number is on the safe side; persistence and
the floor on effects are not counted on.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log10
from typing import Final

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


def limits_for(windows: float, charts: int) -> ChartLimits:
    """Return the limits of each of `charts` charts, one false alarm in `windows` windows.

    Args:
        windows: From `windows_between`.
        charts: All charts of the monitor, >= 1; from `evaluate.charts_of`.
    """
    arl = min(max(windows * max(charts, 1), LEAST_ARL), MOST_ARL)
    # a tenth of a decade is 0.02 in a limit: charts that come and go need no new design
    arl = float(10 ** (ceil(log10(arl) * 10) / 10))
    return _designed(arl)


@lru_cache(maxsize=64)
def _designed(arl: float) -> ChartLimits:
    return ChartLimits(
        ewma=design("ewma", arl, lam=LAMBDA, two_sided=True),
        cusum=design("cusum", arl, k=SLACK, two_sided=True),
        arl=arl,
    )
