"""What a rollout does when a person tells it something."""

from dataclasses import replace

from mlg.release.rollout_moves import Moved, move, next_step, roll_back
from mlg.release.rollout_types import (
    Notify,
    OperatorAct,
    Phase,
    RolloutFacts,
    RolloutState,
)

_PAUSABLE: frozenset[Phase] = frozenset(
    ("pending", "staging", "warming", "interleaving", "canary", "promoting")
)


def answer(state: RolloutState, facts: RolloutFacts, act: OperatorAct) -> Moved:
    """Return what a person's act makes of the rollout; one that does not fit is told so."""
    heard = replace(state, acts=(*state.acts, act.id))
    reason = f"{act.act} by {act.by}" + (f": {act.reason}" if act.reason else "")
    at = state.paused_from or state.phase
    moved: Moved | None = None
    if act.act == "rollback":
        moved = _take_back(heard, facts, reason, act.by)
    elif act.act == "pause" and state.phase in _PAUSABLE:
        moved = move(heard, facts, "paused", reason, by=act.by)
    elif act.act == "resume" and state.phase == "paused":
        moved = _resume(heard, facts, reason, act.by)
    elif act.act == "approve" and state.phase == "paused":
        if at in {"interleaving", "canary"}:
            moved = next_step(heard, facts, state.step + 1, reason, by=act.by)
        else:
            moved = _resume(heard, facts, reason, act.by)
    elif act.act == "promote" and at == "interleaving":
        steps = len(state.plan.steps_bp)
        moved = next_step(replace(heard, forced=True), facts, steps, reason, by=act.by)
    elif act.act == "promote" and at in {"canary", "promoting"}:
        moved = move(replace(heard, forced=True), facts, "promoting", reason, by=act.by)
    if moved is not None:
        return moved
    told = f"{act.act} changes nothing: the rollout of {state.candidate} is {state.phase}"
    return heard, (Notify(key=f"{state.id}:act:{act.id}", reason=told),)


def _resume(state: RolloutState, facts: RolloutFacts, reason: str, by: str) -> Moved:
    """Return the rollout where it was paused; the step's time begins again.

    One that was paused while it warmed up starts its versions again: starting is idempotent.
    """
    before = state.paused_from or "pending"
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
