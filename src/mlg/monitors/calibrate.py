"""How often the monitor would be wrong at nearer limits: what its design left out, measured.

The charts of one statistic go together, statistics go together, a signal must persist, small
changes page nobody, limits allow for what is not known, and rests are not quite what the
design takes them for. Each changes how often a page comes, none by a known factor. So the
monitor counts, on its own quiet windows, how often incidents would open at limits so near that
it happens often, and compares that with what the design says of these limits. The same factor
corrects the real ones, which are a little further out.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from mlg.monitors.lasting import AWAY, COOL_DOWN, QUIET

PRIOR: Final = 0.2
"""Incidents in units of those designed for, where nothing was counted."""

WEIGHT: Final = 1.0
"""Incidents that the prior is worth."""

LEAST: Final = 1e-3
MOST: Final = 4.0
"""The factor stays within these, whatever was counted."""

NEAREST: Final = 48.0
"""Windows between incidents at the near limits, at least: they must come one by one."""

NEARER: Final = 16.0
"""How much more often incidents come at the near limits, at most."""

LASTS: Final = 256.0
"""Incidents after which the oldest counts fade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was counted of one monitor; goes through msgspec both ways."""

    opened: float = 0.0
    designed: float = 0.0
    """Incidents that the design of the near limits says of the windows counted."""
    open: bool = False
    quiet: int = 0
    names: tuple[str, ...] = ()
    """Statistics of the one that is open, or closed last, as `stream/metric`; at most 200."""
    cooling: int = 0
    away: int = 0
    """Windows of other streams since one of its own: a version may answer no more."""

    @property
    def rate(self) -> float:
        """Incidents opened in units of those designed for.

        Examples:
            >>> Calibration().rate, Calibration(opened=19.0, designed=30.0).rate
            (0.2, 0.57143)
        """
        found = (WEIGHT + self.opened) / (WEIGHT / PRIOR + self.designed)
        return min(max(round(found, 5), LEAST), MOST)


def near(windows: float) -> float:
    """Return the windows that should lie between two incidents at the near limits.

    Examples:
        >>> near(144.0), near(1_296_000.0), near(10.0)
        (48.0, 81000.0, 10.0)
    """
    return min(max(windows / NEARER, NEAREST), windows)


def counted(
    calibration: Calibration, stream: str, close: Collection[str], designed: float
) -> Calibration:
    """Return the counts after one quiet window of one stream.

    Args:
        calibration: Before.
        stream: Whose window it was.
        close: Statistics that would signal at the near limits, and be worth a page.
        designed: Incidents that the design says of one such window of this stream.
    """
    names = {f"{stream}/{metric}" for metric in close}
    if calibration.open:
        mine = any(name.startswith(f"{stream}/") for name in calibration.names)
        quiet = 0 if names else calibration.quiet + mine
        away = 0 if mine or names else calibration.away + 1
        if quiet >= QUIET or away >= AWAY:
            return replace(calibration, open=False, quiet=0, away=0, cooling=COOL_DOWN)
        joined = tuple(sorted({*calibration.names, *names}))[:200]
        return replace(calibration, quiet=quiet, away=away, names=joined)
    again = bool(calibration.cooling) and names <= set(calibration.names)
    after = replace(
        calibration,
        designed=calibration.designed + designed,
        cooling=max(calibration.cooling - 1, 0),
    )
    if after.opened > LASTS:
        after = replace(after, designed=after.designed / 2, opened=after.opened / 2)
    if not names or again:
        return after
    return replace(
        after, opened=after.opened + 1, open=True, quiet=0, names=tuple(sorted(names))[:200]
    )
