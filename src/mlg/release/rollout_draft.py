"""The phase in which a rollout interleaves lists: a sensitive look before the canary.

It can stop a version that viewers take less of, soon and at a small share. It is no judge
of everything else: what it cannot show, the canary's gates must.
"""

from mlg.core.traffic import FULL_BP
from mlg.release import rollout_approval
from mlg.release.rollout_moves import (
    Moved,
    hold,
    interleave,
    next_step,
    pause,
    waited_s,
    wanted_shares,
)
from mlg.release.rollout_types import (
    InterleavePlan,
    RolloutFacts,
    RolloutState,
    interleaved_label,
)
from mlg.release.verdicts import named


def before_steps(state: RolloutState, facts: RolloutFacts, plan: InterleavePlan) -> Moved:
    """Return the warm rollout as it shows its first interleaved lists, or as it waits."""
    fallen = _fallen(state, facts)
    if fallen:
        return _without(state, facts, plan, fallen)
    label = interleaved_label(state.candidate)
    if label not in facts.ready:
        return hold(state, facts, f"{label} not warm yet")
    return interleave(state, facts, plan.share_bp, "warm")


def interleaving(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Return the rollout after one look at the votes; a FAIL was answered before.

    Raises:
        ValueError: The plan has no such phase.
    """
    plan = state.plan.interleave
    if plan is None:
        raise ValueError(f"the plan of {state.id} interleaves nothing")
    if fallen := _fallen(state, facts):
        return _without(state, facts, plan, fallen)
    overdue = waited_s(state, facts) >= plan.max_hold_s
    if lacking := _lacking(state, facts):
        if overdue:
            return pause(state, facts, f"nothing counted in {plan.max_hold_s:g} s: {lacking}")
        return hold(state, facts, lacking)
    lacking = named(g for g in facts.gates if g.verdict != "PASS")
    if facts.units < plan.min_viewers:
        lacking = f"{facts.units} of {plan.min_viewers} votes" + (
            f"; {lacking}" if lacking else ""
        )
    if not lacking:
        waits = rollout_approval.wait(state, facts, 0)
        return waits or next_step(state, facts, 0, named(facts.gates))
    if not overdue:
        return hold(state, facts, lacking)
    return _without(state, facts, plan, f"no verdict in {plan.max_hold_s:g} s: {lacking}")


def _without(state: RolloutState, facts: RolloutFacts, plan: InterleavePlan, why: str) -> Moved:
    """Return the rollout without a verdict: the canary judges, if there is one."""
    if plan.required:
        return pause(state, facts, f"interleaving is required: {why}")
    if state.plan.steps_bp[0] >= FULL_BP:
        return pause(state, facts, f"nothing but interleaving judges it: {why}")
    waits = rollout_approval.wait(state, facts, 0)
    reason = f"interleaving INCONCLUSIVE, the canary judges: {why}"
    return waits or next_step(state, facts, 0, reason)


def _fallen(state: RolloutState, facts: RolloutFacts) -> str:
    """Return why the group that interleaves does not run, or nothing."""
    label = interleaved_label(state.candidate)
    found = next((f.reason for f in facts.fallen if f.label == label), None)
    return "" if found is None else f"{label} does not run: {found}"


def _lacking(state: RolloutState, facts: RolloutFacts) -> str:
    """Return which facts are missing, in words, or nothing."""
    if facts.shares != wanted_shares(state):
        return "the gateway does not show the split yet"
    if not facts.fresh:
        return "no fresh metrics"
    if facts.step != state.step or not facts.gates:
        return "no votes of this phase are counted yet"
    return ""
