"""Bad questions and bad events over HTTP: refused by place and reason, never a 5xx."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from tests.contract.test_graph_reader import Counter, story

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.api.app import create_app
from mlg.core.clock import ManualClock
from mlg.core.principal import Principal
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri

A = make_uri("model_version", "movies", "ranker", "a" * 12)
JSON = {"content-type": "application/json"}
RUN = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01"


class Door:
    """The application over a real graph."""

    def __init__(self, folder: Path, plane: Any) -> None:
        path = folder / "graph.sqlite3"
        self.store, self.reader = SqliteGraph(path, ManualClock()), SqliteGraphReader(path)
        self.store.append(story(Counter()))
        self.plane = plane
        app = create_app(
            replace(plane.services(), store=self.store, reader=self.reader),
            allowed_hosts=("127.0.0.1",),
            principal_for=lambda _: Principal(
                subject="local:ada", roles=("operator",), via="loopback"
            ),
        )
        self.client = TestClient(
            app, base_url="http://127.0.0.1:7070", raise_server_exceptions=False
        )

    def send(self, body: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/api/v1/lineage", content=content, headers=JSON)

    def everything(self) -> Any:
        page = self.reader.nodes(NodeQuery(limit=10_000))
        step = WalkOptions(classes=("lineage", "causal", "version", "ownership"), depth=1)
        return page, [self.reader.walk(found.uri, "down", step) for found in page.nodes]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, fakes: Any) -> Iterator[Door]:
    it = Door(tmp_path_factory.mktemp("graph"), fakes.Plane())
    with it.client, it.store, it.reader:
        yield it


@pytest.fixture
def door(opened: Door) -> Iterator[Door]:
    yield opened
    assert opened.plane.failures == []


# questions

EARLY, LATE = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"


@pytest.mark.parametrize(
    ("path", "query", "status", "where"),
    [
        ("trace", {"uri": A, "kinds": "unicorn"}, 422, "kind"),
        ("trace", {"uri": A, "classes": "magic"}, 422, "classes"),
        ("trace", {"uri": A, "roles": "likes"}, 422, "roles"),
        ("impact", {"uri": A, "stop_at": "likes"}, 422, "stop_at"),
        ("trace", {"uri": A, "as_of": "yesterday"}, 422, "as_of"),
        ("trace", {"uri": A, "as_of": "2026-01-01T00:00:00"}, 422, "as_of"),
        ("trace", {"uri": A, "as_of": EARLY}, 422, "as_of"),
        ("production", {"service": "home", "at": LATE}, 422, "at"),
        ("production", {"service": "home", "at": "1969-12-31T23:59:59Z"}, 422, "at"),
        ("production", {"service": "mlg://service"}, 422, "service"),
        ("production", {"service": "a\0b"}, 422, "service"),
        ("trace", {"uri": A, "known_at": "soon"}, 422, "known_at"),
        ("trace", {"uri": "p-1", "known_at": "1"}, 422, "known_at"),
        ("trace", {"uri": "mlg://"}, 422, "uri"),
        ("trace", {"uri": "a\0b"}, 422, "uri"),
        ("trace", {"uri": "mlg://model/mlg/p/" + "x" * 60_000}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "depth": -1}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "depth": "1e9"}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "depth": 10**30}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "depth": "9" * 4_500}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "limit": "NaN"}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "limit": 0}, 400, "/api/v1/trace"),
        ("trace", {"uri": A, "kinds": ["run"] * 101}, 400, "/api/v1/trace"),
        ("trace", {}, 400, "/api/v1/trace"),
        ("nodes", {"kind": "unicorn"}, 422, "kind"),
        ("nodes", {"attr": "seed"}, 422, "attr"),
        ("nodes", {"attr": "=1"}, 422, "attr"),
        ("nodes", {"uri": "'; DROP TABLE node; --"}, 422, "uri"),
        ("nodes", {"cursor": "a\0b"}, 422, "cursor"),
        ("nodes", {"limit": 10_001}, 400, "/api/v1/nodes"),
        ("search", {"q": "a\0b"}, 422, "q"),
        ("search", {"q": "x", "kind": "../../etc"}, 422, "kind"),
        ("search", {"q": "x" * 5_000}, 400, "/api/v1/search"),
        ("events", {"subject": "home"}, 422, "subject"),
        ("events", {"after": 10**30}, 400, "/api/v1/events"),
        ("diff", {"a": A, "b": "x"}, 422, "b"),
        ("diff", {"a": A, "b": make_uri("model", "p", "x")}, 422, "a, b"),
        ("why", {"uri": "mlg://x"}, 422, "uri"),
    ],
)
def test_a_bad_question_is_refused_by_the_name_of_what_is_wrong(
    door: Door, path: str, query: dict[str, Any], status: int, where: str
) -> None:
    answer = door.client.get(f"/api/v1/{path}", params=query)
    told = answer.json()
    assert (answer.status_code, told["where"]) == (status, where), answer.text
    assert 0 < len(told["what"]) < 400
    assert told["hint"]


@pytest.mark.parametrize(
    "raw", ["%00", "%ff%fe", "%ED%A0%80", "%", "%zz", "+", "%2e%2e%2f", "'"]
)
def test_any_bytes_in_a_query_are_answered(door: Door, raw: str) -> None:
    for path in ("trace?uri=", "search?q=", "production?service=", "nodes?attr=a%3D"):
        answer = door.client.get(f"/api/v1/{path}{raw}")
        assert answer.status_code in {200, 400, 404, 422}, answer.text


@pytest.mark.parametrize("path", ["runs", "plan", "restart", "freeze", "graph/rebuild"])
def test_a_body_that_is_nested_too_deep_is_refused_on_every_route(
    door: Door, path: str
) -> None:
    for body in ("[" * 100_000, '{"a":' * 100_000):
        answer = door.client.post(f"/api/v1/{path}", content=body, headers=JSON)
        assert answer.status_code in {400, 403}, answer.text


# events


def event(n: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "eventType": "COMPLETE",
        "run": {"runId": f"{RUN[:-4]}{n:04d}"},
        "job": {"namespace": "n", "name": "j"},
        **more,
    }


def tables(name: str) -> list[dict[str, Any]]:
    return [{"namespace": "n", "name": name}]


WRONG: dict[str, Any] = {
    "a name of 100 kB": event(inputs=tables("x" * 100_000)),
    "an empty name": event(inputs=tables("")),
    "no object": 7,
    "an unknown state": event(eventType="MAYBE"),
    "no run id": event(run={}),
    "no time": event(eventTime="now"),
    "a time before 1970": event(eventTime="1969-12-31T23:59:59Z"),
    "a time that UTC does not have": event(eventTime=EARLY),
    "inputs that are no array": event(inputs={}),
    "nested too deep": event(x=json.loads("[" * 100 + "]" * 100)),
}


def test_of_a_batch_partly_wrong_the_good_are_stored_and_a_rebuild_gives_the_same(
    tmp_path: Path, plane: Any
) -> None:
    door = Door(tmp_path, plane)
    with door.client, door.store, door.reader:
        head = door.store.head()
        for what, wrong in WRONG.items():
            assert door.send(wrong).status_code == 422, what
            only = door.send([wrong, wrong])
            assert (only.status_code, only.json()["accepted"]) == (200, 0), what
        assert door.store.head() == head
        mixed = [
            part
            for n, wrong in enumerate(WRONG.values())
            for part in (event(n, outputs=tables(f"t{n}")), wrong)
        ]
        told = door.send(mixed).json()
        assert [result["status"] for result in told["results"]] == [
            "accepted", "refused"
        ] * len(WRONG)  # fmt: skip
        assert all(r["what"] and r["where"] for r in told["results"][1::2])
        assert door.store.head().seq == head.seq + len(WRONG)
        live = door.everything()
        assert door.store.rebuild() == door.store.head().seq
        assert door.everything() == live


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", JSON, 422),
        (b"{", JSON, 422),
        (b"\xff\xfe", JSON, 422),
        (b"NaN", JSON, 422),
        (b'{"eventTime": NaN}', JSON, 422),
        (b'{"a": 1e999}', JSON, 422),
        (b'{"a": ' + b"9" * 5_000 + b"}", JSON, 422),
        (b'{"a": "\\ud800"}', JSON, 422),
        (b"[" * 100_000, JSON, 422),
        (b'{"a":' * 100_000, JSON, 422),
        (b"[" + b"0," * 1_000 + b"0]", JSON, 413),
        (b" " * 1_048_577, JSON, 413),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": "application/json-seq"}, 415),
        (b"{}", {"content-type": "application/xml, application/json"}, 415),
        (b"{}", {}, 415),
        (b"{}", {**JSON, "content-encoding": "gzip"}, 422),
    ],
)
def test_a_body_that_is_none_leaves_the_log_as_it_was(
    door: Door, body: bytes, kind: dict[str, str], status: int
) -> None:
    head = door.store.head()
    answer = door.client.post("/api/v1/lineage", content=body, headers=kind)
    assert answer.status_code == status, answer.text
    assert 0 < len(answer.json()["what"]) < 400
    assert door.store.head() == head


def test_numbers_and_texts_at_the_edge_are_taken_or_refused_as_the_schema_says(
    door: Door,
) -> None:
    facet = {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s"}
    for n, value in enumerate((2**53, -(2**63), 1e308, 5e-324, "a\0b", "x" * 100_000, "'--")):
        one = event(
            n, run={"runId": f"{RUN[:-4]}1{n:03d}", "facets": {"f": {**facet, "v": value}}}
        )
        assert door.send(one).status_code == 200, value


def test_a_ring_of_jobs_is_taken_and_walked_once_around(door: Door) -> None:
    size = 60
    ring = [
        event(
            n,
            job={"namespace": "ring", "name": f"j{n}"},
            inputs=tables(f"r{n}"),
            outputs=tables(f"r{(n + 1) % size}"),
        )
        for n in range(size)
    ]
    told = door.send(ring[::-1]).json()
    assert told["accepted"] == size
    root = make_uri("dataset", "n", "r0", provider="openlineage")
    for path in ("trace", "impact"):
        walk = door.client.get(f"/api/v1/{path}", params={"uri": root, "classes": "lineage"})
        nodes = walk.json()["nodes"]
        assert (walk.json()["total"], walk.json()["truncated"]) == (2 * size, False)
        assert len({node["uri"] for node in nodes}) == len(nodes) == 2 * size
        assert max(node["depth"] for node in nodes) == 2 * size - 1


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def batches(draw: st.DrawFn) -> list[Any]:
    """Return events of which some have a part replaced by anything."""
    found: list[Any] = []
    for _ in range(draw(st.integers(0, 5))):
        one = event(draw(st.integers(0, 9)), inputs=tables(draw(st.text(max_size=8))))
        for name in draw(st.lists(st.sampled_from(sorted(one)), max_size=2)):
            one[name] = draw(ANY)
        found.append(draw(st.sampled_from([one, one, draw(ANY)])))
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=batches())
def test_a_batch_of_anything_is_told_one_by_one_and_only_the_good_are_stored(
    door: Door, batch: list[Any]
) -> None:
    before = {stored.event.key for stored in door.store.events(limit=10_000)}
    answer = door.send(json.dumps(batch).encode("utf-8", "replace"))
    if answer.status_code == 422:  # half a surrogate pair is no JSON
        assert "expected JSON" in answer.text
        return
    told = answer.json()
    assert answer.status_code == 200
    assert [result["index"] for result in told["results"]] == list(range(len(batch)))
    keys = {r["key"] for r in told["results"] if r["status"] == "accepted"}
    after = {stored.event.key for stored in door.store.events(limit=10_000)}
    assert after == before | keys


def test_after_all_of_it_a_rebuild_gives_the_same_graph(door: Door) -> None:
    assert door.reader.nodes(NodeQuery(uri=Uri(A))).nodes
    live = door.everything()
    assert door.store.rebuild() == door.store.head().seq
    assert door.everything() == live
