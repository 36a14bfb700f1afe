"""How long a silent process is waited for, and when one that ended may be started again."""

from dataclasses import dataclass
from typing import Final

FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 30.0
LOOP_CRASHES: Final = 5
LOOP_WINDOW_S: Final = 60.0
LOOP_DELAY_S: Final = 60.0
"""Between two tries once the verdict is given."""
PROVEN_S: Final = 60.0
"""A group that was whole and ready for so long, without a crash, is as good as new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a process may be silent before it counts as hung, in seconds."""

    starting_s: float = 120.0
    silent_s: float = 10.0


PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """The crashes of one group of processes."""

    crashes_s: tuple[float, ...] = ()
    """Times of the crashes of the last `LOOP_WINDOW_S`."""
    failures: int = 0
    """Crashes since a process of the group last proved itself."""
    not_before_s: float = 0.0
    """No start before this time."""
    looping: bool = False


def crashed(history: Restarts, now_s: float) -> tuple[Restarts, bool]:
    """Return the history with one more crash, and whether it has just become a crash loop.

    The delay is 1 s, doubling to 30 s; from the fifth crash within a minute 60 s.

    Examples:
        >>> history, _ = crashed(Restarts(), 100.0)
        >>> crashed(history, 101.0)[0].not_before_s
        103.0
    """
    recent = (*(at for at in history.crashes_s if now_s - at < LOOP_WINDOW_S), now_s)
    looping = history.looping or len(recent) >= LOOP_CRASHES
    delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(history.failures, 10))
    return (
        Restarts(
            crashes_s=recent,
            failures=history.failures + 1,
            not_before_s=max(
                history.not_before_s, now_s + (LOOP_DELAY_S if looping else delay_s)
            ),
            looping=looping,
        ),
        looping and not history.looping,
    )


def proven(history: Restarts, now_s: float, ready_s: float) -> Restarts:
    """Return the history after a look at a whole group: empty once it proved itself.

    Args:
        history: The group's crashes.
        now_s: Time of the look.
        ready_s: How long the youngest of the group has been ready, in seconds.
    """
    quiet_s = now_s - max(history.crashes_s, default=-PROVEN_S)
    return Restarts() if min(quiet_s, ready_s) >= PROVEN_S else history
