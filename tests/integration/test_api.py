"""The control API over a real graph, served by a real uvicorn, called by the client."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.serve_api import ApiServer, start_api
from mlg.client.client import Client
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, DeniedError, ManifestError, NotFoundError
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.uris import EventId, make_uri

RATINGS = make_uri("dataset_version", "movies", "ratings", "abc")
RANKER = make_uri("model_version", "movies", "ranker", "3f2a")


@pytest.fixture(scope="module")
def fakes() -> ModuleType:
    path = Path(__file__).parent / "api" / "fakes.py"
    spec = importlib.util.spec_from_file_location("mlg_api_fakes_served", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clock(fakes: ModuleType) -> ManualClock:
    return ManualClock(fakes.AT)


@pytest.fixture
def graph(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteGraph]:
    with SqliteGraph(tmp_path / "graph.sqlite3", clock) as it:
        yield it


@pytest.fixture
def server(
    graph: SqliteGraph, clock: ManualClock, fakes: ModuleType, tmp_path: Path
) -> Iterator[ApiServer]:
    with SqliteGraphReader(tmp_path / "graph.sqlite3") as reader:
        services = ApiServices(
            reader=reader,
            store=graph,
            operations=fakes.Control(),
            clock=clock,
            ids=Uuid7Ids(clock),
        )
        app = create_app(
            services, allowed_hosts=LOOPBACK_HOSTS, principal_for=loopback_principal("ada")
        )
        server = start_api(app, port=0)
        yield server
        server.stop()


def trained(number: int, clock: ManualClock) -> Event:
    at = clock.now()
    return Event(
        key=f"train:{number}",
        id=EventId(f"018f0000-0000-7000-8000-{number:012d}"),
        at=at,
        recorded_at=at,
        type="mlg.model_version.registered",
        actor="workflow:train",
        subject=RANKER,
        nodes=(NodeFact(uri=RATINGS), NodeFact(uri=RANKER, attrs=(("seed", number),))),
        edges=(EdgeFact(src=RATINGS, role="trained_on", dst=RANKER),),
    )


def test_the_client_reads_a_real_graph(
    server: ApiServer, graph: SqliteGraph, clock: ManualClock
) -> None:
    graph.append([trained(7, clock)])
    client = Client(server.url, timeout_s=10)
    up = client.trace(RANKER)
    assert [(node["uri"], node["depth"]) for node in up["nodes"]] == [(RANKER, 0), (RATINGS, 1)]
    assert [edge["role"] for edge in up["edges"]] == ["trained_on"]
    assert [node["uri"] for node in client.impact(RATINGS)["nodes"]] == [RATINGS, RANKER]
    assert client.nodes(["model_version"])["nodes"][0]["attrs"] == {"seed": 7}
    assert client.nodes(attr=("seed", "7"))["total"] == 1
    assert [node["uri"] for node in client.search("ranker")["nodes"]] == [RANKER]
    assert client.events()["events"][0]["key"] == "train:7"
    assert client.production("home")["versions"] == []
    assert client.rebuild() == {"events": 1}
    with pytest.raises(NotFoundError):
        client.trace(make_uri("run", "movies", "ranker", "none"))


def test_the_client_acts_and_gets_errors_in_their_own_words(server: ApiServer) -> None:
    client = Client(server.url, timeout_s=10)
    assert client.run("ranker", {"seed": 1}) == {"run_id": "r-1"}
    assert client.run_status("r-1")["pipeline"] == "ranker"
    assert client.apply("mlg.yaml") == {"applied": True}
    assert client.restart("home") == {"restarted": "home"}
    assert client.restart(gateways=True) == {"restarted": "gateways"}
    assert client.audit_verify()["ok"] is True
    assert client.metrics().startswith("# TYPE")
    name, bundle = client.audit_export("p-1")
    assert (name, bundle[:2]) == ("audit--p-1---X--y.zip", b"PK")
    with pytest.raises(ManifestError) as caught:
        client.plan("bad.yaml")
    assert (caught.value.where, caught.value.hint) == ("bad.yaml:3:1", "indent it.")


def test_the_stream_follows_the_graph_until_the_server_stops(
    server: ApiServer, graph: SqliteGraph, clock: ManualClock
) -> None:
    graph.append([trained(1, clock)])
    client = Client(server.url, timeout_s=30)
    got: list[Any] = []
    first = threading.Event()

    def follow() -> None:
        for message in client.stream(after=1):
            got.append(message)
            if message.event == "live":
                first.set()
            if message.event == "graph":
                server_stop.start()

    server_stop = threading.Thread(target=server.stop)
    follower = threading.Thread(target=follow)
    follower.start()
    assert first.wait(20)
    graph.append([trained(2, clock)])
    follower.join(20)
    assert not follower.is_alive()
    server_stop.join(20)
    assert [message.seq for message in got if message.event == "graph"] == [2]
    with pytest.raises(BackendError, match="no answer"):
        client.status()


def test_a_request_that_a_proxy_passed_on_is_refused(server: ApiServer) -> None:
    from http.client import HTTPConnection

    for name, value in (("X-Forwarded-For", "127.0.0.1"), ("Host", "evil.example")):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/api/v1/status", headers={name: value})
        answer = connection.getresponse()
        assert (answer.status, b"denied" in answer.read()) == (403, True)
        connection.close()


def test_a_port_in_use_and_a_wide_address_are_refused(
    server: ApiServer, fakes: ModuleType
) -> None:
    plane = fakes.Plane()
    app = create_app(
        plane.services(), allowed_hosts=LOOPBACK_HOSTS, principal_for=loopback_principal("ada")
    )
    with pytest.raises(BackendError) as caught:
        start_api(app, port=server.port)
    assert str(server.port) in str(caught.value)
    assert "--port" in caught.value.hint
    with pytest.raises(DeniedError):
        start_api(app, host="0.0.0.0", port=0)
    # the running one was not touched
    assert Client(server.url, timeout_s=10).status()["ports"] == {"gateway": 7080}
