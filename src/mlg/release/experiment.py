"""How an experiment runs and ends: pure decisions.

`step` makes at most one transition and gives no command twice. Harm goes before all else:
a cell whose guard fails loses its viewers to the control at that look.

    pending → running → decided   every open cell has a verdict
                      → stopped   a person, no cell left, a broken split, a way back
                      → ended     the longest run is over without a verdict
    pending → stopped             a person

An experiment begins only while no rollout of the service is in flight. While it runs, a
rollout that goes back is never made to wait: the experiment stops.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from mlg.release.experiment_types import (
    CLOSED,
    CallPerson,
    Cell,
    CellFacts,
    ExperimentCommand,
    ExperimentFacts,
    ExperimentPhase,
    ExperimentPlan,
    ExperimentState,
    RecordMove,
    RetireCells,
    SetCells,
    StartCells,
    experiment_shares,
)

__all__ = ["abandon", "begin", "experiment_shares", "step"]

Moved = tuple[ExperimentState, tuple[ExperimentCommand, ...]]

_BY: Final = "mlg"


def begin(
    id: str,  # noqa: A002
    plan: ExperimentPlan,
    now: datetime,
    *,
    started: bool = False,
) -> ExperimentState:
    """Return the state of an experiment that has not begun.

    Args:
        id: Part of every command's key.
        plan: What is compared.
        now: Event time.
        started: Whether it needs no person to start it.
    """
    return ExperimentState(id=id, plan=plan, since=now, started=started)


def step(state: ExperimentState, facts: ExperimentFacts) -> Moved:
    """Return the state after one look, and what to do, in order.

    Args:
        state: What the last step returned.
        facts: What is so.
    """
    if state.phase in CLOSED:
        return state, ()
    if state.phase == "running":
        if facts.rollout == "going_back":
            return _close(state, facts, "stopped", "a rollout goes back", call=True)
        if harmed := _harmed(state, facts):
            return _drop(state, facts, *harmed)
    act = next((act for act in facts.acts if act.id not in state.acts), None)
    if act is not None:
        state = replace(state, acts=(*state.acts, act.id))
        if act.act == "stop":
            reason = f"stopped by {act.by}" + (f": {act.reason}" if act.reason else "")
            return _close(state, facts, "stopped", reason, by=act.by)
        state = replace(state, started=True)
    return _pending(state, facts) if state.phase == "pending" else _running(state, facts)


def abandon(state: ExperimentState, reason: str) -> Moved:
    """Return the end of an experiment that cannot go on: its cells go back, a person is called.

    Args:
        state: The last that is known.
        reason: What failed.
    """
    if state.phase in CLOSED:
        return state, ()
    facts = ExperimentFacts(now=state.since)  # what failed may be what tells the time
    return _close(state, facts, "stopped", f"it could not go on: {reason}", call=True)


def _pending(state: ExperimentState, facts: ExperimentFacts) -> Moved:
    plan = state.plan
    if not state.started:
        return _hold(state, "waits to be started")
    if facts.frozen:
        return _hold(state, "frozen: nothing begins without a person")
    if facts.rollout:
        return _hold(state, "a rollout of the service is in flight")
    if facts.serving != plan.control:
        return _hold(state, f"{facts.serving or 'nothing'} serves, not {plan.control}")
    labels = tuple(cell.label(plan.name) for cell in plan.cells)
    cold = [label for label in labels if label not in facts.ready]
    if cold:
        reason = f"{' and '.join(cold)} not warm yet"
        start = StartCells(key=f"{state.id}:start", labels=labels)
        commands = () if state.warming else (start,)
        return replace(state, reason=reason, warming=True), commands
    reason = f"{len(labels)} cells are warm"
    moved, record = _move(state, facts, "running", reason, _BY)
    return moved, (
        SetCells(key=f"{record.key}:shares", shares=experiment_shares(moved)),
        record,
    )


def _running(state: ExperimentState, facts: ExperimentFacts) -> Moved:
    if facts.shares != experiment_shares(state):
        return _hold(state, "the gateway does not show the split yet")
    if facts.mismatch is not None and facts.mismatch.verdict == "ERROR":
        reason = f"viewers do not fall into the cells as they should: {facts.mismatch.reason}"
        return _close(state, facts, "stopped", reason, call=True)
    if facts.fresh:
        lacking = [_lacking(state, cell, facts) for cell in state.open_cells]
        if not any(lacking):
            return _close(state, facts, "decided", "each cell has its verdict")
        waits = next(filter(None, lacking))
    else:
        waits = "no fresh metrics"
    if (facts.now - state.since).total_seconds() >= state.plan.max_run_s:
        return _close(state, facts, "ended", f"no verdict in its longest run: {waits}")
    return _hold(state, waits)


def _lacking(state: ExperimentState, cell: Cell, facts: ExperimentFacts) -> str:
    """Return what a cell's verdict still waits for, or nothing."""
    known = _facts_of(cell.name, facts)
    viewers = known.viewers if known else 0
    if known is None or viewers < state.plan.min_viewers:
        return f"{viewers} of {state.plan.min_viewers} viewers in {cell.name}"
    said = {result.name: result.verdict for result in known.metrics}
    unsaid = [m for m in state.plan.metrics if said.get(m) not in {"PASS", "FAIL"}]
    return f"{', '.join(unsaid)} of {cell.name} undecided" if unsaid else ""


def _facts_of(cell: str, facts: ExperimentFacts) -> CellFacts | None:
    return next((known for known in facts.cells if known.cell == cell), None)


def _harmed(state: ExperimentState, facts: ExperimentFacts) -> tuple[Cell, str] | None:
    """Return the first open cell whose guard failed, and why."""
    for cell in state.open_cells:
        known = _facts_of(cell.name, facts)
        for guard in known.guards if known else ():
            if guard.verdict == "FAIL":
                return cell, f"{guard.name} FAIL: {guard.reason}"
    return None


def _drop(state: ExperimentState, facts: ExperimentFacts, cell: Cell, why: str) -> Moved:
    """Give the cell's viewers to the control at once; the last one ends the experiment."""
    reason = f"{cell.name} harms: {why}"
    left = replace(state, stopped=(*state.stopped, cell.name))
    if not left.open_cells:
        return _close(left, facts, "stopped", reason, call=True)
    moved = replace(left, seq=state.seq + 1, reason=reason)
    key = f"{state.id}:{moved.seq}"
    return moved, (
        SetCells(key=f"{key}:shares", shares=experiment_shares(moved)),
        RetireCells(key=f"{key}:retire", labels=(cell.label(state.plan.name),)),
        RecordMove(
            key=key,
            before=state.phase,
            after=state.phase,
            reason=reason,
            by=_BY,
            cell=cell.name,
        ),
        CallPerson(key=f"{key}:call", reason=reason),
    )


def _close(
    state: ExperimentState,
    facts: ExperimentFacts,
    phase: ExperimentPhase,
    reason: str,
    *,
    by: str = _BY,
    call: bool = False,
) -> Moved:
    """Give all cells back to the control; who was in the holdout stays there."""
    moved, record = _move(state, facts, phase, reason, by)
    commands: list[ExperimentCommand] = []
    if state.phase == "running" and facts.rollout != "going_back":
        # a way back sets the split itself; ours after it would undo it
        commands.append(SetCells(key=f"{record.key}:shares", shares=experiment_shares(moved)))
    labels = tuple(cell.label(state.plan.name) for cell in state.plan.cells)
    commands += [RetireCells(key=f"{record.key}:retire", labels=labels), record]
    if call:
        commands.append(CallPerson(key=f"{record.key}:call", reason=reason))
    return moved, tuple(commands)


def _move(
    state: ExperimentState, facts: ExperimentFacts, phase: ExperimentPhase, reason: str, by: str
) -> tuple[ExperimentState, RecordMove]:
    moved = replace(state, phase=phase, since=facts.now, reason=reason, seq=state.seq + 1)
    key = f"{state.id}:{moved.seq}"
    return moved, RecordMove(key=key, before=state.phase, after=phase, reason=reason, by=by)


def _hold(state: ExperimentState, reason: str) -> Moved:
    return replace(state, reason=reason), ()
