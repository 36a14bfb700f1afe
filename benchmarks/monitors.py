"""Monitors beside their peers: what they find, what it takes, and how often they cry wolf.

How to run, from a checkout whose environment `make test` made:

    mlg bench monitors                                    everything, hours
    mlg bench monitors -- --only detection --seeds 20     found and false, a million rows
    mlg bench monitors -- --only check --rounds 3         time and memory beside the peers
    mlg bench monitors -- --only arl --only delay --only streaming --only pages
    mlg bench monitors -- --only alert                    from a shift to the page, a real instance

Ends with 1 where a bar of the issue was missed. Data come from `monitors_data.py`; peers are no
dependencies: the first run installs each into a virtual environment of its own below the user's
cache, and one that cannot be had is told by name with the reason.
"""  # noqa: INP001 - a script, no package

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

from monitors_plan import ENVIRONMENTS
from monitors_rows import Report, say

PARTS = ("detection", "check", "arl", "delay", "streaming", "pages", "alert")


def main() -> int:
    """Run, print a table, or with `--json` one document; return 1 where a bar was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="a part; may be repeated"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each table")
    parser.add_argument("--seeds", type=int, default=20, help="of detection, an environment")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--environment", action="append", choices=ENVIRONMENTS)
    parser.add_argument(
        "--starts-at", type=float, default=0.0, help="share of live before plants"
    )
    parser.add_argument(
        "--details", type=Path, help="writes detection's every case there, as JSON"
    )
    parser.add_argument("--workers", type=int, default=1, help="of detection: checks at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", help="of check: only these subjects")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--runs", type=int, default=2_000, help="simulated runs of arl and delay"
    )
    parser.add_argument("--days", type=int, default=100, help="of pages")
    parser.add_argument("--phase-days", type=int, default=1, help="of pages: of phase I")
    parser.add_argument("--features", type=int, default=300, help="of pages")
    parser.add_argument("--events", type=int, default=500_000, help="of streaming")
    parser.add_argument("--services", type=int, default=5, help="of alert: one repetition each")
    parser.add_argument("--rate-hz", type=float, default=40.0, help="of alert: each service")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.dir = os.environ.get("MLG_BENCH_DIR")
    whole = Report()
    for part in asked.only or PARTS:
        say(f"{part} ...")
        found: Report = getattr(importlib.import_module(f"monitors_{part}"), part)(asked)
        whole.rows += found.rows
        whole.bars += found.bars
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    rows = whole.compared()
    if asked.json:
        print(json.dumps({"machine": machine, "rows": rows, "bars": whole.bars}))
    else:
        print(machine)
        for row in rows:
            ratio = f"{row['ratio_to_mlg']:.2f}" if row["ratio_to_mlg"] is not None else ""
            print(
                f"{row['work']:56} {row['subject']:16} {row['value']:14,.4g} {row['unit']:10} "
                f"{row['runs']:>6} {ratio}"
            )
        for bar in whole.bars:
            met = {True: "met", False: "MISSED", None: "not measured"}[bar["met"]]
            print(f"{met:12} {bar['what']}: {bar['found']}")
    return int(any(bar["met"] is False for bar in whole.bars))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # each part has ended what it began
        sys.exit(130)
