"""Peers of the graph on the same edges, each in a virtual environment of its own."""  # noqa: INP001 - a script, no package

import json
import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import graph_world as world
import numpy as np
from graph_peers import REQUIRES
from graph_rows import Row, load, row_of, spread, traces

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.source_datasets import cache_root
from mlg.core.uris import Uri

MLFLOW_RUNS = 1_000


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
