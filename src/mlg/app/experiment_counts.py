"""From the tallies of the log to what an experiment is told: metrics, guards, the ratio."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from mlg.core.traffic import FULL_BP
from mlg.monitors.arms import Arm, Stage
from mlg.monitors.cells import SplitTally
from mlg.monitors.live import EDGES_MS
from mlg.monitors.slow import Limit
from mlg.monitors.units import Firsts, Units
from mlg.release.experiment_analysis import RATIO_ALPHA, judge_metric, judge_ratio
from mlg.release.experiment_guards import errors_guard, latency_guards
from mlg.release.experiment_types import Cell, CellFacts, ExperimentPlan, ExperimentState
from mlg.release.gates import QUANTILES, latency_limits
from mlg.release.rollout_types import GatePlan, RolloutPlan
from mlg.release.seen import ArmSeen, StageSeen
from mlg.release.verdicts import GateResult
from mlg.stats.confidence_sequence import ArmMean
from mlg.workflows.experiments import ExperimentLook

_NOBODY: Final = frozenset[str]()


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Where an experiment's counting began, and what it counts by; kept with the look."""

    cursor: dict[str, Any]
    """Where in the log the whole run begins."""
    since: dict[str, Any] | None = None
    """Where in the log the split of now begins; None: where the run does."""
    stopped: tuple[str, ...] = ()
    """Cells that had ended when the split of now began."""
    gates: tuple[GatePlan, ...] = ()
    """Latency guards; an experiment that was begun before there were any has none."""
    limits_ms: dict[str, tuple[float, float]] = {}
    """From where on an answer is slow, of a cell and of the control, by guard."""
    stages: dict[str, tuple[StageSeen, ...]] = {}
    """By cell what was counted of slow moments under the splits before this one."""


def limits_of(
    gates: tuple[GatePlan, ...], latency: list[int]
) -> dict[str, tuple[float, float]]:
    """Return what is slow, from the control's latencies before the experiment, by bin."""
    found = latency_limits(RolloutPlan(gates=gates), latency, EDGES_MS)
    # beyond the last edge nothing is slow, and JSON knows no infinity
    return {name: limits for name, limits in found.items() if limits[0] <= EDGES_MS[-1]}


def tally_of(
    state: ExperimentState, mark: Mark, firsts: dict[str, dict[str, Firsts]]
) -> SplitTally:
    """Return the empty tally of the split that a mark begins."""
    plan = state.plan
    open_ = [cell for cell in plan.cells if cell.name not in mark.stopped]
    return SplitTally(
        plan.control,
        FULL_BP - sum(cell.share_bp for cell in open_),
        {cell.label(plan.name): cell.share_bp for cell in open_},
        [
            Limit(gate=name, candidate_ms=cell_ms, control_ms=control_ms)
            for name, (cell_ms, control_ms) in mark.limits_ms.items()
        ],
        firsts,
    )


def stages_of(
    plan: ExperimentPlan, cell: Cell, mark: Mark, tally: SplitTally
) -> tuple[StageSeen, ...]:
    """Return what was counted of a cell's slow moments, split by split."""
    label = cell.label(plan.name)
    slower = tally.slower.get(label)
    before = mark.stages.get(cell.name, ())
    if slower is None:
        return before
    one, control = (_units_seen(tally.units.get(arm, Units())) for arm in (label, plan.control))
    windows = {gate.name: slower.counts(gate.name) for gate in mark.gates}
    now = StageSeen(
        share_bp=cell.share_bp,
        candidate=one,
        control=control,
        stable=ArmSeen(),
        windows=windows,
    )
    return (*before, now)


def _units_seen(units: Units) -> ArmSeen:
    return ArmSeen(
        units=units.total,
        sample=units.sample,
        at_risk=units.total,
        first_slow={name: units.having(name) for name in QUANTILES},
    )


def cell_facts(
    look: ExperimentLook, mark: Mark, cell: Cell, stage: Stage, tally: SplitTally
) -> CellFacts:
    """Return what is known of one open cell.

    Who was in a cell that ended is no control: he has seen what it showed.
    """
    plan = look.state.plan
    arm = stage.arms.get(cell.label(plan.name), Arm())
    control = stage.arms.get(plan.control, Arm())
    ended = [c.label(plan.name) for c in plan.cells if c.name in look.state.stopped]
    others = {who for label in ended for who in stage.arms.get(label, Arm()).viewers}
    metrics = tuple(
        judge_metric(
            name,
            mean_of(arm, name),
            mean_of(control, name, without=others),
            alpha=plan.alpha_each,
            min_effect=look.request.min_effect[name],
        )
        for name in plan.metrics
    )
    failed = [(one.failed, one.units.total) for one in (arm, control)]
    errors = errors_guard(failed[0], failed[1], cells=len(plan.cells))
    stages = stages_of(plan, cell, mark, tally)
    slow = latency_guards(mark.gates, mark.limits_ms, stages, min_units=plan.min_viewers)
    return CellFacts(
        cell=cell.name, viewers=len(arm.viewers), metrics=metrics, guards=(errors, *slow)
    )


def mean_of(arm: Arm, metric: str, *, without: Collection[str] = _NOBODY) -> ArmMean:
    """Return the mean of one value a viewer, and its variance; who has none does not count.

    Args:
        arm: The tally of an arm.
        metric: `ctr` or `watch_through`.
        without: Viewers who do not count.
    """
    values = [
        v.hits / v.answers if metric == "ctr" else v.watch_sum / v.watch_n
        for who, v in arm.viewers.items()
        if (v.answers if metric == "ctr" else v.watch_n) and who not in without
    ]
    n = len(values)
    mean = sum(values) / n if n else 0.0
    variance = sum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    return ArmMean(units=n, mean=mean, variance=variance)


def ratio_of(state: ExperimentState, tally: SplitTally) -> GateResult:
    """Return whether viewers fell as the shares say, since the split last changed.

    A split changes at most once a cell, and chance falls alike in each of them, so each has
    an equal part of the alpha and begins anew.
    """
    plan, open_ = state.plan, state.open_cells
    taken = [cell.share_bp for cell in open_]
    labels = [*(cell.label(plan.name) for cell in open_), plan.control]
    viewers = [len(tally.viewers.get(label, ())) for label in labels]
    shares = [*taken, FULL_BP - sum(taken)]
    return judge_ratio(viewers, shares, alpha=RATIO_ALPHA / len(plan.cells))


def words_of(cell: CellFacts) -> dict[str, Any]:
    """Return what is known of a cell, as its node and its status say it."""
    said = {f"metric.{m.name}": f"{m.verdict}: {m.reason}" for m in cell.metrics}
    said |= {f"guard.{g.name}": f"{g.verdict}: {g.reason}" for g in cell.guards}
    return {"viewers": cell.viewers, **said}
