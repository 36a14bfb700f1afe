"""The experiment's machine: begin, verdicts, harm, ways back, and what always holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlg.core.traffic import FULL_BP, Share, TrafficSplit
from mlg.release.experiment import begin, experiment_shares, step
from mlg.release.experiment_types import (
    CLOSED,
    CallPerson,
    Cell,
    CellFacts,
    ExperimentAct,
    ExperimentFacts,
    ExperimentPlan,
    ExperimentState,
    RecordMove,
    SetCells,
    StartCells,
)
from mlg.release.verdicts import GateResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = ExperimentPlan(
    name="rows",
    service="home",
    control="old",
    cells=(
        Cell(name="A", version="va", share_bp=1_000),
        Cell(name="B", version="vb", share_bp=500),
    ),
    metrics=("ctr", "watch_through"),
    holdout_bp=500,
    holdout="older",
    min_viewers=10,
    max_run_s=3_600,
)
WARM = frozenset(("va~rows.A", "vb~rows.B"))
PENDING = begin("x", PLAN, NOW, started=True)
RUNNING = replace(PENDING, phase="running")
READY = ExperimentFacts(now=NOW, ready=WARM, serving="old")


def seen(cell: str, ctr: str = "PASS", watch: str = "FAIL", guard: str = "PASS") -> CellFacts:
    gates = {"ctr": ctr, "watch_through": watch}
    return CellFacts(
        cell=cell,
        viewers=10,
        metrics=tuple(GateResult(name=n, verdict=v) for n, v in gates.items()),
        guards=(GateResult(name="errors", verdict=guard),),
    )


def at_work(**more: object) -> ExperimentFacts:
    return replace(READY, shares=experiment_shares(RUNNING), **more)


def test_cells_control_and_holdout_share_the_traffic() -> None:
    assert experiment_shares(RUNNING) == (
        Share(version="old", bp=8_000),
        Share(version="older~holdout", bp=500),
        Share(version="va~rows.A", bp=1_000),
        Share(version="vb~rows.B", bp=500),
    )
    assert PLAN.alpha_each == pytest.approx(0.0125)


def test_it_begins_when_warm_and_its_replicas_are_asked_for_once() -> None:
    cold = replace(READY, ready=frozenset())
    state, commands = step(PENDING, cold)
    assert [type(c) for c in commands] == [StartCells]
    half = replace(cold, ready=frozenset(("va~rows.A",)))
    state, commands = step(state, half)
    assert (state.reason, commands) == ("vb~rows.B not warm yet", ())
    state, commands = step(state, READY)
    assert state.phase == "running"
    assert isinstance(commands[0], SetCells)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(READY, rollout="in_flight"), "a rollout of the service is in flight"),
        (replace(READY, serving="other"), "other serves, not old"),
        (replace(READY, frozen=True), "frozen: nothing begins without a person"),
    ],
)
def test_it_waits_and_says_for_what(facts: ExperimentFacts, reason: str) -> None:
    state, commands = step(PENDING, facts)
    assert (state.phase, state.reason, commands) == ("pending", reason, ())


def test_a_harmful_cell_goes_at_once_and_the_other_stays() -> None:
    state, commands = step(RUNNING, at_work(cells=(seen("A", guard="FAIL"), seen("B"))))
    assert (state.phase, state.stopped) == ("running", ("A",))
    shares = {s.version: s.bp for s in experiment_shares(state)}
    assert shares == {"old": 9_000, "older~holdout": 500, "vb~rows.B": 500}
    assert isinstance(commands[0], SetCells)
    assert isinstance(commands[-1], CallPerson)
    state, commands = step(state, at_work(cells=(seen("B", guard="FAIL"),)))
    assert state.phase == "stopped"
    assert {s.version for s in experiment_shares(state)} == {"old", "older~holdout"}


def test_it_is_decided_only_when_every_cell_has_every_verdict() -> None:
    open_ = at_work(cells=(seen("A"), seen("B", watch="INCONCLUSIVE")))
    assert step(RUNNING, open_)[0].reason == "watch_through of B undecided"
    state, _ = step(RUNNING, at_work(cells=(seen("A"), seen("B"))))
    assert state.phase == "decided"
    stale = at_work(cells=(seen("A"), seen("B")), fresh=False)
    assert step(RUNNING, stale)[0].phase == "running"


def test_a_broken_split_a_long_run_and_a_person_end_it() -> None:
    broken = GateResult(name="sample_ratio", verdict="ERROR", reason="9 of 900")
    state, commands = step(RUNNING, at_work(mismatch=broken))
    assert state.phase == "stopped"
    assert isinstance(commands[-1], CallPerson)
    late = at_work(now=NOW + timedelta(hours=1))
    assert step(RUNNING, late)[0].phase == "ended"
    stop = ExperimentAct(id="1", act="stop", by="ada", reason="enough")
    assert step(RUNNING, at_work(acts=(stop,)))[0].reason == "stopped by ada: enough"


def test_a_way_back_is_not_undone_by_the_experiment() -> None:
    state, commands = step(RUNNING, at_work(rollout="going_back"))
    assert state.phase == "stopped"
    assert not any(isinstance(c, SetCells) for c in commands)


@pytest.mark.parametrize(
    "change",
    [
        {"holdout_bp": 8_500},
        {"cells": ()},
        {"cells": (Cell(name="control", version="v", share_bp=1),)},
        {"cells": (Cell(name="A", version="v", share_bp=0),)},
        {"metrics": ()},
        {"alpha": 1.0},
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rows"):
        replace(PLAN, **change)


class Machine(RuleBasedStateMachine):
    """Any facts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state: ExperimentState = begin("x", PLAN, NOW)
        self.keys: set[str] = set()
        self.now = NOW
        self.acts: list[ExperimentAct] = []

    @rule(
        warm=st.booleans(), shown=st.booleans(), fresh=st.booleans(), frozen=st.booleans(),
        rollout=st.sampled_from(["", "", "", "in_flight", "going_back"]),
        guard=st.sampled_from(["PASS", "INCONCLUSIVE", "FAIL"]),
        metric=st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]),
        cell=st.sampled_from(["A", "B"]), minutes=st.integers(0, 20),
    )  # fmt: skip
    def look(
        self, *, warm: bool, shown: bool, fresh: bool, frozen: bool, rollout: str, guard: str,
        metric: str, cell: str, minutes: int,
    ) -> None:  # fmt: skip
        self.now += timedelta(minutes=minutes)
        other = "B" if cell == "A" else "A"
        facts = ExperimentFacts(
            now=self.now, serving="old", ready=WARM if warm else frozenset(),
            shares=experiment_shares(self.state) if shown else (), fresh=fresh,
            rollout=rollout, frozen=frozen, acts=tuple(self.acts),
            cells=(seen(cell, metric, metric, guard), seen(other, metric, metric)),
        )  # fmt: skip
        before = self.state
        self.state, commands = step(before, facts)
        for command in commands:
            assert command.key not in self.keys
            self.keys.add(command.key)
            if isinstance(command, SetCells):
                assert command.shares == experiment_shares(self.state)
                assert rollout != "going_back"
        moved = before.phase != self.state.phase
        assert moved == any(isinstance(c, RecordMove) and not c.cell for c in commands)
        if before.phase in CLOSED:
            assert (self.state, commands) == (before, ())
        if before.phase == "running" and rollout == "going_back":
            assert self.state.phase in CLOSED
        if before.phase == "running" and self.state.phase == "running" and guard == "FAIL":
            assert cell in self.state.stopped
        if self.state.phase == "running" and before.phase == "pending":
            assert warm
            assert not rollout
            assert not frozen

    @precondition(lambda self: len(self.acts) < 3)
    @rule(act=st.sampled_from(["start", "start", "stop"]))
    def tell(self, act: str) -> None:
        number = str(len(self.acts))
        self.acts.append(ExperimentAct(id=number, act=act, by="ada"))

    @invariant()
    def the_split_is_whole_and_the_holdout_keeps_its_part(self) -> None:
        shares = experiment_shares(self.state)
        TrafficSplit(service="home", shares=shares)
        assert sum(s.bp for s in shares) == FULL_BP
        assert Share(version="older~holdout", bp=500) in shares


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase
