"""Found and false: `mlg drift check` on many seeds of every environment, clean and planted."""  # noqa: INP001 - a script, no package

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from monitors_plan import ENVIRONMENTS
from monitors_rows import HERE, Ended, Report, Row, median, ours, reason, run, say

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
    for environment in asked.environment or ENVIRONMENTS:
        found = list(_seeds(environment, asked))
        details += found
        if asked.details:
            asked.details.write_text(json.dumps(details, indent=1))
        _environment(report, f"detection, {environment}", found)
    return report


def _environment(report: Report, of: str, found: list[Row]) -> None:
    clean, planted = ([r for r in found if r["table"] == t] for t in ("clean", "planted"))
    many = len(planted)

    def row(what: str, value: float, unit: str) -> None:
        report.row(f"{of}: {what}", "mlg", value, unit, many)

    def bar(what: str, rows: list[Row], key: str) -> None:
        told = "; ".join(f"seed {r['seed']}: {r[key]}" for r in rows)
        report.bar(f"{of}: {what}", not rows, told or f"{many} of {many} seeds")

    row(f"found of {PLANTS}, mean", _mean([r["found"] for r in planted]), "features")
    row(f"found of {PLANTS}, least", min(r["found"] for r in planted), "features")
    row("false beside plants, mean", _mean([r["false"] for r in planted]), "features")
    row("false beside plants, most", max(r["false"] for r in planted), "features")
    row("false on clean, all seeds", sum(r["false"] for r in clean), "features")
    row("slice named right", 100 * _mean([r["slice"] for r in planted]), "%")
    row("process, median", median([r["wall_s"] for r in found]), "s")
    bar("every check ended with a verdict", [r for r in found if r["failed"]], "failed")
    bar(f"all {PLANTS} found", [r for r in planted if r["found"] < PLANTS], "missed")
    bar(
        f"at most {MOST_FALSE} false beside them",
        [r for r in planted if r["false"] > MOST_FALSE],
        "wrong",
    )
    bar("none on clean data", [r for r in clean if r["false"]], "wrong")


def _seeds(environment: str, asked: argparse.Namespace) -> Iterator[Row]:
    with ThreadPoolExecutor(max_workers=asked.workers) as pool:
        seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
        for rows in pool.map(lambda seed: _seed(environment, seed, asked), seeds):
            yield from rows


def _seed(environment: str, seed: int, asked: argparse.Namespace) -> list[Row]:
    """Return what was said of the clean and of the planted table of one seed."""
    with tempfile.TemporaryDirectory(dir=asked.dir) as place:
        folder = Path(place)
        truth = cases(
            folder,
            environment=environment,
            seed=seed,
            rows=asked.rows,
            starts_at=asked.starts_at,
        )
        found = []
        for table in ("clean", "planted"):
            row = {"environment": environment, "seed": seed, "table": table}
            row |= _judged(folder, truth, table)
            say(
                f"{environment} seed {seed} {table}: found {row['found']}, false {row['false']} "
                f"{row['wrong'] or ''} {row['wall_s']:.1f} s"
            )
            found.append(row)
    return found


def _judged(folder: Path, truth: Row, table: str) -> Row:
    planted = {one["feature"]: one["kind"] for one in truth["plants"]}
    try:
        document, ended = checked(
            folder / "baseline.parquet", folder / f"live_{table}.parquet", folder
        )
    except (RuntimeError, TimeoutError) as error:  # one that says nothing found nothing
        return {
            "found": 0, "false": 0, "missed": [], "wrong": [], "slice": 0.0, "wall_s": 0.0,
            "peak_mb": 0.0, "failed": reason(error),
        }  # fmt: skip
    said = named(document)
    hits = said & planted.keys() if table == "planted" else set[str]()
    wrong, moved = sorted(said - hits), truth["moved_by_wobble"]
    return {
        "found": len(hits), "false": len(wrong), "wall_s": ended.wall_s, "peak_mb": ended.peak_mb,
        "missed": [f"{planted[n]} {n}" for n in sorted(planted.keys() - hits)],
        "wrong": [f"{n} by {beyond(document, n)} ({moved[n]})" for n in wrong],
        "slice": float(slice_right(document, truth)) if table == "planted" else None,
        "failed": "",
    }  # fmt: skip


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
