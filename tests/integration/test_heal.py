"""Healing on the real durable engine: from an incident to the run that healed it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS, DBOSConfiguredInstance
from tests.conftest import until

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.errors import ConflictError
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.workflows import durable
from mlg.workflows.heal import Heal, HealPorts, HealRequest, IncidentView, start_heal
from mlg.workflows.sources import held
from mlg.workflows.state import Wanted, WantedVersion, write_wanted
from mlg.workflows.train import TrainRequest

LOSS, SHIFT = "home-features:1@ab12", "home-features:2@ab12"
SKEW, BROKEN = "home-features:3@ab12", "home-features:4@ab12"


@DBOS.dbos_class()
class Training(DBOSConfiguredInstance):
    """A training that makes a version and gives it all of the traffic."""

    def __init__(self, files: MemoryFiles) -> None:
        self._files = files
        super().__init__("training")

    @DBOS.workflow(name="training")
    def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        del raw
        _serve(self._files, "new")
        return {"state": "done", "version": "new"}


class Incidents:
    """Incidents that are open until they are settled."""

    def __init__(self, actions: dict[str, str]) -> None:
        self.actions, self.settled, self.looks = actions, list[str](), 0

    def view(self, monitor: str, incident: str) -> IncidentView:
        assert monitor == "home-features"
        is_open = incident not in self.settled and self.looks != 3
        self.looks += incident == BROKEN and self.looks < 3
        return IncidentView(open=is_open, action=self.actions[incident], windows=20)

    def settle(self, monitor: str, incident: str) -> bool:
        was = self.view(monitor, incident).open
        self.settled.append(incident)
        return was


def _serve(files: MemoryFiles, version: str) -> None:
    item = WantedVersion(
        version=version, artifact=Digest("d" * 64), bp=10_000, deployment=f"d-{version}"
    )
    write_wanted(files, Wanted(service="home", versions=(item,)))


class Taking:
    """Takes a service back once a key; before that nothing served."""

    def __init__(self, files: MemoryFiles) -> None:
        self._files, self.keys = files, list[str]()

    def __call__(self, service: str, reason: str, key: str) -> str:
        if self.keys:
            raise ConflictError("no version served before", where=service)
        assert reason
        self.keys.append(key)
        _serve(self._files, "former")
        return "back-1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heal")


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[SqliteGraph]:
    made = SqliteGraph(folder / "graph.sqlite3", ManualClock())
    yield made
    made.close()


@pytest.fixture(scope="module")
def ended(folder: Path, store: SqliteGraph) -> Iterator[dict[str, dict[str, Any]]]:
    """Heal incidents of each kind in turn; return what each healing returned."""
    incidents = Incidents(
        {LOSS: "retrain", SHIFT: "record", SKEW: "roll_back", BROKEN: "quarantine"}
    )
    files, clock = MemoryFiles(), ManualClock()
    ids = Uuid7Ids(clock)
    _serve(files, "old")
    durable.configure(folder / "workflows.sqlite3")
    heal = Heal(
        HealPorts(
            files=files,
            store=store,
            clock=clock,
            recorder=lambda: Recorder(project="p", actor="a", clock=clock, ids=ids),
            incidents=incidents,
            train_request=lambda service: TrainRequest(
                run_id="run-1", project="p", pipeline="ranker", manifest="", folder=Digest(""),
                services=(service,),
            ),
            roll_back=Taking(files),
        ),
        Training(files),
    )  # fmt: skip
    durable.launch()
    try:
        for incident in (LOSS, LOSS, SHIFT):
            request = HealRequest(incident=incident, monitor="home-features", service="home")
            start_heal(heal, request)
        found = {
            incident: DBOS.retrieve_workflow(f"heal:{incident}").get_result()
            for incident in (LOSS, SHIFT)
        }
        for _ in range(2):
            request = HealRequest(incident=SKEW, monitor="home-features", service="home")
            start_heal(heal, request)
        found[SKEW] = DBOS.retrieve_workflow(f"heal:{SKEW}").get_result()
        request = HealRequest(incident=BROKEN, monitor="home-features", service="home")
        start_heal(heal, request)
        until(lambda: held(files, ["home"]) is not None)
        found[BROKEN] = DBOS.retrieve_workflow(f"heal:{BROKEN}").get_result()
        assert held(files, ["home"]) is None, "it ends with its incident"
        yield found
    finally:
        durable.close()


def test_a_loss_is_trained_for_and_a_shift_without_loss_is_not(
    ended: dict[str, dict[str, Any]], store: SqliteGraph
) -> None:
    assert (ended[LOSS]["healed"], ended[LOSS]["attempt"]) == (True, 1)
    assert (ended[SHIFT]["healed"], ended[SHIFT]["attempt"]) == (False, 0)
    events = [one.event for one in store.events()]
    of = {
        name: [e for e in events if e.subject.endswith(name.partition(":")[2])]
        for name in (LOSS, SHIFT)
    }
    assert [e.type.rpartition(".")[2] for e in of[LOSS]] == ["retraining_begun", "healed"]
    assert [e.type.rpartition(".")[2] for e in of[SHIFT]] == ["recorded", "settled"]
    assert [(edge.role, edge.dst) for edge in of[LOSS][1].edges] == [
        ("healed_by", "mlg://run/mlg/p/ranker@run-1"),
        ("healed_by", "mlg://deployment/mlg/p/home@d-new"),
    ]


def test_a_skew_is_taken_back_once_and_healed_by_the_version_before(
    ended: dict[str, dict[str, Any]], store: SqliteGraph
) -> None:
    assert (ended[SKEW]["healed"], ended[SKEW]["left"]) == (True, "new")
    mine = [e.event for e in store.events() if e.event.subject.endswith(SKEW.partition(":")[2])]
    assert [e.type.rpartition(".")[2] for e in mine] == ["rolled_back", "healed"]
    back = "mlg://rollout/mlg/p/home@back-1"
    assert [(edge.role, edge.dst) for edge in mine[0].edges] == [("triggered", back)]
    assert [(edge.role, edge.dst) for edge in mine[1].edges] == [
        ("healed_by", "mlg://deployment/mlg/p/home@d-former")
    ]


def test_broken_data_is_quarantined_and_never_trained_on(
    ended: dict[str, dict[str, Any]], store: SqliteGraph
) -> None:
    assert (ended[BROKEN]["attempt"], ended[BROKEN]["noted"]) == (0, ["quarantined"])
    mine = [
        e.event for e in store.events() if e.event.subject.endswith(BROKEN.partition(":")[2])
    ]
    assert [e.type.rpartition(".")[2] for e in mine] == ["quarantined"]
