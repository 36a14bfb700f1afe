"""Waves of the day and the week as regressors, and which of them a stretch of time can tell.

The first columns are the level, then the day and its half; with four weeks come the week, its
half and third, and the sidebands that let a day's shape change over the week. Each stage is a
prefix of the next, so sums over all columns serve every stage.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S

CYCLES_A_WEEK: Final = (7, 14, 1, 2, 3, 6, 8, 13, 15)
"""Waves in the order of their columns, two columns each."""

LEVEL: Final = 1
DAILY: Final = 5
WEEKLY: Final = 1 + 2 * len(CYCLES_A_WEEK)
"""Columns in use: the level alone, with the day, with the week."""

DAYS: Final = 2.0
WEEKS: Final = 4.0
"""Stretch from which the day's waves, and the week's, are told from a trend."""

WINDOWS_A_DAY: Final = 8
"""Coarser windows cannot show the day's second wave."""

Floats = NDArray[np.float64]


def waves(at_s: Floats, columns: int = WEEKLY) -> Floats:
    """Return the regressors of some times, shape ``(n, columns)``.

    Args:
        at_s: Seconds since 1970, shape ``(n,)``.
        columns: `LEVEL`, `DAILY` or `WEEKLY`.

    Examples:
        >>> waves(np.array([0.0, 21_600.0]), DAILY).round(3).tolist()
        [[1.0, 0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0, -1.0]]
    """
    turns = (at_s % WEEK_S) / WEEK_S
    angle = 2 * np.pi * turns[:, None] * np.array(CYCLES_A_WEEK)[: (columns - 1) // 2]
    found = np.ones((len(at_s), columns))
    found[:, 1::2], found[:, 2::2] = np.sin(angle), np.cos(angle)
    return found


def columns_for(span_s: float, step_s: float) -> int:
    """Return how many columns a stretch of windows can tell apart.

    Args:
        span_s: From the first window to the last, in seconds.
        step_s: Usual time between windows, in seconds; 0 or less where it is not known.

    Examples:
        >>> [columns_for(days * DAY_S, 600.0) for days in (1, 2, 28)]
        [1, 5, 19]
        >>> columns_for(60 * DAY_S, DAY_S)  # a window a day shows no hour
        1
    """
    if not 0 < step_s <= DAY_S / WINDOWS_A_DAY or span_s < DAYS * DAY_S:
        return LEVEL
    return WEEKLY if span_s >= WEEKS * WEEK_S else DAILY
