"""How a rollout comes to its staging: at once, at the next window, or when a person says so.

pending → scheduled → staging, and back to scheduled when the window closes on the tests
scheduled → paused after some windows were missed, or when none ever opens
"""

from dataclasses import replace

from mlg.release.rollout_moves import Moved, hold, move, pause
from mlg.release.rollout_types import (
    Notify,
    Retire,
    RolloutFacts,
    RolloutState,
    StartStaging,
)
from mlg.release.staging_window import MISSED_MOST, Opening


def to_staging(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Return the rollout in its staging, or waiting for the window.

    A window that went by while nobody looked, or nothing was allowed, is missed; within
    one that is open it begins at once, however late.
    """
    opening = facts.window
    if state.plan.window is None or state.waived:
        return _begin(state, facts, "the battery of tests runs")
    if opening is None:
        return hold(state, facts, "the wall time is not known, and staging has a window")
    if opening.is_open:
        waited = f"its window {state.plan.window.words} is open; " if state.scheduled_at else ""
        return _begin(state, facts, f"{waited}the battery of tests runs")
    if state.phase != "scheduled":
        words = _waits(state, opening)
        first = replace(state, scheduled_at=opening.at, window_opens=opening.opens)
        return move(first, facts, "scheduled", words)
    return _wait(state, facts, opening)


def start_now(state: RolloutState, facts: RolloutFacts, reason: str, by: str) -> Moved:
    """Return the rollout in its staging, as a person said, outside of the window."""
    waived = replace(state, waived=True)
    return move(waived, facts, "staging", reason, StartStaging(version=state.candidate), by=by)


def cut_off(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Return the rollout waiting again: the window closed before the tests were done."""
    missed = state.windows_missed + 1
    reason = f"staging INCONCLUSIVE: {facts.staging_reason}; it waits for the next window"
    again = replace(state, windows_missed=missed, window_opens=None)
    if state.scheduled_at is None and facts.window is not None:
        again = replace(again, scheduled_at=facts.window.at)
    return move(
        again,
        facts,
        "scheduled",
        reason,
        Retire(label=state.candidate),
        Notify(reason=f"{state.service}: {reason}"),
    )


def _begin(state: RolloutState, facts: RolloutFacts, reason: str) -> Moved:
    begun = replace(state, window_opens=None)
    return move(begun, facts, "staging", reason, StartStaging(version=state.candidate))


def _wait(state: RolloutState, facts: RolloutFacts, opening: Opening) -> Moved:
    awaited = state.window_opens
    waiting = replace(state, window_opens=opening.opens)
    if awaited is not None and awaited <= opening.at and awaited != opening.opens:
        missed = state.windows_missed + 1
        told = f"the window of {awaited:%Y-%m-%dT%H:%MZ} went by, and nothing ran in it"
        key = f"{state.id}:{state.seq}:missed:{missed}"
        held, _ = hold(replace(waiting, windows_missed=missed), facts, told)
        return held, (Notify(key=key, reason=f"{state.service}: {told}"),)
    if opening.opens is None:
        return pause(waiting, facts, f"staging never begins: {opening.why}; {_REMEDY}")
    if state.windows_missed >= MISSED_MOST:
        why = f"{state.windows_missed} windows of staging went by without a verdict"
        return pause(waiting, facts, f"{why}; {_REMEDY}")
    return hold(waiting, facts, _waits(waiting, opening))


def _waits(state: RolloutState, opening: Opening) -> str:
    """Return what it waits for, and until when."""
    if opening.opens is None:
        return f"staging waits: {opening.why}"
    window = state.plan.window.words if state.plan.window else "always"
    missed = f"; {state.windows_missed} missed" if state.windows_missed else ""
    return f"staging waits for its window {window}: {opening.why}{missed}"


_REMEDY = "`mlg rollout approve` tests now, `mlg rollout resume` waits on"
