"""The optional step of a rollout that waits for a person: who, until when, and what it says."""

from dataclasses import replace
from typing import Final

from mlg.core.traffic import FULL_BP
from mlg.release.rollout_moves import Moved, hold, pause
from mlg.release.rollout_types import (
    ApprovalPlan,
    Approved,
    OperatorAct,
    RolloutFacts,
    RolloutState,
)

_ROLES: Final = frozenset(("viewer", "operator", "admin"))
_STEPS: Final = frozenset(("interleaving", "canary"))
_LOCAL: Final = "local:"
"""How the subject of a caller on loopback begins; his account's name follows."""


def may_approve(by: tuple[str, ...], subject: str, roles: tuple[str, ...]) -> bool:
    """Return whether a caller is one of those who may approve.

    Args:
        by: Names of people, with or without `local:`, and roles.
        subject: Who asks.
        roles: What he holds.

    Examples:
        >>> may_approve(("ada", "admin"), "local:ada", ())
        True
        >>> may_approve(("ada",), "local:bo", ("admin",))
        False
        >>> may_approve(("admin",), "local:admin", ("viewer",))  # a role's word is no name
        False
    """
    names = {subject, subject.removeprefix(_LOCAL)} - _ROLES
    held = _ROLES.intersection(roles)
    return any(one in names or one in held for one in by)


def awaited(state: RolloutState, step: int) -> ApprovalPlan | None:
    """Return the approval without which the rollout does not come to a step; None of none.

    A way back asks nobody.

    Args:
        state: Where it stands.
        step: Index of the step that it would come to.
    """
    plan, steps = state.plan.approval, state.plan.steps_bp
    if plan is None or state.approved or state.back:
        return None
    swap = state.stable is None or step >= len(steps) or steps[step] >= FULL_BP
    return plan if plan.before == "canary" or swap else None


def wait(state: RolloutState, facts: RolloutFacts, step: int) -> Moved | None:
    """Return the rollout held, or paused when nobody answered in time; None if it may go on.

    The time counts from when it began to wait in this phase, so going on after a pause gives
    it anew; as the requests tell it or by the machine's clock, whichever is longer.
    """
    plan = awaited(state, step)
    if plan is None:
        return None
    since = state.awaiting
    if since is None or since < state.since:
        since = facts.now
    waiting = replace(state, awaiting=since)
    what = "sees a viewer" if plan.before == "canary" else "has all of the traffic"
    reason = f"waits for approval before it {what}; may approve: {', '.join(plan.by)}"
    known = since.timestamp() > 0  # else nothing was asked before it began to wait
    waited_s = (facts.now - since).total_seconds() if known else 0.0
    if since == state.awaiting:  # the machine's seconds are of this wait
        waited_s = max(waited_s, facts.waited_s)
    if waited_s >= state.plan.max_hold_s:
        return pause(waiting, facts, f"no answer in {state.plan.max_hold_s:g} s: {reason}")
    return hold(waiting, facts, reason)


def needs(state: RolloutState, act: str) -> ApprovalPlan | None:
    """Return the approval that an act would give, so that only those listed may do it.

    `approve` gives it where the rollout waits for it, or would go on to what it is asked
    before; `promote` where it is asked before all of the traffic.
    """
    at, end = state.paused_from or state.phase, len(state.plan.steps_bp)
    if act == "promote":
        return awaited(state, end) if at in {*_STEPS, "promoting"} else None
    if act != "approve":
        return None
    if state.awaiting is not None:
        return awaited(state, end)
    paused = state.phase == "paused" and at in _STEPS
    return awaited(state, state.step + 1) if paused else None


def refusal(state: RolloutState, act: OperatorAct) -> str:
    """Return why a person may not do this, or nothing."""
    plan = needs(state, act.act)
    if plan is None or may_approve(plan.by, act.by, act.roles):
        return ""
    return f"{act.by} may not approve {state.candidate}; may approve: {', '.join(plan.by)}"


def approve(state: RolloutState, facts: RolloutFacts, act: OperatorAct) -> Moved:
    """Return the rollout approved by a person who may, and the command that records it."""
    plan = needs(state, act.act)
    if plan is None:
        return state, ()
    command = Approved(
        key=f"{state.id}:act:{act.id}:approved",
        by=act.by,
        before=plan.before,
        reason=act.reason,
        share_bp=state.share_bp,
        gates=facts.gates if facts.step == state.step else state.gates,
    )
    return replace(state, approved=act.by), (command,)
