"""What every GraphReader must answer, on one small story told in events."""

import itertools
import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from tests.postgres import database

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.artifacts import Column, ModelVersion, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, LifecycleError, ManifestError, NotFoundError
from mlg.core.nodes import Edge, Node
from mlg.core.predict import ServingPolicy
from mlg.core.reading import NodeQuery, Reached, WalkOptions
from mlg.graph import answers
from mlg.graph.diff import diff
from mlg.graph.lineage import Answered, prediction_uri, trace_prediction
from mlg.graph.record import Recorder, deployment_uri, edge, node, snapshot_uri
from mlg.graph.record import step_uri as step_of
from mlg.graph.record_acts import audit_exported, failure_recorded, manifest_applied
from mlg.graph.record_models import evaluation_recorded, model_packaged, model_registered
from mlg.graph.record_runs import (
    dataset_snapshotted,
    run_failed,
    run_finished,
    run_started,
    step_cached,
    step_failed,
    step_finished,
    step_started,
)
from mlg.graph.record_services import (
    deployment_ended,
    deployment_started,
    health_changed,
    policy_changed,
    process_changed,
    segment_sealed,
    shares_changed,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def minute(n: float) -> datetime:
    return START + timedelta(minutes=n)


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


def recorder_at(n: float, ids: Counter) -> Recorder:
    return Recorder(project="movies", actor="local:ada", clock=ManualClock(minute(n)), ids=ids)


def snapshot(name: str, letter: str) -> Snapshot:
    return Snapshot(
        dataset=name, digest=letter * 64, content_digest=letter * 64, rows=10, as_of=START,
        schema=(Column(name="user_id", type="int64"),), location=f"artifacts/{letter}",
    )  # fmt: skip


def model(letter: str) -> ModelVersion:
    return ModelVersion(
        name="ranker", version=letter * 12, artifact=letter * 64, trained_on=(), code="c" * 64,
        params=(("k", 10),), metrics=(("ndcg@10", 0.07),), seed=7,
    )  # fmt: skip


def train(r: Recorder, run: str, data: str, out: str, supersedes=None) -> list:
    """Return a run: source -> ratings -> features -> model -> evaluation -> package."""
    features = snapshot_uri(r, "train_set", data.upper() * 64, "feature_snapshot")
    ratings = snapshot_uri(r, "ratings", data * 64)
    built = r.uri("model_version", "ranker", out * 12)
    place = {"pipeline": "ranker", "run_id": run}
    return [
        dataset_snapshotted(
            r, key=f"{run}:src", snapshot=snapshot("ratings", data),
            source="movielens-100k://ratings", step=step_of(r, "ranker", run, "ratings"),
        ),
        run_started(r, key=f"{run}:run", **place,
                    triggered_by=r.uri("commit", "manifest", "f00")),
        step_started(r, key=f"{run}:f0", **place, step="features", step_kind="python",
                     inputs=[ratings]),
        dataset_snapshotted(
            r, key=f"{run}:feat", snapshot=snapshot("train_set", data.upper()),
            kind="feature_snapshot", step=step_of(r, "ranker", run, "features"),
        ),
        step_finished(r, key=f"{run}:f1", **place, step="features", seconds=1.5,
                      inputs=[ratings], outputs=[features]),
        step_finished(r, key=f"{run}:t1", **place, step="train", seconds=2.5,
                      inputs=[features], outputs=[built]),
        model_registered(r, key=f"{run}:m", model=model(out), trained_on=[features],
                         step=step_of(r, "ranker", run, "train"), supersedes=supersedes),
        evaluation_recorded(r, key=f"{run}:e", model="ranker", version=out * 12,
                            evaluated_on=[features], metrics={"ndcg@10": 0.07}, passed=True,
                            step=step_of(r, "ranker", run, "evaluate")),
        model_packaged(r, key=f"{run}:p", model="ranker", version=out * 12, artifact=out * 64,
                       step=step_of(r, "ranker", run, "package")),
        run_finished(r, key=f"{run}:end", **place, seconds=9.0),
    ]  # fmt: skip


def story(ids: Counter) -> list:
    """Version a serves from minute 10; b takes 5 % at 20, all at 30; a ends at 40."""
    r = recorder_at(0, ids)
    a, b = (r.uri("model_version", "ranker", letter * 12) for letter in "ab")
    d1, d2 = deployment_uri(r, "home", "d1"), deployment_uri(r, "home", "d2")
    service = {"service": "home"}
    at = {n: recorder_at(n, ids) for n in range(0, 60, 5)}
    return [
        manifest_applied(
            at[0], key="apply", folder="f00" + "0" * 61, pipelines=["ranker"],
            datasets={"ratings": "movielens-100k://ratings"}, services={"home": "ranker"},
        ),
        *train(at[5], "r1", "1", "a"),
        deployment_started(at[10], key="d1", deployment_id="d1", model_version=a,
                           image_digest="a" * 64, **service),
        *train(at[15], "r2", "2", "b", supersedes=a),
        deployment_started(at[20], key="d2", deployment_id="d2", model_version=b, share_bp=0,
                           image_digest="b" * 64, **service),
        shares_changed(at[20], key="s1", shares={d1: 9_500, d2: 500}, **service),
        health_changed(at[25], key="h1", deployment=d2, health="degraded"),
        shares_changed(at[30], key="s2", shares={d1: 0, d2: 10_000}, **service),
        deployment_ended(at[40], key="x1", deployment=d1, reason="swapped"),
        segment_sealed(at[45], key="seg", root="9" * 64, digest="8" * 64, rows=3,
                       location="segments/home/9.parquet", first_at=minute(11),
                       last_at=minute(44), deployments=[d1, d2], **service),
        policy_changed(at[50], key="pol", policy=ServingPolicy(service="home", version="v2"),
                       previous="v1", reason="drift"),
        process_changed(at[50], key="proc", process_id="replica-home-1", state="crash_looped",
                        service="home", deployment=d2, exit_code=-9, restarts=5),
    ]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
def graph(request, tmp_path):
    if request.param == "sqlite":
        path = tmp_path / "graph.sqlite3"
        pair = SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path)
    else:
        url = request.getfixturevalue("postgres_url")
        url = database(url, f"reader-{uuid4().hex}")
        pair = PostgresGraph(url), PostgresGraphReader(url)
    with pair[0] as store, pair[1] as reader:
        store.append(story(Counter()))
        yield store, reader


@pytest.fixture
def reader(graph):
    return graph[1]


MODEL = "mlg://model_version/mlg/movies/ranker@" + "a" * 12
OTHER = "mlg://model_version/mlg/movies/ranker@" + "b" * 12
SOURCE = "mlg://source/mlg/movies/movielens-100k%3A%2F%2Fratings"
RATINGS = "mlg://dataset_version/mlg/movies/ratings@" + "1" * 12
SEGMENT = "mlg://prediction_segment/mlg/movies/home@" + "9" * 12


def kinds(walk) -> set[str]:
    return {found.node.kind for found in walk.nodes}


def uris(walk) -> list[str]:
    return [found.node.uri for found in walk.nodes]


def test_up_from_a_model_reaches_its_sources_and_no_other_model(reader) -> None:
    walk = reader.walk(MODEL, "up", WalkOptions())
    assert kinds(walk) == {
        "model_version", "feature", "feature_snapshot", "step", "run", "commit",
        "dataset_version", "dataset", "source",
    }  # fmt: skip
    assert OTHER not in uris(walk)
    assert walk.nodes[0].node.uri == MODEL
    assert walk.total == len(walk.nodes) == len(set(uris(walk)))
    assert not walk.truncated


def test_depth_is_the_least_number_of_hops_over_the_edges_given(reader) -> None:
    for root, direction in ((MODEL, "up"), (SOURCE, "down")):
        walk = reader.walk(root, direction, WalkOptions())
        depths = {found.node.uri: found.depth for found in walk.nodes}
        expected = {root: 0}
        for _ in depths:  # Bellman-Ford over the answer's own edges
            for e in walk.edges:
                near, far = (e.dst, e.src) if direction == "up" else (e.src, e.dst)
                if near in expected:
                    expected[far] = min(expected.get(far, 10**9), expected[near] + 1)
        assert depths == expected
        assert [f.depth for f in walk.nodes] == sorted(depths.values())


def test_down_from_a_source_reaches_what_it_fed(reader) -> None:
    walk = reader.walk(SOURCE, "down", WalkOptions())
    assert {MODEL, OTHER, SEGMENT} <= set(uris(walk))
    assert {"deployment", "service", "evaluation", "health_check"} <= kinds(walk)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 31, 33, 500])
def test_a_depth_limit_gives_the_nodes_within_it(reader, depth) -> None:
    full = reader.walk(MODEL, "up", WalkOptions())
    cut = reader.walk(MODEL, "up", WalkOptions(depth=depth))
    assert {(f.node.uri, f.depth) for f in cut.nodes} == {
        (f.node.uri, f.depth) for f in full.nodes if f.depth <= depth
    }
    inside = set(uris(cut))
    assert all(e.src in inside and e.dst in inside for e in cut.edges)


@pytest.mark.parametrize("depth", [None, 10, 100])
def test_a_limit_cuts_the_farthest_and_says_so(reader, depth) -> None:
    full = reader.walk(MODEL, "up", WalkOptions())
    cut = reader.walk(MODEL, "up", WalkOptions(limit=3, depth=depth))
    assert len(cut.nodes) == 3
    assert cut.truncated
    assert cut.total == full.total
    assert max(f.depth for f in cut.nodes) <= min(
        f.depth for f in full.nodes if f.node.uri not in uris(cut)
    )


def test_roles_classes_and_stops_choose_the_edges(reader) -> None:
    only = reader.walk(MODEL, "up", WalkOptions(roles=("trained_on",)))
    assert kinds(only) == {"model_version", "feature_snapshot"}
    version = reader.walk(OTHER, "up", WalkOptions(classes=("version",)))
    assert MODEL in uris(version)
    stopped = reader.walk(MODEL, "up", WalkOptions(stop_at=("derived_from", "triggered")))
    assert "source" not in kinds(stopped)
    none = reader.walk(MODEL, "up", WalkOptions(stop_at=("used",), roles=("used",)))
    assert uris(none) == [MODEL]


def test_a_walk_that_meets_a_circle_ends(graph) -> None:
    store, reader = graph
    r = recorder_at(59, Counter())
    a, b = r.uri("alert", "x"), r.uri("incident", "y")
    around = [edge(a, "caused", b), edge(b, "caused", a)]
    told = r.event("mlg.x.y", key="circle", subject=a, edges=around)
    from dataclasses import replace

    store.append([replace(told, id="circle")])
    for depth in (None, 30, 100):
        walk = reader.walk(a, "down", WalkOptions(depth=depth))
        assert [(f.node.uri, f.depth) for f in walk.nodes] == [(a, 0), (b, 1)]
        assert len(walk.edges) == 2


def test_an_unknown_root_and_a_root_before_its_time_are_not_found(reader) -> None:
    with pytest.raises(NotFoundError) as caught:
        reader.walk("mlg://model/mlg/movies/none", "up", WalkOptions())
    assert caught.value.hint
    with pytest.raises(NotFoundError, match="at that time"):
        reader.walk(OTHER, "up", WalkOptions(as_of=minute(14.9)))


def test_as_of_shows_the_graph_of_then(reader) -> None:
    then = reader.walk(SOURCE, "down", WalkOptions(as_of=minute(12)))
    assert MODEL in uris(then)
    assert OTHER not in uris(then)
    deployment = next(f.node for f in then.nodes if f.node.kind == "deployment")
    assert dict(deployment.attrs)["share_bp"] == 10_000
    assert deployment.valid_to is None
    now = reader.walk(SOURCE, "down", WalkOptions())
    ended = next(f.node for f in now.nodes if f.node.name == "home@d1")
    assert dict(ended.attrs)["share_bp"] == 0
    assert ended.valid_to == minute(40)


def test_production_is_exact_at_every_boundary(reader) -> None:
    def shares(at: datetime) -> list[tuple[str, int]]:
        found = reader.production("home", at).versions
        return [(v.model_version[-1], v.share_bp) for v in found]

    instant = timedelta(microseconds=1)
    assert shares(minute(10) - instant) == []
    assert shares(minute(10)) == [("a", 10_000)]
    assert shares(minute(20) - instant) == [("a", 10_000)]
    assert shares(minute(20)) == [("a", 9_500), ("b", 500)]
    assert shares(minute(30) - instant) == [("a", 9_500), ("b", 500)]
    assert shares(minute(30)) == [("b", 10_000)]
    assert shares(minute(99)) == [("b", 10_000)]


def test_production_says_since_when_and_in_what_health(reader) -> None:
    def one(at: datetime, letter: str):
        found = reader.production("home", at).versions
        return next(v for v in found if v.model_version.endswith(letter))

    assert one(minute(15), "a").since == minute(10)
    assert one(minute(15), "a").image_digest == "a" * 64
    assert one(minute(35), "b").since == minute(20)
    assert [one(minute(n), "b").health for n in (21, 26, 51)] == [
        "healthy", "degraded", "crash_loop"
    ]  # fmt: skip
    assert reader.production("mlg://service/mlg/movies/home", minute(15)).versions
    assert not reader.production("mlg://service/mlg/other/home", minute(15)).versions
    assert not reader.production("away", minute(15)).versions


def test_a_swap_leaves_no_moment_without_a_full_share(graph) -> None:
    store, reader = graph
    r = recorder_at(55, Counter())
    old = deployment_uri(r, "home", "d2")
    from dataclasses import replace

    swap = deployment_started(
        r, key="swap", service="home", deployment_id="d3", model_version=MODEL,
        image_digest="a" * 64, replaces=old,
    )  # fmt: skip
    store.append([replace(swap, id="swap")])
    for at in (minute(55) - timedelta(microseconds=1), minute(55), minute(56)):
        assert sum(v.share_bp for v in reader.production("home", at).versions) == 10_000
    assert reader.production("home", minute(55)).versions[0].model_version == MODEL


def test_nodes_come_in_uri_order_a_page_at_a_time(reader) -> None:
    everything = reader.nodes(NodeQuery(limit=10_000))
    assert everything.total == len(everything.nodes)
    assert not everything.truncated
    order = [found.uri for found in everything.nodes]
    assert order == sorted(order)
    paged, cursor = [], None
    while True:
        page = reader.nodes(NodeQuery(limit=7, cursor=cursor))
        assert page.total == everything.total
        paged += [found.uri for found in page.nodes]
        cursor = page.cursor
        if cursor is None:
            break
    assert paged == order


def test_nodes_by_kind_uri_and_attribute(reader) -> None:
    assert {n.kind for n in reader.nodes(NodeQuery(kinds=("model", "run"))).nodes} == {
        "model", "run"
    }  # fmt: skip
    assert reader.nodes(NodeQuery(uri=MODEL)).total == 1
    assert reader.nodes(NodeQuery(uri="mlg://model/mlg/x/none")).nodes == ()
    assert reader.nodes(NodeQuery(attr=("seed", "7"))).total == 2
    assert reader.nodes(NodeQuery(attr=("passed", "true"))).total == 4
    page = reader.nodes(NodeQuery(attr=("passed", "true"), limit=3))
    rest = reader.nodes(NodeQuery(attr=("passed", "true"), limit=3, cursor=page.cursor))
    assert (len(page.nodes), page.total, len(rest.nodes)) == (3, 4, 1)
    then = NodeQuery(kinds=("deployment",), attr=("share_bp", "10000"), as_of=minute(12))
    assert [n.name for n in reader.nodes(then).nodes] == ["home@d1"]
    assert reader.nodes(NodeQuery(kinds=("deployment",), as_of=minute(1))).total == 0


def test_search_takes_prefixes_of_every_word_and_puts_names_first(reader) -> None:
    assert reader.search("ranker")[0].name.startswith("ranker")
    assert [n.uri for n in reader.search("rank aaaa", kinds=("model_version",))] == [MODEL]
    assert reader.search("movielens-100k://rat")[0].kind in ("source", "dataset")
    assert MODEL in {n.uri for n in reader.search(MODEL)}
    assert reader.search("ranker zebra") == ()
    assert len(reader.search("movies", limit=3)) == 3


@pytest.mark.parametrize(
    "text", ["", "   ", '"', "*", "a AND", "NEAR(", "(", "-", "col:x", "%"]
)
def test_search_takes_any_text(reader, text) -> None:
    assert isinstance(reader.search(text), tuple)


def answered(**changes) -> Answered:
    fields = {
        "project": "movies", "service": "home", "prediction_id": "p1", "at": minute(15),
        "model_version": MODEL, "segment": SEGMENT, "attrs": (("confidence", 0.4),),
    }  # fmt: skip
    return Answered(**{**fields, **changes})


def test_a_prediction_leads_to_its_own_model_and_sources_only(reader) -> None:
    walk = trace_prediction(answered(), reader)
    assert walk.root == prediction_uri("movies", "home", "p1")
    assert (walk.nodes[0].node.kind, walk.nodes[0].depth) == ("prediction", 0)
    assert {SOURCE, RATINGS, MODEL, SEGMENT} <= set(uris(walk))
    assert OTHER not in uris(walk)
    assert [f.node.name for f in walk.nodes if f.node.kind == "deployment"] == ["home@d1"]
    assert walk.total == len(walk.nodes) == len(set(uris(walk)))
    assert [f.depth for f in walk.nodes] == sorted(f.depth for f in walk.nodes)
    first = {(e.src, e.role) for e in walk.edges if e.dst == walk.root}
    assert (MODEL, "served_by") in first
    assert (SEGMENT, "derived_from") in first


def test_a_prediction_that_is_not_sealed_or_came_from_no_model_has_its_trace(reader) -> None:
    assert SEGMENT not in uris(trace_prediction(answered(segment=None), reader))
    fallback = trace_prediction(answered(model_version=None), reader)
    assert uris(fallback) == [fallback.root, SEGMENT]
    assert trace_prediction(answered(), reader, direction="down").total == 1
    shallow = trace_prediction(answered(), reader, WalkOptions(depth=1))
    assert {f.depth for f in shallow.nodes} == {0, 1}
    with pytest.raises(NotFoundError):
        trace_prediction(answered(model_version="mlg://model_version/mlg/x/y@z"), reader)


def test_answers_are_json_with_the_words_of_the_design(reader) -> None:
    trace = msgspec.to_builtins(answers.walk_answer(trace_prediction(answered(), reader)))
    assert {"root", "direction", "total", "truncated", "nodes", "edges"} <= set(trace)
    assert {"uri", "kind", "name", "depth", "attrs"} <= set(trace["nodes"][0])
    assert {
        "src", "dst", "role", "class", "valid_from", "valid_to", "provenance"
    } <= set(trace["edges"][0])  # fmt: skip
    served = reader.production("home", minute(15))
    production = msgspec.to_builtins(answers.production_answer(served))
    assert {"model_version", "image_digest", "share_bp", "since", "health"} <= set(
        production["versions"][0]
    )
    page = answers.page_answer(reader.nodes(NodeQuery(limit=2)))
    assert page.truncated is True
    found = answers.found_answer(reader.search("ranker"))
    for document in (trace, production, page, found):
        json.dumps(msgspec.to_builtins(document), allow_nan=False)


def test_events_are_answered_with_their_place(graph) -> None:
    store, _ = graph
    found = [answers.event_answer(stored) for stored in store.events(limit=3)]
    assert [event.seq for event in found] == [1, 2, 3]
    assert [event.prev_hash for event in found[1:]] == [event.hash for event in found[:-1]]


def test_failed_and_cached_steps_and_exports_are_on_the_graph(graph) -> None:
    store, reader = graph
    r = recorder_at(58, Counter())
    r = Recorder(project=r.project, actor="local:eve", clock=r.clock, ids=Prefixed())
    error = LifecycleError("expected int64, got text", where="ratings.rating", hint="fix it")
    place = {"pipeline": "ranker", "run_id": "r3"}
    store.append(
        [
            run_started(r, key="r3", **place),
            step_cached(r, key="r3c", **place, step="features", step_kind="python",
                        inputs=[RATINGS], outputs=[MODEL]),
            step_failed(r, key="r3f", **place, step="train", error=error),
            run_failed(r, key="r3x", **place, error=error, step="train"),
            failure_recorded(r, key="fail", subject=r.uri("dataset", "ratings"), error=error,
                             command="run ranker"),
            audit_exported(r, key="ax", subject=prediction_uri("movies", "home", "p1"),
                           bundle="7" * 64, of=SEGMENT, files=10),
        ]
    )  # fmt: skip
    run = reader.nodes(NodeQuery(uri=r.uri("run", "ranker", "r3"))).nodes[0]
    assert dict(run.attrs)["state"] == "failed"
    assert dict(run.attrs)["hint"] == "fix it"
    states = {n.name: dict(n.attrs)["state"] for n in reader.search("r3", kinds=("step",))}
    assert states == {"ranker/features@r3": "cached", "ranker/train@r3": "failed"}
    failure = next(s.event for s in store.events() if s.event.type == "mlg.failure.recorded")
    assert dict(failure.data) == {
        "error": "lifecycle", "what": "expected int64, got text", "where": "ratings.rating",
        "hint": "fix it", "command": "run ranker",
    }  # fmt: skip
    assert reader.nodes(NodeQuery(kinds=("audit_export",))).total == 1
    assert node(MODEL).attrs == ()


class Prefixed(Counter):
    def new_id(self) -> str:
        return f"other-{super().new_id()}"


def test_reading_a_graph_that_is_not_there_is_a_backend_error(tmp_path) -> None:
    found = SqliteGraphReader(tmp_path / "none.sqlite3")
    with pytest.raises(BackendError, match="unable to open"):
        found.nodes(NodeQuery())
    found.close()
    assert list(tmp_path.iterdir()) == []


def test_readers_answer_while_a_writer_holds_the_file(graph, tmp_path) -> None:
    import sqlite3

    db = sqlite3.connect(tmp_path / "graph.sqlite3", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    assert graph[1].nodes(NodeQuery(uri=MODEL)).total == 1
    db.execute("ROLLBACK")
    db.close()


def test_two_model_versions_differ_in_data_metrics_and_image(graph) -> None:
    store, reader = graph
    ids = Counter()
    for _ in range(1_000):
        ids.new_id()
    r = recorder_at(55, ids)
    store.append([
        evaluation_recorded(
            r, key="later", model="ranker", version="b" * 12, evaluated_on=[],
            metrics={"ndcg@10": 0.09}, passed=True,
        )
    ])  # fmt: skip
    found = diff(reader, MODEL, OTHER)
    assert not found.same
    assert not found.truncated
    sides = {side.sort: side for side in found.things}
    assert sides["data"].only_a == [RATINGS]
    assert [uri[-12:] for uri in sides["data"].only_b] == ["2" * 12]
    assert (sides["sources"].only_a, sides["sources"].only_b, sides["sources"].both) == (
        [], [], 1,
    )  # fmt: skip
    assert len(sides["deployments"].only_a) == len(sides["deployments"].only_b) == 1
    values = {(v.sort, v.name): (v.a, v.b) for v in found.values}
    assert values["metrics", "ndcg@10"] == (0.07, 0.09)
    assert values["attributes", "digest"] == ("a" * 64, "b" * 64)
    assert ("parameters", "k") not in values  # 10 in both
    itself = diff(reader, MODEL, MODEL)
    assert itself.same
    assert not itself.values


@pytest.mark.parametrize("other", [RATINGS, SOURCE, "no-uri", "mlg://model_version/x"])
def test_only_versions_of_one_kind_are_compared(reader, other) -> None:
    with pytest.raises(ManifestError):
        diff(reader, MODEL, other)
    with pytest.raises(ManifestError):
        diff(reader, SOURCE, SOURCE)


def test_an_unknown_version_is_not_found(reader) -> None:
    with pytest.raises(NotFoundError):
        diff(reader, MODEL, MODEL + "0")


def test_what_a_walk_gives_are_the_cores_own_values(reader) -> None:
    found = reader.walk(MODEL, "up", WalkOptions())
    for reached in found.nodes:
        values = {name: getattr(reached.node, name) for name in Node.__slots__}
        assert reached == Reached(node=Node(**values), depth=reached.depth)
        assert hash(reached) == hash(Reached(node=Node(**values), depth=reached.depth))
    for arrow in found.edges:
        assert arrow == Edge(**{name: getattr(arrow, name) for name in Edge.__slots__})
        with pytest.raises(FrozenInstanceError):
            arrow.src = "another"
