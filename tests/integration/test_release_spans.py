"""How long one durable look at a rollout lasts: few rows, no late act, no lost count."""

from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.integration.test_release_acts import GATES, IDS, NAMES, T0, Fleet, Plane, serve

from mlg.core.clock import ManualClock
from mlg.graph.record import Recorder
from mlg.release import rollout
from mlg.release.rollout_moves import wanted_shares
from mlg.release.rollout_types import (
    ApprovalPlan,
    OperatorAct,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
)
from mlg.release.verdicts import GateResult
from mlg.workflows.release import Release
from mlg.workflows.release_spans import SPAN_LEAST_S, SPAN_MOST_S, span_s
from mlg.workflows.rollouts import Look, in_flight, read_rollout
from mlg.workflows.state import read_wanted

PLAN = RolloutPlan(steps_bp=(500, 10_000), gates=GATES, min_units=10, max_hold_s=86_400.0)
DAY_S = 86_400.0


class DeadError(BaseException):
    """The control plane is killed."""


class Viewers:
    """One unit a second; where counting begins is the first look of a step.

    Args:
        clock: Time, which only waiting moves.
        verdict_s: Seconds after T0 from which on the gate passes.
        dies_at_s: Seconds after T0 at which a look kills the control plane, each once.
    """

    def __init__(
        self, clock: ManualClock, verdict_s: float, dies_at_s: tuple[float, ...] = ()
    ) -> None:
        self.clock, self.verdict_s, self.dies_at_s = clock, verdict_s, list(dies_at_s)
        self.looks: list[float] = []
        self.fails = ""
        """What every look fails with."""
        self.stands = False
        """Whether event time stands still."""
        self.acts: dict[float, OperatorAct] = {}

    def plan(self, service: str) -> RolloutPlan:
        del service
        return PLAN

    def now(self, service: str) -> datetime:
        del service
        return self.clock.now()

    def look(self, look: Look) -> tuple[Look, RolloutFacts]:
        state, now = look.state, self.clock.now()
        at_s = (now - T0).total_seconds()
        self.looks.append(at_s)
        if self.fails:
            raise ValueError(self.fails)
        if self.dies_at_s and at_s >= self.dies_at_s[0]:
            del self.dies_at_s[0]
            raise DeadError
        began = look.began_at or T0
        facts = RolloutFacts(
            now=T0 if self.stands else now,
            waited_s=(now - began).total_seconds(),
            ready=(state.candidate, f"{state.stable}~control"),
            shares=wanted_shares(state),
            acts=tuple(act for s, act in self.acts.items() if s <= at_s),
        )
        if state.phase not in {"canary", "promoting"}:
            return look, facts
        if look.mark is None or look.mark["step"] != state.step:
            return msgspec.structs.replace(look, mark={"step": state.step, "at": at_s}), facts
        verdict = "PASS" if at_s >= self.verdict_s else "INCONCLUSIVE"
        units = int(at_s - look.mark["at"])
        gate = GateResult(name="errors", verdict=verdict, n=units, reason=f"{units} units")
        counted = replace(facts, fresh=True, step=state.step, units=units, gates=(gate,))
        return look, counted

    def close_step(self, look: Look) -> Look:
        return look


@lru_cache(maxsize=1)
def release() -> tuple[SimpleNamespace, Release]:
    """Return what it is handed, to be filled in, and the release: DBOS takes one a process."""
    ports = SimpleNamespace()
    return ports, Release(cast("Any", ports))


class Control:
    """The durable steps of a release over a home, without an engine around them."""

    def __init__(self, home: Path, watch: Viewers) -> None:
        self.plane = Plane(home)
        serve(self.plane.files)
        self.watch, self.clock = watch, watch.clock
        by = Recorder(project="p", actor="workflow:release", clock=self.clock, ids=IDS)
        ports, self.release = release()
        ports.files, ports.fleet, ports.store = self.plane.files, Fleet(), self.plane.graph
        ports.clock, ports.watch, ports.recorder = self.clock, watch, lambda: by
        self.rows = 0

    def follow(self, raw: Any, phase: str) -> Any:
        """Take durable steps until a phase; one that a kill interrupts is taken again."""
        while raw["state"]["phase"] != phase:
            raw, commands = self.again(lambda kept=raw: self.release.decide(kept, "ranker", ""))
            self.rows += 1
            if commands:
                artifact = NAMES["v1"]
                raw = self.release.act(raw, commands, "ranker", artifact)
                self.rows += 1
        return raw

    def again(self, durable_step: Any) -> Any:
        while True:
            try:
                # what DBOS keeps of a step goes through JSON
                return msgspec.json.decode(msgspec.json.encode(durable_step()))
            except DeadError:
                self.clock.wait(5.0)  # until it is up again


def begun(clock: ManualClock, plan: RolloutPlan = PLAN) -> Any:
    state: RolloutState = rollout.begin("r1", "home", "v1", "v0", plan, T0)
    return msgspec.to_builtins(Look(state=state, began_at=clock.now()))


def test_a_day_of_waiting_is_1500_rows_and_no_durable_look_is_longer_than_a_minute() -> None:
    age_s, rows = 0.0, 0
    while age_s < DAY_S:
        span = span_s("canary", age_s)
        assert SPAN_LEAST_S <= span <= SPAN_MOST_S
        age_s, rows = age_s + span, rows + 1
    # ten of 2 s; a tenth more each, ln(600 / 20) / ln(1.1) of them; then one a minute
    assert rows == pytest.approx(10 + 35.7 + (DAY_S - 600) / 60, abs=3)
    assert span_s("canary", -5.0) == SPAN_LEAST_S, "a clock that was set back"
    assert span_s("staging", DAY_S) == 0.0


def test_what_is_to_do_is_done_at_the_look_that_finds_it(tmp_path: Path) -> None:
    watch = Viewers(ManualClock(T0), verdict_s=312.5)
    control = Control(tmp_path, watch)
    control.follow(begun(watch.clock), "promoting")
    assert watch.looks[-1] == pytest.approx(312.5, abs=0.11)
    gaps = [b - a for a, b in zip(watch.looks, watch.looks[1:], strict=False)]
    assert max(gaps) <= 0.51  # of the phases before; a canary is looked at ten times a second
    # 312 s in steps of two seconds would be 156 rows
    assert control.rows < 60
    told = read_rollout(control.plane.files, "home")
    assert told is not None
    assert told["state"] == "promoting"
    control.plane.close()


def test_a_persons_act_is_answered_within_a_look_however_old_the_step_is(
    tmp_path: Path,
) -> None:
    watch = Viewers(ManualClock(T0), verdict_s=DAY_S)
    control = Control(tmp_path, watch)
    watch.acts[199.7] = OperatorAct(id="a1", act="rollback", by="local:ann")
    raw = control.follow(begun(watch.clock), "rolling_back")
    assert watch.looks[-1] == pytest.approx(199.7, abs=0.11)
    assert "rollback by local:ann" in raw["state"]["reason"]
    control.plane.close()


def test_a_wait_for_a_person_counts_from_its_own_beginning_by_the_machines_clock(
    tmp_path: Path,
) -> None:
    """Event time stands still; the step took 200 s before the wait, which lasts 250 s."""
    watch = Viewers(ManualClock(T0), verdict_s=200.0)
    watch.stands = True
    approval = ApprovalPlan(before="promote", by=("nobody",))
    plan = replace(PLAN, approval=approval, max_hold_s=250.0, max_pause_s=1_000.0)
    control = Control(tmp_path, watch)
    raw = control.follow(begun(watch.clock, plan), "paused")
    assert "no answer in 250 s: waits for approval" in raw["state"]["reason"]
    assert watch.looks[-1] == pytest.approx(200.0 + 250.0, abs=0.3)
    control.plane.close()


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(kills=[1.9])
@example(kills=[0.0, 2.0])
@example(kills=[20.0, 20.0, 20.0, 20.0])
# the fourth kill ends by 41 s, before the verdict is due
@given(kills=st.lists(st.floats(0.0, 20.0), max_size=4).map(sorted))
def test_a_crash_within_a_long_look_loses_no_count(
    kills: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Counting goes on from where the step began, and the verdict comes when it would have."""
    watch = Viewers(ManualClock(T0), verdict_s=45.0, dies_at_s=tuple(kills))
    control = Control(tmp_path_factory.mktemp("crash"), watch)
    raw = control.follow(begun(watch.clock), "promoting")
    first = next(s for s in watch.looks if s >= raw["mark"]["at"])
    assert raw["mark"]["at"] == first
    # the mark is of the first look at the step that was kept: at most the kills before it
    # later, each of which may let the next one, too, come before it
    latest = 1.2
    for kill in kills:
        latest += 5.2 * (kill <= latest)
    assert raw["mark"]["at"] <= latest
    assert watch.looks[-1] == pytest.approx(45.0, abs=0.11)
    control.plane.close()


@pytest.mark.parametrize("share_bp", [500, 10_000])
def test_a_rollout_that_cannot_go_on_leaves_nobody_without_a_version_and_is_over(
    tmp_path: Path, share_bp: int
) -> None:
    watch = Viewers(ManualClock(T0), verdict_s=1.0)
    control = Control(tmp_path, watch)
    raw = control.follow(begun(watch.clock), "canary" if share_bp == 500 else "swapped")
    assert raw["state"]["share_bp"] == share_bp
    watch.fails = "the log is not what it should be"
    told = control.release._follow(raw, "ranker", NAMES["v1"])
    serves = "v0" if share_bp == 500 else "v1"
    assert told["state"] == ("rolled_back" if share_bp == 500 else "released")
    assert "could not go on: the log is not what it should be" in told["reason"]
    wanted = read_wanted(control.plane.files, "home").versions
    assert [(one.version, one.bp) for one in wanted] == [(serves, 10_000)]
    assert in_flight(control.plane.files, "home") == ""
    stored = [one.event.type for one in control.plane.graph.events(0, 1_000)]
    assert stored[-1] == f"mlg.rollout.{'rolled_back' if share_bp == 500 else 'done'}"
    assert "mlg.rollout.called" in stored
    control.plane.close()
