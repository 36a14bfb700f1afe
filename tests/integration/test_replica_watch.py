"""The watch over replicas in memory: faults on purpose, a supervisor, and a real graph."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tests.unit.serving.stubs import StubRecommender

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_memory import MemoryLauncher
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.adapters.router_memory import MemoryRouter
from mlg.app.replicas import ReplicaWatch
from mlg.app.supervise import Supervisor
from mlg.automations.happened import event_data
from mlg.core.clock import ManualClock
from mlg.core.ports import Reply
from mlg.core.predict import Prediction, Query
from mlg.core.processes import ProcessKind, ProcessSpec, ProcessState
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.graph.why_not import why_of
from mlg.release.fleet import Group, WantedService, WantedVersion, process_id
from mlg.serving.faults import FaultyRecommender
from mlg.serving.instruments import Instruments

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Replica:
    """The serving side of one process: a recommender that may be spoilt, and its counters."""

    def __init__(self, home: Path, state: ProcessState, now_s: Callable[[], float]) -> None:
        self.instruments = Instruments(state.service, state.version)
        self.model = FaultyRecommender(
            StubRecommender(),
            home / "faults.json",
            (state.id, state.version),
            lambda: 0.5,
            now_s,
        )

    def answer(self, count: int, rng: np.random.Generator) -> None:
        for _ in range(count):
            ranked = self.model.recommend(
                Query(user_id="sure" if rng.random() < 0.3 else 1, k=1, at=AT)
            )
            self.instruments.answered(
                Prediction(
                    prediction_id="p", service="home", version="v1", policy="0", items=(1,),
                    scores=(1.0,), raw_confidence=ranked.raw_confidence, confidence=0.5,
                    served_by="model", reason="model", at=AT, latency_ms=1.0,
                ),
                0.001,
            )  # fmt: skip


class World:
    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, ManualClock()
        self.launcher = MemoryLauncher(self.clock, Uuid7Ids(self.clock))
        self.network, self.rng = MemoryNetwork(), np.random.default_rng(7)
        self.replicas: dict[str, Replica] = {}
        self.moving: dict[str, str] = {}
        graph = home / "graph.sqlite3"
        self.store, self.reader = SqliteGraph(graph, self.clock), SqliteGraphReader(graph)
        self.supervisor = Supervisor(
            launcher=self.launcher,
            router=MemoryRouter(),
            network=self.network,
            clock=self.clock,
            spec_for=self.spec_for,
            record=lambda *_: None,
        )
        self.watch = ReplicaWatch(
            files=LocalFiles(home),
            clock=self.clock,
            network=self.network,
            store=self.store,
            supervisor=lambda: self.supervisor,
            recorder=self.recorder,
            moving=lambda: self.moving,
        )
        version = WantedVersion(version="v1", artifact=Digest("0" * 64), replicas=3, bp=10_000)
        self.supervisor.want((WantedService(name="home", versions=(version,), stable="v1"),))

    def recorder(self) -> Recorder:
        ids = Uuid7Ids(self.clock)
        return Recorder(project="movies", actor="system:replicas", clock=self.clock, ids=ids)

    def spec_for(self, kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
        name = process_id(Group(kind, service, version), n)
        return ProcessSpec(
            id=name, kind=kind, argv=(), service=service, version=version, digest="d"
        )

    def serve(self, state: ProcessState) -> Callable[[Request], Reply]:
        replica = self.replicas.setdefault(
            state.nonce, Replica(self.home, state, self.clock.monotonic_s)
        )

        def handler(request: Request) -> Reply:
            if request.path == "/metrics":
                return Reply(status=200, body=replica.instruments.text())
            return Reply(status=200, body=state.nonce.encode())

        return handler

    def seconds(self, count: int, step_s: float = 1.0) -> None:
        """Look so many times, with ten answers of each replica in between."""
        for _ in range(count):
            for state in self.launcher.state():
                self.network.serve(f"http://127.0.0.1:{state.port}", self.serve(state))
                if state.kind == "replica":
                    self.replicas[state.nonce].answer(10, self.rng)
            self.supervisor.tick()
            self.watch.round()
            self.clock.wait(step_s)

    def spoil(self, **faults: float) -> None:
        text = json.dumps({name.replace("_", "-"): {"unsure": x} for name, x in faults.items()})
        (self.home / "faults.json").write_text(text)

    def ids(self) -> set[str]:
        return {p.id for p in self.launcher.state() if p.kind == "replica"}

    def events(self, word: str) -> list[dict[str, object]]:
        found = [s.event for s in self.store.events(0, 1_000)]
        return [event_data(e) for e in found if e.type == f"mlg.{word}"]

    def told(self, text: str, did_not: str | None = None) -> str:
        answer = why_of(self.reader, self.reader, text, did_not)
        assert answer is not None
        return answer.paragraph


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.seconds(15)
    assert made.ids() == {"replica-home-1", "replica-home-2", "replica-home-3"}
    yield made
    made.supervisor.close()
    made.reader.close()
    made.store.close()


def test_the_one_that_is_made_to_differ_is_replaced_and_the_graph_says_why(
    world: World,
) -> None:
    world.spoil(replica_home_2=0.1)
    world.seconds(12)
    assert world.ids() == {"replica-home-1", "replica-home-3", "replica-home-4"}
    (restart,) = world.events("replica.restarted")
    assert restart["process"] == "replica-home-2"
    assert "replica-home-2 was restarted, because its confidence is" in world.told(
        "replica-home-2"
    )
    answer = why_of(world.reader, world.reader, "replica-home-2", "restarted")
    assert answer is not None
    assert not answer.holds  # it was
    world.seconds(10)
    assert len(world.events("replica.restarted")) == 1


def test_a_fall_of_all_replaces_none_and_the_graph_says_so(world: World) -> None:
    world.spoil(v1=0.1)
    world.seconds(15)
    assert world.ids() == {"replica-home-1", "replica-home-2", "replica-home-3"}
    assert not world.events("replica.restarted")
    for text in ("home", "mlg://service/mlg/movies/home"):
        assert "siblings were alike" in world.told(text, "restarted")


def test_while_the_input_drifts_none_is_replaced(world: World) -> None:
    world.moving = {"home": "the input drifts"}
    world.spoil(replica_home_2=0.1)
    world.seconds(12)
    assert "replica-home-2" in world.ids()
    assert "but the input drifts" in world.told("replica-home-2", "restarted")
    world.moving = {}
    world.seconds(8)
    assert "replica-home-2" not in world.ids()


def test_every_lost_record_is_told_of_at_most_once_a_minute(world: World) -> None:
    state = next(s for s in world.launcher.state() if s.kind == "fallback")
    replica = world.replicas[state.nonce]  # it writes answers to the log like any other
    for at in range(13):
        replica.instruments.gap(2)
        world.seconds(1, step_s=10.0)
        assert len(world.events("log.records_lost")) <= 1 + at // 6
    world.seconds(3, step_s=30.0)
    lost = [int(str(e["records"])) for e in world.events("log.records_lost")]
    assert sum(lost) == 26
    assert "could not write" in world.told(state.id)


def test_a_service_that_loses_records_is_alerted_until_it_is_quiet(world: World) -> None:
    one, two = sorted(
        (s for s in world.launcher.state() if s.kind == "replica"), key=lambda s: s.id
    )[:2]
    world.replicas[one.nonce].instruments.gap(3)
    world.seconds(2)
    (opened,) = world.events("alert.opened")
    assert (opened["kind"], opened["service"], opened["n"]) == ("records_lost", "home", 3)
    found = world.watch.losses("home")
    assert found is not None
    uri, alert = found
    assert (alert.records, alert.processes) == (3, (one.id,))
    assert f"3 answers or feedback of home could not be written to its log by {one.id}" in (
        world.told(uri)
    )
    world.replicas[two.nonce].instruments.gap(1)  # another one joins
    world.seconds(2)
    (grown,) = world.events("alert.grown")
    assert (grown["n"], grown["processes"]) == (4, f"{one.id}, {two.id}")

    again = ReplicaWatch(  # the control plane started anew: the same alert, nothing told twice
        files=LocalFiles(world.home),
        clock=world.clock,
        network=world.network,
        store=world.store,
        supervisor=lambda: world.supervisor,
        recorder=world.recorder,
        moving=lambda: world.moving,
    )
    world.watch = again
    world.seconds(2)
    assert len(world.events("log.records_lost")) == 2
    same = again.losses("home")
    assert same is not None
    assert (same[0], same[1].records, same[1].opened_s) == (uri, 4, alert.opened_s)
    world.seconds(12, step_s=30.0)
    assert again.losses("home") is None
    assert len(world.events("alert.closed")) == len(world.events("incident.closed")) == 1
    assert "closed" in world.told(uri)
    world.replicas[one.nonce].instruments.gap(1)
    world.seconds(2)
    found = world.watch.losses("home")
    assert found is not None
    assert (found[0] != uri, found[1].number) == (True, 2)
