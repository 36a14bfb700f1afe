"""What the graph's writer is timed at: durable appends, and a log that is verified."""  # noqa: INP001 - a script, no package

import os
import statistics
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import graph_world as world
from graph_rows import Row, indexed, row_of, spread

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_check import BesideCheck
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.reading import WalkOptions
from mlg.core.uris import EventId, Uri
from mlg.graph.audit import verify_chain

WRITERS, OUTSTANDING = 4, 64


def appends(
    store: SqliteGraph,
    reader: SqliteGraphReader,
    roots: Sequence[Uri],
    folder: Path,
    seconds: float,
) -> list[Row]:
    """Time durable ten-edge events of four writers, 64 outstanding each, while one traces."""
    ended, counts = threading.Event(), [0] * WRITERS
    first = next(world.events(1))

    def event(place: int, number: int) -> Event:
        run = world.uri("run", "live", f"{place}-{number}")
        edges = tuple(
            replace(
                first.edges[0], src=world.uri("dataset_version", f"d{n}", 0), role="used", dst=run
            )
            for n in range(10)
        )
        return Event(
            key=f"live:{place}-{number}", id=EventId(f"01900000-0000-7000-9{place:03x}-{number:012x}"),
            at=world.START, recorded_at=world.START, type="mlg.bench.appended",
            actor="system:bench", subject=run, edges=edges,
        )  # fmt: skip

    def write(place: int) -> None:
        waiting: deque[Any] = deque()
        while not ended.is_set():
            waiting.append(store.submit([event(place, counts[place] + len(waiting))]))
            if len(waiting) == OUTSTANDING:
                waiting.popleft().result()
                counts[place] += 1
        for future in waiting:
            future.result()
            counts[place] += 1

    times: list[float] = []
    threads = [threading.Thread(target=write, args=(n,)) for n in range(len(counts))]
    began = perf_counter()
    for thread in threads:
        thread.start()
    while perf_counter() - began < seconds:
        asked = perf_counter()
        reader.walk(roots[len(times) % len(roots)], "up", WalkOptions())
        times.append(1e3 * (perf_counter() - asked))
    ended.set()
    for thread in threads:
        thread.join()
    speed = sum(counts) / (perf_counter() - began)
    rows = [row_of("durable events of 10 edges", "mlg", speed, "events/s", sum(counts))]
    rows += spread("trace up beside them", "mlg", times)
    return [
        *rows,
        row_of("write of 4 KiB and fsync", "the disk", fsyncs(folder, seconds), "1/s", 1),
    ]


def fsyncs(folder: Path, seconds: float) -> float:
    """Return how often a second the disk syncs 4 KiB."""
    count, began = 0, perf_counter()
    with (folder / "fsync").open("wb", buffering=0) as file:
        while perf_counter() - began < seconds:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            count += 1
    return count / (perf_counter() - began)


def verification(folder: Path, count: int) -> list[Row]:
    """Time the verification of a chain of small events: a node and an arrow each.

    A log of more than 100,000 events is checked by two processes.
    """
    with SqliteGraph(folder / "chain.sqlite3", SystemClock()) as store:
        first = next(world.events(1))
        origin = first.edges[0].src
        for start in range(0, count, 1_000):
            log: list[Event] = []
            for n in range(start, start + 1_000):
                made = world.uri("dataset", f"v{n}")
                log.append(replace(
                    first, key=f"v:{n}", id=EventId(f"01900000-0000-7000-a000-{n:012x}"),
                    subject=made, nodes=(NodeFact(uri=made, attrs=first.nodes[0].attrs),),
                    edges=(EdgeFact(src=origin, role="derived_from", dst=made),),
                ))  # fmt: skip
            store.append(log)
        indexed(folder / "chain.sqlite3")
        times: list[float] = []
        for _ in range(3):
            began = perf_counter()
            found = verify_chain(store, (), None, BesideCheck(folder / "chain.sqlite3"))
            times.append(perf_counter() - began)
            assert found == {"ok": True, "events": count, "first_bad": None}, found
    speed = count / statistics.median(times)
    return [row_of("verify the chain", "mlg", speed, "events/s", count)]
