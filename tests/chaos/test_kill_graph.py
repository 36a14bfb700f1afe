"""The graph's writer killed at random points: what it acknowledged is there, and whole."""

import os
import random
import signal
import sqlite3
import subprocess
import sys

import pytest
from tests.contract.test_graph_store import dump

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.core.clock import ManualClock
from mlg.graph.audit import verify_chain

ROUNDS = 200 if os.environ.get("MLG_FULL") else 6
REBUILT_EVERY = 20

WRITER = """
import random, sys, threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.core.clock import ManualClock
from mlg.graph.record import Recorder, edge, node

class Counter:
    n = 0
    def new_id(self):
        Counter.n += 1
        return f"id-{sys.argv[2]}-{Counter.n}"

clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
recorder = Recorder(project="p", actor="w", clock=clock, ids=Counter())
graph = SqliteGraph(Path(sys.argv[1]), clock)
lock = threading.Lock()

def told(keys):
    with lock:  # a line is whole or not there
        sys.stdout.write("".join(key + "\\n" for key in keys))
        sys.stdout.flush()

def event(rng, key):
    run = recorder.uri("run", "r", str(rng.randrange(60)))
    version = recorder.uri("model_version", "m", str(rng.randrange(60)))
    with lock:
        return recorder.event(
            "mlg.x.y", key=key, subject=run,
            at=clock.now() + timedelta(seconds=rng.randrange(10_000)),
            nodes=[node(run, {"n": rng.randrange(9), key[-1]: key}, ended=rng.random() < 0.1)],
            edges=[edge(run, "produced", version, ended=rng.random() < 0.3)],
        )

def write(place):
    rng, waiting = random.Random(f"{sys.argv[2]}-{place}"), []
    for n in range(1_000_000):
        parts = range(rng.choice([1, 1, 2, 30]))
        keys = [f"{sys.argv[2]}-{place}-{n}-{part}" for part in parts]
        waiting.append((graph.submit([event(rng, key) for key in keys]), keys))
        if len(waiting) >= 16:
            future, keys = waiting.pop(0)
            future.result()
            told(keys)

for place in range(4):
    threading.Thread(target=write, args=(place,)).start()
"""


@pytest.mark.timeout(1_800)  # two hundred rounds take minutes
def test_a_writer_killed_at_random_points_loses_nothing_it_acknowledged(tmp_path) -> None:
    path, rng = tmp_path / "graph.sqlite3", random.Random(4)  # noqa: S311 - no secret
    acknowledged: set[str] = set()
    for number in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            lines = [process.stdout.readline() for _ in range(rng.randrange(1, 150))]
            os.kill(process.pid, signal.SIGKILL)
            lines += process.stdout.readlines()
        acknowledged.update(line.strip() for line in lines if line.endswith("\n"))
        with SqliteGraph(path, ManualClock()) as graph:
            found = verify_chain(graph, (), None)
            assert found["ok"], f"round {number}: {found}"
            with sqlite3.connect(path) as db:
                keys = {row[0] for row in db.execute("SELECT key FROM event")}
            db.close()
            assert acknowledged <= keys, f"round {number}"
            # a request is there whole or not at all: its parts are numbered in its keys
            assert_whole(keys)
            if number % REBUILT_EVERY == 0 or number == ROUNDS - 1:
                before = dump(path)
                assert graph.rebuild() == len(keys)
                assert dump(path) == before, f"round {number}"
    assert len(acknowledged) > ROUNDS


def assert_whole(keys: set[str]) -> None:
    sizes: dict[str, int] = {}
    for key in keys:
        request = key.rsplit("-", 1)[0]
        sizes[request] = sizes.get(request, 0) + 1
    assert set(sizes.values()) <= {1, 2, 30}
