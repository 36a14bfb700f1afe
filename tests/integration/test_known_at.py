"""What was known at an earlier moment: the log up to then, projected in memory.

The expected answers are those of a database that was given just that part of the log.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_graph_reader import Counter, minute, recorder_at, story

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock, rfc3339
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.events import StoredEvent
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.graph.known import MAX_EVENTS, KnownGraph, KnownGraphs
from mlg.graph.record import edge, node

EVENTS = story(Counter())
TIMES = (None, minute(12), minute(31))


class Pair:
    """A log, a reader of it, and readers of what was known."""

    def __init__(self, folder: Path) -> None:
        path = folder / "graph.sqlite3"
        self.store, self.reader = SqliteGraph(path, ManualClock()), SqliteGraphReader(path)
        self.read = 0
        self.known = KnownGraphs(self.pages)

    def pages(self, after: int, limit: int) -> tuple[StoredEvent, ...]:
        self.read += 1
        return self.store.events(after, limit)

    def at(self, known_at: str) -> KnownGraph:
        return self.known.at(known_at, self.store.head().seq)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    it = Pair(tmp_path)
    with it.store, it.reader:
        yield it


@pytest.mark.parametrize("size", [1, 7, len(EVENTS) // 2, len(EVENTS)])
def test_a_part_of_the_log_answers_as_a_database_of_that_part(pair: Pair, size: int) -> None:
    pair.store.append(EVENTS[:size])
    known = pair.at(str(size))
    for as_of in TIMES:
        query = NodeQuery(limit=10_000, as_of=as_of)
        page = pair.reader.nodes(query)
        assert known.nodes(query) == page
        for root in page.nodes:
            for direction in ("up", "down"):
                for options in (
                    WalkOptions(as_of=as_of),
                    WalkOptions(as_of=as_of, depth=2, limit=5),
                    WalkOptions(as_of=as_of, classes=("version",)),
                    WalkOptions(as_of=as_of, stop_at=("used",)),
                ):
                    told = known.walk(root.uri, direction, options)
                    expected = pair.reader.walk(root.uri, direction, options)
                    assert _plain(told) == _plain(expected)
    for n in range(0, 60, 5):
        for name in ("home", "mlg://service/mlg/movies/home", "away"):
            then = minute(n)
            assert known.production(name, then) == pair.reader.production(name, then)


def _plain(walk: Any) -> Any:
    """Leave the order of nodes that are equally far away out of the comparison."""
    if walk.truncated:
        depths = sorted(found.depth for found in walk.nodes)
        return replace(walk, nodes=(), edges=()), depths
    nodes = sorted(walk.nodes, key=lambda found: (found.depth, found.node.uri))
    arrows = sorted(walk.edges, key=lambda arrow: (arrow.src, arrow.role, arrow.dst))
    return replace(walk, nodes=tuple(nodes), edges=tuple(arrows))


def test_a_page_after_a_cursor_and_an_attribute_are_answered_as_by_the_database(
    pair: Pair,
) -> None:
    pair.store.append(EVENTS)
    known = pair.at(str(len(EVENTS)))
    for query in (
        NodeQuery(limit=7, cursor=EVENTS[3].subject),
        NodeQuery(kinds=("run", "model"), limit=1),
        NodeQuery(attr=("passed", "true"), limit=3),
        NodeQuery(attr=("seed", "7")),
        NodeQuery(uri=EVENTS[3].subject),
        NodeQuery(kinds=("deployment",), attr=("share_bp", "10000"), as_of=minute(12)),
    ):
        assert known.nodes(query) == pair.reader.nodes(query)


def test_a_fact_that_came_late_is_true_of_then_but_was_not_known_then(pair: Pair) -> None:
    early = recorder_at(10, Counter())
    model = early.uri("model_version", "ranker", "a1")
    data = early.uri("dataset_version", "ratings", "d1")
    known = early.event("mlg.a.b", key="a", subject=model, nodes=[node(model, {"auc": 0.7})])
    late = replace(
        recorder_at(60, Counter()).event(
            "mlg.a.c",
            key="b",
            subject=model,
            at=minute(11),
            nodes=[node(model, {"auc": 0.9})],
            edges=[edge(data, "trained_on", model)],
        ),
        id="late",
    )
    pair.store.append([known])
    pair.store.append([late])
    then = WalkOptions(as_of=minute(30))

    assert data in _uris(pair.reader.walk(model, "up", then))
    for moment in ("1", rfc3339(minute(59))):
        walk = pair.at(moment).walk(model, "up", then)
        assert _uris(walk) == [model]
        assert dict(walk.nodes[0].node.attrs) == {"auc": 0.7}
    for moment in ("2", "999999", rfc3339(minute(60))):
        assert data in _uris(pair.at(moment).walk(model, "up", then))
    with pytest.raises(NotFoundError, match="known then"):
        pair.at("0").walk(model, "up", then)
    with pytest.raises(NotFoundError, match="known then"):
        pair.at("1").walk(data, "up", then)


def test_an_edge_that_was_ended_later_still_stood_to_our_knowledge(pair: Pair) -> None:
    recorder = recorder_at(10, Counter())
    team, model = recorder.uri("team", "ml"), recorder.uri("model", "ranker")
    begin = edge(team, "owned_by", model)
    first = recorder.event("mlg.a.b", key="a", subject=model, edges=[begin])
    end = replace(
        recorder_at(20, Counter()).event(
            "mlg.a.c", key="b", subject=model, edges=[replace(begin, ended=True)]
        ),
        id="end",
    )
    pair.store.append([first, end])
    owners = WalkOptions(classes=("ownership",))
    assert _uris(pair.reader.walk(model, "up", owners)) == [model]
    assert _uris(pair.at("1").walk(model, "up", owners)) == [model, team]
    assert _uris(pair.at("2").walk(model, "up", owners)) == [model]


def test_the_same_question_again_does_not_read_the_log_again(pair: Pair) -> None:
    pair.store.append(EVENTS)
    pair.at("5")
    read = pair.read
    pair.at("5")
    assert pair.read == read
    pair.at("6")
    assert pair.read > read


def test_a_log_that_is_too_long_and_a_moment_that_is_none_are_refused() -> None:
    known = KnownGraphs(lambda _after, _limit: ())
    with pytest.raises(ManifestError, match=f"at most {MAX_EVENTS}; got {MAX_EVENTS + 1}"):
        known.at(str(MAX_EVENTS + 1), MAX_EVENTS + 1)
    with pytest.raises(ManifestError, match="at most"):
        known.at(rfc3339(minute(1) + timedelta(days=1)), MAX_EVENTS + 1)
    for wrong in ("", "yesterday", "2026-01-01", "-1", "1e3", "٣", "9" * 400, "\0"):
        with pytest.raises(ManifestError):
            known.at(wrong, 10)


def _uris(walk: Any) -> list[str]:
    return [found.node.uri for found in walk.nodes]
