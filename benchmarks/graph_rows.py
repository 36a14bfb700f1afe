"""Rows of the graph's benchmark: the load, and what its readers are timed at."""  # noqa: INP001 - a script, no package

import random
import sqlite3
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import graph_world as world
import numpy as np

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.events import Event
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri

STARTS, FULL_ROUNDS = 200, 3

Row = dict[str, Any]


def row_of(work: str, subject: str, value: float, unit: str, runs: int) -> Row:
    """Return one row of the table."""
    return {"work": work, "subject": subject, "value": value, "unit": unit, "runs": runs}


def spread(work: str, subject: str, times_ms: Sequence[float]) -> list[Row]:
    """Return the 50th, 95th and 99th percentile of some times."""
    found = np.percentile(times_ms, [50, 95, 99])
    return [
        row_of(f"{work} p{p}", subject, float(ms), "ms", len(times_ms))
        for p, ms in zip((50, 95, 99), found, strict=True)
    ]


def submitted(store: SqliteGraph, events: Iterable[Event]) -> tuple[float, int, int]:
    """Append events, four outstanding; return the seconds in the store, events and edges."""
    waiting: deque[Any] = deque()
    spent = 0.0
    count = edges = 0
    for event in events:
        began = perf_counter()
        waiting.append(store.submit([event]))
        if len(waiting) == 4:
            waiting.popleft().result()
        spent += perf_counter() - began
        count, edges = count + 1, edges + len(event.edges)
    began = perf_counter()
    for future in waiting:
        future.result()
    return spent + perf_counter() - began, count, edges


def load(store: SqliteGraph, days: int) -> tuple[list[Row], Any, dict[Uri, int]]:
    """Load the world; return its rows, its edges as integers, and the integers of its nodes."""
    ids: dict[Uri, int] = {}
    pairs: list[tuple[int, int]] = []

    def counted() -> Iterator[Event]:
        for event in world.events(days):
            for edge in event.edges:
                # as a walk goes: lineage and causal; `version_of` is neither
                if edge.role != "version_of":
                    src = ids.setdefault(edge.src, len(ids))
                    pairs.append((src, ids.setdefault(edge.dst, len(ids))))
            yield event

    spent, events, edges = submitted(store, counted())
    rows = [
        row_of("nodes", "mlg", len(ids), "nodes", 1),
        row_of("edges", "mlg", edges, "edges", 1),
        row_of("bulk load, chained and synced", "mlg", edges / spent, "edges/s", events),
    ]
    return rows, np.array(pairs, np.int64), ids


def chosen(days: int) -> list[tuple[int, int]]:
    """Return number and day of some runs, drawn with a fixed seed."""
    return random.Random(2).sample(
        [(number, day) for day in range(days) for number in range(world.RUNS)],
        min(STARTS, days * world.RUNS),
    )


def traces(reader: SqliteGraphReader, roots: Sequence[Uri]) -> tuple[list[Row], dict[str, Any]]:
    """Time whole answers up and down; return rows, and the totals found by direction."""
    rows: list[Row] = []
    totals: dict[str, Any] = {}
    for direction in ("up", "down"):
        times: list[float] = []
        for number in range(FULL_ROUNDS):
            found: list[int] = []
            for root in roots:
                began = perf_counter()
                found.append(reader.walk(root, direction, WalkOptions()).total)
                times += [1e3 * (perf_counter() - began)] if number else []
        totals[direction] = found
        rows += spread(f"trace {direction}", "mlg", times)
        mean = statistics.fmean(found)
        rows.append(row_of(f"nodes of a trace {direction}", "mlg", mean, "nodes", len(roots)))
    return rows, totals


def searches(reader: SqliteGraphReader, starts: Sequence[tuple[int, int]]) -> list[Row]:
    """Time searches by two words and by the beginning of one."""
    rows: list[Row] = []
    for work, text in (
        ("search two words", lambda number, day: f"service{number % world.PIPELINES} {day}"),
        (
            "search a prefix",
            lambda number, day: f"model{number % world.PIPELINES} {day}-{number}"[:-1],
        ),
    ):
        times: list[float] = []
        for number, day in starts:
            began = perf_counter()
            reader.search(text(number, day), limit=20)
            times.append(1e3 * (perf_counter() - began))
        rows += spread(work, "mlg", times)
    return rows


def indexed(path: Path) -> None:
    """Wait until every node can be found by its words from the index."""
    with closing(sqlite3.connect(path)) as db:
        while db.execute(
            "SELECT (SELECT max(id) FROM node) > (SELECT upto FROM search_state)"
            " OR EXISTS (SELECT 1 FROM search_due)"
        ).fetchone()[0]:
            sleep(0.1)
