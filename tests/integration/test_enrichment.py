"""Thin events to the graph: in any order, lost, doubled, and with a provider that is down."""

import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from mlg.adapters.enrichment_memory import MemoryEnrichment
from mlg.adapters.enrichment_sqlite import SqliteEnrichment
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.provider_memory import MemoryProvider
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.app.enrichment import DOWN_AFTER, FIRST_WAIT_S, Enricher, Enrichers
from mlg.core.clock import ManualClock
from mlg.core.ports import EnrichmentQueue
from mlg.core.principal import Principal
from mlg.core.providers import Thing
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri
from mlg.graph.record import Recorder
from mlg.workflows.enrich import States

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JSON = {"content-type": "application/json"}


@dataclass
class Plane:
    """A graph, a provider in memory named `lab`, and its enricher, which is stepped by hand."""

    clock: ManualClock
    store: SqliteGraph
    reader: SqliteGraphReader
    queue: EnrichmentQueue
    provider: MemoryProvider
    enricher: Enricher
    enrichers: Enrichers

    def work(self) -> None:
        while self.enricher.round():
            pass

    def graph(self) -> dict[Uri, Any]:
        """Return every node of the provider with its attributes and the arrows into it."""
        found: dict[Uri, Any] = {}
        for node in self.reader.nodes(NodeQuery(limit=10_000)).nodes:
            if "/memory/" in node.uri:
                walk = self.reader.walk(node.uri, "up", WalkOptions(depth=1))
                attrs = {key: value for key, value in node.attrs if value is not None}
                for name in ("state_digest", "state_at"):
                    attrs.pop(name, None)
                arrows = {(edge.src, edge.role) for edge in walk.edges}
                found[node.uri] = (attrs, node.valid_to is None, arrows)
        return found


def plane_in(folder: Path, queue: EnrichmentQueue, sweep_every_s: float = 0.0) -> Plane:
    clock = ManualClock(NOW)
    store = SqliteGraph(folder / "graph.sqlite3", clock)
    reader = SqliteGraphReader(folder / "graph.sqlite3")
    provider = MemoryProvider(clock)

    def recorder(actor: str) -> Recorder:
        return Recorder(project="p", actor=actor, clock=clock, ids=Uuid7Ids(clock))

    states = States(store=store, reader=reader, queue=queue, recorder=recorder)
    enricher = Enricher(
        name="lab",
        plugin="memory",
        provider=provider,
        states=states,
        clock=clock,
        sweep_every_s=sweep_every_s,
    )
    enrichers = Enrichers((enricher,), states, clock, ("memory",), lambda: None)
    return Plane(clock, store, reader, queue, provider, enricher, enrichers)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    queue = SqliteEnrichment(tmp_path / "enrichment.sqlite3")
    found = plane_in(tmp_path, queue)
    yield found
    found.reader.close()
    found.store.close()
    queue.close()


@pytest.fixture
def client(plane: Plane) -> Iterator[TestClient[Any]]:
    services = ApiServices(
        reader=plane.reader,
        store=plane.store,
        operations=None,  # pyright: ignore[reportArgumentType]
        clock=plane.clock,
        ids=Uuid7Ids(plane.clock),
        providers=plane.enrichers,
    )
    app = create_app(
        services,
        allowed_hosts=("127.0.0.1",),
        principal_for=lambda _: Principal(
            subject="local:ada", roles=("admin",), via="loopback"
        ),
    )
    with TestClient(app, base_url="http://127.0.0.1:7070", raise_server_exceptions=False) as it:
        yield it


def thin(id_: str, **more: Any) -> dict[str, Any]:
    return {"provider": "lab", "type": "run", "id": id_, **more}


def post(client: TestClient[Any], content: Any, path: str = "events") -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post(f"/api/v1/{path}", content=body, headers=JSON)


def run_uri(id_: str) -> Uri:
    return make_uri("run", "here", id_, provider="memory")


def test_a_thin_event_is_answered_at_once_and_told_soon(
    plane: Plane, client: TestClient[Any]
) -> None:
    plane.provider.put("r1", {"score": 1}, ("ratings@d1",))
    answer = post(client, thin("r1"))
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert plane.store.head().seq == 0
    plane.work()
    attrs, open_, arrows = plane.graph()[run_uri("r1")]
    data = make_uri("dataset_version", "here", "ratings", "d1", provider="memory")
    assert (attrs["score"], open_, arrows) == (1, True, {(data, "used")})
    head = plane.store.head()
    for _ in range(3):
        post(client, [thin("r1"), thin("r1")])
        plane.work()
    assert plane.store.head() == head
    (shown,) = client.get("/api/v1/providers").json()["providers"]
    assert (shown["enriched"], shown["waiting"]) == (1, 0)
    assert shown["last_enriched_at"] == "2026-01-02T03:04:05.000000Z"


def test_a_thin_event_may_come_in_a_cloudevents_envelope(
    plane: Plane, client: TestClient[Any]
) -> None:
    plane.provider.put("r1", {})
    envelope = {"specversion": "1.0", "id": "e1", "source": "/lab", "type": "run.changed"}
    answer = post(client, {**envelope, "data": thin("r1")})
    assert answer.status_code == 202
    plane.work()
    assert run_uri("r1") in plane.graph()


@pytest.mark.parametrize(
    ("event", "where", "what"),
    [
        (thin("r1", provider="none"), "$.provider", "known are lab"),
        (thin("r1", type="none"), "$.type", "known are run"),
        (thin("r1", provider="openlineage"), "$.provider", "have no source to ask"),
        (thin(""), "$", "expected {provider, type, id}"),
        (thin("x" * 501), "$.id", "500 characters"),
        (thin("a\0b"), "$.id", "NUL"),
        ({"specversion": "1.0", "data": {"id": 1}}, "$.data", "expected"),
        ("text", "$", "expected"),
        (None, "$", "expected"),
        (b"{", "body", "expected JSON"),
        (b"\xff", "body", "expected JSON"),
    ],
)
def test_what_is_no_thin_event_is_refused_with_its_place(
    plane: Plane, client: TestClient[Any], event: Any, where: str, what: str
) -> None:
    answer = post(client, event)
    assert (answer.status_code, answer.json()["where"]) == (422, where)
    assert what in answer.json()["what"]
    assert plane.queue.standings()[0] == ()


def test_of_a_batch_the_good_ones_are_taken(plane: Plane, client: TestClient[Any]) -> None:
    answer = post(client, [thin("r1"), thin("r2", type="none"), 7])
    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["refused"]) == (1, 2)
    assert [one["status"] for one in answer.json()["results"]] == [
        "accepted", "refused", "refused",
    ]  # fmt: skip
    assert answer.json()["results"][1]["where"] == "$[1].type"
    assert post(client, [thin("r")] * 1_001).status_code == 413


def test_a_provider_that_is_down_is_told_tried_again_and_told_when_it_is_back(
    plane: Plane, client: TestClient[Any]
) -> None:
    plane.provider.put("r1", {"score": 1})
    plane.provider.down = True
    assert post(client, thin("r1")).status_code == 202
    for _ in range(DOWN_AFTER + 1):
        plane.work()
        plane.clock.wait(FIRST_WAIT_S * 2**DOWN_AFTER)
    document = client.get("/api/v1/providers?things=failing").json()
    assert document["providers"][0]["state"] == "down"
    assert document["providers"][0]["problem"] == "here: the provider does not answer"
    (failing,) = document["things"]
    assert (failing["id"], failing["tries"]) == ("r1", DOWN_AFTER + 1)
    plane.provider.down = False
    plane.clock.wait(600)
    plane.work()
    assert run_uri("r1") in plane.graph()
    (shown,) = client.get("/api/v1/providers").json()["providers"]
    assert (shown["state"], shown["failing"], shown["problem"]) == ("up", 0, "")
    types = [stored.event.type for stored in plane.store.events()]
    assert types.count("mlg.provider.failed") == 1
    assert types.count("mlg.provider.recovered") == 1


def test_a_thing_that_breaks_the_plug_in_holds_up_no_other(
    plane: Plane, client: TestClient[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.provider.put("r2", {})
    whole = plane.provider.tell

    def broken(thing: Thing) -> Any:
        return 1 // 0 if thing.id == "r1" else whole(thing)

    monkeypatch.setattr(plane.provider, "tell", broken)
    post(client, [thin("r1"), thin("r2")])
    plane.work()
    assert run_uri("r2") in plane.graph()
    (failing,) = client.get("/api/v1/providers?things=failing").json()["things"]
    assert (failing["id"], failing["error"][:18]) == ("r1", "ZeroDivisionError:")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 12))
def test_thin_events_in_any_order_doubled_or_lost_give_the_graph_of_the_source(
    seed: int, changes: int
) -> None:
    """The other graph is made at the end, by one sweep: both hold what the source has."""
    chance = random.Random(seed)  # noqa: S311 - a test's
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
    ):
        moved = plane_in(Path(one), MemoryEnrichment())
        swept = plane_in(Path(two), MemoryEnrichment(), sweep_every_s=60.0)
        sent: list[str] = []
        for number in range(changes):
            id_ = chance.choice("abc")
            if chance.random() < 0.2:
                moved.provider.drop(id_)
            else:
                reads = tuple(f"d@{n}" for n in range(chance.randrange(3)))
                moved.provider.put(id_, {"n": chance.randrange(3), f"k{number % 2}": 1}, reads)
            sent.append(id_)
            if chance.random() < 0.5:  # an event is late, doubled, or lost
                some = chance.choices(sent, k=chance.randrange(3))
                moved.enrichers.ask("lab", [Thing(type="run", id=one) for one in some])
                moved.work()
            moved.clock.wait(1.0)
        last = [Thing(type="run", id=id_) for id_ in sent]
        chance.shuffle(last)
        moved.enrichers.ask("lab", last)
        moved.work()
        swept.provider._runs = moved.provider._runs
        swept.work()
        alive = {uri: told for uri, told in moved.graph().items() if told[1]}
        expected = swept.graph()
        arrows = {uri: told[2] for uri, told in expected.items()}
        for uri, (attrs, open_, _) in expected.items():
            assert alive[uri][:2] == (attrs, open_)
            assert arrows[uri] <= alive[uri][2]  # an arrow once told stays
        runs = {uri for uri in alive if uri.startswith("mlg://run/")}
        assert runs == {uri for uri in expected if uri.startswith("mlg://run/")}
        for plane in (moved, swept):
            plane.reader.close()
            plane.store.close()


def test_a_sweep_finds_what_no_event_told_and_what_is_gone(tmp_path: Path) -> None:
    plane = plane_in(tmp_path, MemoryEnrichment(), sweep_every_s=60.0)
    for id_ in ("a", "b"):
        plane.provider.put(id_, {})
    plane.work()
    assert {run_uri("a"), run_uri("b")} <= plane.graph().keys()
    plane.provider.drop("a")
    plane.provider.put("c", {})
    plane.work()
    assert run_uri("c") not in plane.graph()
    plane.clock.wait(61)
    plane.work()
    plane.work()
    found = plane.graph()
    assert (found[run_uri("a")][1], found[run_uri("c")][1]) == (False, True)
    plane.reader.close()
    plane.store.close()


STATE = {
    "thing": {"type": "run", "id": "r1"},
    "subject": "mlg://run/memory/here/r1",
    "name": "r1",
    "observed_at": "2026-01-02T03:04:05Z",
    "attrs": [["score", 1]],
}


def states(*told: dict[str, Any], provider: str = "memory") -> dict[str, Any]:
    return {"provider": provider, "states": list(told)}


def test_states_told_elsewhere_come_in_once(plane: Plane, client: TestClient[Any]) -> None:
    answer = post(client, states(STATE), "states")
    assert (answer.status_code, answer.json()["recorded"]) == (200, 1)
    answer = post(client, states(STATE), "states")
    assert (answer.json()["recorded"], answer.json()["unchanged"]) == (0, 1)
    assert plane.graph()[run_uri("r1")][0]["score"] == 1
    names = [one["provider"] for one in client.get("/api/v1/providers").json()["providers"]]
    assert names == ["lab", "import:memory"]


@pytest.mark.parametrize(
    "told",
    [
        {"subject": "mlg://run/mlg/movies/r1"},
        {"subject": "x"},
        {"nodes": [{"uri": "mlg://run/memory/here/r2", "attrs": [["a", 1], ["a", 2]]}]},
        {"nodes": [{"uri": "mlg://run/memory/here/r2", "attrs": [["a", 1e999]]}]},
        {
            "edges": [
                {"src": "mlg://run/memory/a/b", "role": "x", "dst": "mlg://run/memory/a/b"}
            ]
        },
        {"attrs": [["score", 2**60]]},
        {"attrs": [["a\0", 1]]},
        {"since": "1900-01-01T00:00:00Z"},
    ],
)
def test_a_bad_state_is_refused_and_the_others_are_taken(
    plane: Plane, client: TestClient[Any], told: dict[str, Any]
) -> None:
    other = {**STATE, "thing": {"type": "run", "id": "ok"}, "subject": run_uri("ok")}
    answer = post(client, states({**STATE, **told}, other), "states")
    if answer.status_code == 422:  # no state by its form
        assert plane.graph() == {}
        return
    assert (answer.status_code, answer.json()["refused"]) == (200, 1)
    assert set(plane.graph()) == {run_uri("ok")}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"provider": "memory"}',
        b'{"provider": "memory", "states": [{}]}',
        b'{"provider": "memory", "states": [], "more": 1}',
        b'{"provider": "\\ud800", "states": []}',
        b"[" * 100_000,
        json.dumps(states({**STATE, "observed_at": "2026-01-02T03:04:05"})).encode(),
        json.dumps(states({**STATE, "name": 7})).encode(),
        json.dumps(states(STATE, provider="mlg")).encode(),
        json.dumps(states(*[STATE] * 1_001)).encode(),
    ],
)
def test_what_is_no_list_of_states_is_refused(
    plane: Plane, client: TestClient[Any], content: bytes
) -> None:
    assert post(client, content, "states").status_code == 422
    assert plane.store.head().seq == 0
