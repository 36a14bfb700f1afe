"""What a rollout does when a person tells it something."""

from dataclasses import replace

from mlg.release import rollout_approval
from mlg.release.rollout_moves import Moved, move, next_step, roll_back
from mlg.release.rollout_staging import start_now
from mlg.release.rollout_types import (
    PAUSABLE,
    Notify,
    OperatorAct,
    RolloutFacts,
    RolloutState,
)


def answer(state: RolloutState, facts: RolloutFacts, act: OperatorAct) -> Moved:
    """Return what a person's act makes of the rollout; one that does not fit is told so."""
    heard = replace(state, acts=(*state.acts, act.id))
    refused = rollout_approval.refusal(state, act)
    if refused:
        return heard, (Notify(key=f"{state.id}:act:{act.id}", reason=refused),)
    heard, approved = rollout_approval.approve(heard, facts, act)
    moved_on, commands = _answer(heard, facts, act, approved=bool(approved))
    return moved_on, (*approved, *commands)


def _answer(
    heard: RolloutState, facts: RolloutFacts, act: OperatorAct, *, approved: bool
) -> Moved:
    state = heard
    reason = f"{act.act} by {act.by}" + (f": {act.reason}" if act.reason else "")
    at = state.paused_from or state.phase
    moved: Moved | None = None
    if act.act == "rollback":
        moved = _take_back(heard, facts, reason, act.by)
    elif act.act == "pause" and state.phase in PAUSABLE:
        moved = move(heard, facts, "paused", reason, by=act.by)
    elif act.act == "resume" and state.phase == "paused":
        moved = _resume(heard, facts, reason, act.by)
    elif act.act == "approve" and (at == "scheduled" or state.phase == "paused"):
        moved = _approved(heard, facts, reason, act.by)
    elif act.act == "approve" and approved:
        return heard, ()  # it goes on at its next look, by what is so then
    elif act.act == "promote" and at in {"interleaving", "canary", "promoting"}:
        moved = _promoted(heard, facts, reason, act.by)
    if moved is not None:
        return moved
    told = f"{act.act} changes nothing: the rollout of {state.candidate} is {state.phase}"
    return heard, (Notify(key=f"{state.id}:act:{act.id}", reason=told),)


def _approved(state: RolloutState, facts: RolloutFacts, reason: str, by: str) -> Moved:
    """Return the rollout further than its evidence brought it: a person answers for it."""
    at = state.paused_from or state.phase
    if at == "scheduled":
        return start_now(state, facts, reason, by)
    if at in {"interleaving", "canary"}:
        return next_step(state, facts, state.step + 1, reason, by=by)
    return _resume(state, facts, reason, by)


def _promoted(state: RolloutState, facts: RolloutFacts, reason: str, by: str) -> Moved:
    """Return the rollout on its way to all of the traffic without further steps."""
    forced = replace(state, forced=True)
    if (state.paused_from or state.phase) == "interleaving":
        return next_step(forced, facts, len(state.plan.steps_bp), reason, by=by)
    return move(forced, facts, "promoting", reason, by=by)


def _resume(state: RolloutState, facts: RolloutFacts, reason: str, by: str) -> Moved:
    """Return the rollout where it was paused; the step's time begins again.

    One that was paused while it warmed up starts its versions again: starting is idempotent.
    """
    before = state.paused_from or "pending"
    if before == "scheduled":
        state = replace(state, windows_missed=0, window_opens=None)
    if before == "warming":
        before = "pending" if not state.plan.staging else "staging"
    return move(state, facts, before, reason, by=by)


def _take_back(state: RolloutState, facts: RolloutFacts, reason: str, by: str) -> Moved | None:
    """Return the way back, or None where there is none.

    The first version serves already, or this is itself a way back: undoing it would bring
    back what was wrong.
    """
    if state.back or (state.phase == "swapped" and state.stable is None):
        return None
    return roll_back(state, facts, reason, by=by)
