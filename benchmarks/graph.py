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
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from urllib.parse import quote

import graph_world as world
import numpy as np
from graph_beside import peers
from graph_bundle import exported
from graph_grown import grown
from graph_rows import FULL_ROUNDS, Row, chosen, indexed, load, row_of, searches, spread, traces
from graph_writes import appends, verification

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri

APPEND_S, HTTP_STARTS, BUNDLES = 10.0, 100, 5


def main() -> None:
    """Run, print a table, or with `--json` one document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--grown", action="store_true", help="only traces, as the graph grows to 10 M edges"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    days = world.days_for(asked.nodes)
    with tempfile.TemporaryDirectory(dir=os.environ.get("MLG_BENCH_DIR")) as folder:
        if asked.grown:
            rows = grown(Path(folder), say)
        else:
            rows = measure(days, Path(folder), asked.no_peers)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    if asked.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    for row in rows:
        ratio = f"{row['ratio_to_mlg']:.2f}" if row.get("ratio_to_mlg") else ""
        print(
            f"{row['work']:34} {row['subject']:12} {row['value']:14,.3f} {row['unit']:8} "
            f"{row['runs']:>6} {ratio}"
        )


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr)


def measure(days: int, folder: Path, alone: bool) -> list[Row]:
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
        starts = chosen(days)
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
        say("bundles ...")
        rows += bundles(store, reader, days, folder)
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


def bundles(store: SqliteGraph, reader: SqliteGraphReader, days: int, folder: Path) -> list[Row]:
    """Time audit bundles of predictions beside the whole graph."""
    for event in world.told_singly(days):
        store.submit([event])
    rows: list[Row] = []
    for work, day in (("told singly", days), ("told in bulk", days // 2)):
        told = [(number, day) for number in range(0, 10 * BUNDLES, 10)]
        found = exported(store, reader, folder, told, 100_000 if days > 20 else 1_000)
        seconds = [one for one, _ in found]
        rows += [
            row_of(f"bundle of a prediction {work}, median", "mlg", float(np.median(seconds)), "s", len(found)),
            row_of(f"bundle of a prediction {work}, worst", "mlg", max(seconds), "s", len(found)),
            row_of(f"its size {work}", "mlg", float(np.median([n for _, n in found])) / 1e6, "MB", len(found)),
        ]  # fmt: skip
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


if __name__ == "__main__":
    main()
