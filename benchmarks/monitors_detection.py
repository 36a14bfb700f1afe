"""Found and false: `mlg drift check` on many seeds of every environment, clean and planted."""  # noqa: INP001 - a script, no package

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from monitors_plan import ENVIRONMENTS
from monitors_rows import HERE, Ended, Report, Row, ours, run, say

PLANTS = 5
MOST_FALSE = 1
LIMIT_S = 600.0


def cases(
    folder: Path, *, environment: str, seed: int, rows: int, starts_at: float,
    live: tuple[str, ...] = ("clean", "planted"),
) -> dict[str, Any]:  # fmt: skip
    """Write one case in a process of its own, so that this one stays small; return its truth."""
    text = (
        "import json, sys; from pathlib import Path; from monitors_data import write_case;"
        "a = json.loads(sys.argv[1]); write_case(Path(a.pop('folder')), live=tuple(a.pop('live')), **a)"
    )
    asked = {
        "folder": str(folder), "environment": environment, "seed": seed, "rows": rows,
        "starts_at": starts_at, "live": live,
    }  # fmt: skip
    env = ours()
    env["PYTHONPATH"] = f"{HERE}:{env['PYTHONPATH']}"
    folder.mkdir(parents=True, exist_ok=True)
    made = run(
        [sys.executable, "-c", text, json.dumps(asked)], env=env, folder=folder, limit_s=LIMIT_S
    )
    if made.code:
        raise RuntimeError(f"no data: {made.err[-600:]}")
    return json.loads((folder / "truth.json").read_text())


def checked(baseline: Path, live: Path, folder: Path) -> tuple[Row, Ended]:
    """Run `mlg drift check --json`; return its document, and how it ended.

    Raises:
        RuntimeError: It neither said ok with exit code 0 nor drift with 1.
    """
    command = [
        sys.executable, "-m", "mlg", "drift", "check", "--baseline", str(baseline),
        "--live", str(live), "--json",
    ]  # fmt: skip
    ended = run(command, env=ours(), folder=folder, limit_s=LIMIT_S)
    try:
        document: Row = json.loads(ended.out)
    except ValueError:
        raise RuntimeError(
            f"exit code {ended.code}: {(ended.err or ended.out)[-800:]}"
        ) from None
    if ended.code != {"ok": 0, "drift": 1}.get(document.get("verdict", "")):
        raise RuntimeError(f"verdict {document.get('verdict')!r} with exit code {ended.code}")
    return document, ended


def named(document: Row) -> set[str]:
    """Return the features that a document calls drifting."""
    return {one["feature"] for one in document["features"] if one["verdict"] == "drift"}


def beyond(document: Row, feature: str) -> str:
    """Return which charts of a feature are beyond their limits, with the effect each names."""
    one = next(one for one in document["features"] if one["feature"] == feature)
    out = [c for c in one["charts"] if abs(c["statistic"]) > abs(c["limit"])]
    return ", ".join(
        f"{c['chart']} {c['statistic']:.3g} over {c['limit']:.3g}, effect {c['effect']:.3g}"
        for c in out
    )


def slice_right(document: Row, truth: Row) -> bool:
    """Whether the first slice of the planted feature has both attributes with their values."""
    plant = next(one for one in truth["plants"] if one["kind"] == "slice")
    found = [
        one for one in document.get("slices", ()) if one.get("feature") == plant["feature"]
    ]
    words = str(found[0]["where"]) if found else ""
    return all(f"{name} = {value}" in words for name, value in plant["where"].items())


def detection(asked: argparse.Namespace) -> Report:
    """Return how many of the five were found and how many others were named."""
    report, details = Report(), []
    environments = asked.environment or ENVIRONMENTS
    for environment in environments:
        found = list(_seeds(environment, asked, say))
        details += found
        clean = [row["false"] for row in found if row["table"] == "clean"]
        planted = [row for row in found if row["table"] == "planted"]
        runs = len(planted)
        of = f"detection, {environment}"
        report.row(
            f"{of}: found of {PLANTS}, mean",
            "mlg",
            _mean([r["found"] for r in planted]),
            "features",
            runs,
        )
        report.row(
            f"{of}: found of {PLANTS}, least",
            "mlg",
            min(r["found"] for r in planted),
            "features",
            runs,
        )
        report.row(
            f"{of}: false beside plants, most",
            "mlg",
            max(r["false"] for r in planted),
            "features",
            runs,
        )
        report.row(f"{of}: false on clean, all seeds", "mlg", sum(clean), "features", runs)
        report.row(
            f"{of}: slice named right",
            "mlg",
            _mean([r["slice"] for r in planted]),
            "share",
            runs,
        )
        report.row(
            f"{of}: process, median",
            "mlg",
            sorted(r["wall_s"] for r in found)[len(found) // 2],
            "s",
            len(found),
        )
        short = [f"seed {r['seed']}: {r['missed']}" for r in planted if r["found"] < PLANTS]
        loud = [f"seed {r['seed']}: {r['wrong']}" for r in planted if r["false"] > MOST_FALSE]
        wild = [
            f"seed {r['seed']}: {r['wrong']}"
            for r in found
            if r["table"] == "clean" and r["false"]
        ]
        report.bar(
            f"{of}: all {PLANTS} found",
            not short,
            "; ".join(short) or f"{runs} of {runs} seeds",
        )
        report.bar(
            f"{of}: at most {MOST_FALSE} false beside them",
            not loud,
            "; ".join(loud) or f"{runs} of {runs} seeds",
        )
        report.bar(
            f"{of}: none on clean data", not wild, "; ".join(wild) or f"{runs} of {runs} seeds"
        )
    if asked.details:
        asked.details.write_text(json.dumps(details, indent=1))
    return report  # fmt: skip


def _seeds(
    environment: str, asked: argparse.Namespace, tell: Callable[[str], None]
) -> Iterator[Row]:
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        with tempfile.TemporaryDirectory(dir=asked.dir) as place:
            folder = Path(place)
            truth = cases(
                folder, environment=environment, seed=seed, rows=asked.rows,
                starts_at=asked.starts_at,
            )  # fmt: skip
            planted = {one["feature"]: one["kind"] for one in truth["plants"]}
            for table in ("clean", "planted"):
                document, ended = checked(
                    folder / "baseline.parquet", folder / f"live_{table}.parquet", folder
                )
                said = named(document)
                hits = said & planted.keys() if table == "planted" else set()
                wrong = sorted(said - hits)
                moved = truth["moved_by_wobble"]
                row: Row = {
                    "environment": environment, "seed": seed, "table": table, "found": len(hits),
                    "false": len(wrong), "wall_s": ended.wall_s, "peak_mb": ended.peak_mb,
                    "missed": [f"{planted[n]} {n}" for n in sorted(planted.keys() - hits)],
                    "wrong": [f"{n} by {beyond(document, n)} ({moved[n]})" for n in wrong],
                    "slice": float(slice_right(document, truth)) if table == "planted" else None,
                }  # fmt: skip
                tell(
                    f"{environment} seed {seed} {table}: found {row['found']}, "
                    f"false {row['false']} {row['wrong'] or ''}, {ended.wall_s:.1f} s"
                )
                yield row


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
