"""What every GraphHistory must answer: the events about a thing, from a log of any length."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.postgres import database

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.core.ports import GraphHistory, GraphReader, GraphStore
from mlg.graph.record import Recorder, edge, node

START = datetime(2026, 1, 1, tzinfo=UTC)


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


BY = Recorder(project="p", actor="local:ada", clock=ManualClock(START), ids=Counter())
LONG, OTHER, ALONE = BY.uri("policy", "long"), BY.uri("service", "home"), BY.uri("team", "one")
EVENTS = [
    *(
        BY.event(
            "mlg.policy.changed", key=f"k{n}", subject=LONG, at=START + timedelta(minutes=n),
            nodes=[node(LONG, {"n": n})] + ([node(OTHER, {"seen": n})] if n % 10 == 0 else []),
        )
        for n in range(1, 101)
    ),
    BY.event("mlg.service.seen", key="other", subject=OTHER,
             edges=[edge(LONG, "served_by", OTHER)]),
    BY.event("mlg.team.made", key="team", subject=BY.uri("actor", "a"), nodes=[node(ALONE)]),
]  # fmt: skip

Graph = tuple[GraphStore, GraphReader, GraphHistory]


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def graph(request, tmp_path_factory):
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("history") / "graph.sqlite3"
        pair = SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path)
    else:
        url = database(request.getfixturevalue("postgres_url"), f"history-{uuid4().hex}")
        pair = PostgresGraph(url), PostgresGraphReader(url)
    with pair[0] as store, pair[1] as reader:
        store.append([replace(event) for event in EVENTS])
        yield store, reader, reader


def seqs(found) -> list[int]:
    return [stored.seq for stored in found]


def test_the_first_and_the_newest_of_a_long_life_are_told_in_order(graph: Graph) -> None:
    assert seqs(graph[2].told([LONG], limit=3)) == [1, 2, 3, 98, 99, 100]
    assert seqs(graph[2].told([LONG], limit=60)) == list(range(1, 101))


def test_an_event_that_says_something_of_a_thing_is_about_it(graph: Graph) -> None:
    assert seqs(graph[2].told([OTHER])) == [*range(10, 101, 10), 101]
    assert seqs(graph[2].told([ALONE])) == [102]


def test_an_event_of_a_thing_and_of_an_id_comes_once(graph: Graph) -> None:
    _, reader, history = graph
    (arrow,) = (e for e in reader.walk(OTHER, "up", _options()).edges if e.role == "served_by")
    assert seqs(history.told([], [arrow.event])) == [101]
    assert seqs(history.told([OTHER, OTHER], [arrow.event], limit=1)) == [10, 100, 101]


def test_what_is_not_known_gives_nothing(graph: Graph) -> None:
    assert graph[2].told([BY.uri("policy", "none"), "no uri", "' OR 1=1"], ["none"]) == ()
    assert graph[2].told([]) == ()


def test_what_is_told_is_what_the_log_holds(graph: Graph) -> None:
    store, _, history = graph
    stored = {one.seq: one for one in store.events(0, 1_000)}
    assert all(one == stored[one.seq] for one in history.told([LONG, OTHER, ALONE], limit=500))


def test_limits_out_of_range_are_taken_as_the_nearest(graph: Graph) -> None:
    assert seqs(graph[2].told([LONG], limit=0)) == [1, 100]
    assert len(graph[2].told([LONG], limit=10**9)) == 100


def test_the_whole_log_is_not_read_for_one_thing(graph: Graph, monkeypatch) -> None:
    import mlg.adapters.graph_sql_history as module

    read: list[bytes] = []
    whole = module.decode
    monkeypatch.setattr(module, "decode", lambda data: (read.append(data), whole(data))[1])
    graph[2].told([OTHER], limit=2)
    assert len(read) == 5


def _options():
    from mlg.core.reading import WalkOptions

    return WalkOptions(depth=1)
