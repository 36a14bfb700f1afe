"""An experiment's commands on real files and a real graph: killed anywhere, done again."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from tests.integration.test_release_acts import IDS, Fleet
from tests.privacy import Fuse, FusedFiles, FusedLog, Killed

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.core.clock import ManualClock
from mlg.core.traffic import FULL_BP, HOLDOUT
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.release import experiment
from mlg.release.experiment_types import (
    Cell,
    CellFacts,
    ExperimentAct,
    ExperimentCommand,
    ExperimentFacts,
    ExperimentPlan,
    ExperimentState,
    experiment_shares,
)
from mlg.release.verdicts import GateResult
from mlg.workflows.experiment_acts import ExperimentActs, ExperimentPorts
from mlg.workflows.experiments import ExperimentLook, ExperimentRequest
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted

T0 = datetime(2026, 3, 1, tzinfo=UTC)
VERSIONS = {
    name: WantedVersion(
        version=name,
        artifact=Digest(letter * 64),
        bp=FULL_BP if name == "v1" else 0,
        deployment=f"d{name}",
    )
    for name, letter in (("v0", "a"), ("v1", "b"), ("v2", "c"))
}
PLAN = ExperimentPlan(
    name="rows",
    service="home",
    control="v1",
    cells=(
        Cell(name="A", version="v0", share_bp=500),
        Cell(name="B", version="v2", share_bp=300),
    ),
    metrics=("ctr",),
    holdout_bp=100,
)
REQUEST = ExperimentRequest(
    id="e",
    model="ranker",
    plan=PLAN,
    min_effect={"ctr": 0.01},
    versions=VERSIONS,
    by="ada",
)
LABELS = [cell.label("rows") for cell in PLAN.cells]


def told() -> list[tuple[ExperimentState, tuple[ExperimentCommand, ...]]]:
    """Return the decisions of a whole life: warm, run, one cell harms, a person stops it."""
    state = experiment.begin("e", PLAN, T0, started=True)
    cold = ExperimentFacts(now=T0, serving="v1")
    warm = replace(cold, ready=frozenset(LABELS))
    harm = GateResult(name="errors", verdict="FAIL", reason="9 of 60")
    life: list[tuple[ExperimentState, tuple[ExperimentCommand, ...]]] = []

    def look(facts: ExperimentFacts) -> ExperimentState:
        moved, commands = experiment.step(life[-1][0] if life else state, facts)
        assert commands
        life.append((moved, commands))
        return moved

    look(cold)
    running = look(warm)
    cells = (CellFacts(cell="A", viewers=60, guards=(harm,)),)
    harmed = look(replace(cold, shares=experiment_shares(running), cells=cells))
    act = ExperimentAct(id="s", act="stop", by="bob")
    closed = look(replace(cold, shares=experiment_shares(harmed), acts=(act,)))
    assert closed.phase == "stopped"
    return life


class Home:
    """A control plane over a home that dies after so many effects."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, LocalFiles(folder)
        self.clock = ManualClock(T0)
        self.graph = SqliteGraph(folder / "graph.sqlite3", self.clock)
        write_wanted(self.files, Wanted(service="home", versions=(VERSIONS["v1"],)))

    def acts(self, fuse: Fuse | None = None) -> ExperimentActs:
        files: Any = FusedFiles(self.folder, fuse) if fuse else self.files
        by = Recorder(project="p", actor="workflow:experiment", clock=self.clock, ids=IDS)
        return ExperimentActs(
            ExperimentPorts(
                files=files,
                fleet=Fleet(),
                store=cast("Any", FusedLog(self.graph, fuse) if fuse else self.graph),
                clock=self.clock,
                watch=cast("Any", None),
                recorder=lambda _: by,
            )
        )

    def found(self) -> tuple[Any, list[str]]:
        """Return what is wanted and the keys of the events."""
        wanted = read_wanted(self.files, "home").versions
        return sorted(wanted, key=lambda one: one.version), [
            stored.event.key for stored in self.graph.events(0, 1_000)
        ]


def test_a_life_step_by_step(tmp_path: Path) -> None:
    home = Home(tmp_path)
    seen = []
    for state, commands in told():
        for command in commands:
            home.acts().do(ExperimentLook(state=state, request=REQUEST), command)
        wanted, _ = home.found()
        seen.append({one.version: (one.layer, one.bp) for one in wanted})
    own, held = {"v1": ("", FULL_BP)}, {"v1~holdout": (HOLDOUT, 100)}
    warm = {"v0~rows.A": ("", 0), "v2~rows.B": ("", 0), "v1~holdout": ("", 0)}
    assert seen == [
        own | warm,
        own | held | {"v0~rows.A": ("rows", 500), "v2~rows.B": ("rows", 300)},
        own | held | {"v2~rows.B": ("rows", 300)},
        own | held,
    ]
    home.graph.close()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(4))
def test_killed_at_any_effect_and_done_again_it_ends_the_same(
    tmp_path: Path, number: int, after: bool
) -> None:
    life = told()
    ends = []
    for left in range(-1, 12):  # -1: never killed
        folder = tmp_path / f"{left}"
        folder.mkdir()
        home = Home(folder)
        killed = False
        for n, (state, commands) in enumerate(life):
            look = ExperimentLook(state=state, request=REQUEST)
            fuse = Fuse(left, after=after) if n == number and left >= 0 else None
            try:
                for command in commands:
                    home.acts(fuse).do(look, command)
            except Killed:
                killed = True
                for command in commands:
                    home.acts().do(look, command)
        ends.append(home.found())
        home.graph.close()
        if left >= 0 and not killed:
            break
    else:
        raise AssertionError("it was killed at each effect: more of them are needed")
    assert len(ends) > 2
    assert all(end == ends[0] for end in ends)


def test_what_a_rollout_took_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (_, start), (running, share), *_ = told()
    look = ExperimentLook(state=running, request=REQUEST)
    for command in start:
        home.acts().do(look, command)
    back = (replace_bp(VERSIONS["v1"], 0), replace_bp(VERSIONS["v0"], FULL_BP))
    write_wanted(home.files, Wanted(service="home", versions=back))
    for command in share:
        home.acts().do(look, command)
    assert {v.version: v.bp for v in read_wanted(home.files, "home").versions} == {
        "v0": FULL_BP,
        "v1": 0,
    }
    home.graph.close()


def replace_bp(one: WantedVersion, bp: int) -> WantedVersion:
    return WantedVersion(
        version=one.version, artifact=one.artifact, bp=bp, deployment=one.deployment
    )
