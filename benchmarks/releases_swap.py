"""The first requests after a swap at peak, of a replica that warmed up and of one that did not.

Two real Envoys; replicas with 50,000 items by 64, confidence and prediction log on; an open-loop
load that never waits. Latency counts from when a request was due. Steady is the former version
in the seconds before the swap, once the new replica stands ready and nothing starts any more.
How busy the former replica is in those seconds is told, as a share of one core: a peak that leaves
no room measures the queue, not the swap.
"""  # noqa: INP001 - imported by a script

import math
import os
import statistics
import time
from pathlib import Path
from typing import Any, Final

from gateway import mesh, replica, viewers
from serving import ended

from mlg.core.traffic import FULL_BP

Row = dict[str, Any]

FIRST: Final = 1_000
"""Requests after a swap that count."""
BAR: Final = 1.1
_QUIET_S: Final = 4.0


def swap(folder: Path, rate: float, rounds: int) -> list[Row]:
    """Return a row for each kind of replica: p99 of the first thousand over steady state."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Row]] = {"warmed": [], "unwarmed": []}
    busy: list[float] = []
    with mesh(folder) as made:
        version = "v0"
        port, process = replica(version, folder, "warm")
        try:
            made.place(version, **{version: port})
            made.split(**{version: FULL_BP})
            swaps: list[tuple[str, float, float, str, str]] = []
            with viewers(made.port, rate, timed=True) as rows:
                time.sleep(_QUIET_S)
                for number in range(2 * rounds):
                    kind = ("warmed", "unwarmed")[number % 2]
                    following = f"v{number + 1}"
                    other, started = replica(following, folder, *["warm"][: kind == "warmed"])
                    former, process = process, started
                    made.place(version, **{version: port, following: other})
                    time.sleep(1.0)
                    quiet_s, cpu_s = time.monotonic(), _cpu_s(former.pid)
                    time.sleep(_QUIET_S)
                    at_s = time.monotonic()
                    busy.append((_cpu_s(former.pid) - cpu_s) / (at_s - quiet_s))
                    made.split(**{following: FULL_BP})
                    swaps.append((kind, quiet_s, at_s, version, following))
                    time.sleep(_QUIET_S)
                    made.place(following, **{following: other})
                    ended(former)
                    version, port = following, other
        finally:
            ended(process)
    answered = sorted(row for row in rows if len(row) == 4)
    for kind, quiet_s, at_s, before, after in swaps:
        steady = [ms for s, _, v, ms in answered if v == before and quiet_s <= s < at_s]
        first = [ms for s, _, v, ms in answered if v == after and s >= at_s][:FIRST]
        found[kind].append({"steady": _p99(steady), "first": _p99(first), "most": max(first)})
    failed = sum(row[1] != 200 for row in rows)
    cores = round(statistics.median(busy), 2)
    return [
        {**_row(kind, each, rate, len(rows), failed), "replica_cores": cores}
        for kind, each in found.items()
    ]


def _row(kind: str, each: list[Row], rate: float, requests: int, failed: int) -> Row:
    ratios = [one["first"] / one["steady"] for one in each]
    ratio = statistics.median(ratios)
    return {
        "replica": kind,
        "swaps": len(each),
        "rate_hz": rate,
        "steady_p99_ms": round(statistics.median(one["steady"] for one in each), 2),
        "first_1000_p99_ms": round(statistics.median(one["first"] for one in each), 2),
        "slowest_ms": round(statistics.median(one["most"] for one in each), 2),
        "ratio_median": round(ratio, 3),
        "ratios": [round(one, 2) for one in ratios],
        "requests": requests,
        "failed": failed,
        "held": kind == "unwarmed" or (ratio <= BAR and failed == 0),
    }


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process and all its threads."""
    after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)] if ordered else math.nan
