"""The gateways under load: swaps, how soon a policy moves the traffic, and the split.

How to run, from a checkout whose environment `make test` made:

    mlg bench gateway [--swaps 50] [--moves 500] [--keys 1000000] [--only swaps] [--json]

Two real Envoys on one port, told by the router alone; no release limiter stands before it.

swaps   A replica of the next version (50,000 items by 64, confidence and prediction log on)
        starts, is placed, gets all viewers, and the former one is taken away and ended, again
        and again under an open-loop load. A request counts as failed unless it is a 200.
moves   All viewers go to and fro between two placed versions. The delay of a move lasts from
        the router's call to the last request sent that the former version still answered; none
        after the call is a delay of 0. Resolution: one over the rate.
split   Each of a million viewers asks once while 0.5 % are the second version's; then each
        fifth of them once more, and after the share has grown to 5 %, those who had it before and as
        many who had not. Small Envoys with a fixed answer stand for the replicas, as only the
        choice is looked at; a client of ours keeps 32 requests in line on each connection.
"""  # noqa: INP001 - a script, no package

import argparse
import json
import math
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import ONE_THREAD, bare_envoy, ended, free_port, say, viewers_at

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_envoy import EnvoyRouter, admin_url, gateway_spec
from mlg.core.traffic import (
    FULL_BP,
    Endpoint,
    ServiceEndpoints,
    Share,
    TrafficPolicy,
    TrafficSplit,
    VersionEndpoints,
)

HERE = Path(__file__).parent
GATEWAYS, SERVICE = ("gateway-1", "gateway-2"), "bench"
PATH = f"/v1/services/{SERVICE}/recommend"
IN_LINE, WIRES = 32, 8
"""Requests that the split's client keeps under way on a connection, and its connections."""
RESCUE = "rescue"
"""Version of the replica that stands where the product has its popularity list."""
CANARY_BP, GROWN_BP = 50, 500
BARS = {"failed": 0, "requests": 100_000, "move_p99_ms": 50.0, "off_pp": 0.05}

Row = dict[str, Any]


@dataclass(frozen=True)
class Mesh:
    """Two gateways and who tells them."""

    port: int
    router: EnvoyRouter

    def place(self, stable: str, rescue: int | None = None, **ports: int) -> None:
        """Place one replica for each version, and perhaps one behind them all."""
        self.router.place(
            ServiceEndpoints(
                service=SERVICE,
                versions=tuple(
                    VersionEndpoints(version=v, endpoints=(Endpoint(host="127.0.0.1", port=p),))
                    for v, p in sorted(ports.items())
                ),
                stable=stable,
                fallback=() if rescue is None else (Endpoint(host="127.0.0.1", port=rescue),),
                traffic=TrafficPolicy(in_flight=1_000),
            )
        )

    def split(self, **bp: int) -> None:
        """Give each version its share."""
        shares = tuple(Share(version=v, bp=b) for v, b in bp.items())
        self.router.apply(TrafficSplit(service=SERVICE, shares=shares))


@contextmanager
def mesh(home: Path) -> Iterator[Mesh]:
    """Run two gateways in a folder."""
    clock, folder, port = SystemClock(), home / "gateway", free_port()
    launcher = ProcessLauncher(LocalFiles(home), clock, Uuid7Ids(clock), home)
    admins = [admin_url(folder, name) for name in GATEWAYS]
    router = EnvoyRouter(folder, admins, clock, HttpNetwork(), patience_s=30.0)
    router.prepare(GATEWAYS, port, log_bp=0)
    for name in GATEWAYS:
        launcher.start(gateway_spec(folder, name, port, digest="d"))
    try:
        yield Mesh(port, router)
    finally:
        for state in launcher.state():
            launcher.stop(state.id, grace_s=0.0)


@contextmanager
def viewers(port: int, rate: float, *, timed: bool = False) -> Iterator[list[list[Any]]]:
    """Send at a rate while it is open; its list is filled with `[sent_s, status, version]`.

    With `timed` each row of an answer has its milliseconds as well.
    """
    rows: list[list[Any]] = []
    client = subprocess.Popen(
        [sys.executable, str(HERE / "gateway_client.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        client.stdin.write(json.dumps({"port": port, "path": PATH, "rate": rate, "timed": timed}) + "\n")
        client.stdin.flush()
        client.stdout.readline()
        time.sleep(0.5)
        yield rows
        time.sleep(0.5)
        client.stdin.close()
        rows += json.loads(client.stdout.readline())
    finally:
        client.kill()
        client.wait()


def replica(
    version: str, folder: Path, *more: str
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a model server of ours; give its port once it is ready."""
    port = free_port()
    place = folder / version
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "serving_mlg.py"), str(port), str(place), version, *more],
        env={**os.environ, **ONE_THREAD}, cwd=folder, start_new_session=True,
        stdout=(place / "out").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    network, end = HttpNetwork(), time.monotonic() + 60
    while network.request("GET", f"http://127.0.0.1:{port}/v2/health/ready").status != 200:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError((place / "out").read_text()[-2_000:])
        time.sleep(0.05)
    return port, process


def delays_ms(rows: Iterable[list[Any]], moves: list[tuple[float, str]]) -> list[float]:
    """Return for each move how long requests still went to another version than the new one.

    Args:
        rows: `[sent_s, status, version]`.
        moves: When each was written, in order, and the version that gets everyone.

    Examples:
        >>> delays_ms([[1.0, 200, "a"], [2.01, 200, "a"], [2.1, 200, "b"]], [(2.0, "b")])
        [10.0]
    """
    found = [0.0] * len(moves)
    ordered, at = sorted(rows), -1
    for sent_s, _, version in ordered:
        while at + 1 < len(moves) and sent_s >= moves[at + 1][0]:
            at += 1
        if at >= 0 and version not in {"", RESCUE, moves[at][1]}:
            found[at] = max(found[at], round(1e3 * (sent_s - moves[at][0]), 3))
    return found


def tail(values: list[float]) -> Row:
    """Return median, nearest-rank 99th percentile and maximum of milliseconds."""
    ordered = sorted(values)
    at = max(0, math.ceil(0.99 * len(ordered)) - 1)
    return {"p50_ms": statistics.median(ordered), "p99_ms": ordered[at], "max_ms": ordered[-1]}


def swaps(folder: Path, count: int, rate: float) -> Row:
    """Swap a version for the next under load."""
    with mesh(folder) as made:
        version = "v0"
        behind, rescue = replica(RESCUE, folder)
        port, process = replica(version, folder)
        try:
            made.place(version, behind, **{version: port})
            made.split(**{version: FULL_BP})
            moves: list[tuple[float, str]] = []
            with viewers(made.port, rate) as rows:
                began_s = time.monotonic()
                for number in range(1, count + 1):
                    following = f"v{number}"
                    other, started = replica(following, folder)
                    former, process = process, started
                    made.place(version, behind, **{version: port, following: other})
                    moves.append((time.monotonic(), following))
                    made.split(**{following: FULL_BP})
                    made.place(following, behind, **{following: other})
                    ended(former)
                    version, port = following, other
                    due_s = began_s + number * (1.01 * BARS["requests"]) / (50 * rate)
                    time.sleep(max(0.0, due_s - time.monotonic()))
                    if number % 10 == 0:
                        say(f"swaps: {number} of {count}")
        finally:
            ended(process)
            ended(rescue)
    failed = sum(status != 200 for _, status, _ in rows)
    answered = {version for _, _, version in rows} - {"", RESCUE}
    moved = tail(delays_ms(rows, moves))
    return {
        "swaps": count, "requests": len(rows), "failed": failed, "versions_seen": len(answered),
        "rescued": sum(version == RESCUE for _, _, version in rows),
        **{f"move_{key}": value for key, value in moved.items()},
        "held": failed == 0 and len(rows) >= BARS["requests"] and len(answered) == count + 1,
    }  # fmt: skip


def moves(folder: Path, count: int, rate: float) -> Row:
    """Send everyone to and fro between two placed versions."""
    with mesh(folder) as made:
        one, first = replica("a", folder)
        two, second = replica("b", folder)
        try:
            made.place("a", a=one, b=two)
            made.split(a=FULL_BP)
            written: list[tuple[float, str]] = []
            calls: list[float] = []
            with viewers(made.port, rate) as rows:
                for number in range(count):
                    to = "ba"[number % 2]
                    written.append((time.monotonic(), to))
                    made.split(**{to: FULL_BP})
                    calls.append(1e3 * (time.monotonic() - written[-1][0]))
                    time.sleep(0.08)
                    if number % 100 == 99:
                        say(f"moves: {number + 1} of {count}")
        finally:
            ended(first)
            ended(second)
    delay, call = tail(delays_ms(rows, written)), tail(calls)
    failed = sum(status != 200 for _, status, _ in rows)
    return {
        "moves": count, "requests": len(rows), "failed": failed,
        **{f"move_{key}": value for key, value in delay.items()},
        "call_p50_ms": call["p50_ms"], "call_p99_ms": call["p99_ms"],
        "held": failed == 0 and delay["p99_ms"] <= BARS["move_p99_ms"],
    }  # fmt: skip


@contextmanager
def fixed(word: str, port: int) -> Iterator[None]:
    """Run an Envoy that answers everything with one word."""
    answer = {"direct_response": {"status": 200, "body": {"inline_string": word}}}
    with bare_envoy({"listeners": [viewers_at(port, answer)]}, port, os.sched_getaffinity(0)):
        yield


def chosen(port: int, keys: list[int], words: tuple[str, str]) -> list[bool | None]:
    """Ask once as each viewer; return whether the second word came, None for no 200."""
    answer = re.compile(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(" + "|".join(words).encode() + rb")?")
    ends = tuple(word.encode() for word in words)
    found: list[bool | None] = []
    wires = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(WIRES)]
    try:
        for start in range(0, len(keys), WIRES * IN_LINE):
            parts = [
                keys[at : at + IN_LINE]
                for at in range(start, min(start + WIRES * IN_LINE, len(keys)), IN_LINE)
            ]
            for wire, part in zip(wires, parts, strict=False):
                wire.sendall(b"".join(map(_request, part)))
            for wire, part in zip(wires, parts, strict=False):
                buffer, replies = b"", []
                while len(replies) < len(part):
                    more = wire.recv(1 << 16)
                    if not more:
                        raise RuntimeError(f"a connection ended: {buffer[-300:]!r}")
                    buffer += more
                    # the last reply's body may not have come yet
                    if buffer.count(b"HTTP/1.1 ") == len(part) and buffer.endswith(ends):
                        replies = answer.findall(buffer)
                found += [
                    None if status != b"200" else word == words[1].encode()
                    for status, word in replies
                ]
            if start and start % (250 * WIRES * IN_LINE) == 0:
                say(f"split: {start:,} of {len(keys):,}")
    finally:
        for wire in wires:
            wire.close()
    return found


def _request(key: int) -> bytes:
    body = b'{"user_id":%d}' % key
    return (
        b"POST %s HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (PATH.encode(), len(body), body)
    )


def split(folder: Path, count: int) -> Row:
    """Count who gets the second version, twice, and after its share has grown."""
    words = ("first", "second")
    one, two = free_port(), free_port()
    keys = list(range(1, count + 1))
    with mesh(folder) as made, fixed(words[0], one), fixed(words[1], two):
        made.place("a", a=one, b=two)
        made.split(a=FULL_BP - CANARY_BP, b=CANARY_BP)
        began_s = time.monotonic()
        first = chosen(made.port, keys, words)
        rate = count / (time.monotonic() - began_s)
        again = chosen(made.port, keys[::5], words)
        had = [key for key, it in zip(keys, first, strict=True) if it]
        others = [key for key, it in zip(keys, first, strict=True) if it is False][:: max(1, count // 20_000)]
        made.split(a=FULL_BP - GROWN_BP, b=GROWN_BP)
        kept = chosen(made.port, had, words)
        new = chosen(made.port, others, words)
    off_pp = 100 * abs(sum(it is True for it in first) / count - CANARY_BP / FULL_BP)
    flipped = sum(a is not b for a, b in zip(first[::5], again, strict=True))
    lost = sum(it is not True for it in kept)
    return {
        "keys": count, "canary": len(had), "share": len(had) / count, "off_pp": off_pp,
        "failed": sum(it is None for it in [*first, *again, *kept, *new]), "flipped": flipped,
        "canary_viewers_lost_by_growing": lost,
        "share_of_others_after_growing": sum(it is True for it in new) / len(new),
        "requests_per_s": rate,
        "held": off_pp <= BARS["off_pp"] and flipped == lost == 0,
    }  # fmt: skip


def main() -> None:
    """Run, print each part's figures, or with `--json` one document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--moves", type=int, default=500)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=350.0, help="requests a second")
    parser.add_argument("--only", action="append", choices=("swaps", "moves", "split"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    parts = {
        "swaps": lambda folder: swaps(folder, asked.swaps, asked.rate),
        "moves": lambda folder: moves(folder, asked.moves, asked.rate),
        "split": lambda folder: split(folder, asked.keys),
    }
    found: dict[str, Row] = {}
    for name, part in parts.items():
        if asked.only and name not in asked.only:
            continue
        say(f"{name} ...")
        with tempfile.TemporaryDirectory(dir=os.environ.get("MLG_BENCH_DIR")) as folder:
            found[name] = part(Path(folder))
    machine = (
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} after"
    )
    if asked.json:
        print(json.dumps({"machine": machine, "rate_hz": asked.rate, "bars": BARS, "parts": found}))
        return
    print(machine)
    for name, row in found.items():
        print(f"{name}: {'held' if row['held'] else 'MISSED'}")
        for key, value in row.items():
            if key != "held":
                shown = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"
                print(f"  {key:32}{shown:>16}")


if __name__ == "__main__":
    main()
