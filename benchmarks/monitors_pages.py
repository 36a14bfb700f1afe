"""Pages over clean days: 300 features with daily cycles and autocorrelation, a page a day wanted.

Simulated from a window's summaries on: each window's 20 bin counts of each feature are drawn
from what its rows would give (2,000 rows, a mean and a spread that wobble, follow the hour and
resemble their neighbours). From there on it is the shipped monitor: what it takes for usual,
charts, persistence, floor, incidents. A page is an incident that opens; one that is open takes
in what else signals. Days come in lots, each with features, and a phase I, of its own.
"""  # noqa: INP001 - a script, no package

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from monitors_rows import Report, say
from scipy.special import ndtr
from scipy.stats import poisson

from mlg.monitors.alert import AlertFacts, AlertState, step
from mlg.monitors.baseline import normal_scores
from mlg.monitors.diagnose import Cause
from mlg.monitors.evaluate import MonitorState, charts_of, evaluate
from mlg.monitors.fold_state import WindowPlan
from mlg.monitors.monitor import Plan
from mlg.monitors.windows import BINS, REQUESTS, Feature, Summary, Window

FEATURES, ROWS, LOT = 300, 2_000, 25
WINDOWS_A_DAY = 144
DAY_S = 86_400.0
START = datetime(2026, 1, 5, tzinfo=UTC)
PAGES_A_DAY, LEAST_DAYS = 1.0, 100
EDGES = np.linspace(-2.0, 2.0, BINS - 1)
SCORES = np.array(normal_scores(np.diff(ndtr(EDGES), prepend=0.0, append=1.0) * 1e6))
ANY = Cause(cause="any", action="record", reasons=(), remediation="none")

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a lot of days came to."""

    days: float
    pages: int
    signals: int
    """Statistics and windows that signalled."""
    small: int
    """Of them those under the floor, which page nobody."""
    charts: int
    dispersion: float
    """Variance over mean of the pages a day; 1 if they come independently."""
    rate: float
    """Incidents in units of those designed for, as the monitor counted it at last."""


def windows(seed: int, days: int, features: int) -> Iterator[tuple[datetime, Array]]:
    """Yield each window's end and bin counts, shape (features, BINS)."""
    rng = np.random.default_rng([seed, 3])
    wobble, spread = rng.uniform(0.03, 0.2, features), rng.uniform(0.01, 0.08, features)
    phi, size = rng.uniform(0.0, 0.6, features), rng.uniform(0.0, 0.3, features)
    turn = rng.uniform(0.0, 1.0, features)
    mean, log_sd = rng.standard_normal(features), rng.standard_normal(features)
    fresh = np.sqrt(1 - phi**2)
    for number in range(days * WINDOWS_A_DAY):
        mean = phi * mean + fresh * rng.standard_normal(features)
        log_sd = phi * log_sd + fresh * rng.standard_normal(features)
        hour = np.sin(2 * np.pi * (number / WINDOWS_A_DAY + turn))
        at, sd = wobble * mean + size * hour, np.exp(spread * log_sd + 0.2 * spread * hour)
        below = ndtr((EDGES[None, :] - at[:, None]) / sd[:, None])
        shares = np.diff(below, axis=1, prepend=0.0, append=1.0)
        end = START + timedelta(seconds=(number + 1) * DAY_S / WINDOWS_A_DAY)
        yield end, rng.multinomial(ROWS, np.maximum(shares, 0.0))


def window_of(
    number: int, end: datetime, counts: Array, columns: tuple[Feature, ...]
) -> Window:
    """Return a window of the stream of all requests with these counts."""
    means = counts @ SCORES / ROWS
    m2 = counts @ SCORES**2 - ROWS * means**2
    start = end - timedelta(seconds=DAY_S / WINDOWS_A_DAY)
    summaries = tuple(
        Summary(name=one.name, n=ROWS, mean=mean, m2=spread, counts=tuple(row))
        for one, mean, spread, row in zip(
            columns, means.tolist(), m2.tolist(), counts.tolist(), strict=True
        )
    )
    return Window(
        service="bench", stream=REQUESTS, number=number, start=_text(start), end=_text(end),
        n=ROWS, features=summaries, columns=columns,
    )  # fmt: skip


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def lot(seed: int, days: int, features: int, phase_days: int) -> Counted:
    """Return the pages of some days after phase I."""
    columns = tuple(
        Feature(name=f"f{n:03}", of="request", edges=tuple(EDGES.tolist()))
        for n in range(features)
    )
    plan = Plan(
        window=WindowPlan(service="bench", seconds=DAY_S / WINDOWS_A_DAY, events=None),
        false_alarm_every_s=DAY_S / PAGES_A_DAY, baseline=phase_days * WINDOWS_A_DAY,
    )  # fmt: skip
    state, alerts = MonitorState(wanted=plan.baseline), AlertState(service="bench")
    opened = np.zeros(days, int)
    signals = small = 0
    for number, (end, counts) in enumerate(windows(seed, phase_days + days, features)):
        state, found = evaluate(
            state, window_of(number, end, counts, columns), budget=plan.budget,
            frozen=alerts.incident is not None,
        )  # fmt: skip
        signals, small = signals + len(found), small + sum(one.small for one in found)
        facts = AlertFacts(at=_text(end), stream=REQUESTS, signals=found, cause=ANY)
        alerts, commands = step(alerts, facts)
        day = number // WINDOWS_A_DAY - phase_days
        if day >= 0:
            opened[day] += sum(one.kind == "open" for one in commands)
    pages = int(opened.sum())
    return Counted(
        days=float(days), pages=pages, signals=signals, small=small, charts=charts_of(state),
        dispersion=float(opened.var(ddof=1) / opened.mean()) if pages and days > 1 else 0.0,
        rate=state.calibration.rate,
    )  # fmt: skip


def pages(asked: argparse.Namespace) -> Report:
    """Return pages, beside the interval of a budget of one a day."""
    report = Report()
    lots = [min(LOT, asked.days - first) for first in range(0, asked.days, LOT)]
    given = [(asked.first_seed + n, days) for n, days in enumerate(lots)]
    found: list[Counted] = []
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        waiting = [
            pool.submit(lot, seed, days, asked.features, asked.phase_days)
            for seed, days in given
        ]
        for (seed, days), one in zip(given, waiting, strict=True):
            found.append(one.result())
            say(f"pages: lot {seed}, {days} days: {found[-1]}")
    total = sum(one.pages for one in found)
    wanted = asked.days * PAGES_A_DAY
    low, high = (int(poisson.ppf(q, wanted)) for q in (0.005, 0.995))
    of = f"pages, {asked.features} features, {asked.days} clean days"
    report.row(of, "mlg", total, "pages", len(lots))
    report.row(f"{of}: charts", "mlg", found[0].charts, "charts", 1)
    report.row(f"{of}: signals", "mlg", sum(one.signals for one in found), "signals", len(lots))
    report.row(
        f"{of}: signals under the floor",
        "mlg",
        sum(one.small for one in found),
        "signals",
        len(lots),
    )
    report.row(
        f"{of}: variance over mean a day",
        "mlg",
        float(np.mean([one.dispersion for one in found])),
        "",
        len(lots),
    )
    enough = asked.days >= LEAST_DAYS and asked.features >= FEATURES
    report.bar(
        f"{of}: within {low} to {high}, 99 of 100 of a budget of one a day",
        low <= total <= high if enough else None,
        f"{total}" + ("" if enough else " (too few days or features: no verdict)"),
    )  # fmt: skip
    return report
