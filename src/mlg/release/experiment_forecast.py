"""How many viewers an experiment needs, and how long that takes, before it begins: pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Final

from mlg.core.traffic import FULL_BP
from mlg.release.experiment_types import Cell, ExperimentPlan
from mlg.stats.confidence_sequence import LEAST_UNITS, units_needed

POWER: Final = 0.9
"""Chance of a verdict by then where the difference is `min_effect`; where there is none it is
ruled out with 2 · 0.9 - 1 = 80 %."""
LARGEST_VARIANCE: Final = 0.25
"""Of a value in 0..1, which each metric is."""
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What the log says of one metric."""

    variance: float
    """Of one viewer's value."""
    part: float
    """Part of the viewers who have a value at all, in (0, 1]."""
    viewers: int
    """With a value, behind both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricForecast:
    """What one metric of one cell needs."""

    metric: str
    min_effect: float
    alpha: float
    variance: float
    measured: bool
    """False: the log says nothing, and the largest variance that can be is taken."""
    viewers: int
    """Of the cell, those without a value included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellForecast:
    """What one cell needs until each of its metrics has a verdict."""

    cell: str
    version: str
    share_bp: int
    viewers: int
    of_service: int
    """Viewers of the whole service until the cell has its own."""
    seconds: float | None
    """Event time until then; None: not known, or so many never come."""
    metrics: tuple[MetricForecast, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentForecast:
    """What an experiment needs as a whole."""

    cells: tuple[CellForecast, ...]
    seconds: float | None
    """Until the slowest cell is decided; None as there."""
    max_run_s: float
    power: float
    warnings: tuple[str, ...]


def forecast_experiment(
    plan: ExperimentPlan,
    min_effect: Mapping[str, float],
    spreads: Mapping[str, Spread],
    seconds_until: Callable[[int], float | None],
) -> ExperimentForecast:
    """Return how many viewers each cell needs, and how long that takes.

    For a true difference of `min_effect` or none at all, from one look alone, so rather too
    long: a larger difference shows sooner. One about half of `min_effect` takes longest.

    Args:
        plan: Cells, metrics, alpha; its versions may be words of the manifest.
        min_effect: By metric, in the value's own unit.
        spreads: By metric what the log says; without one the largest variance is taken.
        seconds_until: Event time until so many viewers of the service have come; infinity:
            never; None: not known.
    """
    cells = tuple(_cell(plan, cell, min_effect, spreads, seconds_until) for cell in plan.cells)
    times = [cell.seconds for cell in cells]
    known = [seconds for seconds in times if seconds is not None]
    return ExperimentForecast(
        cells=cells,
        seconds=max(known) if len(known) == len(times) else None,
        max_run_s=plan.max_run_s,
        power=POWER,
        warnings=tuple(_warnings(plan, cells, seconds_until)),
    )


def _cell(
    plan: ExperimentPlan,
    cell: Cell,
    min_effect: Mapping[str, float],
    spreads: Mapping[str, Spread],
    seconds_until: Callable[[int], float | None],
) -> CellForecast:
    control_bp = FULL_BP - sum(one.share_bp for one in plan.cells)
    metrics: list[MetricForecast] = []
    for name in plan.metrics:
        spread = spreads.get(name)
        variance = spread.variance if spread else LARGEST_VARIANCE
        units = units_needed(
            min_effect[name],
            variance,
            alpha=plan.alpha_each,
            power=POWER,
            control_size=control_bp / cell.share_bp,
        )
        metrics.append(
            MetricForecast(
                metric=name,
                min_effect=min_effect[name],
                alpha=plan.alpha_each,
                variance=variance,
                measured=spread is not None,
                viewers=ceil(units / (spread.part if spread else 1.0)),
            )
        )
    # the control needs its least units too, however small it is
    least = ceil(LEAST_UNITS * max(1.0, cell.share_bp / control_bp))
    viewers = max(plan.min_viewers, least, *(metric.viewers for metric in metrics))
    # shares of cells are of those who are not held out
    part = cell.share_bp / FULL_BP * (1 - plan.holdout_bp / FULL_BP)
    of_service = ceil(viewers / part)
    seconds = seconds_until(of_service)
    return CellForecast(
        cell=cell.name,
        version=cell.version,
        share_bp=cell.share_bp,
        viewers=viewers,
        of_service=of_service,
        seconds=seconds if seconds is not None and isfinite(seconds) else None,
        metrics=tuple(metrics),
    )


def _warnings(
    plan: ExperimentPlan,
    cells: tuple[CellForecast, ...],
    seconds_until: Callable[[int], float | None],
) -> list[str]:
    if seconds_until(1) is None:
        return [
            "how long it takes is not known: the service's log holds too few answers of late"
        ]
    found: list[str] = []
    for cell in cells:
        if cell.seconds is None:
            found.append(
                f"{cell.cell} will not be decided: it takes {cell.of_service} viewers of "
                f"{plan.service}, and hardly a new one comes"
            )
        elif cell.seconds > plan.max_run_s:
            found.append(
                f"{cell.cell} takes about {cell.seconds / DAY_S:.1f} days and max_run is "
                f"{plan.max_run_s / DAY_S:.1f}: it will most likely end without a verdict"
            )
    if found:
        found.append("larger shares, a larger min_effect or fewer metrics need fewer viewers")
    return found
