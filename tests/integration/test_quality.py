"""How well things are described: from what a manifest says to a score, in a real graph."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.app.catalogue import described
from mlg.core.clock import ManualClock
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.uris import Uri
from mlg.graph.quality import PARTS, WEIGHTS, allowed_age_s, quality, score_of
from mlg.graph.record import Recorder, edge, node
from mlg.graph.record_catalogue import Described, things_described
from mlg.manifest.load import parse_manifest

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY_S = 86_400.0
MANIFEST = """
version: 1
project: shop
datasets:
  orders:
    source: {uri: "file:orders.csv"}
    columns: {id: {type: int64}, at: {type: timestamp}}
    checks: [{freshness: {column: at, max_age: 2d}}]
    owner: team:data
    description: What was bought.
    tags: [core, money]
  bare:
    source: {uri: "file:bare.csv"}
    columns: {id: {type: int64}}
pipelines:
  ranker:
    owner: ada@example.org
    tags: core
    steps:
      train:
        model: popularity
        in: [orders]
        roles: {interactions: {table: orders, item: id, at: at}}
"""


class Graph:
    """A graph in which things are described and get versions."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteGraph(path, ManualClock(NOW))
        self.reader = SqliteGraphReader(path)
        self._keys = itertools.count()

    def new_id(self) -> str:
        return f"id-{next(self._keys):09d}"

    def recorder(self, days_ago: float = 0.0) -> Recorder:
        clock = ManualClock(NOW - timedelta(days=days_ago))
        return Recorder(project="shop", actor="local:ada", clock=clock, ids=self)

    def describe(self, before: Any, after: Any, days_ago: float = 90) -> None:
        r = self.recorder(days_ago)
        event = things_described(
            r, key=f"k{next(self._keys)}", subject=r.uri("commit", "manifest", "1"),
            before=before, after=after,
        )  # fmt: skip
        self.store.append([event] if event else [])

    def version(self, dataset: str, name: str, days_ago: float) -> None:
        r = self.recorder(days_ago)
        parent, made = r.uri("dataset", dataset), r.uri("dataset_version", dataset, name)
        self.store.append(
            [
                r.event(
                    "mlg.x.done", key=f"k{next(self._keys)}", subject=made,
                    nodes=[node(parent), node(made)], edges=[edge(parent, "version_of", made)],
                )
            ]
        )  # fmt: skip

    def quality(self, **options: Any) -> Any:
        return quality(self.reader, now=NOW, **options)

    def one(self, kind: str, name: str) -> Any:
        (item,) = self.quality(uri=self.recorder().uri(kind, name)).items
        return item


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    made = Graph(tmp_path / "graph.sqlite3")
    with made.store, made.reader:
        yield made


def test_what_a_manifest_says_of_its_things_is_what_is_judged(graph: Graph) -> None:
    graph.describe((), described(parse_manifest(MANIFEST, "m").spec, "shop"))
    graph.version("orders", "1", days_ago=1)
    graph.version("bare", "1", days_ago=1)
    orders, bare = graph.one("dataset", "orders"), graph.one("dataset", "bare")
    assert (orders.score, orders.missing) == (1.0, [])
    assert orders.owners == [graph.recorder().uri("team", "data")]
    assert (orders.description, orders.tags) == ("What was bought.", "core, money")
    assert (orders.age_s, orders.allowed_s, orders.allowed_by) == (DAY_S, 2 * DAY_S, "declared")
    # one version shows no interval, so freshness does not count
    assert (bare.score, bare.missing) == (0.0, ["owner", "description", "tags"])
    model = graph.one("model", "ranker")
    assert model.owners == [graph.recorder().uri("actor", "ada@example.org")]
    assert model.missing == ["description"]
    assert model.score == pytest.approx((0.35 + 0.15) / (0.35 + 0.25 + 0.15), abs=1e-4)


def test_a_late_version_counts_by_how_late_it_is(graph: Graph) -> None:
    said = Described(kind="dataset", name="orders", max_age_s=2 * DAY_S)
    graph.describe((), [said])
    graph.version("orders", "1", days_ago=8)
    item = graph.one("dataset", "orders")
    assert item.missing == ["owner", "description", "freshness", "tags"]
    assert item.score == pytest.approx(0.25 * (2 / 8))  # the weights add up to 1


def test_without_a_check_the_usual_interval_tells_what_is_late(graph: Graph) -> None:
    for days in (13, 12, 11, 10):
        graph.version("daily", f"v{days}", days_ago=days)
    item = graph.one("dataset", "daily")
    assert (item.allowed_s, item.allowed_by) == (2 * DAY_S, "usual")
    assert item.age_s == 10 * DAY_S
    assert "freshness" in item.missing


def test_a_declared_check_without_any_version_is_late(graph: Graph) -> None:
    graph.describe((), [Described(kind="dataset", name="orders", owner="ada", max_age_s=60.0)])
    item = graph.one("dataset", "orders")
    assert (item.age_s, "freshness" in item.missing) == (None, True)


def test_what_is_no_longer_said_is_no_longer_there(graph: Graph) -> None:
    first = Described(kind="service", name="home", owner="team:a", description="x", tags=("t",))
    second = Described(kind="service", name="home", owner="team:b")
    graph.describe((), [first], days_ago=9)
    graph.describe([first], [second], days_ago=5)
    item = graph.one("service", "home")
    assert item.owners == [graph.recorder().uri("team", "b")]
    assert item.missing == ["description", "tags"]
    graph.describe([second], [], days_ago=1)
    assert graph.one("service", "home").score == 0.0


def test_the_summary_counts_every_thing_and_the_worst_come_first(graph: Graph) -> None:
    full = Described(kind="service", name="a", owner="ada", description="x", tags=("t",))
    half = Described(kind="service", name="b", description="x")
    graph.describe((), [full, half])
    told = graph.quality(kinds=["service"], limit=1)
    assert ([one.name for one in told.items], told.truncated) == (["b"], True)
    (summary,) = told.summary
    assert (summary.things, summary.missing) == (2, {"owner": 1, "tags": 1})
    assert summary.score == pytest.approx((1 + 0.25 / 0.75) / 2, abs=1e-4)
    assert graph.quality(kinds=["service"]).items[0].owners == []


def test_a_person_and_a_team_may_share_and_a_foreign_facet_counts(graph: Graph) -> None:
    r = graph.recorder(3)
    dataset = Uri("mlg://dataset/openlineage/s3%3A%2F%2Flake/orders")
    team = Uri("mlg://team/openlineage/owners/team%3Adata")
    graph.store.append(
        [
            r.event(
                "mlg.lineage.received", key="ol", subject=dataset,
                nodes=[node(dataset, {"description": "Orders of the lake"}), node(team)],
                edges=[edge(team, "owned_by", dataset)],
            )
        ]
    )  # fmt: skip
    (item,) = graph.quality(uri=dataset).items
    assert (item.owners, item.missing) == ([team], ["tags"])
    (same,) = graph.quality(kinds=["dataset"]).items
    assert same == item


def test_unknown_things_and_kinds_are_refused(graph: Graph) -> None:
    r = graph.recorder(3)
    run = r.uri("run", "ranker", "1")
    graph.store.append([r.event("mlg.x.done", key="run", subject=run, nodes=[node(run)])])
    with pytest.raises(ManifestError, match="have no measure of quality"):
        graph.quality(uri=run)
    with pytest.raises(NotFoundError):
        graph.quality(uri=Uri("mlg://dataset/mlg/shop/none"))
    with pytest.raises(ManifestError, match="cannot be asked for here"):
        graph.quality(kinds=["run"])


def test_the_weights_add_up_and_every_kind_has_weighed_parts() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert all(set(parts) <= set(WEIGHTS) for parts in PARTS.values())
    assert score_of(dict.fromkeys(WEIGHTS, 1.0)) == 1.0


def test_versions_of_one_moment_show_no_interval() -> None:
    assert allowed_age_s([NOW] * 9) is None
