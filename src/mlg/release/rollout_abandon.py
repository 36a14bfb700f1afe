"""The end of a rollout that nobody can follow any more."""

from dataclasses import replace

from mlg.core.traffic import FULL_BP
from mlg.release.rollout_moves import Moved, move, retired, roll_back
from mlg.release.rollout_types import (
    ENDED,
    Call,
    Retire,
    RolloutFacts,
    RolloutState,
    control_label,
)


def abandon(state: RolloutState, reason: str) -> Moved:
    """Return the rollout ended in one go, with a call for a person.

    A version that has everything keeps it; one that has less gives it back, and may come
    again, as nothing was shown against it. An end is left alone.

    Args:
        state: The last that is known.
        reason: What failed.
    """
    if state.phase in ENDED:
        return state, ()
    facts = RolloutFacts(now=state.since)  # what failed may be what tells the time
    reason = f"it could not go on: {reason}"
    if state.share_bp == FULL_BP:
        call = Call(reason=f"{state.service}: rollout of {state.candidate}: {reason}")
        labels = [control_label(state.stable or "")] if state.control else []
        labels += [state.stable] if state.stable else []
        left = [Retire(label=label) for label in labels]
        return move(replace(state, control=False), facts, "done", reason, *left, call)
    commands = ()
    if state.phase != "rolling_back":
        state, commands = roll_back(state, facts, reason, rejects=False)
        if state.phase in ENDED:
            return state, commands
    whole = replace(state, control=False, interleaved=False)
    moved, ending = move(whole, facts, "rolled_back", state.reason, *retired(state))
    return moved, (*commands, *ending)
