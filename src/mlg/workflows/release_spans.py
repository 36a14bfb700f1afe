"""How often a rollout is looked at, and how many of its looks are one durable step."""

from typing import Final

from mlg.release.rollout_types import Phase
from mlg.workflows.rollouts import Look

LOOK_EVERY_S: Final = 0.5
CANARY_EVERY_S: Final = 0.1
"""The same while a canary has viewers: a bad one must be gone within a second."""
QUIET_EVERY_S: Final = 2.0
"""The same where nothing hurries: waiting for a turn, or while the old version is warm."""
SPAN_LEAST_S: Final = 2.0
"""How long one durable look lasts when nothing happens, while its phase or step is young."""
SPAN_MOST_S: Final = 60.0
_AGE: Final = 10.0
"""An old one lasts a tenth of the age: a day of waiting is some 1,500 rows, and not 43,200."""

_QUIET: Final = frozenset(("swapped", "paused"))
_LONG: Final = frozenset(("interleaving", "canary", "promoting", *_QUIET))
"""Phases that may last: for traffic, for a person, for a turn, for a time."""


def every_s(phase: Phase) -> float:
    """Return the seconds between two looks at a rollout in a phase.

    Examples:
        >>> every_s("canary"), every_s("warming"), every_s("paused")
        (0.1, 0.5, 2.0)
    """
    if phase == "canary":
        return CANARY_EVERY_S
    return QUIET_EVERY_S if phase in _QUIET else LOOK_EVERY_S


def span_s(phase: Phase, age_s: float) -> float:
    """Return for how many seconds looks are one durable step, if nothing is to do.

    Args:
        phase: Where the rollout stands.
        age_s: Seconds since the phase, or the step, began.

    Examples:
        >>> span_s("canary", 5.0), span_s("canary", 300.0), span_s("canary", 86_400.0)
        (2.0, 30.0, 60.0)
        >>> span_s("warming", 300.0)
        0.0
    """
    if phase not in _LONG:
        return 0.0
    return min(SPAN_MOST_S, max(SPAN_LEAST_S, age_s / _AGE))


def must_keep(before: Look, after: Look) -> bool:
    """Return whether looks found where counting begins, or a wait for a person began.

    That is kept at once: after a crash nothing may be counted from later.
    """

    def begun(look: Look) -> tuple[object, ...]:
        return (look.mark or {}).get("step"), look.drafts is None, look.state.awaiting

    return begun(before) != begun(after)
