"""Objectives after a swap: multi-window burn rates over event time.

An objective allows a share of bad events; the burn rate is the share that happened over
the share allowed. It fails when both a long and a short window burn too fast: the long one
says that it matters, the short one that it still goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from scipy.special import betaincinv

from mlg.core.traffic import FULL_BP
from mlg.manifest.specs_services import RollbackSpec
from mlg.release.verdicts import GateResult

Measure = Literal["error_rate", "latency_p99", "availability"]

_ALPHA: Final = 0.001
"""Level of the lower limit of a window's share, so that few events never fail a release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What must hold while the former version is warm."""

    name: Measure
    allowed: float
    """Share of events that may be bad, in (0, 1)."""
    max_ms: float | None = None
    """For latency: an answer is bad above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPoint:
    """Events of one objective in one short span that ended at a time."""

    at: datetime
    total: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A pair of windows and the burn rate at which both must stand."""

    long: timedelta
    short: timedelta
    factor: float
    after: timedelta
    """Time since the swap from which on the pair is read."""


WINDOWS: Final = (
    Window(
        long=timedelta(hours=1), short=timedelta(minutes=5), factor=14.4, after=timedelta(0)
    ),
    Window(
        long=timedelta(hours=6),
        short=timedelta(minutes=30),
        factor=6.0,
        after=timedelta(minutes=5),
    ),
    Window(
        long=timedelta(days=1),
        short=timedelta(hours=2),
        factor=3.0,
        after=timedelta(minutes=30),
    ),
    Window(
        long=timedelta(days=3), short=timedelta(hours=6), factor=1.0, after=timedelta(hours=2)
    ),
)


def objectives(rollback: RollbackSpec | None) -> tuple[Objective, ...]:
    """Return the objectives of a manifest's `rollback:`; none when it says nothing.

    Examples:
        >>> objectives(None)
        ()
    """
    found: list[Objective] = []
    if rollback is None:
        return ()
    if rollback.error_rate:
        allowed = rollback.error_rate.max_bp / FULL_BP
        found.append(Objective(name="error_rate", allowed=_inside(allowed)))
    if rollback.latency_p99:
        max_ms = rollback.latency_p99.max_ms
        found.append(Objective(name="latency_p99", allowed=0.01, max_ms=max_ms))
    if rollback.availability:
        allowed = 1.0 - rollback.availability.min_bp / FULL_BP
        found.append(Objective(name="availability", allowed=_inside(allowed)))
    return tuple(found)


def burning(
    objective: Objective, points: Sequence[WatchPoint], *, swapped_at: datetime, now: datetime
) -> GateResult:
    """Return FAIL when an objective burns too fast since the swap, else PASS.

    Windows begin at the swap at the earliest, so what the former version did does not
    count. A window's share is taken at its lower 99.9 % limit. Without events the verdict
    is INCONCLUSIVE: nothing was seen, and nothing is reversed.

    Args:
        objective: What is allowed.
        points: Counts over time; points before the swap or after `now` are left out.
        swapped_at: Event time of the swap.
        now: Event time.

    Source:
        B. Beyer et al. (2018), The Site Reliability Workbook, ch. 5, multiwindow,
        multi-burn-rate alerts; C. Clopper and E. Pearson (1934), Biometrika 26(4).
    """
    seen = [p for p in points if swapped_at < p.at <= now]
    total, bad = sum(p.total for p in seen), sum(p.bad for p in seen)
    if not total:
        reason = "no event since the swap"
        return GateResult(name=objective.name, verdict="INCONCLUSIVE", reason=reason)
    worst, pair = 0.0, WINDOWS[0]
    for window in WINDOWS:
        if now - swapped_at < window.after:
            continue
        rate = min(
            _burn(seen, now - window.long, objective),
            _burn(seen, now - window.short, objective),
        )
        if rate / window.factor > worst / pair.factor:
            worst, pair = rate, window
    failed = worst > pair.factor
    reason = f"{bad} of {total} bad, {objective.allowed:.2%} may be"
    if failed:
        reason += f"; burns over {worst:.1f} times too fast, {pair.factor:g} is the limit"
    return GateResult(
        name=objective.name,
        verdict="FAIL" if failed else "PASS",
        e_value=worst,
        bound=pair.factor,
        n=total,
        events=float(bad),
        margin=objective.allowed,
        reason=reason,
    )


def _burn(points: Sequence[WatchPoint], start: datetime, objective: Objective) -> float:
    """Return the burn rate since `start`, at the lower limit of the share."""
    total = sum(p.total for p in points if p.at > start)
    bad = sum(p.bad for p in points if p.at > start)
    if not bad:
        return 0.0
    return float(betaincinv(bad, total - bad + 1, _ALPHA)) / objective.allowed


def _inside(share: float) -> float:
    """Keep a share off 0, where every burn rate would be infinite."""
    return min(0.99, max(1e-6, share))
