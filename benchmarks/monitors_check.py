"""Time and memory of one check of two tables, beside the peers, in interleaved rounds."""  # noqa: INP001 - a script, no package

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from monitors_detection import cases, checked, named
from monitors_peers import REQUIRES, SUBJECTS
from monitors_rows import (
    HERE,
    ONE_THREAD,
    Report,
    Row,
    median,
    ours,
    python_of,
    reason,
    run,
    say,
)

COMMAND = "mlg command"
LIMIT_S = 900.0
RATIOS = {"evidently": 40.0, "nannyml": 5.0}
"""Peer -> how many times faster mlg has to be."""
MOST_MB, MOST_PASSES = 500.0, 2.0
ENOUGH_ROWS = 1_000_000
"""The bars are of this size; smaller tables only show that it works."""


def check(asked: argparse.Namespace) -> Report:
    """Return seconds, megabytes, found and false of each subject."""
    report = Report()
    names = [COMMAND, *SUBJECTS]
    if asked.no_peers:
        names = [COMMAND, "mlg", "numpy pass"]
    if asked.peer:
        names = [name for name in names if name in asked.peer]
    pythons = {}
    for name in list(names):
        try:
            known = name in REQUIRES
            pythons[name] = str(python_of(name, REQUIRES[name])) if known else sys.executable
        except (OSError, subprocess.SubprocessError) as error:
            names.remove(name)
            report.bar(f"check, {name}", None, f"cannot be installed: {reason(error)}")
    rounds: dict[str, list[Row]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=asked.dir) as place:
        folder = Path(place)
        environment = (asked.environment or ["wobble"])[0]
        truth = cases(
            folder, environment=environment, seed=asked.first_seed, rows=asked.rows,
            starts_at=asked.starts_at, live=("planted",),
        )  # fmt: skip
        for number in range(asked.rounds):
            for name in list(names):
                try:
                    row = _once(name, pythons[name], folder)
                except (OSError, RuntimeError, ValueError, TimeoutError) as error:
                    names.remove(name)
                    rounds[name] = []
                    report.bar(
                        f"check, {name}", None if name in REQUIRES else False, reason(error)
                    )
                    continue
                rounds[name].append(row)
                say(
                    f"round {number + 1}: {name} {row['check_s']:.2f} s, {row['peak_mb']:.0f} MB"
                )
    planted = {one["feature"] for one in truth["plants"]}
    _told(report, {name: found for name, found in rounds.items() if found}, planted)
    _bars(report, {name: found for name, found in rounds.items() if found}, asked.rows)
    return report


def _once(name: str, python: str, folder: Path) -> Row:
    """Run one subject once; raises ValueError where it said nothing."""
    baseline, live = folder / "baseline.parquet", folder / "live_planted.parquet"
    if name == COMMAND:
        document, ended = checked(baseline, live, folder)
        return {
            "check_s": ended.wall_s, "process_s": ended.wall_s, "peak_mb": ended.peak_mb,
            "drift": {"default": sorted(named(document))},
        }  # fmt: skip
    env = ours() if python == sys.executable else {**ours(), "PYTHONPATH": ""}
    if name == "numpy pass":
        env |= ONE_THREAD
    command = [python, str(HERE / "monitors_peers.py"), name, str(baseline), str(live)]
    ended = run(command, env=env, folder=folder, limit_s=LIMIT_S)
    if ended.code:
        raise RuntimeError(f"ended with {ended.code}: {ended.err.strip()[-600:]}")
    return {**ended.document(), "process_s": ended.wall_s, "peak_mb": ended.peak_mb}


def _told(report: Report, rounds: dict[str, list[Row]], planted: set[str]) -> None:
    for name, found in rounds.items():
        many = len(found)
        report.row("check", name, median([row["check_s"] for row in found]), "s", many)
        report.row(
            "check, whole process", name, median([row["process_s"] for row in found]), "s", many
        )
        report.row(
            "check, peak memory", name, median([row["peak_mb"] for row in found]), "MB", many
        )
        for rule, drifting in found[-1]["drift"].items():
            if rule == "none":
                continue
            how = "" if rule == "default" else f" ({rule})"
            report.row(
                "check, found of 5", name + how, len(planted & set(drifting)), "features", many
            )
            report.row("check, false of 45", name + how, len(set(drifting) - planted), "features", many)  # fmt: skip


def _bars(report: Report, rounds: dict[str, list[Row]], rows: int) -> None:
    def of(name: str, key: str = "check_s") -> float:
        return median([row[key] for row in rounds[name]])

    def bar(what: str, met: bool, found: str) -> None:
        known = rows >= ENOUGH_ROWS and all(len(found) >= 3 for found in rounds.values())
        small = "" if known else f" ({rows:,} rows: no verdict)"
        report.bar(what, met if known else None, found + small)

    if "mlg" not in rounds:
        return
    for peer, least in RATIOS.items():
        if peer in rounds:
            ratio = of(peer) / of("mlg")
            bar(
                f"check at least {least:.0f} times faster than {peer}",
                ratio >= least,
                f"{ratio:.1f}",
            )
    if "numpy pass" in rounds:
        ratio = of("mlg") / of("numpy pass")
        bar(
            f"check within {MOST_PASSES:.0f} numpy passes", ratio <= MOST_PASSES, f"{ratio:.2f}"
        )
    peak = of("mlg", "peak_mb")
    bar(f"check within {MOST_MB:.0f} MB", peak <= MOST_MB, f"{peak:.0f} MB")
