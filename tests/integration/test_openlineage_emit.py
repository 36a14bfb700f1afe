"""What others are told of a real run: valid, whole, in order, and it leads back to the data."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from tests.real_run import RealRun, real_run
from typer.testing import CliRunner

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.lineage_memory import MemoryLineageTarget
from mlg.adapters.lineage_openlineage import OpenLineageTarget, is_configured
from mlg.app.emitter import STATE, Emitter
from mlg.app.emitting import own_version
from mlg.cli.main import app
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import LineageTarget
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph.openlineage import to_event
from mlg.graph.openlineage_check import check
from mlg.graph.openlineage_emit import emitted, producer_of
from mlg.graph.openlineage_names import dataset_name
from mlg.graph.record import Recorder

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "tests" / "contracts" / "openlineage"
CORE = json.loads((CONTRACT / "OpenLineage.json").read_bytes())
OWN = json.loads(
    (ROOT / "src" / "mlg" / "graph" / "schemas" / "openlineage-mlg-1-0-0.json").read_bytes()
)
FACETS = [
    json.loads(path.read_bytes()) for path in sorted((CONTRACT / "facets").glob("*.json"))
]
SCHEMAS: Registry[Any] = Registry().with_resources(
    [(one["$id"], Resource.from_contents(one)) for one in (CORE, OWN, *FACETS)]
)
GOOD = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01"
BAD = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a02"
VERSIONED = ("dataset_version", "feature_snapshot", "model_version", "image")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRun]:
    """A run that made a model, one from the cache, and one that failed."""
    it = real_run(tmp_path_factory.mktemp("real"))
    it.run(GOOD)
    it.run(BAD.replace("02", "03"))
    (it.home / "cache").rename(it.home / "no-cache")
    raw = it.request
    it.request = {**raw, "manifest": raw["manifest"].replace("file:plays.csv", "file:gone.csv")}
    it.run(BAD)
    it.request = raw
    yield it
    it.reader.close()
    it.store.close()


@pytest.fixture(scope="module")
def told(done: RealRun) -> list[dict[str, Any]]:
    found = (emitted(event, done.reader, version="0.1.0") for event in done.events)
    return [one for one in found if one is not None]


def of_run(told: list[dict[str, Any]], run: str) -> list[dict[str, Any]]:
    """Return the events of a run and of its steps."""
    return [
        one
        for one in told
        if one["run"]["runId"] == run
        or one["run"]["facets"].get("parent", {"run": {}})["run"].get("runId") == run
    ]


def facets_of(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for name in ("facets", "inputFacets", "outputFacets"):
            yield from place.get(name, {}).items()


def test_every_event_keeps_the_published_schema_and_so_does_every_facet(
    told: list[dict[str, Any]],
) -> None:
    core = Draft202012Validator(CORE, registry=SCHEMAS)
    names: set[str] = set()
    for event in told:
        core.validate(event)
        assert check(event).kind == "RunEvent"
        for name, facet in facets_of(event):
            schema = SCHEMAS.resolver().lookup(facet["_schemaURL"]).contents
            Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=SCHEMAS).validate(
                facet
            )
            assert schema
            names.add(name)
    assert names >= {
        "parent", "nominalTime", "errorMessage", "processing_engine", "jobType", "schema",
        "version", "datasetType", "inputStatistics", "outputStatistics", "mlg_model",
        "mlg_run", "mlg_step", "mlg_dataset", "mlg_evaluation", "mlg_model_version",
    }  # fmt: skip


def test_a_facet_is_where_its_schema_says(told: list[dict[str, Any]]) -> None:
    places = {next(iter(one["properties"])): one["$id"] for one in FACETS}
    places["ownership"] = "https://openlineage.io/spec/facets/1-0-1/OwnershipDatasetFacet.json"
    for event in told:
        for name, facet in facets_of(event):
            if not name.startswith("mlg_"):
                assert facet["_schemaURL"].startswith(places[name] + "#/$defs/"), name


def test_every_run_begins_once_ends_once_and_steps_name_it(told: list[dict[str, Any]]) -> None:
    runs: dict[str, list[str]] = {}
    for event in told:
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    for states in runs.values():
        assert states[0] == "START"
        assert [s for s in states if s in {"COMPLETE", "FAIL", "ABORT"}] == states[1:2]
        assert set(states[2:]) <= {"OTHER"}
    assert {runs[GOOD][1], runs[BAD][1]} == {"COMPLETE", "FAIL"}
    steps = [e for e in told if "parent" in e["run"]["facets"]]
    assert {e["job"]["name"] for e in steps} == {
        f"list.{name}" for name in
        ("source_plays", "source_things", "clean", "train", "evaluate", "package")
    }  # fmt: skip
    for event in steps:
        parent = event["run"]["facets"]["parent"]
        assert parent["job"] == {"namespace": "mlg://tiny", "name": "list"}
        assert parent["root"]["run"] == parent["run"]


def test_a_failure_says_what_and_where(told: list[dict[str, Any]]) -> None:
    failed = [e for e in of_run(told, BAD) if e["eventType"] == "FAIL"]
    assert [e["job"]["name"] for e in failed] == ["list.source_plays", "list"]
    for event in failed:
        facet = event["run"]["facets"]["errorMessage"]
        assert "gone.csv" in facet["message"]
        assert facet["programmingLanguage"] == "python"


def test_a_table_has_its_version_columns_and_rows(told: list[dict[str, Any]]) -> None:
    (end,) = [
        e for e in of_run(told, GOOD)
        if e["job"]["name"] == "list.source_plays" and e["eventType"] == "COMPLETE"
    ]  # fmt: skip
    (source,) = end["inputs"]
    assert (source["namespace"], source["name"]) == ("file", "plays.csv")
    (plays,) = end["outputs"]
    assert (plays["namespace"], plays["name"]) == ("mlg://tiny", "plays")
    assert [f["name"] for f in plays["facets"]["schema"]["fields"]] == [
        "viewer", "item", "stars", "second",
    ]  # fmt: skip
    assert plays["outputFacets"]["outputStatistics"]["rowCount"] == 1_500
    digest = plays["facets"]["mlg_dataset"]["digest"]
    assert plays["facets"]["version"]["datasetVersion"] == digest[:12]


def test_a_step_from_the_cache_makes_nothing_anew(told: list[dict[str, Any]]) -> None:
    cached = [e for e in told if e["run"]["facets"].get("mlg_step", {}).get("cached")]
    assert len(cached) == 6
    assert all(e["outputs"] == [] for e in cached)
    taken = [e["run"]["facets"]["mlg_step"]["takenFromCache"] for e in cached]
    assert sum(len(one) for one in taken) == 3  # the tables; models are no table


def test_what_we_tell_leads_back_to_the_same_data(
    done: RealRun, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Round trip: our events, taken in as another system's, give the same lineage."""
    clock = ManualClock()
    recorder = Recorder(project="o", actor="local:ada", clock=clock, ids=Uuid7Ids(clock))
    with SqliteGraph(tmp_path / "graph.sqlite3", clock) as store:
        # ... in the worst order, and twice
        for event in [*reversed(told), *told]:
            store.append([to_event(recorder, check(event))])
        with SqliteGraphReader(tmp_path / "graph.sqlite3") as back:
            made = done.reader.nodes(NodeQuery(kinds=VERSIONED, limit=1_000)).nodes
            assert len(made) == 5  # plays, things, clean, the model and its image
            for node in made:
                assert theirs(back, node.uri) == ours(done.reader, node.uri), node.uri
                if node.kind == "image":
                    assert len(ours(done.reader, node.uri)) == 5


def ours(reader: SqliteGraphReader, uri: Uri) -> set[tuple[str, str, str | None]]:
    """Return every version above a thing, by the names that OpenLineage has for it."""
    walk = reader.walk(uri, "up", WalkOptions())
    return {
        (*dataset_name(one.node.uri), parse_uri(one.node.uri).version)
        for one in walk.nodes
        if one.node.kind in VERSIONED
    }


def theirs(reader: SqliteGraphReader, uri: Uri) -> set[tuple[str, str, str | None]]:
    named = dataset_name(uri)
    version = parse_uri(uri).version
    same = make_uri("dataset_version", *named, version, provider="openlineage")
    walk = reader.walk(same, "up", WalkOptions())
    found = [parse_uri(one.node.uri) for one in walk.nodes if one.node.kind == VERSIONED[0]]
    return {(one.namespace, one.name, one.version) for one in found}


# the follower


class Sink:
    """An HTTP server that keeps what it is sent; `answer` is its status."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer = 200
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.answer < 300:
                    assert self.path == "/api/v1/lineage"
                    sink.events.append(json.loads(body))
                self.send_response(sink.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    it = Sink()
    yield it
    it.close()


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def emitter(done: RealRun, target: Any, seq: int = 0) -> Emitter:
    done.files.write(STATE, json.dumps({"seq": seq}).encode())
    return again(done, target)


def again(done: RealRun, target: Any) -> Emitter:
    return Emitter(
        files=done.files, clock=done.clock, store=done.store, reader=done.reader,
        recorder=lambda: done.recorder, target=target, version="0.1.0",
    )  # fmt: skip


def test_the_standard_client_brings_a_whole_run_to_an_http_server(
    done: RealRun, told: list[dict[str, Any]], sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    monkeypatch.setenv("OPENLINEAGE_URL", sink.url)
    it = emitter(done, OpenLineageTarget)
    while it.round():
        pass
    assert it.emitted == len(sink.events) == len(told)
    core = Draft202012Validator(CORE, registry=SCHEMAS)
    for got, sent in zip(sink.events, told, strict=True):
        core.validate(got)
        assert [got[k] for k in ("eventTime", "eventType", "producer", "schemaURL")] == [
            sent[k] for k in ("eventTime", "eventType", "producer", "schemaURL")
        ]
        assert [d["facets"] for d in got["outputs"]] == [d["facets"] for d in sent["outputs"]]
        for name, facet in sent["run"]["facets"].items():
            SCHEMAS.resolver().lookup(facet["_schemaURL"])
            assert got["run"]["facets"][name]["_schemaURL"] == facet["_schemaURL"]
    assert (it.unreachable, it.refused, it.waiting()) == (0, 0, 0)


def test_a_target_that_is_down_is_waited_for_and_nothing_is_lost_or_out_of_order(
    done: RealRun, told: list[dict[str, Any]], sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    transport = {"type": "http", "url": sink.url, "retry": {"total": 0}}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
    sink.answer = 503
    before = done.store.head().seq
    it = emitter(done, OpenLineageTarget)
    for _ in range(3):
        with pytest.raises(BackendError, match="not taken"):
            it.round()
    assert (it.emitted, it.unreachable) == (0, 3)
    later = again(done, OpenLineageTarget)  # the next control plane
    with pytest.raises(BackendError):
        later.round()
    sink.answer = 200
    while later.round():
        pass
    assert [e["run"]["runId"] for e in sink.events] == [e["run"]["runId"] for e in told]
    new = [stored.event for stored in done.store.events(before, 100)]
    assert [e.type for e in new] == ["mlg.emission.interrupted", "mlg.emission.resumed"]
    assert dict(new[0].data)["seq"] == dict(new[1].data)["seq"]
    assert sink.url not in str(new)  # an address may hold a password


def test_what_a_target_will_never_take_is_left_out_and_counted(
    done: RealRun, told: list[dict[str, Any]]
) -> None:
    target = MemoryLineageTarget()
    target.broken = ManifestError("the target refused the event")
    it = emitter(done, lambda: target)
    assert it.round() > 0
    assert (it.refused, it.emitted, it.waiting()) == (len(told), 0, 0)


def test_a_new_follower_begins_at_the_head_and_a_known_one_where_it_was(
    done: RealRun, told: list[dict[str, Any]]
) -> None:
    target = MemoryLineageTarget()
    done.files.remove(STATE)
    first = again(done, lambda: target)
    first.open()
    assert (first.round(), target.events) == (0, [])
    restored = emitter(done, lambda: target, seq=10_000)  # the log was longer once
    restored.open()
    assert (restored.round(), target.events) == (0, [])
    whole = emitter(done, lambda: target)
    while whole.round():
        pass
    assert target.events == told
    last = again(done, lambda: target)
    assert (last.round(), len(target.events)) == (0, len(told))


def test_the_thread_sends_and_ends(done: RealRun, told: list[dict[str, Any]]) -> None:
    target = MemoryLineageTarget()
    all_sent = threading.Event()

    def send(event: Any) -> None:
        target.events.append(event)
        if len(target.events) == len(told):
            all_sent.set()

    both: LineageTarget = SimpleNamespace(send=send, close=target.close)  # type: ignore[assignment]
    it = emitter(done, lambda: both)
    it.start()
    assert all_sent.wait(20)
    it.stop()
    assert target.closed


def test_the_log_is_exported_by_the_command_line_as_it_is_told_live(
    done: RealRun,
    told: list[dict[str, Any]],
    tmp_path: Path,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, out = ["--home", str(done.home)], tmp_path / "runs.ndjson"

    def mlg(*args: str) -> Any:
        return CliRunner().invoke(app, ["export", "openlineage", *args, *home])

    whole = mlg(str(out), "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["events"]) == (0, len(told))
    version = producer_of(own_version())
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["producer"] for one in lines] == [version] * len(told)
    assert [one["run"]["runId"] for one in lines] == [one["run"]["runId"] for one in told]
    since, until = told[5]["eventTime"], told[-1]["eventTime"]
    part = mlg("--since", since, "--until", until)
    times = [json.loads(line)["eventTime"] for line in part.stdout.splitlines()]
    assert times == [t for t in (one["eventTime"] for one in told) if since <= t < until]
    assert mlg("--since", "yesterday").exit_code == 2
    assert mlg("--json").exit_code == 2
    monkeypatch.chdir(tmp_path)
    assert mlg("--send").exit_code == 2  # nothing is configured
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    monkeypatch.setenv("OPENLINEAGE_URL", sink.url)
    assert mlg("--send", "--since", since).exit_code == 0
    assert [one["eventTime"] for one in sink.events] == [
        one["eventTime"] for one in told if one["eventTime"] >= since
    ]


# the client's own configuration


def test_a_file_target_by_openlineage_yml(
    done: RealRun,
    told: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    out = tmp_path / "events.ndjson"
    (tmp_path / "openlineage.yml").write_text(
        f"transport: {{type: file, log_file_path: {out}, append: true}}\n"
    )
    monkeypatch.chdir(tmp_path)
    it = emitter(done, OpenLineageTarget)
    while it.round():
        pass
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["eventTime"] for line in lines] == [one["eventTime"] for one in told]
    for line in lines:
        check(line)
    out.unlink()
    out.mkdir()  # it cannot be written any more
    with pytest.raises(BackendError, match="file"):
        emitter(done, OpenLineageTarget).round()


def test_kafka_gets_the_configuration_and_the_key_that_keeps_a_run_in_order(
    told: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    produced: list[dict[str, Any]] = []
    configs: list[dict[str, Any]] = []

    class Producer:
        def __init__(self, config: dict[str, Any]) -> None:
            configs.append(config)

        def produce(self, **message: Any) -> None:
            produced.append(message)

        def flush(self, **_: Any) -> int:
            return 0

    kafka = ModuleType("confluent_kafka")
    kafka.Producer = Producer  # type: ignore[attr-defined]
    kafka.KafkaException = type("KafkaException", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "confluent_kafka", kafka)
    (tmp_path / "openlineage.yml").write_text(
        "transport: {type: kafka, topic: lineage, config: {bootstrap.servers: 'k:9092'}}\n"
    )
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(tmp_path / "openlineage.yml"))
    target = OpenLineageTarget()
    for event in of_run(told, GOOD):
        target.send(event)
    target.close()
    assert configs == [{"bootstrap.servers": "k:9092"}]
    assert {(m["topic"], m["key"]) for m in produced} == {("lineage", "run:mlg://tiny/list")}
    assert json.loads(produced[0]["value"])["eventType"] == "START"

    def full(self: Any, **message: Any) -> None:
        raise kafka.KafkaException("queue full")

    monkeypatch.setattr(Producer, "produce", full)
    with pytest.raises(BackendError, match="KafkaException"):
        OpenLineageTarget().send(told[0])


def test_a_wrong_configuration_and_a_missing_package_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", '{"type": "kafka", "topic": "t"}')
    with pytest.raises(ManifestError, match="config"):
        OpenLineageTarget()
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    with pytest.raises(BackendError) as missing:
        OpenLineageTarget()
    assert "mlg[openlineage]" in missing.value.hint


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({}, False),
        ({"OPENLINEAGE_URL": "http://marquez:5000"}, True),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:7070"}, False),  # our own API
        ({"OPENLINEAGE_URL": "http://127.0.0.1:5000"}, True),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "console"}, True),
        ({"OPENLINEAGE_CONFIG": "/no/such/file.yml"}, False),
        ({"OPENLINEAGE_URL": "http://marquez:5000", "OPENLINEAGE_DISABLED": "True"}, False),
    ],
)
def test_only_who_asks_for_lineage_gets_it(
    env: dict[str, str], asked: bool, tmp_path: Path
) -> None:
    assert is_configured(env, tmp_path / "work", tmp_path / "home", 7070) is asked
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "openlineage.yml").write_text("transport: {type: console}")
    disabled = "OPENLINEAGE_DISABLED" in env
    assert is_configured(env, tmp_path / "work", tmp_path / "home", 7070) is not disabled
