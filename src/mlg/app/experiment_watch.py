"""Where an experiment's facts come from: gateways, processes, the log, small files."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.manifests import Manifests
from mlg.app.supervise import Supervisor
from mlg.app.tail import Tail
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor, Files, TrafficRouter
from mlg.core.traffic import FULL_BP
from mlg.monitors.arms import Arm, Stage
from mlg.release.experiment_analysis import judge_metric, judge_ratio
from mlg.release.experiment_types import (
    Cell,
    CellFacts,
    ExperimentAct,
    ExperimentFacts,
    ExperimentState,
    experiment_shares,
)
from mlg.release.verdicts import GateResult
from mlg.serving.log import decode_feedback, decode_prediction
from mlg.stats.confidence_sequence import ArmMean
from mlg.workflows.experiment_cells import shares_shown
from mlg.workflows.experiments import PATIENCE_S, ExperimentLook
from mlg.workflows.rollouts import in_flight
from mlg.workflows.state import read_wanted

_BATCH: Final = 20_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FREEZE: Final = "freeze.json"
GUARD_ALPHA: Final = 0.001
"""Chance that a cell as good as the control is ever taken for one that fails more."""
_GUARD_EFFECT: Final = 0.05


@dataclass(slots=True, kw_only=True)
class _Follow:
    """One experiment's tally, made again from the log after a restart."""

    key: str
    cursor: Cursor
    stage: Stage = field(default_factory=Stage)


class ControlExperiments:
    """Implements `ExperimentWatch` over the running parts.

    Args:
        home: The instance's folder.
        files: Its small files.
        clock: Wall time.
        manifests: The manifest in force.
        router: Shares in force.
        supervisor: Which replicas are ready.
        tail: How far the log was read.
    """

    def __init__(
        self,
        *,
        home: Path,
        files: Files,
        clock: Clock,
        manifests: Manifests,
        router: TrafficRouter,
        supervisor: Callable[[], Supervisor],
        tail: Tail,
    ) -> None:
        self._home, self._files, self._clock = home, files, clock
        self._manifests, self._router, self._supervisor = manifests, router, supervisor
        self._tail = tail
        self._follows: dict[str, _Follow] = {}
        self._lock = threading.Lock()

    def now(self, service: str) -> datetime:
        """Return the service's event time."""
        spec = self._manifests.spec()
        if spec and service in spec.services and spec.services[service].clock == "request":
            return self._tail.newest(service) or _EPOCH
        return self._clock.now()

    def look(self, look: ExperimentLook) -> tuple[ExperimentLook, ExperimentFacts]:
        """Return what is so now, with a mark where counting begins."""
        state, plan = look.state, look.state.plan
        service = plan.service
        stable = read_wanted(self._files, service).stable
        serving = stable.version if stable and stable.bp == FULL_BP else ""
        flying = bool(in_flight(self._files, service))
        running = state.phase == "running"
        # all other rollouts wait, so one in flight beside a running experiment goes back
        back = running and (flying or serving != plan.control)
        shares = shares_shown(self._router.observed(service))
        facts = ExperimentFacts(
            now=self.now(service),
            shares=shares,
            ready=frozenset(self._ready(service)),
            rollout="going_back" if back else "in_flight" if flying else "",
            serving=serving,
            fresh=False,
            frozen=self._files.read(_FREEZE) is not None,
            acts=(*experiment_acts(self._files, service, state.id), *self._given_up(look)),
        )
        if not running or back or shares != experiment_shares(state):
            return look, facts
        with self._lock:
            return self._counted(look, facts)

    def _given_up(self, look: ExperimentLook) -> Iterable[ExperimentAct]:
        """End what cannot begin: rollouts wait for it."""
        if look.state.phase != "pending" or look.began_at is None:
            return
        plan = look.state.plan
        stable = read_wanted(self._files, plan.service).stable
        if stable is None or stable.version != plan.control:
            reason = f"{plan.control} does not serve any more"
            yield ExperimentAct(id="moved", act="stop", by="mlg", reason=reason)
        if self._clock.now() - look.began_at > timedelta(seconds=PATIENCE_S):
            reason = f"it could not begin in {PATIENCE_S:g} s: {look.state.reason}"
            yield ExperimentAct(id="late", act="stop", by="mlg", reason=reason)

    def _counted(
        self, look: ExperimentLook, facts: ExperimentFacts
    ) -> tuple[ExperimentLook, ExperimentFacts]:
        state, plan = look.state, look.state.plan
        try:
            if look.mark is None:
                mark = {"cursor": msgspec.to_builtins(self._tail.cursor(plan.service))}
                return msgspec.structs.replace(look, mark=mark), facts
            stage = self._stage(look, look.mark)
        except LifecycleError:
            return look, facts  # no fresh metrics: nothing is decided
        cells = tuple(_cell_facts(look, cell, stage) for cell in state.open_cells)
        found = {cell.cell: _words(cell) for cell in cells}
        look = msgspec.structs.replace(look, verdicts={**look.verdicts, **found})
        return look, replace(facts, fresh=True, cells=cells, mismatch=_ratio(state, stage))

    def _stage(self, look: ExperimentLook, mark: dict[str, Any]) -> Stage:
        """Return the tally since the split came into force, read up to now."""
        service = look.state.plan.service
        follow = self._follows.get(service)
        if follow is None or follow.key != look.state.id:
            cursor = msgspec.convert(mark["cursor"], Cursor)
            follow = self._follows[service] = _Follow(key=look.state.id, cursor=cursor)
        stream = SegmentStream(self._home / "segments" / service)
        while True:
            batch = stream.read(follow.cursor, _BATCH)
            rows = [(r.kind, r.payload) for r in batch.records]
            follow.stage.add(
                [decode_prediction(payload) for kind, payload in rows if kind == "prediction"],
                [decode_feedback(payload) for kind, payload in rows if kind == "feedback"],
            )
            done = batch.cursor == follow.cursor or len(rows) < _BATCH
            follow.cursor = batch.cursor
            if done:
                return follow.stage

    def _ready(self, service: str) -> list[str]:
        spec = self._manifests.spec()
        least = spec.services[service].replicas if spec and service in spec.services else 1
        ready: dict[str, int] = {}
        for process in self._supervisor().processes():
            if (process.kind, process.service) == ("replica", service) and process.ready:
                ready[process.version] = ready.get(process.version, 0) + 1
        return [version for version, n in ready.items() if n >= least]


def experiment_acts(files: Files, service: str, experiment: str) -> tuple[ExperimentAct, ...]:
    """Return what people told one experiment, oldest first."""
    content = files.read(acts_path(service))
    acts = msgspec.json.decode(content, type=dict[str, list[ExperimentAct]]) if content else {}
    return tuple(acts.get(experiment, ()))


def acts_path(service: str) -> str:
    """Return where acts of a service's newest experiment are kept."""
    return f"services/{service}/experiment_acts.json"


def _cell_facts(look: ExperimentLook, cell: Cell, stage: Stage) -> CellFacts:
    plan = look.state.plan
    arm = stage.arms.get(cell.label(plan.name), Arm())
    control = stage.arms.get(plan.control, Arm())
    metrics = tuple(
        judge_metric(
            name,
            mean_of(arm, name),
            mean_of(control, name),
            alpha=plan.alpha_each,
            min_effect=look.request.min_effect[name],
        )
        for name in plan.metrics
    )
    return CellFacts(
        cell=cell.name,
        viewers=len(arm.viewers),
        metrics=metrics,
        guards=(errors_guard(arm, control, GUARD_ALPHA / len(plan.cells)),),
    )


def mean_of(arm: Arm, metric: str) -> ArmMean:
    """Return the mean of one value a viewer, and its variance; who has none does not count.

    Args:
        arm: The tally of an arm.
        metric: `ctr` or `watch_through`.
    """
    values = [
        v.hits / v.answers if metric == "ctr" else v.watch_sum / v.watch_n
        for v in arm.viewers.values()
        if (v.answers if metric == "ctr" else v.watch_n)
    ]
    n = len(values)
    mean = sum(values) / n if n else 0.0
    variance = sum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    return ArmMean(units=n, mean=mean, variance=variance)


def errors_guard(arm: Arm, control: Arm, alpha: float) -> GateResult:
    """Return FAIL where more of the cell's sticky units had a failed answer."""
    found = judge_metric(
        "errors", _unfailed(arm), _unfailed(control), alpha=alpha, min_effect=_GUARD_EFFECT
    )
    if found.verdict != "FAIL":
        return found
    failed = f"{arm.failed} of {arm.units.total} units failed"
    return replace(found, reason=f"{failed}, {control.failed} of {control.units.total}")


def _unfailed(arm: Arm) -> ArmMean:
    """Return the share of units without a failure; never 0 variance, or nothing is said."""
    n = arm.units.total
    ok = (n - min(arm.failed, n) + 0.5) / (n + 1)
    return ArmMean(units=n, mean=ok, variance=ok * (1 - ok))


def _ratio(state: ExperimentState, stage: Stage) -> GateResult | None:
    """Return whether viewers fell as the shares say; None once a cell's went elsewhere."""
    if state.stopped:
        return None
    plan = state.plan
    taken = [cell.share_bp for cell in plan.cells]
    labels = [*(cell.label(plan.name) for cell in plan.cells), plan.control]
    viewers = [len(stage.arms.get(label, Arm()).viewers) for label in labels]
    return judge_ratio(viewers, [*taken, FULL_BP - sum(taken)])


def _words(cell: CellFacts) -> dict[str, Any]:
    said = {f"metric.{m.name}": f"{m.verdict}: {m.reason}" for m in cell.metrics}
    said |= {f"guard.{g.name}": f"{g.verdict}: {g.reason}" for g in cell.guards}
    return {"viewers": cell.viewers, **said}
