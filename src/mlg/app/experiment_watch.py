"""Where an experiment's facts come from: gateways, processes, the log, small files."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.experiment_counts import (
    Mark,
    cell_facts,
    limits_of,
    ratio_of,
    stages_of,
    tally_of,
    words_of,
)
from mlg.app.manifests import Manifests
from mlg.app.supervise import Supervisor
from mlg.app.tail import Tail
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor, Files, TrafficRouter
from mlg.core.traffic import FULL_BP
from mlg.monitors.arms import Stage
from mlg.monitors.cells import SplitTally
from mlg.monitors.units import Firsts
from mlg.release.experiment_guards import latency_gates
from mlg.release.experiment_types import (
    ExperimentAct,
    ExperimentFacts,
    ExperimentState,
    experiment_shares,
)
from mlg.release.rollout_plan import plan_of
from mlg.serving.log import decode_feedback, decode_prediction
from mlg.workflows.experiment_cells import shares_shown
from mlg.workflows.experiments import PATIENCE_S, ExperimentLook
from mlg.workflows.rollouts import in_flight
from mlg.workflows.state import read_wanted

_BATCH: Final = 20_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FREEZE: Final = "freeze.json"

_Rows = list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class _Follow:
    """One experiment's tallies, made again from the log after a restart."""

    key: str
    cursor: Cursor
    """How far the whole run was read."""
    firsts: dict[str, dict[str, Firsts]]
    """Kept from split to split; after a restart of the control plane it begins anew."""
    stopped: tuple[str, ...]
    since: Cursor
    """How far the split of now was read."""
    tally: SplitTally
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
        state = look.state
        try:
            if look.mark is None:
                return _marked(look, self._first_mark(state)), facts
            mark = msgspec.convert(look.mark, Mark)
            if mark.stopped != state.stopped:
                mark = self._next_mark(state, mark)
                look = _marked(look, mark)
            follow = self._follow(state, mark)
        except LifecycleError:
            return look, facts  # no fresh metrics: nothing is decided
        stage, tally = follow.stage, follow.tally
        cells = tuple(cell_facts(look, mark, cell, stage, tally) for cell in state.open_cells)
        ratio = ratio_of(state, tally)
        found = {cell.cell: words_of(cell) for cell in cells}
        look = msgspec.structs.replace(look, verdicts={**look.verdicts, **found})
        return look, replace(facts, fresh=True, cells=cells, mismatch=ratio)

    def _first_mark(self, state: ExperimentState) -> Mark:
        """Begin to count: keep where the run starts, and what is slow from now on."""
        plan, spec = state.plan, self._manifests.spec()
        cursor = msgspec.to_builtins(self._tail.cursor(plan.service))  # first: it reads on
        service = spec.services.get(plan.service) if spec else None
        gates = latency_gates(plan_of(service.rollout if service else None), len(plan.cells))
        latency = [
            s.latency
            for s in self._tail.state.series
            if (s.service, s.version, s.served_by) == (plan.service, plan.control, "model")
        ]
        return Mark(
            cursor=cursor,
            stopped=state.stopped,
            gates=gates,
            limits_ms=limits_of(gates, list(latency[0]) if latency else []),
        )

    def _next_mark(self, state: ExperimentState, mark: Mark) -> Mark:
        """Keep what was seen under the split before, and begin to count this one."""
        tally, plan = self._follow(state, mark).tally, state.plan
        stages = {cell.name: stages_of(plan, cell, mark, tally) for cell in state.open_cells}
        since = msgspec.to_builtins(self._tail.cursor(plan.service))
        return msgspec.structs.replace(mark, since=since, stopped=state.stopped, stages=stages)

    def _follow(self, state: ExperimentState, mark: Mark) -> _Follow:
        """Return the tallies of the run and of its split, read up to now."""
        service = state.plan.service
        follow = self._follows.get(service)
        if follow is None or follow.key != state.id:
            firsts: dict[str, dict[str, Firsts]] = {}
            follow = _Follow(
                key=state.id,
                cursor=msgspec.convert(mark.cursor, Cursor),
                firsts=firsts,
                stopped=mark.stopped,
                since=msgspec.convert(mark.since or mark.cursor, Cursor),
                tally=tally_of(state, mark, firsts),
            )
            self._follows[service] = follow
        elif follow.stopped != mark.stopped:
            follow.stopped = mark.stopped
            follow.since = msgspec.convert(mark.since or mark.cursor, Cursor)
            follow.tally = tally_of(state, mark, follow.firsts)
        stream = SegmentStream(self._home / "segments" / service)
        # two positions: after a restart, and after a split, the run is read apart from it
        together = follow.cursor == follow.since
        for rows, reactions, end in _read(stream, follow.cursor):
            follow.stage.add(rows, reactions)
            follow.cursor = end
            if together:
                follow.tally.add(rows)
                follow.since = end
        if not together:
            for rows, _, end in _read(stream, follow.since):
                follow.tally.add(rows)
                follow.since = end
        return follow

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


def _marked(look: ExperimentLook, mark: Mark) -> ExperimentLook:
    return msgspec.structs.replace(look, mark=msgspec.to_builtins(mark))


def _read(stream: SegmentStream, cursor: Cursor) -> Iterator[tuple[_Rows, _Rows, Cursor]]:
    """Yield what is in the log after a position: answers, reactions, and where they end."""
    more = True
    while more:
        batch = stream.read(cursor, _BATCH)
        cursor, more = batch.cursor, len(batch.records) >= _BATCH
        rows = [(r.kind, r.payload) for r in batch.records]
        yield (
            [decode_prediction(payload) for kind, payload in rows if kind == "prediction"],
            [decode_feedback(payload) for kind, payload in rows if kind == "feedback"],
            cursor,
        )
