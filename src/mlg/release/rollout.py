"""How a new version takes over, step by step on evidence: pure decisions.

`step` makes at most one transition. It is asked again and again with what is known then;
the same facts asked again give no command twice, because the state has moved on. A fact
that is missing holds the rollout: nothing is promoted on silence.

    pending → (scheduled →) staging → warming → interleaving (if the plan has it)
    → canary (step 0, 1, …) → promoting → swapped → done
    from interleaving on: → paused (and back), → rolling_back → rolled_back; before it: → failed

The way back to a version that served before is a rollout too, without tests and gates:
pending → warming → promoting → swapped → done, or failed when that version does not start.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mlg.core.clock import rfc3339
from mlg.core.traffic import FULL_BP, Share
from mlg.release import rollout_approval
from mlg.release.rollout_acts import answer
from mlg.release.rollout_draft import before_steps, interleaving
from mlg.release.rollout_moves import (
    Moved,
    go_back,
    hold,
    move,
    next_step,
    pause,
    retired,
    roll_back,
    waited_s,
    wanted_shares,
)
from mlg.release.rollout_staging import cut_off, to_staging
from mlg.release.rollout_status import RolloutStatus, explain, status
from mlg.release.rollout_swapped import swapped
from mlg.release.rollout_types import (
    ENDED,
    KeepWarm,
    Notify,
    Phase,
    Promote,
    RolloutCommand,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    SetShares,
    StartVersions,
    VersionStart,
    control_label,
    interleaved_label,
)
from mlg.release.verdicts import GateResult, named

__all__ = [
    "RolloutStatus",
    "begin",
    "begin_back",
    "explain",
    "status",
    "step",
    "swap_waits_until",
]

_HOUR: Final = timedelta(hours=1)


def begin(
    id: str,  # noqa: A002
    service: str,
    candidate: str,
    stable: str | None,
    plan: RolloutPlan,
    now: datetime,
) -> RolloutState:
    """Return the state of a rollout that has not begun.

    Args:
        id: Name of the rollout; part of every command's key.
        service: The service.
        candidate: Version that comes.
        stable: Version at 100 % now; None if there is none.
        plan: How it takes over.
        now: Event time.

    Raises:
        ValueError: The candidate serves already.
    """
    if candidate == stable:
        raise ValueError(f"{candidate!r} serves {service!r} already")
    return RolloutState(
        id=id, service=service, candidate=candidate, stable=stable, plan=plan, since=now
    )


def begin_back(
    id: str,  # noqa: A002
    service: str,
    former: str,
    left: str,
    now: datetime,
    reason: str,
) -> RolloutState:
    """Return the state of a way back that has not begun: one step, no tests, no gates.

    Args:
        id: Name of the rollout; part of every command's key.
        service: The service.
        former: Version that served at 100 % before.
        left: Version that serves now, and is taken back.
        now: Event time.
        reason: Why, in words.

    Raises:
        ValueError: The former version serves already, or no reason is given.
    """
    if not reason:
        raise ValueError(f"the way back to {former!r} needs a reason")
    return replace(begin(id, service, former, left, RolloutPlan(), now), back=reason)


def step(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Return the state after one look, and what to do, in order.

    A failed gate goes before everything a person said but a rollback; a freeze stops
    everything that nobody said but a rollback.

    Args:
        state: What the last step returned.
        facts: What is so.
    """
    if state.phase in ENDED:
        return state, ()
    queued, told = _queue(state, facts)
    moved, commands = _decide(queued, facts)
    return moved, (*told, *commands)


def swap_waits_until(plan: RolloutPlan, facts: RolloutFacts) -> datetime | None:
    """Return until when the next swap must wait, or None when it may happen now.

    Counted over the hour that ends now, both ends included, so no sliding hour ever has
    more swaps than the plan allows. Swaps from the future (a clock that was set back) count.
    """
    recent = sorted(at for at in facts.swaps if facts.now - at <= _HOUR)
    if len(recent) < plan.swaps_per_hour:
        return None
    return recent[-plan.swaps_per_hour] + _HOUR


def _queue(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Let a newer version wait; of those that wait the newest is kept."""
    arrived = facts.arrived
    if arrived is None or arrived in {state.candidate, state.waiting}:
        return state, ()
    told = f"{arrived} waits until the rollout of {state.candidate} is over"
    if state.waiting:
        told += f"; {state.waiting} is superseded"
    key = f"{state.id}:arrived:{arrived}"
    return replace(state, waiting=arrived), (Notify(key=key, reason=told),)


def _decide(state: RolloutState, facts: RolloutFacts) -> Moved:
    if state.phase == "rolling_back":
        return _rolling_back(state, facts)
    fault = _fault(state, facts)
    act = next((act for act in facts.acts if act.id not in state.acts), None)
    if act is not None and (not fault or act.act == "rollback"):
        return answer(state, facts, act)
    if fault:
        return roll_back(state, facts, fault)
    if state.phase == "paused":
        return _paused(state, facts)
    if facts.frozen and not state.back and not (state.forced and state.phase == "promoting"):
        return hold(state, facts, "frozen: nothing goes on without a person")
    return _HANDLERS[state.phase](state, facts)


def _fault(state: RolloutState, facts: RolloutFacts) -> str:
    """Return why the candidate must go, or nothing."""
    if state.phase == "swapped" and (state.stable is None or state.back):
        # nothing to go back to: the popularity list rescues the first version, and what a
        # way back has left is what was wrong
        return ""
    fallen = [f for f in facts.fallen if f.label == state.candidate]
    if fallen:
        return f"{state.candidate} does not run: {fallen[0].reason}"
    if state.phase == "swapped":
        return named(g for g in facts.watch if g.verdict == "FAIL")
    if state.share_bp:
        return named(g for g in facts.gates if g.verdict == "FAIL")
    return ""


def _pending(state: RolloutState, facts: RolloutFacts) -> Moved:
    if state.candidate in facts.rejected and not state.back:
        return move(
            state, facts, "failed", "it was rolled back before and nothing about it changed"
        )
    if state.plan.staging:
        return to_staging(state, facts)
    return _warm(state, facts, state.back or "no staging is asked for")


def _staging(state: RolloutState, facts: RolloutFacts) -> Moved:
    if facts.staging is None:
        return hold(state, facts, "the battery of tests runs")
    if facts.staging_cut and facts.staging == "INCONCLUSIVE":
        return cut_off(state, facts)
    if facts.staging == "PASS":
        return _warm(state, facts, facts.staging_reason or "staging passed")
    reason = f"staging {facts.staging}: {facts.staging_reason or 'no reason given'}"
    return move(state, facts, "failed", reason, Notify(reason=reason))


def _warm(state: RolloutState, facts: RolloutFacts, reason: str) -> Moved:
    starts = [VersionStart(label=state.candidate, version=state.candidate)]
    control = state.stable is not None and state.plan.steps_bp[0] < FULL_BP
    if control and state.stable:
        label = control_label(state.stable)
        starts.append(VersionStart(label=label, version=state.stable))
    drafts = state.stable is not None and state.plan.interleave is not None
    if drafts and state.stable:
        label = interleaved_label(state.candidate)
        both = VersionStart(label=label, version=state.candidate, beside=state.stable)
        starts.append(both)
    moved = replace(state, control=control, interleaved=drafts)
    return move(moved, facts, "warming", reason, StartVersions(versions=tuple(starts)))


def _warming(state: RolloutState, facts: RolloutFacts) -> Moved:
    labels = [state.candidate]
    if state.control and state.stable:
        labels.append(control_label(state.stable))
    cold = [label for label in labels if label not in facts.ready]
    if cold and _control_fallen(state, facts):
        return pause(state, facts, "the control group does not run")
    if cold:
        return hold(state, facts, f"{' and '.join(cold)} not warm yet")
    if waits := rollout_approval.wait(state, facts, 0):
        return waits
    if state.stable is None:
        return move(state, facts, "promoting", "the first version has nothing to win against")
    if state.interleaved and state.plan.interleave is not None:
        return before_steps(state, facts, state.plan.interleave)
    return next_step(state, facts, 0, "warm")


def _canary(state: RolloutState, facts: RolloutFacts) -> Moved:
    plan = state.plan
    overdue = waited_s(state, facts) >= plan.max_hold_s
    if _control_fallen(state, facts):
        return pause(state, facts, "the control group does not run")
    if facts.shares != wanted_shares(state):
        lacking = "the gateway does not show the split yet"
    else:
        lacking = _lacking(state, facts)
    if not lacking:
        errors = [g for g in facts.gates if g.verdict == "ERROR"]
        if errors:
            return pause(state, facts, named(errors))
        lacking = _open(state, facts)
    if not lacking and (waits := rollout_approval.wait(state, facts, state.step + 1)):
        return waits
    if not lacking:
        return next_step(state, facts, state.step + 1, _evidence(facts))
    if overdue:
        return pause(state, facts, f"no verdict in {plan.max_hold_s:g} s: {lacking}")
    return hold(state, facts, lacking)


def _lacking(state: RolloutState, facts: RolloutFacts) -> str:
    """Return which metrics are missing, in words, or nothing."""
    if not facts.fresh:
        return "no fresh metrics"
    if facts.step != state.step:
        return "no metrics of this step yet"
    spoken = {gate.name for gate in facts.gates}
    silent = [g for g in state.plan.required(state.share_bp) if g not in spoken]
    return f"no metrics for {', '.join(silent)}" if silent else ""


def _open(state: RolloutState, facts: RolloutFacts) -> str:
    """Return what the step still waits for, or nothing when its evidence is in."""
    if facts.units < state.plan.min_units:
        return f"{facts.units} of {state.plan.min_units} sticky units"
    return named(g for g in facts.gates if g.verdict != "PASS" and not _excused(g))


def _excused(gate: GateResult) -> bool:
    """Whether the rollout may rest on the others: too few viewers for this gate."""
    return gate.verdict == "INCONCLUSIVE" and gate.engagement and not gate.supported


def _evidence(facts: RolloutFacts) -> str:
    passed = ", ".join(g.name for g in facts.gates if g.verdict == "PASS")
    excused = [g for g in facts.gates if _excused(g)]
    words = f"{facts.units} sticky units; {passed or 'no gate'} PASS"
    return f"{words}; rests on these, as {named(excused)}" if excused else words


def _paused(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Wait for a person; one who was called and does not come must not hold replicas forever.

    The version was not shown to be bad, so it may come again. A person's own pause stays.
    """
    if state.paused_until is None or waited_s(state, facts) < state.plan.max_pause_s:
        return state, ()
    reason = f"nobody answered in {state.plan.max_pause_s:g} s: {state.reason}"
    return roll_back(state, facts, reason, rejects=False)


def _promoting(state: RolloutState, facts: RolloutFacts) -> Moved:
    if state.candidate not in facts.ready:
        return hold(state, facts, f"{state.candidate} is not warm")
    if state.back:
        return go_back(state, facts)
    judged = state.share_bp > 0 and not state.forced
    if judged and not facts.fresh:
        return hold(state, facts, "no fresh metrics")
    errors = [g for g in facts.gates if g.verdict == "ERROR"]
    if judged and errors:
        return pause(state, facts, named(errors))
    until = swap_waits_until(state.plan, facts)
    if until is not None:
        limit = f"{state.plan.swaps_per_hour} swaps in the last hour are the most"
        reason = f"{limit}; the next may happen after {rfc3339(until)}"
        if max(facts.swaps) > facts.now:
            reason += ": the newest is of a time to come, as of a clock that was set back"
        return hold(state, facts, reason, until=until)
    commands: list[RolloutCommand] = [
        SetShares(shares=(Share(version=state.candidate, bp=FULL_BP),)),
        Promote(version=state.candidate, replaced=state.stable),
    ]
    if state.stable is not None:
        keep = facts.now + timedelta(seconds=state.plan.swap_back_s)
        commands.append(KeepWarm(version=state.stable, until=keep))
    moved = replace(state, share_bp=FULL_BP, swapped_at=facts.now)
    why = _why_swapped(state, facts)
    return move(moved, facts, "swapped", why, *commands, judged_bp=state.share_bp)


def _why_swapped(state: RolloutState, facts: RolloutFacts) -> str:
    """Return what the swap rests on; the state's own reason may be an old hold's."""
    if state.forced:
        return "a person promoted it"
    if state.stable is None:
        return "the first version has nothing to win against"
    if state.plan.interleave is not None and state.share_bp == 0:
        return f"rests on interleaved lists: {named(state.gates)}"
    return _evidence(facts)


def _rolling_back(state: RolloutState, facts: RolloutFacts) -> Moved:
    if state.stable is None or facts.shares != wanted_shares(state):
        # what was asked for stands; the reason of the rollback must not be overwritten
        return state, ()
    moved = replace(state, control=False, interleaved=False)
    return move(moved, facts, "rolled_back", state.reason, *retired(state))


def _control_fallen(state: RolloutState, facts: RolloutFacts) -> bool:
    return (
        state.control
        and state.stable is not None
        and any(f.label == control_label(state.stable) for f in facts.fallen)
    )


_HANDLERS: Final[dict[Phase, Callable[[RolloutState, RolloutFacts], Moved]]] = {
    "pending": _pending,
    "scheduled": to_staging,
    "staging": _staging,
    "warming": _warming,
    "interleaving": interleaving,
    "canary": _canary,
    "promoting": _promoting,
    "swapped": swapped,
}
