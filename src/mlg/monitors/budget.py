"""How far a chart may go: limits from how often the whole monitor may be wrong.

The manifest's `false_alarms: 1/30d` is a budget over *all* charts of a monitor. Each chart
gets the same part of it as an average run length in windows. Two charts watch each statistic
and statistics go together, so dividing by their number is on the safe side; persistence and
the floor on effects are not counted on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, pi, sqrt
from typing import Final, cast

import numpy as np
from scipy.optimize import brentq

LEAST_ARL: Final = 500.0
"""No chart is designed for fewer windows between false alarms, however small the budget."""

MOST_ARL: Final = 1e8

_LAMBDA: Final = 0.1
_SLACK: Final = 0.25
_NODES: Final = 81

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
    arl = float(10 ** (np.ceil(np.log10(arl) * 10) / 10))
    return _designed(arl)


@lru_cache(maxsize=64)
def _designed(arl: float) -> ChartLimits:
    return ChartLimits(ewma=_ewma(arl), cusum=_cusum(arl), arl=arl)


def _ewma(arl: float) -> float:
    """Return the two-sided EWMA's limit, by Gauss-Legendre quadrature of its integral equation.

    Source:
        S. V. Crowder (1987), Technometrics 29(4):401-407.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)

    def excess(limit: float) -> float:
        reach = limit * sqrt(_LAMBDA / (2 - _LAMBDA))
        x = reach * nodes
        gap = (x[None, :] - (1 - _LAMBDA) * x[:, None]) / _LAMBDA
        kernel = np.exp(-0.5 * gap**2) / (sqrt(2 * pi) * _LAMBDA) * reach * weights
        run = np.linalg.solve(np.eye(_NODES) - kernel, np.ones(_NODES))
        return log(float(run[_NODES // 2])) - log(arl)

    return _root(excess, 2.0, 7.0)


def _cusum(arl: float) -> float:
    """Return the two-sided CUSUM's limit, by Siegmund's approximation (1 % off).

    Source:
        D. Siegmund (1985), Sequential Analysis, eq. 2.57.
    """
    drift = 2 * _SLACK

    def excess(limit: float) -> float:
        b = drift * (limit + 1.166)
        return log((exp(b) - b - 1) / (2 * _SLACK**2)) - log(2 * arl)

    return _root(excess, 3.0, 60.0)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    return float(cast("float", brentq(f, low, high, xtol=1e-4)))
