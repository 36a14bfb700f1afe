"""Published run lengths against the engine, and the shipped charts' own by simulation."""  # noqa: INP001 - a script, no package

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from monitors_published import compared
from monitors_rows import Report
from monitors_shipped import Charted

from mlg.stats import arl as engine

MOST_ERROR, MOST_SE = 0.005, 3.0
COARSE = ", of a coarse chain"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One printed average run length."""

    source: str
    value: float
    half: float
    """Half a unit of its last printed digit: what rounding alone may cost."""
    given: dict[str, Any]
    """Arguments of `mlg.stats.arl.arl`, the chart among them."""


LUCAS_SACCUCCI = {
    0: "500", 0.25: "255", 0.5: "88.8", 0.75: "35.9", 1: "17.5", 1.5: "6.53", 2: "3.63",
    2.5: "2.50", 3: "1.93", 3.5: "1.58", 4: "1.34", 5: "1.07",
}  # fmt: skip
LUCAS_CROSIER = {
    0: "168", 0.25: "74.2", 0.5: "26.6", 0.75: "13.3", 1: "8.38", 1.5: "4.75", 2: "3.34",
    2.5: "2.62", 3: "2.19", 4: "1.71", 5: "1.31",
}  # fmt: skip
SHEWHART = {0: "370.40", 1: "43.89", 2: "6.30", 3: "2.00"}


def evidence() -> Iterator[Published]:
    """Yield what the evidence page quotes."""
    for source, table, given in (
        (
            "Lucas and Saccucci 1990",
            LUCAS_SACCUCCI,
            {"chart": "ewma", "lam": 0.5, "limit": 3.071},
        ),
        ("Lucas and Crosier 1982", LUCAS_CROSIER, {"chart": "cusum", "k": 0.5, "h": 4.0}),
        ("Champ and Woodall 1987", SHEWHART, {"chart": "shewhart", "limit": 3.0}),
        ("SAS/QC manual", {1: "11.154267016"}, {"chart": "ewma", "lam": 0.25, "limit": 3.0}),
    ):
        for shift, printed in table.items():
            digits = len(printed.partition(".")[2])
            yield Published(
                source=source, value=float(printed), half=0.5 * 10**-digits,
                given={**given, "shift": float(shift), "two_sided": True},
            )  # fmt: skip


def worst_of(rows: list[Published]) -> dict[str, tuple[float, float, int]]:
    """Return by source: worst relative error, worst beyond print rounding, how many values."""
    found: dict[str, tuple[float, float, int]] = {}
    for row in rows:
        off = abs(engine.arl(**row.given) - row.value)
        error, beyond = off / row.value, max(0.0, off - row.half) / row.value
        before = found.get(row.source, (0.0, 0.0, 0))
        found[row.source] = (max(before[0], error), max(before[1], beyond), before[2] + 1)
    return found


def arl(asked: argparse.Namespace) -> Report:
    """Return worst errors by source, and the distance of the simulated charts in standard errors."""
    report = Report()
    _published(report)
    _simulated(report, asked.runs)
    return report


def _published(report: Report) -> None:
    errors = worst_of(list(evidence()))
    # by the engine's author: every value of the papers; some were printed from coarse chains
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in compared():
        rows.setdefault(row["source"] + (COARSE if row["why"] else ""), []).append(row)
    for source, group in rows.items():
        errors[source] = (
            max(row["apart_ratio"] for row in group),
            max(row["beyond_print_ratio"] for row in group),
            len(group),
        )
    for source, (error, beyond, many) in errors.items():
        report.row(f"arl, worst error: {source}", "mlg", 100 * error, "%", many)
        report.bar(
            f"arl within 0.5 % of {source}, print rounding apart", beyond <= MOST_ERROR,
            f"{100 * error:.3f} % of {many} values, {100 * beyond:.3f} % beyond rounding",
        )  # fmt: skip


def _simulated(report: Report, runs: int) -> None:
    """Run the shipped monitor's charts on independent normal windows, one chart at a time."""
    for chart, parameter in (("ewma", {"lam": 0.1}), ("cusum", {"k": 0.25})):
        limit = engine.design(chart, 200.0, two_sided=True, **parameter)
        bound = {"limit" if chart == "ewma" else "h": limit}
        for shift in (0.0, 0.5, 1.0):
            wanted = engine.arl(chart, shift=shift, two_sided=True, **parameter, **bound)
            rng = np.random.default_rng([7, int(10 * shift), len(chart)])
            lengths = np.array(
                [Charted.one(chart, limit).run_length(rng, shift) for _ in range(runs)]
            )
            error = float(lengths.std(ddof=1)) / sqrt(runs)
            away = (float(lengths.mean()) - wanted) / error
            of = f"arl, shipped {chart}, shift {shift}"
            report.row(f"{of}: simulated", "mlg", float(lengths.mean()), "windows", runs)
            report.row(f"{of}: engine", "mlg", wanted, "windows", 1)
            report.bar(f"{of} within {MOST_SE:.0f} standard errors", abs(away) <= MOST_SE,
                       f"{lengths.mean():.2f} of {wanted:.2f}, {away:+.2f} standard errors")  # fmt: skip
