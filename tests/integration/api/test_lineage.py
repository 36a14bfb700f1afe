"""OpenLineage events through the door, into a real graph, and what is refused."""

import copy
import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from litestar.testing import TestClient

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.core.clock import ManualClock
from mlg.core.principal import Principal
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri, parse_uri

CONTRACT = Path(__file__).parents[2] / "contracts" / "openlineage"
SPEC = json.loads((CONTRACT / "OpenLineage.json").read_bytes())
VALID = Draft202012Validator(SPEC)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01"
PARENT = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a02"
URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
JSON = {"content-type": "application/json"}


def facet(**fields: Any) -> dict[str, Any]:
    return {
        "_producer": "https://example.org/p",
        "_schemaURL": "https://example.org/s",
        **fields,
    }


def dataset(name: str, namespace: str = "s3://lake", **facets: Any) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "facets": facets}


def run_event(state: str = "COMPLETE", minute: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "eventTime": f"2026-01-02T03:{minute:02d}:00Z",
        "producer": "https://example.org/p",
        "schemaURL": URL,
        "eventType": state,
        "run": {"runId": RUN},
        "job": {"namespace": "airflow", "name": "etl.orders"},
        **more,
    }


def full_event() -> dict[str, Any]:
    lineage = facet(
        fields={
            "total": {
                "inputFields": [
                    {"namespace": "s3://lake", "name": "raw/orders", "field": "price",
                     "transformations": [{"type": "DIRECT", "subtype": "AGGREGATION"}]},
                ]
            }
        },
        dataset=[{"namespace": "s3://lake", "name": "raw/orders", "field": "day"}],
    )  # fmt: skip
    return run_event(
        run={
            "runId": RUN,
            "facets": {
                "parent": facet(
                    run={"runId": PARENT}, job={"namespace": "airflow", "name": "etl"}
                ),
                "errorMessage": facet(message="no space", programmingLanguage="PYTHON"),
            },
        },
        job={
            "namespace": "airflow",
            "name": "etl.orders",
            "facets": {
                "ownership": facet(owners=[{"name": "team:data", "type": "MAINTAINER"}]),
                "sourceCodeLocation": facet(
                    type="git",
                    url="https://example.org/repo/blob/abc/etl.py",
                    repoUrl="https://example.org/repo.git",
                    version="abc123",
                ),
            },
        },
        inputs=[dataset("raw/orders", version=facet(datasetVersion="7"))],
        outputs=[
            dataset(
                "mart.orders",
                "postgres://db:5432",
                schema=facet(fields=[{"name": "total", "type": "DECIMAL"}]),
                columnLineage=lineage,
            )
        ],
    )


class Door:
    """The API over a SQLite graph."""

    def __init__(self, path: Path, fakes: Any) -> None:
        self.clock = ManualClock(NOW)
        self.graph = SqliteGraph(path / "graph.sqlite3", self.clock)
        self.reader = SqliteGraphReader(path / "graph.sqlite3")
        services = ApiServices(
            reader=self.reader,
            store=self.graph,
            operations=fakes.Control(),
            clock=self.clock,
            ids=Uuid7Ids(self.clock),
        )
        self.roles: list[Any] = ["operator"]
        app = create_app(
            services,
            allowed_hosts=("127.0.0.1",),
            principal_for=lambda _: Principal(
                subject="local:ada", roles=tuple(self.roles), via="loopback"
            ),
        )
        self.client = TestClient(
            app, base_url="http://127.0.0.1:7070", raise_server_exceptions=False
        )

    def send(self, content: Any, headers: dict[str, str] = JSON) -> Any:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.client.post("/api/v1/lineage", content=body, headers=headers)

    def node(self, uri: Uri) -> Any:
        (found,) = self.reader.nodes(NodeQuery(uri=uri)).nodes
        return found

    def uris(self) -> set[str]:
        page = self.reader.nodes(NodeQuery(limit=10_000))
        return {str(node.uri) for node in page.nodes}

    def edges(self, root: Uri) -> set[tuple[str, str, str]]:
        found: set[tuple[str, str, str]] = set()
        options = WalkOptions(classes=("lineage", "causal", "version", "ownership"))
        for direction in ("up", "down"):
            walk = self.reader.walk(root, direction, options)
            found |= {(edge.src, edge.role, edge.dst) for edge in walk.edges}
        return found


@pytest.fixture
def door(tmp_path: Path, fakes: Any) -> Iterator[Door]:
    it = Door(tmp_path, fakes)
    with it.client, it.graph, it.reader:
        yield it


def uri(kind: str, namespace: str, name: str, version: str | None = None) -> Uri:
    return make_uri(kind, namespace, name, version, provider="openlineage")


def test_the_shipped_schema_is_the_published_one() -> None:
    shipped = Path(__file__).parents[3] / "src/mlg/graph/schemas/openlineage-2-0-2.json"
    assert shipped.read_bytes() == (CONTRACT / "OpenLineage.json").read_bytes()


def test_every_facet_of_a_run_becomes_its_nodes_and_arrows(door: Door) -> None:
    VALID.validate(full_event())
    answer = door.send(full_event())
    run = uri("run", "airflow", "etl.orders", RUN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 1
    assert answer.json()["results"][0]["subject"] == run
    job, parent = uri("pipeline", "airflow", "etl.orders"), uri("run", "airflow", "etl", PARENT)
    raw, mart = (
        uri("dataset", "s3://lake", "raw/orders"),
        uri("dataset", "postgres://db:5432", "mart.orders"),
    )
    price = uri("column", "s3://lake", "raw%2Forders/price")
    total = uri("column", "postgres://db:5432", "mart.orders/total")
    day = uri("column", "s3://lake", "raw%2Forders/day")
    rows = uri("column", "postgres://db:5432", "mart.orders/")
    assert door.edges(run) | door.edges(job) | door.edges(total) | door.edges(mart) >= {
        (job, "version_of", run),
        (parent, "triggered", run),
        (raw, "used", run),
        (uri("dataset_version", "s3://lake", "raw/orders", "7"), "used", run),
        (run, "produced", mart),
        (uri("commit", "https://example.org/repo.git", "abc123"), "used", run),
        (uri("team", "owners", "team:data"), "owned_by", job),
        (total, "column_of", mart),
        (price, "column_of", raw),
        (price, "column_derived_from", total),
        (day, "column_derived_from", rows),
        (rows, "column_derived_from", total),
        (rows, "column_of", mart),
        (raw, "derived_from", mart),
    }
    attrs = dict(door.node(run).attrs)
    assert (attrs["state"], attrs["error"]) == ("COMPLETE", "no space")
    how = dict(door.node(total).attrs)
    assert (how["type"], how["lineage"]) == ("DECIMAL", "exact")
    assert json.loads(str(how["transformations"])) == [
        {"column": price, "type": "DIRECT", "subtype": "AGGREGATION"}
    ]
    parts = parse_uri(mart)
    assert (parts.namespace, parts.name) == ("postgres://db:5432", "mart.orders")


def test_a_job_and_a_dataset_are_taken_without_a_run(door: Door) -> None:
    base = {key: run_event()[key] for key in ("eventTime", "producer", "schemaURL")}
    events = [
        {**base, "job": {"namespace": "n", "name": "j"}, "inputs": [dataset("a")],
         "outputs": [dataset("b")]},
        {**base, "dataset": dataset("c", version=facet(datasetVersion="1"))},
    ]  # fmt: skip
    for event in events:
        VALID.validate(event)
    assert door.send(events).json()["accepted"] == 2
    job = uri("pipeline", "n", "j")
    assert (uri("dataset", "s3://lake", "a"), "used", job) in door.edges(job)
    assert (job, "produced", uri("dataset", "s3://lake", "b")) in door.edges(job)
    assert uri("dataset_version", "s3://lake", "c", "1") in door.uris()


def test_the_whole_event_is_kept_and_a_large_one_by_its_digest(door: Door) -> None:
    small, large = full_event(), run_event(inputs=[dataset("x", c_n=facet(t="y" * 70_000))])
    door.send(small)
    door.send(large)
    first, second = (dict(stored.event.data) for stored in door.graph.events())
    assert json.loads(first["event"]) == small
    assert "event" not in second
    assert len(second["event_sha256"]) == 64


def test_the_same_event_again_changes_nothing(door: Door) -> None:
    ahead = run_event(eventTime="2026-01-02T04:04:05Z")
    head = None
    for attempt in range(3):
        door.roles[:] = ["operator"] if attempt else ["admin"]
        shuffled = dict(reversed(full_event().items()))
        assert door.send([full_event(), ahead, shuffled]).json()["accepted"] == 3
        head = head or door.graph.head()
        door.clock.wait(600)  # what was ahead of the clock is less so now
    assert door.graph.head() == head
    assert head.seq == 2


def test_an_event_ahead_of_the_clock_is_taken_and_marked(door: Door) -> None:
    door.send([run_event(eventTime="2026-01-02T04:04:05Z"), run_event(minute=5)])
    marks = [dict(stored.event.data).get("ahead_s") for stored in door.graph.events()]
    assert marks == [3_600, None]  # 03:05 is within five minutes of 03:04:05


def test_what_reads_and_writes_itself_is_taken_and_walks_end(door: Door) -> None:
    door.send(run_event(inputs=[dataset("a")], outputs=[dataset("a")]))
    own = facet(fields={"x": {"inputFields": [
        {"namespace": "s3://lake", "name": "b", "field": "x"}]}},
        dataset=[{"namespace": "s3://lake", "name": "b", "field": "x"}])  # fmt: skip
    door.send(run_event(minute=1, outputs=[dataset("b", columnLineage=own)]))
    itself = facet(run={"runId": RUN}, job={"namespace": "airflow", "name": "etl.orders"})
    door.send(run_event(minute=2, run={"runId": RUN, "facets": {"parent": itself}}))
    for name in ("a", "b"):
        root = uri("dataset", "s3://lake", name)
        for direction in ("up", "down"):
            walk = door.reader.walk(root, direction, WalkOptions())
            assert root in {reached.node.uri for reached in walk.nodes}


@pytest.mark.parametrize(
    ("body", "status", "where", "what"),
    [
        (b"{", 422, "body", "JSON"),
        (b"", 422, "body", "JSON"),
        (b'"\xff"', 422, "body", "JSON"),
        (b'{"a": NaN}', 422, "body", "JSON"),
        (b"[" * 100_000, 422, "body", "JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, 422, "$", "64 deep"),
        (b"7", 422, "$", "an object"),
        (b"{}", 422, "$", "none of them"),
        (b"[" + b"{}," * 1_000 + b"{}]", 413, "body", "1000"),
    ],
)
def test_a_body_that_is_no_event_is_refused(
    door: Door, body: bytes, status: int, where: str, what: str
) -> None:
    answer = door.send(body)
    assert (answer.status_code, answer.json()["where"]) == (status, where), answer.text
    assert what in answer.json()["what"]
    assert door.graph.head().seq == 0


def changed(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in run_event(**fields).items() if value is not None}


@pytest.mark.parametrize(
    ("event", "where"),
    [
        (changed(run={}), "$.run"),
        (changed(run={"runId": 7}), "$.run.runId"),
        (changed(eventType="DONE"), "$.eventType"),
        (changed(producer=None), "$"),
        (changed(inputs={}), "$.inputs"),
        (changed(outputs=[dataset("a"), {"name": "b"}]), "$.outputs[1]"),
        (changed(inputs=[dataset("a", schema={})]), "$.inputs[0].facets.schema"),
        (changed(eventTime="yesterday"), "$.eventTime"),
        (changed(eventTime="2026-01-02T03:04:05"), "$.eventTime"),
        (changed(eventTime="0001-01-01T00:00:00+14:00"), "$.eventTime"),
        (changed(run={"runId": ""}), "$.run.runId"),
        (changed(inputs=[dataset("")]), "$.inputs[0]"),
        (changed(inputs=[dataset("a", "n" * 100_000)]), "$.inputs[0]"),
        (changed(outputs=[dataset("a" * 100_000)]), "$.outputs[0]"),
    ],
)
def test_a_refusal_names_the_place_in_the_event(
    door: Door, event: dict[str, Any], where: str
) -> None:
    answer = door.send(event)
    assert answer.status_code == 422
    assert answer.json()["where"] == where, answer.text
    assert len(answer.text) < 1_000
    assert door.graph.head().seq == 0


def test_of_a_batch_the_good_events_are_stored_and_the_bad_ones_named(door: Door) -> None:
    answer = door.send([run_event(), {"run": {}}, run_event(minute=1)])
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 1)
    bad = answer.json()["results"][1]
    assert (bad["index"], bad["status"], bad["error"]) == (1, "refused", "lineage_event")
    assert door.graph.head().seq == 2


def test_a_large_body_a_wrong_type_and_a_viewer_are_refused(door: Door) -> None:
    assert door.send(b" " * 1_048_577).status_code == 413
    assert door.send(run_event(), {"content-type": "text/plain"}).status_code == 415
    door.roles[:] = ["viewer"]
    assert door.send(run_event()).status_code == 403
    assert door.graph.head().seq == 0


NASTY = (
    "'; DROP TABLE node; --",
    "../../etc/passwd",
    "a\0b",
    "a@b/c%2F",
    '"<script>',
    "\u202e",
)


def test_names_of_any_characters_round_trip(door: Door) -> None:
    events = [
        run_event(minute=minute, inputs=[dataset(name, name, schema=facet(
            fields=[{"name": name}]))])
        for minute, name in enumerate(NASTY)
    ]  # fmt: skip
    assert door.send(events).json()["refused"] == 0
    for name in NASTY:
        found = door.node(uri("dataset", name, name))
        parts = parse_uri(found.uri)
        assert (parts.namespace, parts.name) == (name, name)
        assert "\0" not in found.name
    assert door.graph.rebuild() == len(NASTY)


def test_a_facet_of_another_shape_adds_nothing_and_refuses_nothing(door: Door) -> None:
    shape = {"fields": 7, "run": [], "job": "x", "owners": {}, "datasetVersion": 3}
    names = ("schema", "columnLineage", "parent", "ownership", "version")
    odd = {name: facet(dataset=[None], **shape) for name in names}
    odd["c_big"] = facet(n=2**63, x=1e300)
    event = run_event(
        run={"runId": RUN, "facets": odd},
        job={"namespace": "n", "name": "j", "facets": odd},
        inputs=[dataset("a", **odd)],
    )
    VALID.validate(event)
    assert door.send(event).status_code == 200
    assert str(2**63) in dict(door.graph.events()[0].event.data)["event"]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, fakes: Any) -> Iterator[Door]:
    it = Door(tmp_path_factory.mktemp("fuzz"), fakes)
    with it.client, it.graph, it.reader:
        yield it


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.sampled_from((*NASTY, "x" * 5_000, "\ud800", "0000-00-00", RUN))
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda one: (
        st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=4), one, max_size=3)
    ),
    max_leaves=5,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


@st.composite
def mutated(draw: Callable[[Any], Any]) -> Any:
    event = copy.deepcopy(full_event())
    for _ in range(draw(st.integers(1, 3))):
        inside, key = draw(st.sampled_from(_places(event)))
        if draw(st.booleans()):
            inside[key] = draw(VALUES)
        else:
            del inside[key]
        if not event:
            break
    if draw(st.integers(0, 5)) == 0:
        event["dataset"] = draw(VALUES | st.just(dataset("d")))
    return event


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(event=mutated())
def test_no_event_makes_the_door_fail(fuzzed: Door, event: Any) -> None:
    before = fuzzed.graph.head().seq
    answer = fuzzed.send(event)
    assert answer.status_code in {200, 422}, answer.text
    if not VALID.is_valid(event):  # the oracle is the whole published schema
        assert answer.status_code == 422
    if answer.status_code == 422:
        assert fuzzed.graph.head().seq == before


def test_what_the_fuzz_stored_can_be_read_and_verified(fuzzed: Door) -> None:
    assert fuzzed.send(full_event()).status_code == 200
    assert fuzzed.graph.rebuild() == len(fuzzed.graph.events(limit=10_000))


def test_a_thousand_events_are_taken_in_one_request(door: Door) -> None:
    events = [
        {**run_event(minute=n % 60), "run": {"runId": f"{RUN[:-4]}{n:04d}"}}
        for n in range(1_000)
    ]
    began = time.monotonic()
    assert door.send(events).json()["accepted"] == 1_000
    assert time.monotonic() - began < 20
    assert door.graph.head().seq == 1_000


def test_a_run_told_in_any_order_ends_in_its_last_state(tmp_path: Path, fakes: Any) -> None:
    told = [
        run_event(state, minute) for minute, state in enumerate(("START", "RUNNING", "FAIL"))
    ]
    for place, order in enumerate(itertools.permutations(told)):
        folder = tmp_path / str(place)
        folder.mkdir()
        it = Door(folder, fakes)
        with it.client, it.graph, it.reader:
            for event in order:
                it.send(event)
            assert dict(it.node(uri("run", "airflow", "etl.orders", RUN)).attrs) == {
                "outcome": "FAIL",
                "state": "FAIL",
            }
