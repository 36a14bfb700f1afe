"""A rollout's commands on real files and a real graph: killed anywhere, done again."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.privacy import Fuse, FusedFiles, FusedLog, Killed

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.traffic import Share
from mlg.core.uris import parse_uri
from mlg.graph import record_judged, record_rollouts
from mlg.graph.record import Recorder, deployment_uri
from mlg.release import rollout
from mlg.release.rollout_moves import wanted_shares
from mlg.release.rollout_types import (
    ENDED,
    Fallen,
    GatePlan,
    OperatorAct,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
)
from mlg.release.staging import StagingReport
from mlg.release.verdicts import GateResult
from mlg.workflows.evidence import keep_evidence, read_evidence
from mlg.workflows.release_acts import ReleaseActs
from mlg.workflows.release_ports import ReleasePorts
from mlg.workflows.rollouts import Look, read_rollout, read_swaps, write_rollout
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted

T0 = datetime(2026, 3, 1, tzinfo=UTC)
IDS = Uuid7Ids(ManualClock(T0))
GATES = (GatePlan(name="errors", alpha=0.005, margin=0.005),)
NAMES = {"v0": "a" * 64, "v1": "b" * 64, "v2": "c" * 64}


class Fleet:
    """Nothing runs: what is wanted is what is read."""

    def refresh(self) -> None:
        pass

    def wait_ready(self, service: str, version: str, deadline_s: float) -> None:
        pass


class Plane:
    """A control plane over a home: what it knows is lost with it, but for `kept`."""

    def __init__(self, home: Path, fuse: Fuse | None = None, watch: Any = None) -> None:
        self.clock = ManualClock(T0)
        self.graph = SqliteGraph(home / "graph.sqlite3", self.clock)
        self.files: Any = FusedFiles(home, fuse) if fuse else LocalFiles(home)
        store = FusedLog(self.graph, fuse) if fuse else self.graph
        by = Recorder(project="p", actor="workflow:release", clock=self.clock, ids=IDS)
        self.acts = ReleaseActs(
            ReleasePorts(
                files=self.files,
                fleet=Fleet(),
                store=cast("Any", store),
                clock=self.clock,
                watch=watch,
                recorder=lambda: by,
            )
        )

    def decide(
        self, state: RolloutState, facts: RolloutFacts
    ) -> tuple[RolloutState, Sequence[Any]]:
        """Look once, as the durable step of the same name does."""
        swaps = read_swaps(self.files, state.service)
        facts = replace(facts, swaps=swaps.times(), rejected=swaps.rejected)
        moved, commands = rollout.step(state, facts)
        keep_evidence(self.files, state, facts.gates, facts.now)
        if not commands and moved.reason != state.reason:
            self.acts.held(moved)
        write_rollout(self.files, moved)
        return moved, commands

    def act(self, state: RolloutState, commands: Sequence[Any]) -> None:
        for command in commands:
            self.acts.do(Look(state=state), command, "ranker", NAMES[state.candidate])

    def close(self) -> None:
        self.graph.close()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    found = Plane(tmp_path)
    yield found
    found.close()


def serve(files: LocalFiles, service: str = "home", version: str = "v0") -> None:
    one = WantedVersion(version=version, artifact=NAMES[version], bp=10_000, deployment="r0")
    write_wanted(files, Wanted(service=service, versions=(one,)))


def well(state: RolloutState, now: datetime, **odd: Any) -> RolloutFacts:
    """Return facts under which everything that it waits for is there."""
    facts = RolloutFacts(
        now=now,
        staging="PASS",
        ready=(state.candidate, f"{state.stable}~control"),
        shares=wanted_shares(state),
        step=state.step,
        fresh=True,
        units=10,
        gates=(GateResult(name="errors", verdict="PASS", e_value=1.5, bound=200.0, n=10),),
    )
    return replace(facts, **odd)


def follow(plane: Plane, state: RolloutState, now: datetime, **odd: Any) -> RolloutState:
    """Look and act until it ends or stands still."""
    while state.phase not in ENDED:
        before = state
        state, commands = plane.decide(state, well(state, now, **odd))
        plane.act(state, commands)
        if not commands and state.phase == before.phase:
            return state
    return state


def swap(plane: Plane, service: str, id_: str, to: str, now: datetime) -> RolloutState:
    stable = read_wanted(plane.files, service).stable
    assert stable is not None
    plan = RolloutPlan(swap_back_s=0.0)
    return follow(plane, rollout.begin(id_, service, to, stable.version, plan, now), now)


def test_the_tenth_swap_of_an_hour_waits_also_after_a_restart(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    for service in ("home", "other"):
        serve(plane.files, service)
    names = itertools.cycle(("v1", "v2"))
    at = [T0 + timedelta(minutes=5 * n) for n in range(10)]
    for number in range(9):
        assert swap(plane, "home", f"r{number}", next(names), at[number]).phase == "done"
    plane.close()
    plane = Plane(tmp_path)  # another process
    held = swap(plane, "home", "r9", next(names), at[9])
    assert held.phase == "promoting"
    assert "9 swaps in the last hour are the most" in held.reason
    assert "2026-03-01T01:00:00" in held.reason, "the first was at 00:00"
    told = read_rollout(plane.files, "home")
    assert told is not None
    assert told["next_at"] == "2026-03-01T01:00:00Z"
    assert swap(plane, "other", "o1", "v1", at[9]).phase == "done", "each service has its own"
    early = follow(plane, held, T0 - timedelta(days=1))
    assert early.phase == "promoting", "a clock that was set back opens nothing"
    assert "clock that was set back" in early.reason
    last = T0 + timedelta(hours=1)
    assert follow(plane, held, last).phase == "promoting", "both ends of the hour count"
    assert follow(plane, held, last + timedelta(seconds=1)).phase == "done"
    numbers = [
        dict(n.attrs)["number_in_hour"]
        for s in plane.graph.events(0, 10_000)
        for n in s.event.nodes
        if parse_uri(n.uri).kind == "swap" and parse_uri(n.uri).name.startswith("home/")
    ]
    assert numbers == [*range(1, 10), 9]
    plane.close()


def test_an_emergency_is_never_held_up_and_is_counted_when_it_happens(plane: Plane) -> None:
    serve(plane.files)
    names = itertools.cycle(("v1", "v2"))
    for number in range(8):
        swap(plane, "home", f"r{number}", next(names), T0)
    now = T0 + timedelta(minutes=50)
    begun = rollout.begin("r8", "home", "v1", "v2", RolloutPlan(swap_back_s=7_200.0), now)
    state = follow(plane, begun, now)
    assert (state.phase, len(read_swaps(plane.files, "home").at)) == ("swapped", 9)
    later = now + timedelta(minutes=9)
    bad = (GateResult(name="error_rate", verdict="FAIL", reason="9 of 60 bad"),)
    state = follow(plane, state, later, watch=bad)
    assert state.phase == "rolled_back"
    swaps = read_swaps(plane.files, "home")
    assert (len(swaps.at), swaps.times()[-1]) == (10, later)
    assert swaps.rejected == ("v1",)
    # and it stands in the way of the next for an hour of its own
    held = swap(plane, "home", "r9", "v0", T0 + timedelta(minutes=61))
    assert held.phase == "done", "of the last hour only two are left"
    assert rollout.swap_waits_until(
        RolloutPlan(swaps_per_hour=1), RolloutFacts(now=later, swaps=(later,))
    ) == later + timedelta(hours=1)


def test_what_was_rolled_back_comes_again_only_when_something_changed(plane: Plane) -> None:
    serve(plane.files)
    gates = (GateResult(name="errors", verdict="FAIL", reason="9 of 60"),)
    plan = RolloutPlan(steps_bp=(500, 10_000), gates=GATES)
    begun = rollout.begin("r1", "home", "v1", "v0", plan, T0)
    assert follow(plane, begun, T0, gates=gates).phase == "rolled_back"
    again = follow(plane, rollout.begin("r2", "home", "v1", "v0", plan, T0), T0)
    assert again.phase == "failed"
    assert again.reason == "it was rolled back before and nothing about it changed"
    changed = follow(plane, rollout.begin("r3", "home", "v2", "v0", plan, T0), T0)
    assert changed.phase == "swapped"
    assert [v.version for v in read_wanted(plane.files, "home").versions] == ["v0", "v2"]


def test_a_canary_without_traffic_pauses_calls_and_gives_everything_back(
    plane: Plane,
) -> None:
    serve(plane.files)
    plan = RolloutPlan(
        steps_bp=(500, 10_000), gates=GATES, min_units=10, max_hold_s=60.0, max_pause_s=600.0
    )
    # event time stands still: nobody asks; only the machine's clock goes on
    none: dict[str, Any] = {"units": 0, "gates": ()}
    state = follow(plane, rollout.begin("r1", "home", "v1", "v0", plan, T0), T0, **none)
    assert (state.phase, state.reason) == ("canary", "no metrics for errors")
    state = follow(plane, state, T0, waited_s=61.0, **none)
    assert state.phase == "paused"
    assert "no verdict in 60 s" in state.reason
    (called,) = [s for s in plane.graph.events(0, 100) if s.event.type.endswith(".called")]
    assert "unanswered it is taken back after 2026-03-01T00:10:00" in str(called.event.data)
    assert len(read_wanted(plane.files, "home").versions) == 3
    assert follow(plane, state, T0, waited_s=599.0, **none).phase == "paused"
    state = follow(plane, state, T0, waited_s=601.0, **none)
    assert state.phase == "rolled_back"
    assert state.reason.startswith("nobody answered in 600 s: no verdict in 60 s")
    assert [v.version for v in read_wanted(plane.files, "home").versions] == ["v0"]
    # it was not shown to be bad: with viewers it may come again
    assert read_swaps(plane.files, "home").rejected == ()
    again = rollout.begin("r2", "home", "v1", "v0", plan, T0)
    assert follow(plane, again, T0).phase == "swapped"


class Battery:
    """Says what a battery of tests that is done says."""

    def stage(self, state: RolloutState, artifact: str) -> StagingReport:
        return StagingReport(
            verdict="PASS", reason=f"golden PASS of {state.candidate}, {artifact}", results=()
        )


def test_in_the_log_staging_begins_then_it_is_told_then_it_is_over(tmp_path: Path) -> None:
    plane = Plane(tmp_path, watch=Battery())
    serve(plane.files)
    plan = RolloutPlan(staging=True, swap_back_s=0.0)
    begun = rollout.begin("r1", "home", "v1", "v0", plan, T0)
    assert follow(plane, begun, T0).phase == "done"
    events = [s.event for s in plane.graph.events(0, 100)]
    told = [e for e in events if ".rollout." in e.type or ".staging." in e.type]
    assert [e.type for e in told][:3] == [
        "mlg.rollout.staging",
        "mlg.staging.ended",
        "mlg.rollout.warming",
    ]
    # the report hangs on the step that was there before it
    (checked,) = [e for e in told[1].edges if e.src.startswith("mlg://rollout_step/")]
    assert checked.src in {n.uri for n in told[0].nodes}
    plane.close()


@pytest.mark.parametrize(
    "why", ["it is refused: model.json is not what was signed", "crash loop"]
)
def test_a_version_that_does_not_run_ends_and_leaves_nothing(plane: Plane, why: str) -> None:
    serve(plane.files)
    plan = RolloutPlan(steps_bp=(500, 10_000), gates=GATES)
    begun = rollout.begin("r1", "home", "v1", "v0", plan, T0)
    state, commands = plane.decide(begun, RolloutFacts(now=T0))
    plane.act(state, commands)
    assert len(read_wanted(plane.files, "home").versions) == 3
    fallen = (Fallen(label="v1", reason=why),)
    state = follow(plane, state, T0, ready=(), fallen=fallen)
    assert (state.phase, state.reason) == ("failed", f"v1 does not run: {why}")
    assert [v.version for v in read_wanted(plane.files, "home").versions] == ["v0"]
    assert any(s.event.type == "mlg.rollout.called" for s in plane.graph.events(0, 100))


# a kill anywhere

HAPPENS = st.sampled_from(
    ("well", "well", "well", "well", "silent", "fails", "falls", "pause", "resume", "rollback")
)


def facts_at(number: int, happens: str, state: RolloutState, acts: list[str]) -> RolloutFacts:
    """Return what is so at one look: the same, however often it is looked at."""
    now = T0 + timedelta(minutes=10 * number)
    told = tuple(OperatorAct(id=one, act=cast("Any", one[3:]), by="ann") for one in acts)
    odd: dict[str, Any] = {
        "silent": {"fresh": False, "gates": (), "shares": None},
        "fails": {
            "gates": (GateResult(name="errors", verdict="FAIL", reason="9 of 60"),),
            "watch": (GateResult(name="error_rate", verdict="FAIL", reason="9 of 60"),),
        },
        "falls": {"fallen": (Fallen(label=state.candidate, reason="crash loop"),)},
    }.get(happens, {})
    return well(state, now, acts=told, **odd)


def lived(home: Path, script: Sequence[str], fuses: Sequence[Fuse]) -> dict[str, Any]:
    """Follow a script, killed at each fuse; return everything that lasts."""
    home.mkdir()
    serve(LocalFiles(home))
    left = list(fuses)
    plane = Plane(home, left.pop(0) if left else None)
    plan = RolloutPlan(
        steps_bp=(500, 10_000), gates=GATES, swap_back_s=600.0, max_pause_s=1_200.0, min_units=5
    )
    begun = rollout.begin("r1", "home", "v1", "v0", plan, T0)
    # what DBOS keeps: the result of each durable step, and nothing of one that did not end
    kept: tuple[bytes, bytes] = (msgspec.json.encode(begun), b"")
    acts: list[str] = []
    seen: list[tuple[Share, ...]] = []
    for number, happens in enumerate(script):
        if happens in {"pause", "resume", "rollback"}:
            acts.append(f"{number:02d}-{happens}")
        while True:
            state = msgspec.json.decode(kept[0], type=RolloutState)
            try:
                moved, commands = plane.decide(state, facts_at(number, happens, state, acts))
                decided = msgspec.json.encode(moved), msgspec.json.encode(commands)
                kept = decided
                break
            except Killed:
                plane.close()
                plane = Plane(home, left.pop(0) if left else None)
        while True:
            state = msgspec.json.decode(kept[0], type=RolloutState)
            try:
                commands = msgspec.json.decode(kept[1], type=tuple[rollout.RolloutCommand, ...])
                plane.act(state, commands)
                break
            except Killed:
                plane.close()
                plane = Plane(home, left.pop(0) if left else None)
        versions = read_wanted(LocalFiles(home), "home").versions
        seen.append(tuple(Share(version=v.version, bp=v.bp) for v in versions if v.bp))
    stored = [s.event for s in plane.graph.events(0, 10_000)]
    plane.close()
    return {
        "state": kept[0],
        "wanted": read_wanted(LocalFiles(home), "home"),
        "swaps": read_swaps(LocalFiles(home), "home"),
        "events": [(e.key, e.type, e.nodes, e.edges, e.data) for e in stored],
        "traffic": seen,
    }


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=200 if os.environ.get("MLG_FULL") else 10,
)
@given(
    script=st.lists(HAPPENS, min_size=4, max_size=12),
    fuses=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=4),
)
def test_killed_between_any_two_writes_it_ends_where_it_would_have(
    tmp_path_factory: pytest.TempPathFactory,
    script: list[str],
    fuses: list[tuple[int, bool]],
) -> None:
    folder = tmp_path_factory.mktemp("lives")
    whole = lived(folder / "whole", script, ())
    cut = lived(folder / "cut", script, [Fuse(n, after=after) for n, after in fuses])
    assert cut == whole
    assert len(whole["swaps"].at) <= 2, "there and back: no double swap"
    asked = {
        (),
        *(
            tuple(sorted(shares))
            for shares in (
                (Share(version="v0", bp=10_000),),
                (Share(version="v1", bp=10_000),),
                (
                    Share(version="v0", bp=9_000),
                    Share(version="v0~control", bp=500),
                    Share(version="v1", bp=500),
                ),
            )
        ),
    }
    assert {tuple(sorted(shares)) for shares in cut["traffic"]} <= asked


def test_the_way_back_is_read_from_the_gate_that_failed(plane: Plane, tmp_path: Path) -> None:
    serve(plane.files)
    plan = RolloutPlan(steps_bp=(500, 2_500, 10_000), gates=GATES)
    bad = GateResult(
        name="errors", verdict="FAIL", reason="9 of 60 errors, control 1 of 600", e_value=412.0,
        bound=200.0, n=60, events=9.0, control_events=1.0, control_n=600, margin=0.005,
    )  # fmt: skip
    state = rollout.begin("r1", "home", "v1", "v0", plan, T0)
    for _ in range(3):
        state, commands = plane.decide(state, well(state, T0))
        plane.act(state, commands)
    assert (state.phase, state.share_bp) == ("canary", 2_500)
    state = follow(plane, state, T0, gates=(bad,))
    assert state.phase == "rolled_back"
    reader = SqliteGraphReader(tmp_path / "graph.sqlite3")
    by = Recorder(project="p", actor="x", clock=plane.clock, ids=IDS)
    back = record_judged.rollback_uri(by, "home", "r1", 4)
    gate = record_judged.gate_uri(by, "home", "r1", 4, "errors")
    (told,) = reader.nodes(NodeQuery(uri=gate)).nodes
    wanted = {
        "verdict": "FAIL", "e_value": 412.0, "bound": 200.0, "n": 60, "events": 9.0,
        "control_events": 1.0, "control_n": 600, "margin": 0.005, "share_bp": 2_500,
    }  # fmt: skip
    assert wanted.items() <= dict(told.attrs).items()
    above = {one.node.uri for one in reader.walk(back, "up", WalkOptions()).nodes}
    step = record_rollouts.rollout_step_uri(by, "home", "r1", 4)
    assert {gate, step, record_rollouts.rollout_uri(by, "home", "r1")} <= above
    below = reader.walk(back, "down", WalkOptions(depth=1)).edges
    assert [(e.role, e.dst) for e in below] == [
        ("rolled_back_to", deployment_uri(by, "home", "r0"))
    ]
    grew = read_evidence(plane.files, "home", "r1").gates["errors"]
    assert [(p.share_bp, p.verdict) for p in grew] == [
        (500, "PASS"), (2_500, "FAIL"),
    ]  # fmt: skip
    reader.close()
