"""An experiment whose workflow fails, on the real durable engine: nobody waits for ever."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dbos import DBOS
from tests.conftest import until
from tests.integration.test_experiment_acts import PLAN, REQUEST, VERSIONS

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.graph.record import Recorder
from mlg.release.experiment_types import ExperimentFacts, experiment_shares
from mlg.workflows import durable
from mlg.workflows.experiment import Experiment, abandon_if_failed, start_experiment
from mlg.workflows.experiment_acts import ExperimentPorts
from mlg.workflows.experiments import (
    ExperimentLook,
    ExperimentRequest,
    open_experiment,
    read_experiment,
)
from mlg.workflows.state import Wanted, read_wanted, write_wanted

T0 = datetime(2026, 3, 1, tzinfo=UTC)


class Files(MemoryFiles):
    """Small files of which some cannot be written for a while."""

    broken = ""

    def write(self, path: str, content: bytes) -> None:
        if self.broken and path.endswith(self.broken):
            raise ValueError(f"{path} cannot be written")
        super().write(path, content)


@dataclass
class World:
    """A service of which everything goes well, until it is told otherwise."""

    files: Files
    store: SqliteGraph
    folder: Path
    runs: list[Experiment] = field(default_factory=list)
    looks_well: bool = True
    holds: threading.Event | None = None
    """While it is not set, looks wait for it; then they fail."""
    held: threading.Thread | None = None

    def now(self, service: str) -> datetime:
        del service
        return T0

    def look(self, look: ExperimentLook) -> tuple[ExperimentLook, ExperimentFacts]:
        if self.holds is not None:
            self.held = threading.current_thread()
            self.holds.wait(30)
        if look.state.phase == "running" and not self.looks_well:
            raise ValueError("the log is not what it should be")
        labels = frozenset(cell.label(PLAN.name) for cell in PLAN.cells)
        shares = experiment_shares(look.state)
        return look, ExperimentFacts(now=T0, ready=labels, serving="v1", shares=shares)

    def refresh(self) -> None:
        """Nothing runs here."""

    def wait_ready(self, service: str, version: str, deadline_s: float) -> None:
        raise BackendError(f"{service} {version} {deadline_s}")

    def begin(self, name: str) -> ExperimentRequest:
        """Start an experiment where the control serves alone."""
        write_wanted(self.files, Wanted(service="home", versions=(VERSIONS["v1"],)))
        request = msgspec.structs.replace(REQUEST, id=name)
        start_experiment(self.runs[0], request)
        return request

    def phase(self) -> str:
        document = read_experiment(self.files, "home")
        return document["phase"] if document else ""

    def events(self, name: str) -> list[str]:
        stored = [one.event for one in self.store.events(0, 1_000)]
        return [event.type for event in stored if event.subject.endswith(f"@{name}")]

    def cells(self) -> dict[str, int]:
        wanted = read_wanted(self.files, "home").versions
        return {one.version: one.bp for one in wanted if one.layer == "rows"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("experiment")
    clock = ManualClock(T0)
    store = SqliteGraph(folder / "graph.sqlite3", clock)
    made = World(Files(), store, folder)
    ids = Uuid7Ids(clock)
    durable.configure(folder / "workflows.sqlite3")
    made.runs.append(
        Experiment(
            ExperimentPorts(
                files=made.files,
                fleet=made,
                store=store,
                clock=clock,
                watch=made,
                recorder=lambda actor: Recorder(project="p", actor=actor, clock=clock, ids=ids),
            )
        )
    )
    durable.launch()
    yield made
    durable.close()
    store.close()


def test_what_cannot_go_on_gives_its_cells_back_and_is_over(world: World) -> None:
    world.looks_well = False
    world.begin("x-looks")
    until(lambda: world.phase() == "stopped", 20)
    document = read_experiment(world.files, "home") or {}
    assert "could not go on: the log is not what it should be" in document["reason"]
    assert open_experiment(world.files, "home") == ""
    assert world.cells() == {}
    held = [one for one in read_wanted(world.files, "home").versions if one.layer == "holdout"]
    assert [one.bp for one in held] == [PLAN.holdout_bp]
    told = world.events("x-looks")
    assert told == [
        f"mlg.experiment.{what}" for what in ("begun", "running", "stopped", "called")
    ]
    world.looks_well = True


def test_also_where_the_cells_cannot_be_given_back(world: World) -> None:
    world.begin("x-act")
    until(lambda: world.cells() != {}, 20)
    world.files.broken = "wanted.json"
    world.looks_well = False
    until(lambda: world.phase() == "stopped", 20)
    assert open_experiment(world.files, "home") == ""
    assert world.cells() != {}  # the next rollout takes the whole split
    world.files.broken, world.looks_well = "", True


def test_a_workflow_that_is_no_more_is_found_and_ended(world: World) -> None:
    world.begin("x-dead")
    until(lambda: world.cells() != {}, 20)
    assert abandon_if_failed(world.runs[0], world.files, "home") is False  # it is well
    assert abandon_if_failed(world.runs[0], world.files, "other") is False
    world.files.broken = "experiment.json"

    def status() -> Any:
        found = DBOS.get_workflow_status("x-dead")
        return found.status if found else ""

    until(lambda: status() == "ERROR", 30)
    world.files.broken = ""
    assert open_experiment(world.files, "home") == PLAN.name
    assert abandon_if_failed(world.runs[0], world.files, "home") is True
    until(lambda: world.phase() == "stopped", 20)
    assert "its workflow ended" in (read_experiment(world.files, "home") or {})["reason"]
    assert world.cells() == {}
    assert world.events("x-dead")[-2:] == ["mlg.experiment.stopped", "mlg.experiment.called"]
    assert abandon_if_failed(world.runs[0], world.files, "home") is False


def test_a_control_plane_that_ends_abandons_nothing(world: World) -> None:
    world.begin("x-on")
    until(lambda: world.cells() != {}, 20)
    world.holds = threading.Event()
    until(lambda: world.held, 20)
    durable.close()
    world.looks_well = False  # what is torn down meanwhile may fail in any way
    world.holds.set()
    assert world.held is not None
    world.held.join(20)
    assert not world.held.is_alive()
    assert (world.phase(), open_experiment(world.files, "home")) == ("running", PLAN.name)
    assert world.cells() != {}
    with closing(sqlite3.connect(world.folder / "workflows.sqlite3")) as kept:
        found = kept.execute(
            "SELECT status FROM workflow_status WHERE workflow_uuid = 'x-on'"
        ).fetchall()
    assert found == [("PENDING",)]  # the next one goes on with it
