"""The transitions of a rollout: each makes the new state, and the commands with their keys."""

from dataclasses import replace
from datetime import datetime, timedelta

from msgspec import structs

from mlg.core.clock import rfc3339
from mlg.core.traffic import FULL_BP, Share
from mlg.release.rollout_types import (
    BEFORE_STEPS,
    ENDED,
    Call,
    Next,
    Phase,
    Record,
    Retire,
    RollBack,
    RolloutCommand,
    RolloutFacts,
    RolloutState,
    SetShares,
    StartStaging,
    canary_shares,
    control_label,
    interleaved_label,
    interleaved_shares,
)
from mlg.release.verdicts import percent

Moved = tuple[RolloutState, tuple[RolloutCommand, ...]]


def move(
    state: RolloutState,
    facts: RolloutFacts,
    after: Phase,
    reason: str,
    *commands: RolloutCommand,
    by: str = "mlg",
    judged_bp: int | None = None,
) -> Moved:
    """Return the state in its new phase, and the commands with a `Record` at their end.

    What lasts comes after the record: in the log the tests begin before they are done.
    The gates were judged at a share of `judged_bp`, the state's own if that is None.
    A rollout that failed retires what it started; one that ended lets the next begin.
    """
    gates = facts.gates if facts.step == state.step else state.gates
    gates = facts.watch or gates if state.phase == "swapped" else gates
    moved = replace(
        state,
        phase=after,
        since=facts.now,
        seq=state.seq + 1,
        reason=reason,
        gates=gates,
        paused_from=state.phase if after == "paused" else None,
        paused_until=None,
        until=None,
        waiting=None if after in ENDED else state.waiting,
    )
    todo = [one for one in commands if not isinstance(one, StartStaging)]
    if after == "failed":
        todo += retired(state)
        moved = replace(moved, control=False, interleaved=False)
    todo.append(
        Record(
            before=state.phase,
            after=after,
            at=facts.now,
            step=moved.step,
            share_bp=moved.share_bp,
            reason=reason,
            by=by,
            gates=gates,
            judged_bp=state.share_bp if judged_bp is None else judged_bp,
        )
    )
    todo += [one for one in commands if isinstance(one, StartStaging)]
    serves = state.candidate if after == "done" else state.stable
    if after in ENDED and state.waiting not in {None, serves}:
        todo.append(Next(version=state.waiting or ""))
    keyed = (
        structs.replace(command, key=f"{state.id}:{moved.seq}:{n}")
        for n, command in enumerate(todo)
    )
    return moved, tuple(keyed)


def retired(state: RolloutState) -> list[RolloutCommand]:
    """Return the ends of everything that the rollout started.

    The group that interleaves goes before the candidate, whose deployment it is of.
    """
    labels = [interleaved_label(state.candidate)] if state.interleaved else []
    labels.append(state.candidate)
    if state.control and state.stable:
        labels.append(control_label(state.stable))
    return [Retire(label=label) for label in labels]


def hold(
    state: RolloutState, facts: RolloutFacts, reason: str, *, until: datetime | None = None
) -> Moved:
    """Return the state where it is, with why, and until when if that is known."""
    gates = facts.watch if state.phase == "swapped" else facts.gates
    current = state.phase == "swapped" or facts.step == state.step
    gates = gates if current else state.gates
    return replace(state, reason=reason, until=until, gates=gates), ()


def next_step(
    state: RolloutState, facts: RolloutFacts, step: int, reason: str, *, by: str = "mlg"
) -> Moved:
    """Return the rollout at a step of its canary; a step of 100 % is the swap's turn.

    What interleaved lists ends: it has no traffic any more.
    """
    steps = state.plan.steps_bp
    ends = [Retire(label=interleaved_label(state.candidate))] if state.interleaved else []
    drafted = state.interleaved and state.share_bp > 0
    if state.interleaved:
        state = replace(state, interleaved=False)
    if state.stable is None or step >= len(steps) or steps[step] >= FULL_BP:
        if drafted and state.stable:
            # nobody sees lists of both until the swap has its turn
            whole = SetShares(shares=(Share(version=state.stable, bp=FULL_BP),))
            state = replace(state, share_bp=0)
            return move(state, facts, "promoting", reason, whole, *ends, by=by)
        return move(state, facts, "promoting", reason, *ends, by=by)
    share_bp = steps[step]
    shares = canary_shares(state.stable, state.candidate, share_bp)
    moved, commands = move(
        replace(state, step=step, share_bp=share_bp),
        facts,
        "canary",
        f"{percent(share_bp)} after: {reason}",
        SetShares(shares=shares),
        *ends,
        by=by,
        judged_bp=state.share_bp,
    )
    return moved, commands


def interleave(state: RolloutState, facts: RolloutFacts, share_bp: int, reason: str) -> Moved:
    """Return the rollout that shows lists of both versions to a share of the viewers."""
    stable = state.stable or ""
    shares = interleaved_shares(stable, state.candidate, share_bp)
    return move(
        replace(state, step=BEFORE_STEPS, share_bp=share_bp),
        facts,
        "interleaving",
        f"{percent(share_bp)} get lists of both after: {reason}",
        SetShares(shares=shares),
    )


def pause(state: RolloutState, facts: RolloutFacts, reason: str) -> Moved:
    """Return the rollout paused, and the call for a person; the shares stay."""
    until = facts.now + timedelta(seconds=state.plan.max_pause_s)
    told = f"{state.service}: rollout of {state.candidate} paused: {reason}"
    call = Call(reason=f"{told}; unanswered it is taken back after {rfc3339(until)}")
    moved, commands = move(state, facts, "paused", reason, call)
    return replace(moved, paused_until=until), commands


def waited_s(state: RolloutState, facts: RolloutFacts) -> float:
    """Return how long the phase, or the step, has lasted, in seconds.

    In event time or by the machine's clock, whichever is longer: where nobody asks, event
    time stands still, and what is held must be let go all the same. A phase that began before
    anything was asked, at the beginning of time, has lasted as long as the machine says.
    """
    known = state.since.timestamp() > 0
    return max((facts.now - state.since).total_seconds() if known else 0.0, facts.waited_s)


def roll_back(
    state: RolloutState,
    facts: RolloutFacts,
    reason: str,
    *,
    by: str = "mlg",
    rejects: bool = True,
) -> Moved:
    """Return the rollout on its way back; one without traffic has simply failed.

    Args:
        state: Where it stands.
        facts: What is so.
        reason: Why, in words.
        by: `mlg`, or the person who asked for it.
        rejects: Whether the same version may not come again.
    """
    call = Call(reason=f"{state.service}: {state.candidate} taken back: {reason}")
    if state.share_bp == 0 or state.stable is None:
        return move(state, facts, "failed", reason, call, by=by)
    return move(
        replace(state, share_bp=0),
        facts,
        "rolling_back",
        reason,
        SetShares(shares=(Share(version=state.stable, bp=FULL_BP),)),
        RollBack(
            to=state.stable, reason=reason, swap=state.share_bp == FULL_BP, rejects=rejects
        ),
        call,
        by=by,
        judged_bp=state.share_bp,
    )


def go_back(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Return the swap to the version that served before, which is warm.

    It waits for no turn among the swaps of the hour: a way back is never held up.
    """
    reason, left = state.back, state.stable
    return move(
        replace(state, share_bp=FULL_BP, swapped_at=facts.now),
        facts,
        "swapped",
        reason,
        SetShares(shares=(Share(version=state.candidate, bp=FULL_BP),)),
        RollBack(to=state.candidate, reason=reason, swap=True, left=left or ""),
        Call(reason=f"{state.service}: {left} taken back to {state.candidate}: {reason}"),
    )


def wanted_shares(state: RolloutState) -> tuple[Share, ...]:
    """Return the split that the state asks for; empty before the first version serves."""
    if state.share_bp == FULL_BP:
        return (Share(version=state.candidate, bp=FULL_BP),)
    if state.stable is None:
        return ()
    if state.share_bp == 0:
        return (Share(version=state.stable, bp=FULL_BP),)
    if (state.paused_from or state.phase) == "interleaving":
        return interleaved_shares(state.stable, state.candidate, state.share_bp)
    return canary_shares(state.stable, state.candidate, state.share_bp)
