"""A version is started by hand: which ones may be, once by key, and by whom it was."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.story import START, whole_story

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.app.rollout_acts import RolloutActs, acts_of
from mlg.app.rollout_start import RolloutStarts
from mlg.app.rollout_told import ActsTold
from mlg.core.clock import ManualClock
from mlg.core.errors import ConflictError, DeniedError, NotFoundError
from mlg.graph.record import Recorder
from mlg.manifest.specs_services import ServiceSpec
from mlg.workflows.packaged import Packaged, write_packaged
from mlg.workflows.release_ports import StartRequest
from mlg.workflows.rollouts import Swaps, forgive, read_swaps, rollout_path, write_swaps
from mlg.workflows.state import Wanted, WantedVersion, write_wanted
from mlg.workflows.waiting import tell_waiting

STORY = whole_story()
A, C, D = "a" * 12, "c" * 12, "d" * 12


class Plane:
    def __init__(self, folder: Path) -> None:
        self.files, self.clock = MemoryFiles(), ManualClock(START)
        self.store = SqliteGraph(folder / "graph.sqlite3", self.clock)
        self.store.append(tuple(STORY.events))
        self.reader = SqliteGraphReader(folder / "graph.sqlite3")
        self.artifacts = LocalArtifacts(folder / "artifacts")
        self.started: list[StartRequest] = []
        told = ActsTold(self.store, self.recorder)
        spec = SimpleNamespace(services={"home": ServiceSpec(model="ranker")})
        self.starts = RolloutStarts(
            files=self.files, ids=STORY.by.ids, artifacts=self.artifacts,
            manifests=SimpleNamespace(spec=lambda: spec), reader=self.reader,  # type: ignore[arg-type]
            recorder=self.recorder, start=self.started.append, told=told,
        )  # fmt: skip
        self.acts = RolloutActs(
            self.files, STORY.by.ids, lambda _: None, lambda _: "ranker", told
        )

    def recorder(self, actor: str) -> Recorder:
        by = STORY.by
        return Recorder(project=by.project, actor=actor, clock=self.clock, ids=by.ids)

    def package(self, version: str, folder: Path) -> str:
        """Store an artifact and say that this version is it."""
        folder.mkdir()
        (folder / "model").write_text(version)
        digest = self.artifacts.put(folder)
        packaged = Packaged(artifact=digest)
        self.files.write(f"packaged/{version}.json", msgspec.json.encode(packaged))
        return digest

    def asked(self) -> list[Any]:
        events = self.store.events(len(STORY.events), 1_000)
        return [one.event for one in events if one.event.type == "mlg.rollout.asked"]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    yield made
    made.reader.close()
    made.store.close()


def test_a_packaged_version_starts_once_a_key_and_says_who_asked(
    plane: Plane, tmp_path: Path
) -> None:
    digest = plane.package(C, tmp_path / "c")
    first = plane.starts.start("home", C, "local:ada", "the outage is over", key="k/1")
    again = plane.starts.start("home", C, "local:ada", "the outage is over", key="k/1")
    assert first["rollout"] == again["rollout"] == "start-k-1"
    assert {r.id for r in plane.started} == {"start-k-1"}  # durable: one workflow an id
    request = plane.started[0]
    assert (request.artifact, request.model, request.by) == (digest, "ranker", "local:ada")
    (event,) = plane.asked()
    assert (event.actor, dict(event.data)["act"]) == ("local:ada", "start")
    assert dict(event.data)["reason"] == "the outage is over"
    assert plane.starts.start("home", C, "local:ada")["rollout"] != "start-k-1"


def test_what_may_not_start_says_what_may(plane: Plane, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as none:
        plane.starts.start("home", C, "local:ada")
    assert "mlg run ranker" in none.value.hint  # the graph knows versions; none is packaged
    plane.package(C, tmp_path / "c")
    plane.package(D, tmp_path / "d")
    with pytest.raises(NotFoundError) as unknown:
        plane.starts.start("home", "0" * 12, "local:ada")
    assert unknown.value.hint == f"there are, newest first: {D}, {C}"
    with pytest.raises(NotFoundError) as nowhere:
        plane.starts.start("shop", C, "local:ada")
    assert "there are: home" in nowhere.value.hint
    write_packaged(plane.files, Packaged(artifact=A + "0" * 52))  # type: ignore[arg-type]
    with pytest.raises(ConflictError, match="is gone"):
        plane.starts.start("home", A, "local:ada")
    assert plane.started == []
    assert plane.asked() == []


def test_one_that_serves_or_is_on_its_way_or_was_taken_back_is_refused(
    plane: Plane, tmp_path: Path
) -> None:
    digest = plane.package(C, tmp_path / "c")
    version = digest[:12]
    serving = WantedVersion(version=version, artifact=digest, bp=10_000, deployment="d1")  # type: ignore[arg-type]
    write_wanted(plane.files, Wanted(service="home", versions=(serving,)))
    with pytest.raises(ConflictError, match="serves home already"):
        plane.starts.start("home", C, "local:ada")
    write_wanted(plane.files, Wanted(service="home"))
    flying = {"rollout": "r9", "state": "canary", "candidate": version}
    plane.files.write(rollout_path("home"), msgspec.json.encode(flying))
    with pytest.raises(ConflictError, match="on its way already, in rollout r9"):
        plane.starts.start("home", C, "local:ada")
    plane.files.write(
        rollout_path("home"), msgspec.json.encode({**flying, "candidate": "another"})
    )
    write_swaps(plane.files, "home", Swaps(rejected=(version, "other")))
    with pytest.raises(ConflictError) as refused:
        plane.starts.start("home", C, "local:ada")
    assert "--again" in refused.value.hint
    found = plane.starts.start("home", C, "local:ada", again="the cause was elsewhere")
    assert (found["waits_for"], found["waits_for_experiment"]) == ("r9", "")
    assert plane.started[0].again == "the cause was elsewhere"
    forgive(plane.files, "home", version)  # what the workflow does when its turn comes
    assert read_swaps(plane.files, "home").rejected == ("other",)


def test_a_start_and_the_status_name_the_experiment_that_runs(
    plane: Plane, tmp_path: Path
) -> None:
    version = plane.package(C, tmp_path / "c")[:12]
    running = {"phase": "running", "name": "rows", "experiment": "rows-1"}
    plane.files.write("services/home/experiment.json", msgspec.json.encode(running))
    found = plane.starts.start("home", C, "local:ada", key="k")
    assert (found["waits_for"], found["waits_for_experiment"]) == ("", "rows")
    done = {"rollout": "r9", "state": "done", "candidate": "another"}
    plane.files.write(rollout_path("home"), msgspec.json.encode(done))
    tell_waiting(plane.files, "home", "start-k", version, "experiment rows")
    status = plane.acts.status("home")
    assert status["experiment"] == "rows"
    assert status["waiting"] == [
        {"rollout": "start-k", "version": version, "waits_for": "experiment rows"}
    ]


def test_an_approval_is_taken_from_those_who_are_listed(plane: Plane) -> None:
    waiting = {"rollout": "r9", "state": "canary", "candidate": C,
               "only": {"approve": ["ada", "operator"]}}  # fmt: skip
    plane.files.write(rollout_path("home"), msgspec.json.encode(waiting))
    with pytest.raises(DeniedError) as denied:
        plane.acts.act("home", "approve", "local:bob", "me too", roles=("admin",))
    assert denied.value.hint == "may approve: ada, operator"
    assert acts_of(plane.files, "home", "r9") == ()
    plane.acts.act("home", "approve", "local:ada", "fine", key="one")
    plane.acts.act("home", "approve", "local:ada", "fine", key="one")
    plane.acts.act("home", "approve", "oidc:eve", roles=("operator",))
    plane.acts.act("home", "rollback", "local:bob")  # a way back asks for nobody's approval
    kept = acts_of(plane.files, "home", "r9")
    assert [(a.act, a.by, a.roles) for a in kept] == [
        ("approve", "local:ada", ()),
        ("approve", "oidc:eve", ("operator",)),
        ("rollback", "local:bob", ()),
    ]
    told = [(e.actor, dict(e.data).get("refused", "")) for e in plane.asked()]
    assert told == [
        ("local:bob", "local:bob is not among those who may"),
        ("local:ada", ""), ("oidc:eve", ""), ("local:bob", ""),
    ]  # fmt: skip
