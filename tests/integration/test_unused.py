"""What could be deprecated, in a real graph: by hand and against brute force."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock, rfc3339
from mlg.core.errors import ManifestError
from mlg.core.uris import Uri
from mlg.graph import unused as unused_module
from mlg.graph.record import Recorder, edge, node
from mlg.graph.unused import DEFAULT_KINDS, since_seconds, unused

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Graph:
    """A graph that is written in arrows."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteGraph(path, ManualClock(NOW))
        self.reader = SqliteGraphReader(path)
        self._keys = itertools.count()

    def new_id(self) -> str:
        return f"id-{next(self._keys):09d}"

    def uri(self, text: str) -> Uri:
        kind, name = text.split(" ")
        name, _, version = name.partition("@")
        return self.recorder(0).uri(kind, name, version or None)

    def recorder(self, days_ago: float) -> Recorder:
        clock = ManualClock(NOW - timedelta(days=days_ago))
        return Recorder(project="shop", actor="local:ada", clock=clock, ids=self)

    def say(self, days_ago: float, *arrows: str, **attrs: Any) -> None:
        """Record arrows `src -role-> dst`; `attrs` are those of the last node."""
        r = self.recorder(days_ago)
        edges, last = [], ""
        for arrow in arrows:
            src, role, last = arrow.split(" -")[0], arrow.split("-")[1], arrow.split("-> ")[1]
            edges.append(edge(self.uri(src), role, self.uri(last)))
        nodes = [node(self.uri(last), attrs)] if attrs else []
        key = f"k{next(self._keys)}"
        self.store.append(
            [r.event("mlg.x.done", key=key, subject=self.uri(last), nodes=nodes, edges=edges)]
        )

    def unused(self, **options: Any) -> Any:
        return unused(self.reader, now=NOW, **options)


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    made = Graph(tmp_path / "graph.sqlite3")
    with made.store, made.reader:
        yield made


def serve(graph: Graph, days_ago: float, name: str, share_bp: int) -> None:
    """Record a way from a source to a deployment, each of its own name."""
    graph.say(
        days_ago,
        f"source file{name} -derived_from-> dataset data{name}",
        f"dataset data{name} -derived_from-> dataset_version data{name}@1",
        f"dataset_version data{name}@1 -used-> step p{name}/train@1",
        f"pipeline p{name} -version_of-> run p{name}@1",
        f"run p{name}@1 -triggered-> step p{name}/train@1",
        f"step p{name}/train@1 -produced-> model_version m{name}@1",
        f"dataset_version data{name}@1 -trained_on-> model_version m{name}@1",
        f"model m{name} -version_of-> model_version m{name}@1",
        f"feature data{name}/f -trained_on-> model_version m{name}@1",
        f"column data{name}/f -column_derived_from-> feature data{name}/f",
    )
    graph.say(
        days_ago,
        f"column data{name}/g -column_of-> dataset data{name}",
        f"column data{name}/f -column_of-> dataset data{name}",
        f"service s{name} -version_of-> deployment s{name}@1",
        f"model_version m{name}@1 -deployed_as-> deployment s{name}@1",
        share_bp=share_bp,
        model_version=graph.uri(f"model_version m{name}@1"),
    )


def test_what_a_served_model_comes_of_is_used_however_old(graph: Graph) -> None:
    serve(graph, 400, "live", 10_000)
    told = graph.unused()
    # the table is in use; a column of it that no model reads is not
    assert [(one.kind, one.name) for one in told.items] == [("column", "datalive/g")]
    (one,) = told.items
    assert (one.last_use, one.last_use_by) == (None, None)
    assert one.why.startswith("nothing has used it in the 400 days")
    assert (told.total, told.truncated, told.in_doubt) == (1, False, 0)


def test_what_no_served_model_comes_of_is_unused_with_its_last_use(graph: Graph) -> None:
    serve(graph, 50, "old", 0)
    told = {one.uri: one for one in graph.unused().items}
    assert {one.kind for one in told.values()} == set(DEFAULT_KINDS)
    data = told[graph.uri("dataset dataold")]
    assert data.last_use == rfc3339(NOW - timedelta(days=50))
    assert data.idle_s == 50 * 86_400
    assert data.last_use_by in {
        graph.uri("step pold/train@1"),
        graph.uri("model_version mold@1"),
    }
    feature = told[graph.uri("feature dataold/f")]
    assert feature.last_use_by == graph.uri("model_version mold@1")
    assert "last used 50 days ago by model_version mold" in feature.why


def test_a_use_within_the_time_counts_and_so_does_being_new(graph: Graph) -> None:
    serve(graph, 50, "old", 0)
    assert graph.unused(since_s=51 * 86_400).items == []
    graph.say(3, "dataset_version dataold@1 -used-> step other/look@1")
    kinds = {one.kind for one in graph.unused().items}
    assert "dataset" not in kinds
    assert "source" not in kinds
    assert "feature" in kinds
    graph.say(1, "source fresh -derived_from-> dataset fresh")
    assert "dataset" not in {one.kind for one in graph.unused().items}


def test_the_longest_idle_comes_first_and_a_limit_is_said(graph: Graph) -> None:
    for days, name in ((40, "a"), (90, "b"), (60, "c")):
        serve(graph, days, name, 0)
    told = graph.unused(kinds=["dataset,model"])
    assert [one.name for one in told.items if one.kind == "dataset"] == [
        "datab",
        "datac",
        "dataa",
    ]
    cut = graph.unused(kinds=["dataset"], limit=2)
    assert ([one.name for one in cut.items], cut.total, cut.truncated) == (
        ["datab", "datac"], 3, True,
    )  # fmt: skip


def test_retired_things_and_sets_of_rows_are_not_told(graph: Graph) -> None:
    graph.say(90, "source x -derived_from-> dataset gone")
    graph.say(80, "column gone/ -column_of-> dataset gone")
    r = graph.recorder(70)
    ended = node(graph.uri("dataset gone"), {}, ended=True)
    graph.store.append(
        [r.event("mlg.x.done", key="end", subject=graph.uri("dataset gone"), nodes=[ended])]
    )
    assert [one.name for one in graph.unused().items] == ["x"]


def test_more_uses_than_are_counted_is_use(graph: Graph, monkeypatch: Any) -> None:
    serve(graph, 50, "old", 0)
    monkeypatch.setattr(unused_module, "_MOST_USES", 2)
    told = graph.unused(kinds=["dataset"])
    assert (told.items, told.in_doubt) == ([], 1)


def test_work_is_bounded_and_what_was_left_out_is_said(graph: Graph, monkeypatch: Any) -> None:
    for n in range(6):
        graph.say(90, f"source s{n} -derived_from-> dataset d{n}")
    monkeypatch.setattr(unused_module, "MOST_EXAMINED", 4)
    told = graph.unused(kinds=["dataset"])
    assert (len(told.items), told.truncated) == (4, True)


def test_kinds_and_times_are_checked(graph: Graph) -> None:
    with pytest.raises(ManifestError, match="no such kind"):
        graph.unused(kinds=["table"])
    with pytest.raises(ManifestError, match="cannot be asked for here"):
        graph.unused(kinds=["alert"])
    for text in ("soon", "-1d", "1000000d", ""):
        with pytest.raises(ManifestError, match="expected a duration"):
            since_seconds(text)


def test_brute_force_over_all_paths_finds_the_same(graph: Graph) -> None:
    rng = random.Random(7)  # noqa: S311  # no secret
    ahead: dict[str, list[tuple[str, float]]] = {}
    arrows: list[tuple[float, str]] = []

    def arrow(src: str, role: str, dst: str, days: float) -> None:
        arrows.append((days, f"{src} -{role}-> {dst}"))
        ahead.setdefault(src, []).append((dst, days))

    for d in range(30):
        arrow(f"dataset d{d}", "derived_from", f"dataset_version d{d}@1", 200)
    for m in range(25):
        for d in rng.sample(range(30), 2):
            days = rng.choice((5, 45, 100))
            arrow(f"dataset_version d{d}@1", "trained_on", f"model_version m@{m}", days)
    live = set(rng.sample(range(25), 4))
    for days, text in arrows:
        graph.say(days, text)
    for m in live:
        model = graph.uri(f"model_version m@{m}")
        graph.say(
            40, f"model_version m@{m} -deployed_as-> deployment s@{m}",
            share_bp=100, model_version=model,
        )  # fmt: skip

    def expected(d: int) -> bool:
        uses = ahead.get(f"dataset_version d{d}@1", [])
        serves = any(dst == f"model_version m@{m}" for dst, _ in uses for m in live)
        return not serves and all(days > 30 for _, days in uses)

    found = {one.name for one in graph.unused(kinds=["dataset"]).items}
    assert found == {f"d{d}" for d in range(30) if expected(d)}
    assert 0 < len(found) < 30
