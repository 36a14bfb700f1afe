"""The graph beside peers on one realistic lifecycle: load, traces, appends, search, verification.

How to run, from a checkout whose environment `make test` made:

    mlg bench graph [--nodes 1000000] [--no-peers] [--json]

The peers are no dependencies: the first run installs each into a virtual environment of its own
below the user's cache; where that fails its rows are left out and the reason is told. networkx
and rustworkx hold integers in memory and answer with a set of them; ladybug answers with ids;
mlg answers from disk with whole nodes and edges (`trace`), after an event log whose every event
is hashed into a chain and synced. ml-metadata is asked on one day only, as loading more takes
hours, and mlg on the same day; MLflow searches a thousand runs. So the ratios speak of what a
caller waits for, not of equal work.
"""  # noqa: INP001 - a script, no package

import argparse
import gc
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import venv
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, sleep
from typing import Any
from urllib.parse import quote

import graph_world as world
import numpy as np
from graph_peers import REQUIRES

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_check import BesideCheck
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.source_datasets import cache_root
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.reading import WalkOptions
from mlg.core.uris import EventId, Uri
from mlg.graph.audit import verify_chain

STARTS, FULL_ROUNDS, WRITERS, OUTSTANDING, APPEND_S = 200, 3, 4, 64, 10.0
HTTP_STARTS, MLFLOW_RUNS = 100, 1_000

Row = dict[str, Any]


def main() -> None:
    """Run, print a table, or with `--json` one document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    days = world.days_for(asked.nodes)
    with tempfile.TemporaryDirectory(dir=os.environ.get("MLG_BENCH_DIR")) as folder:
        rows = measure(days, Path(folder), lambda text: print(text, file=sys.stderr), asked.no_peers)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    if asked.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    for row in rows:
        ratio = f"{row['ratio_to_mlg']:.2f}" if row["ratio_to_mlg"] else ""
        print(
            f"{row['work']:34} {row['subject']:12} {row['value']:14,.3f} {row['unit']:8} "
            f"{row['runs']:>6} {ratio}"
        )


def measure(days: int, folder: Path, say: Callable[[str], None], alone: bool) -> list[Row]:
    """Return every row of the table."""
    store = SqliteGraph(folder / "graph.sqlite3", SystemClock())
    reader = SqliteGraphReader(folder / "graph.sqlite3")
    try:
        say(f"loading {days} days ...")
        rows, pairs, ids = load(store, days)
        say("indexing words ...")
        began = perf_counter()
        indexed(folder / "graph.sqlite3")
        rows.append(row_of("words indexed after it", "mlg", perf_counter() - began, "s", 1))
        starts = random.Random(2).sample(
            [(number, day) for day in range(days) for number in range(world.RUNS)],
            min(STARTS, days * world.RUNS),
        )
        roots = [world.deployment(*one) for one in starts]
        say("tracing ...")
        gc.collect()
        gc.freeze()  # the benchmark's own millions of integers are no work of a trace
        traced, totals = traces(reader, roots)
        rows += traced + searches(reader, starts)
        rows += over_http(reader, folder / "graph.sqlite3", roots[:HTTP_STARTS])
        if not alone:
            say("peers ...")
            rows += peers(pairs, ids, roots, totals, folder, say)
        say("appending ...")
        rows += appends(store, reader, roots, folder, APPEND_S if days > 20 else 1.0)
        say("verifying ...")
        rows += verification(folder, 500_000 if days > 20 else 2_000)
    finally:
        reader.close()
        store.close()
    ours = {row["work"]: row["value"] for row in rows if row["subject"] == "mlg"}
    return [
        {**row, "ratio_to_mlg": row["value"] / ours[row["work"]] if row["work"] in ours else None}
        for row in rows
    ]


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


def load(store: SqliteGraph, days: int) -> tuple[list[Row], Any, dict[Uri, int]]:
    """Load the world; return its rows, its edges as integers, and the integers of its nodes."""
    ids: dict[Uri, int] = {}
    pairs: list[tuple[int, int]] = []
    waiting: deque[Any] = deque()
    spent = 0.0
    events = edges = 0
    for event in world.events(days):
        for edge in event.edges:
            # as a walk goes: lineage and causal; `version_of` is neither
            if edge.role != "version_of":
                src = ids.setdefault(edge.src, len(ids))
                pairs.append((src, ids.setdefault(edge.dst, len(ids))))
        began = perf_counter()
        waiting.append(store.submit([event]))
        if len(waiting) == 4:
            waiting.popleft().result()
        spent += perf_counter() - began
        events, edges = events + 1, edges + len(event.edges)
    began = perf_counter()
    for future in waiting:
        future.result()
    spent += perf_counter() - began
    rows = [
        row_of("nodes", "mlg", len(ids), "nodes", 1),
        row_of("edges", "mlg", edges, "edges", 1),
        row_of("bulk load, chained and synced", "mlg", edges / spent, "edges/s", events),
    ]
    return rows, np.array(pairs, np.int64), ids


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
        ("search a prefix", lambda number, day: f"model{number % world.PIPELINES} {day}-{number}"[:-1]),
    ):
        times: list[float] = []
        for number, day in starts:
            began = perf_counter()
            reader.search(text(number, day), limit=20)
            times.append(1e3 * (perf_counter() - began))
        rows += spread(work, "mlg", times)
    return rows


def peer(
    name: str, given: dict[str, Any], folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return what one peer's script measured, by subject; nothing where it cannot be had."""
    home = cache_root().parent / "bench" / f"graph-{name}"
    python, file = home / "bin" / "python", folder / f"{name}.npz"
    try:
        if not (home / "ready").exists():
            say(f"installing {', '.join(REQUIRES[name])} ...")
            venv.create(home, with_pip=True, clear=True)
            install = [str(python), "-m", "pip", "install", "-q", *REQUIRES[name]]
            subprocess.run(install, check=True, timeout=900, capture_output=True)
            (home / "ready").touch()
        say(f"{name} ...")
        np.savez(file, **given)
        command = [str(python), str(Path(__file__).with_name("graph_peers.py")), name, str(file)]
        done = subprocess.run(command, check=True, timeout=1_800, stdout=subprocess.PIPE, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        say(f"{name}: left out ({error})")
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def peers(
    pairs: Any, ids: dict[Uri, int], roots: Sequence[Uri], totals: dict[str, Any],
    folder: Path, say: Callable[[str], None],
) -> list[Row]:  # fmt: skip
    """Return the rows of the peers on the same edges, checked for the same totals."""
    rows: list[Row] = []
    given = {
        "src": pairs[:, 0], "dst": pairs[:, 1], "n": len(ids), "starts": [ids[one] for one in roots],
    }  # fmt: skip
    for name in ("memory", "ladybug"):
        for subject, found in peer(name, given, folder, say).items():
            for way in ("up", "down"):
                counts = found[f"{way}_n"]
                assert counts == totals[way][: len(counts)], f"{subject} finds other nodes {way}"
                rows += spread(f"trace {way}", subject, found[way])
            speed = len(pairs) / found["load_s"]
            rows.append(row_of("load, no log", subject, speed, "edges/s", 1))
    found = peer("mlflow", {"n": MLFLOW_RUNS}, folder, say)
    for subject, row in found.items():
        rows += spread("search two words", subject, row["search"])
        rows.append(row_of("runs recorded", subject, MLFLOW_RUNS / row["load_s"], "runs/s", 1))
    return rows + one_day(folder, say)


def one_day(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Return the rows of ml-metadata and of mlg on one day's graph."""
    with SqliteGraph(folder / "day.sqlite3", SystemClock()) as store:
        _, pairs, ids = load(store, 1)
    roots = [world.deployment(number, 0) for number in range(0, world.RUNS, 6)]
    with SqliteGraphReader(folder / "day.sqlite3") as reader:
        traced, totals = traces(reader, roots)
    rows = [
        {**row, "work": row["work"].replace("trace up", "trace up, one day")}
        for row in traced
        if row["work"].startswith("trace up")
    ]
    given = {
        "src": pairs[:, 0], "dst": pairs[:, 1], "n": len(ids), "starts": [ids[one] for one in roots],
    }  # fmt: skip
    for subject, found in peer("mlmd", given, folder, say).items():
        assert found["up_n"] == totals["up"], f"{subject} finds other nodes"
        rows += spread("trace up, one day", subject, found["up"])
        speed = len(pairs) / found["load_s"]
        rows.append(row_of("load, no log", subject, speed, "edges/s", 1))
    return rows


def over_http(reader: SqliteGraphReader, path: Path, roots: Sequence[Uri]) -> list[Row]:
    """Time whole answers of the API, and beside each the same walk through the store."""
    command = [sys.executable, str(Path(__file__).with_name("graph_http.py")), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as api:
        assert api.stdin is not None
        assert api.stdout is not None
        asked = HTTPConnection("127.0.0.1", int(api.stdout.readline()))
        stored: list[float] = []
        served: list[float] = []
        for number in range(FULL_ROUNDS):
            for root in roots:
                began = perf_counter()
                total = reader.walk(root, "up", WalkOptions()).total
                middle = perf_counter()
                asked.request("GET", f"/api/v1/trace?uri={quote(root, safe='')}")
                body = asked.getresponse().read()
                if number:
                    stored.append(1e3 * (middle - began))
                    served.append(1e3 * (perf_counter() - middle))
                else:
                    assert json.loads(body)["total"] == total
        asked.close()
        api.stdin.close()
    rows = spread("trace up over HTTP", "mlg", served)
    more = np.percentile(served, 99) - np.percentile(stored, 99)
    return [*rows, row_of("HTTP more than the store, p99", "mlg", float(more), "ms", len(served))]


def appends(
    store: SqliteGraph, reader: SqliteGraphReader, roots: Sequence[Uri], folder: Path, seconds: float
) -> list[Row]:
    """Time durable ten-edge events of four writers, 64 outstanding each, while one traces."""
    ended, counts = threading.Event(), [0] * WRITERS
    first = next(world.events(1))

    def event(place: int, number: int) -> Event:
        run = world.uri("run", "live", f"{place}-{number}")
        edges = tuple(
            replace(first.edges[0], src=world.uri("dataset_version", f"d{n}", 0), role="used", dst=run)
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
    return [*rows, row_of("write of 4 KiB and fsync", "the disk", fsyncs(folder, seconds), "1/s", 1)]


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


def indexed(path: Path) -> None:
    """Wait until every node can be found by its words from the index."""
    with closing(sqlite3.connect(path)) as db:
        while db.execute(
            "SELECT (SELECT max(id) FROM node) > (SELECT upto FROM search_state)"
            " OR EXISTS (SELECT 1 FROM search_due)"
        ).fetchone()[0]:
            sleep(0.1)


if __name__ == "__main__":
    main()
