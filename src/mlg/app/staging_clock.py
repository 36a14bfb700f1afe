"""Whether staging may run now: the plan's window, and the calendar of the manifest in force.

The calendar is read anew at each look, so that a day that is taken out of it opens at once.
"""

from datetime import datetime

from mlg.manifest.specs import ManifestSpec
from mlg.release.rollout_types import RolloutState
from mlg.release.staging_window import Opening, closed_by, opening_at


def opening_now(
    spec: ManifestSpec | None, state: RolloutState, now: datetime
) -> Opening | None:
    """Return the opening that holds now, or the next one; None where nothing waits for it.

    Args:
        spec: The manifest in force.
        state: The rollout.
        now: Wall time.
    """
    window = state.plan.window
    if window is None or state.phase not in {"pending", "scheduled", "staging", "paused"}:
        return None
    calendar = spec.calendar if spec is not None else ()
    return opening_at(window, closed_by(calendar, state.service, window.timezone), now)
