"""Events that the graph cannot hold are refused whole, on SQLite and PostgreSQL alike."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.postgres import database

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.core.errors import ConflictError
from mlg.core.events import EdgeFact, Event
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import EventId, Uri
from mlg.graph.project import MAX_URI
from mlg.graph.record import AHEAD, Recorder, edge, node

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE = "mlg://model/mlg/p/"


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


RECORDER = Recorder(project="p", actor="local:ada", clock=ManualClock(START), ids=Counter())


@pytest.fixture(params=["sqlite", "postgres"])
def graph(request: Any, tmp_path: Path) -> Iterator[Any]:
    if request.param == "sqlite":
        path = tmp_path / "graph.sqlite3"
        pair: Any = SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path)
    else:
        url = database(request.getfixturevalue("postgres_url"), f"bad-{uuid4().hex}")
        pair = PostgresGraph(url), PostgresGraphReader(url)
    with pair[0], pair[1]:
        yield pair


def good(n: int) -> Event:
    model = RECORDER.uri("model", f"m{n}")
    team = RECORDER.uri("team", "t")
    return RECORDER.event(
        "mlg.a.b",
        key=f"good-{n}",
        subject=model,
        nodes=[node(model, {"n": n})],
        edges=[edge(team, "owned_by", model)],
    )


def about(uri: str) -> Event:
    return replace(good(0), key="bad", id=EventId("bad"), subject=Uri(uri))


def said(attrs: tuple[tuple[str, Any], ...], name: str = "") -> Event:
    model = RECORDER.uri("model", "bad")
    fact = replace(node(model, name=name), attrs=attrs)
    return replace(good(0), key="bad", id=EventId("bad"), nodes=(fact,))


def drawn(**changes: Any) -> Event:
    arrow = EdgeFact(src=Uri("mlg://team/mlg/p/t"), role="owned_by", dst=Uri(BASE + "m"))
    return replace(good(0), key="bad", id=EventId("bad"), edges=(replace(arrow, **changes),))


BAD = {
    "a URI of 100 kB": about(BASE + "x" * 100_000),
    "a URI a character too long": about(BASE + "x" * (MAX_URI - len(BASE) + 1)),
    "NUL in a URI": about(BASE + "a\0b"),
    "a line end in a URI": about(BASE + "a\nb"),
    "half a surrogate pair in a URI": about(BASE + "\ud800"),
    "a URI that is not encoded": about(BASE + "é"),
    "no URI": about("'; DROP TABLE event; --"),
    "a path": about("../../etc/passwd"),
    "an unknown kind": about("mlg://unicorn/mlg/p/x"),
    "a kind of answers only": about("mlg://prediction/mlg/p/x@1"),
    "an unknown role": drawn(role="likes"),
    "an arrow the wrong way round": drawn(src=Uri(BASE + "m"), dst=Uri("mlg://team/mlg/p/t")),
    "an unknown provenance": drawn(provenance="guessed"),
    "an end of 100 kB": drawn(dst=Uri(BASE + "y" * 100_000)),
    "not a number": said((("auc", math.nan),)),
    "infinity": said((("auc", math.inf),)),
    "a number that JSON readers round": said((("n", 2**53),)),
    "a number of a thousand digits": said((("n", 10**1000),)),
    "NUL in an attribute": said((("note", "a\0b"),)),
    "NUL in an attribute's name": said((("a\0b", 1),)),
    "NUL in a name": said((), name="a\0b"),
    "half a surrogate pair in an attribute": said((("note", "\udc00"),)),
    "half a surrogate pair in a name": said((), name="\ud800"),
    "one attribute twice": said((("a", 1), ("a", 2))),
    "NUL in a key": replace(good(0), key="a\0b"),
    "NUL in the data": replace(good(0), key="bad", data=(("why", "\0"),)),
    "a time without a zone": replace(good(0), key="bad", at=START.replace(tzinfo=None)),
}


def state(reader: Any) -> Any:
    page = reader.nodes(NodeQuery(limit=10_000))
    options = WalkOptions(classes=("ownership",))
    return page, [reader.walk(found.uri, "up", options) for found in page.nodes]


def test_what_the_graph_cannot_hold_is_refused_and_nothing_of_the_call_is_there(
    graph: Any,
) -> None:
    store, reader = graph
    store.append([good(1)])
    for count, (what, event) in enumerate(BAD.items(), start=2):
        head, before = store.head(), reader.nodes(NodeQuery(limit=10_000))
        for events in ([good(count), event], [event, good(count)]):
            with pytest.raises(ValueError, match=r"\S"):
                store.append(events)
        assert store.head() == head, what
        assert reader.nodes(NodeQuery(limit=10_000)) == before, what
        store.append([good(count)])
    live = state(reader)
    assert len(live[0].nodes) == len(BAD) + 2
    assert store.rebuild() == len(BAD) + 1
    assert state(reader) == live


def test_text_of_any_other_characters_is_kept_as_it_is(graph: Any) -> None:
    store, reader = graph
    odd = ["'; DROP TABLE node; --", "../../etc/passwd", "a/b@c%00", '"\\u0000', "😀\u2028é"]
    events = []
    for place, text in enumerate(odd):
        model = RECORDER.uri("model", text)
        fact = node(model, {"note": text, text: "x"}, name=text)
        events.append(
            RECORDER.event("mlg.a.b", key=f"{place}{text}", subject=model, nodes=[fact])
        )
    store.append(events)
    for text, event in zip(odd, events, strict=True):
        (found,) = reader.nodes(NodeQuery(uri=event.subject)).nodes
        assert (found.name, dict(found.attrs)["note"]) == (text, text)
        assert reader.nodes(NodeQuery(attr=(text, "x"))).nodes == (found,)
    assert [stored.event for stored in store.events()] == events


def test_a_key_that_is_there_with_other_content_answers_409_and_leaves_the_log(
    graph: Any,
) -> None:
    store, reader = graph
    store.append([good(1)])
    head, before = store.head(), state(reader)
    other = replace(good(2), key="good-1")
    for events in ([other], [good(3), other], [good(4), replace(good(5), key="good-4")]):
        with pytest.raises(ConflictError) as refused:
            store.append(events)
        assert refused.value.http_status == 409
        assert "other content" in str(refused.value)
        assert (store.head(), state(reader)) == (head, before)


def test_a_long_circle_of_lineage_is_taken_and_walks_visit_each_thing_once(
    graph: Any,
) -> None:
    store, reader = graph
    ring = [RECORDER.uri("dataset", f"d{n:03d}") for n in range(300)]
    arrows = [
        edge(src, "derived_from", dst)
        for src, dst in zip(ring, [*ring[1:], ring[0]], strict=True)
    ]
    itself = edge(ring[0], "derived_from", ring[0])
    events = [
        RECORDER.event("mlg.a.b", key=f"ring-{n}", subject=arrow.src, edges=[arrow])
        for n, arrow in enumerate([*reversed(arrows), itself])
    ]
    store.append(events)
    for direction in ("up", "down"):
        whole = reader.walk(ring[0], direction, WalkOptions())
        assert (whole.total, len(whole.edges)) == (300, 301)
        assert [found.depth for found in whole.nodes] == list(range(300))
        near = reader.walk(ring[0], direction, WalkOptions(depth=20))
        assert near.total == 21
        far = reader.walk(ring[0], direction, WalkOptions(depth=299))
        assert far.total == 300


def test_an_event_ahead_of_the_clock_is_marked_from_the_first_second_over_the_limit(
    graph: Any,
) -> None:
    store, reader = graph
    model = RECORDER.uri("model", "m")
    for name, ahead, marked in (
        ("at", AHEAD, None),
        ("over", AHEAD + timedelta(seconds=1), 301),
        ("years", timedelta(days=3_650), 3_650 * 86_400),
    ):
        store.append([RECORDER.event("mlg.a.b", key=name, subject=model, at=START + ahead)])
        stored = store.events(after=store.head().seq - 1)[0].event
        assert dict(stored.data).get("ahead_s") == marked
    (found,) = reader.nodes(NodeQuery(uri=model)).nodes
    assert found.valid_from == START + AHEAD
