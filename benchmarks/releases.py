"""Rollouts: are verdicts right under peeking, and is a bad version gone in a second?

How to run, from a checkout whose environment `make test` made:

    mlg bench releases [--runs 10000] [--only aa] [--only power] [--only live] [--only swap]
        [--json]

aa      Rollouts of a version that is exactly as good, looked at every five seconds for an hour,
        at 50, 200 and 1,000 requests a second: how often does a method roll it back? In a
        plain world (independent requests, 0.5 % all the time) and in a rough one: clients
        that retry, viewers that always fail, outages of everything, stalls of single
        processes, over-dispersion, a day in an hour, cold caches, and the share growing from
        0.5 % to 5 % and 25 % meanwhile. All methods see the same streams.
power   The same with a fault: after how many requests of the candidate is it found? Beside it
        what `mlg simulate rollout` says beforehand.
live    A canary of 0.5 % behind real Envoys: see benchmarks/releases_live.py.
swap    The first thousand requests after a swap at peak, warmed and not.

The gates are the ones of a plan with every gate that a manifest can name, so each has the part
of alpha that is left after the split. Samples of looks are judged by `mlg.release.analysis`
itself as well and must agree with the arrays.
"""  # noqa: INP001 - a script, no package

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from releases_judges import Judge, MannWhitney, Mlg, Threshold, ZTest
from releases_world import LOOK_S, World, stream
from scipy.stats import beta

from mlg.manifest.specs_services import CanarySpec, RolloutGate, RolloutSpec
from mlg.release.analysis import judge
from mlg.release.forecast import Fault, Latency, Traffic, forecast
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import RolloutPlan
from mlg.release.windows import Pair, Used, over

Row = dict[str, Any]

RATES: Final = (50.0, 200.0, 1_000.0)
GROWING: Final = ((0.005, 1_200), (0.05, 1_200), (0.25, 1_200))
BARS: Final = {"false": 0.01, "upper": 0.012, "power": 0.95, "requests": 1_600, "median": 600}
_BATCH: Final = 1_000
"""Runs that are simulated at once: more need more memory than they save time."""


def plan() -> RolloutPlan:
    """Return the plan whose gates are judged: every gate that there is."""
    gates: dict[Any, RolloutGate] = {
        "latency_p99": RolloutGate(max_increase_bp=2_000),
        "ctr": RolloutGate(from_bp=500, max_drop_bp=500),
        "watch_through": RolloutGate(max_drop_bp=500),
        "cpu": RolloutGate(),
        "cache_hits": RolloutGate(),
    }
    steps = (50, 500, 2_500, 10_000)
    return plan_of(RolloutSpec(canary=CanarySpec(steps_bp=steps, min_units=600), gates=gates))


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def methods(runs: int) -> list[Judge]:
    """Return all methods, each with a state for every run."""
    return [
        Mlg(plan(), runs),
        Threshold(runs, 1),
        Threshold(runs, 3),
        ZTest(runs),
        MannWhitney(runs),
        Threshold(runs, 3, "latency"),
    ]


def upper(false: int, runs: int) -> float:
    """Return the upper 95 % confidence limit of a share (Clopper and Pearson)."""
    return 1.0 if false >= runs else float(beta.ppf(0.95, false + 1, runs - false))


def aa(runs: int, rates: tuple[float, ...], seed: int, pool: Executor) -> list[Row]:
    """Return how often each method rolls a good version back."""
    rows: list[Row] = []
    starts = range(0, runs, _BATCH)
    worlds = [(rough, rate) for rough in (False, True) for rate in rates]
    parts = {
        one: [pool.submit(aa_part, *one, min(_BATCH, runs - at), at, seed) for at in starts]
        for one in worlds
    }
    for (rough, rate), futures in parts.items():
        told = [future.result() for future in futures]
        false, by_gate = summed(one["false"] for one in told), summed(one["by_gate"] for one in told)
        rows.append(
            {
                "world": "rough" if rough else "plain",
                "rate_hz": rate,
                "runs": runs,
                "false": {name: n / runs for name, n in false.items()},
                "upper": {name: upper(n, runs) for name, n in false.items()},
                "by_gate": {gate: n / runs for gate, n in by_gate.items()},
                "looks_agreed": sum(one["agreed"] for one in told),
                "seconds": round(sum(one["seconds"] for one in told), 1),
            }
        )
        say(f"{rows[-1]['world']} {rate:g}/s: {runs} runs")
    return rows


def aa_part(rough: bool, rate: float, size: int, start: int, seed: int) -> Row:
    """Simulate some of the runs of one world; the same arguments give the same counts."""
    began = time.monotonic()
    world = World(rate_hz=rate, rough=rough, steps=GROWING if rough else ((0.005, 3_600),))
    judges, agreed = methods(size), 0
    stopped = {one.name: np.zeros(size, dtype=bool) for one in judges}
    random = np.random.default_rng(seed + start)
    for tick in stream(world, size, seed * 1_000 + start + int(rate) + rough):
        for one in judges:
            one.tick(tick)
        if (tick.second + 1) % LOOK_S:
            continue
        for one in judges:
            stopped[one.name] |= one.look()
        if random.random() < 0.02:
            agreed += agrees(judges[0], int(random.integers(size)))
    mine = judges[0]
    assert isinstance(mine, Mlg)
    return {
        "false": {name: int(runs.sum()) for name, runs in stopped.items()},
        "by_gate": {gate: int(np.sum(hit)) for gate, hit in mine.hits.items()},
        "agreed": agreed,
        "seconds": time.monotonic() - began,
    }


def summed(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sums by name."""
    whole: dict[str, int] = {}
    for part in parts:
        for name, n in part.items():
            whole[name] = whole.get(name, 0) + n
    return whole


def agrees(arrays: Judge, run: int) -> int:
    """Return 1 when `judge` fails the same gates of one run as the arrays do just now.

    Raises:
        AssertionError: They differ, and nothing of this benchmark may be believed.
    """
    assert isinstance(arrays, Mlg)
    kept = arrays.hits
    arrays.hits = {}
    arrays.look()
    here = {name for name, hit in arrays.hits.items() if np.asarray(hit)[run]}
    arrays.hits = kept
    for name, spans in arrays.spans.items():
        pair, said = spans.pair(run)
        none = Pair(candidate=Used(), control=Used())
        margin = next(gate.margin for gate in plan().gates if gate.name == name)
        assert over(name, margin, none, pair) == said, (name, pair, said)
    found = judge(plan(), arrays.facts(run))
    there = {r.name for r in found if r.verdict == "FAIL"} & set(arrays.hits)
    assert here == there, (here, there, run)
    return 1


FAULTS: Final = (
    ("errors 0.1 % -> 1 %", {"errors_of_candidate": 0.01}, "errors"),
    ("p99 +50 %, log-normal", {"slower": 1.5}, "latency_p99"),
    ("p99 +50 %, gamma", {"slower": 1.5, "latency": "gamma"}, "latency_p99"),
    ("p99 +50 %, Pareto", {"slower": 1.5, "latency": "pareto"}, "latency_p99"),
    ("ctr -10 % at 25 %", {"drop": 0.1}, "ctr"),
)


def power(runs: int, rate: float, seed: int, pool: Executor) -> list[Row]:
    """Return after how many requests of the candidate each method finds a fault."""
    parts = [pool.submit(power_part, *fault, runs, rate, seed) for fault in FAULTS]
    rows: list[Row] = []
    for part in parts:
        rows.append(part.result())
        say(f"{rows[-1]['fault']}: done")
    return rows


def power_part(name: str, fault: Row, gate: str, runs: int, rate: float, seed: int) -> Row:
    """Simulate one fault."""
    late = gate == "ctr"
    share, hz = (0.25, 20_000.0) if late else (0.005, rate)
    seconds = 14_400 if gate == "latency_p99" else 7_200
    world = World(rate_hz=hz, steps=((share, seconds),), **fault)
    size = min(runs, 200 if late else runs)
    judges: list[Judge] = [Mlg(plan(), size, gate)]
    if gate == "errors":
        judges += [Threshold(size, 1), Threshold(size, 3), ZTest(size), MannWhitney(size)]
    if gate == "latency_p99":
        judges += [Threshold(size, 3, "latency")]
    sent = np.zeros(size)
    at = {one.name: np.full(size, np.inf) for one in judges}
    for tick in stream(world, size, seed):
        for one in judges:
            one.tick(tick)
        sent += tick.requests[0]
        if (tick.second + 1) % LOOK_S == 0:
            for one in judges:
                late_one = one.look() & np.isinf(at[one.name])
                at[one.name] = np.where(late_one, sent, at[one.name])
        if np.isfinite(at[judges[0].name]).all() and (tick.second + 1) % 3_600 == 0:
            break
    row: Row = {"fault": name, "rate_hz": hz, "share": share, "runs": size}
    row["methods"] = {name: found(when) for name, when in at.items()}
    if (said := predicted(name, gate, hz, share, seconds)) is not None:
        within = float(np.mean(at[judges[0].name] <= said))
        row |= {"predicted_p95": said, "within_predicted": within}
    return row


def found(when: "np.ndarray[Any, Any]") -> Row:
    """Return the share found at all and within the bar, and quantiles of when."""
    median, p95 = (float(np.quantile(when, q, method="higher")) for q in (0.5, 0.95))
    return {
        "found": float(np.isfinite(when).mean()),
        "within_1600": float(np.mean(when <= BARS["requests"])),
        "median": median if np.isfinite(median) else None,
        "p95": p95 if np.isfinite(p95) else None,
    }


def latency_of(fault: str) -> Latency:
    """Return the shape of the latency that a fault's name says."""
    shapes: dict[str, Latency] = {"gamma": "gamma", "Pareto": "pareto"}
    return shapes.get(fault.rpartition(" ")[2], "lognormal")


def predicted(name: str, gate: str, rate: float, share: float, seconds: int) -> float | None:
    """Return the requests within which `mlg simulate rollout` expects 95 % to be found."""
    sizes = {"errors": 0.01, "latency_p99": 1.5, "ctr": 0.1}
    one = plan_of(
        RolloutSpec(
            canary=CanarySpec(steps_bp=(round(share * 10_000), 10_000), max_hold_s=seconds),
            gates={
                g.name: RolloutGate(
                    max_increase_bp=2_000 if g.name == "latency_p99" else None,
                    max_drop_bp=500 if g.engagement else None,
                    from_bp=0,
                )
                for g in plan().gates
                if g.name != "sanity"
            },
        )
    )
    traffic = Traffic(
        rate_hz=rate, error_rate=0.001, abstention_rate=0.05, latency=latency_of(name)
    )
    (step,) = forecast(one, traffic, (Fault(name=name, gate=gate, size=sizes[gate]),))
    return step.faults[0][1].p95_requests


def held(rows: dict[str, list[Row]]) -> list[str]:
    """Return the bars that are missed, in words."""
    missed: list[str] = []
    for row in rows.get("aa", ()):
        if row["upper"]["mlg, all gates"] > BARS["upper"]:
            missed.append(f"A/A {row['world']} {row['rate_hz']:g}/s: {row['upper']}")
    for row in rows.get("power", ()):
        mine = next(iter(row["methods"].values()))
        if row["fault"].startswith("errors"):
            if mine["within_1600"] < BARS["power"] or mine["median"] > BARS["median"]:
                missed.append(f"{row['fault']}: {mine}")
        elif row.get("within_predicted", 0.0) < BARS["power"]:
            missed.append(f"{row['fault']}: {row.get('within_predicted')} within predicted")
    missed += [
        f"live {row['fault']}, round {row['round']}: {row['seconds']} s"
        for row in rows.get("live", ())
        if not row["held"]
    ]
    missed += [f"swap: {row}" for row in rows.get("swap", ()) if not row["held"]]
    return missed


def show(rows: dict[str, list[Row]]) -> None:
    """Print the tables."""
    if rows.get("aa"):
        names = list(rows["aa"][0]["false"])
        print("| false rollbacks (upper 95 %) | " + " | ".join(names) + " |")
        print("| --- " * (len(names) + 1) + "|")
        for row in rows["aa"]:
            cells = [f"{row['false'][n]:.2%} ({row['upper'][n]:.2%})" for n in names]
            where = f"{row['world']}, {row['rate_hz']:g}/s, {row['runs']} runs"
            print(f"| {where} | " + " | ".join(cells) + " |")
        for row in rows["aa"]:
            print(f"{row['world']} {row['rate_hz']:g}/s by gate: {row['by_gate']}")
    for row in rows.get("power", ()):
        print(
            f"\n{row['fault']} at {row['share']:.1%} of {row['rate_hz']:g}/s, {row['runs']} runs"
        )
        for name, one in row["methods"].items():
            print(
                f"  {name}: found {one['found']:.1%}, median {one['median']}, p95 {one['p95']}, "
                f"within 1,600: {one['within_1600']:.1%}"
            )
        if "predicted_p95" in row:
            print(
                f"  `mlg simulate rollout` said 95 % within {row['predicted_p95']:.0f}; "
                f"it was {row['within_predicted']:.1%}"
            )
    for row in (*rows.get("live", ()), *rows.get("swap", ())):
        print(json.dumps(row))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rate", type=float, action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--live-rate", type=float, default=600.0)
    parser.add_argument("--swap-rate", type=float, default=400.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    asked = args.only or ["live", "swap", "aa", "power"]
    rows: dict[str, list[Row]] = {}
    if "aa" in asked:
        with ProcessPoolExecutor(args.jobs) as pool:
            rows["aa"] = aa(args.runs, tuple(args.rate) or RATES, args.seed, pool)
    if "live" in asked:
        from releases_live import live

        with tempfile.TemporaryDirectory() as folder:
            rows["live"] = live(Path(folder) / "lab", args.live_rate, args.rounds)
    if "swap" in asked:
        from releases_swap import swap

        with tempfile.TemporaryDirectory() as folder:
            rows["swap"] = swap(Path(folder) / "mesh", args.swap_rate, 3 * args.rounds)
    if "power" in asked:
        with ProcessPoolExecutor(args.jobs) as pool:
            rows["power"] = power(min(args.runs, 2_000), 1_000.0, args.seed + 1, pool)
    missed = held(rows)
    if args.json:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        print(json.dumps({"machine": machine, "rows": rows, "missed": missed}))
    else:
        show(rows)
        print("\nmissed: " + ("; ".join(missed) or "none"))


if __name__ == "__main__":
    main()
