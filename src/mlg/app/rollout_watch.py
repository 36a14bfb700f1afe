"""Where a rollout's facts come from: gateways, processes, the log, small files."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.arm_counts import arm_seen, compared_in, stage_of
from mlg.app.arms_used import ArmsReader, ArmsUsed, Spans
from mlg.app.images import check_image
from mlg.app.interleaving import DraftWatch, interleaves
from mlg.app.manifests import Manifests
from mlg.app.objectives import ObjectiveCounts, Objectives, waited_s
from mlg.app.rollout_acts import acts_of
from mlg.app.signing import Signing
from mlg.app.staging import Staging
from mlg.app.staging_clock import opening_now
from mlg.app.staging_reports import run_staging
from mlg.app.supervise import Supervisor
from mlg.app.tail import Tail
from mlg.core.clock import Clock, parse_time
from mlg.core.errors import LifecycleError
from mlg.core.ports import ArtifactStore, Cursor, Files, Network, TrafficRouter
from mlg.core.traffic import Attempts
from mlg.manifest.specs_services import ServiceSpec
from mlg.monitors.arms import Arm, Rollout, Stage
from mlg.monitors.live import EDGES_MS
from mlg.release.analysis import judge
from mlg.release.rollout_moves import wanted_shares
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import (
    Fallen,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    control_label,
)
from mlg.release.seen import ArmSeen, GateFacts, StageSeen
from mlg.release.staging import StagingReport
from mlg.release.windows import Pair
from mlg.serving.log import decode_feedback, decode_prediction
from mlg.workflows.packaged import read_packaged
from mlg.workflows.release_acts import READY_S
from mlg.workflows.rollouts import Look, read_swaps

_BATCH: Final = 20_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FREEZE: Final = "freeze.json"


@dataclass(slots=True, kw_only=True)
class _Follow:
    """One step's tally, made again from the log after a restart."""

    key: tuple[str, int]
    cursor: Cursor
    rollout: Rollout
    """Kept from step to step; after a restart of the control plane it begins anew."""
    stage: Stage
    objectives: ObjectiveCounts = field(default_factory=ObjectiveCounts)


class ControlWatch:
    """Implements `RolloutWatch` over the running parts.

    Args:
        home: The instance's folder.
        files: Its small files.
        clock: Wall time.
        manifests: The manifest in force.
        router: Shares and attempts.
        supervisor: Which replicas are ready.
        network: Reaches replicas.
        tail: How far the log was read, and the event time.
        staging: The battery of tests.
        artifacts: Where the versions' images are.
        signing: Whose signatures of images are believed.
        objectives: Judges what happened since a swap.
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
        network: Network,
        tail: Tail,
        staging: Staging,
        artifacts: ArtifactStore,
        signing: Signing,
        objectives: Objectives,
    ) -> None:
        self._objectives = objectives
        self._home, self._files, self._clock = home, files, clock
        self._manifests, self._router, self._supervisor = manifests, router, supervisor
        self._tail, self._staging = tail, staging
        self._arms = ArmsReader(supervisor, network, clock)
        self._artifacts, self._signing = artifacts, signing
        self._follows: dict[str, _Follow] = {}
        self._drafts = DraftWatch(home, router, tail)
        self._lock = threading.Lock()

    def plan(self, service: str) -> RolloutPlan:
        """Return the plan of the manifest in force."""
        spec = self._spec(service)
        return plan_of(spec.rollout if spec else None)

    def now(self, service: str) -> datetime:
        """Return the newest event time of the log, or the machine's time."""
        spec = self._spec(service)
        if spec is not None and spec.clock == "request":
            return self._tail.newest(service) or _EPOCH
        return self._clock.now()

    def stage(self, state: RolloutState, artifact: str) -> StagingReport:
        """Run the battery of tests, until its window closes at the latest."""
        spec, now = self._manifests.spec(), self._clock.now()
        return run_staging(self._staging, self._files, spec, state, artifact, now)

    def look(self, look: Look) -> tuple[Look, RolloutFacts]:
        """Return what is so now, with a mark where a step's counting begins."""
        state, service = look.state, look.state.service
        now = self.now(service)
        observed = self._router.observed(service)
        shares = observed.shares if observed else None
        swaps = read_swaps(self._files, service)
        facts = RolloutFacts(
            now=now,
            waited_s=waited_s(look, self._clock),
            staging=look.staging,
            staging_reason=look.staging_reason,
            staging_cut=look.staging_cut,
            window=opening_now(self._manifests.spec(), state, self._clock.now()),
            ready=self._ready(service),
            fallen=self._fallen(look),
            shares=shares,
            swaps=swaps.times(),
            frozen=self._files.read(FREEZE) is not None,
            rejected=swaps.rejected,
            acts=acts_of(self._files, service, state.id),
        )
        if interleaves(state):
            return self._drafts.look(look, facts)
        if state.back or state.phase not in {"canary", "promoting", "swapped", "paused"}:
            return look, facts
        if shares != wanted_shares(state) or not state.share_bp or state.stable is None:
            return look, facts
        with self._lock:
            return self._counted(look, facts)

    def close_step(self, look: Look) -> Look:
        """Keep what was seen in the step that is over, before its split changes."""
        if look.mark is None or look.state.phase != "canary":
            return look
        with self._lock:
            attempts = {a.version: a for a in self._router.attempts(look.state.service)}
            used = self._used(look.state, anew=True)
            seen = self._seen(look, self._follow(look).stage, attempts, used)
        stages = (*look.stages, msgspec.to_builtins(seen))
        return msgspec.structs.replace(look, mark={**look.mark, "step": -1}, stages=stages)

    def _counted(self, look: Look, facts: RolloutFacts) -> tuple[Look, RolloutFacts]:
        """Add what was counted since the step's split came into force."""
        state, service = look.state, look.state.service
        step = len(state.plan.steps_bp) if state.phase == "swapped" else state.step
        try:
            attempts = {a.version: a for a in self._router.attempts(service)}
            if look.mark is None or look.mark["step"] != step:
                return self._marked(look, step, attempts), facts
            follow = self._follow(look)
        except LifecycleError:
            return look, facts  # no fresh metrics: the rollout holds
        now = max(facts.now, _time(follow.stage.newest_at) or facts.now)
        if state.phase == "swapped":
            spec, counts = self._spec(service), follow.objectives
            watch = self._objectives.judged(spec, counts, look, follow.stage, attempts, now)
            return look, replace(facts, now=now, fresh=True, step=state.step, watch=watch)
        used = self._used(state)
        look = self._spanned(look, used)
        seen = self._seen(look, follow.stage, attempts, used)
        stages = (*(msgspec.convert(s, StageSeen) for s in look.stages), seen)
        gates = judge(
            state.plan,
            GateFacts(
                stages=stages,
                limits_ms={
                    limit.gate: (limit.candidate_ms, limit.control_ms)
                    for limit in follow.rollout.limits
                },
                expected_viewers=self._expected(look, follow.stage, now),
            ),
        )
        return look, replace(
            facts, now=now, fresh=True, step=state.step, units=seen.candidate.units, gates=gates
        )

    def _spanned(self, look: Look, used: ArmsUsed) -> Look:
        """Return the look with the spans of processor and cache counted up to now."""
        mark, state = look.mark or {}, look.state
        one = used.used.get(state.candidate)
        other = used.used.get(control_label(state.stable or ""))
        if one is None or other is None:
            return look
        pair = Pair(candidate=one, control=other, at_s=self._clock.now().timestamp())
        spans = Spans(mark.get("spans", {})).look(state.plan.gates, pair)
        return msgspec.structs.replace(look, mark={**mark, "spans": spans})

    def _marked(self, look: Look, step: int, attempts: Mapping[str, Attempts]) -> Look:
        """Begin to count: keep where the step starts."""
        state = look.state
        baseline = look.mark["baseline"] if look.mark else self._latencies(state)
        mark = {
            "step": step,
            "share_bp": state.share_bp,
            "cursor": msgspec.to_builtins(self._tail.cursor(state.service)),
            "attempts": {name: [a.total, a.errors] for name, a in attempts.items()},
            "faults": self._used(state, anew=True).withheld,
            "baseline": baseline,
            "former": self._objectives.former(look),
        }
        return msgspec.structs.replace(look, mark=mark)

    def _latencies(self, state: RolloutState) -> list[int]:
        """Return how the version that serves now answered before the rollout."""
        found = [
            s.latency
            for s in self._tail.state.series
            if (s.service, s.version, s.served_by) == (state.service, state.stable, "model")
        ]
        return list(found[0]) if found else [0] * (len(EDGES_MS) + 1)

    def _follow(self, look: Look) -> _Follow:
        """Return the tally of the step, read up to now."""
        state, mark = look.state, look.mark or {}
        key = (state.id, int(mark["step"]))
        follow = self._follows.get(state.service)
        if follow is None or follow.key != key:
            rollout = follow.rollout if follow and follow.key[0] == state.id else None
            compared = rollout or compared_in(state, mark["baseline"])
            follow = _Follow(
                key=key,
                cursor=msgspec.convert(mark["cursor"], Cursor),
                rollout=compared,
                stage=stage_of(compared, int(mark["share_bp"])),
            )
            self._follows[state.service] = follow
        stream = SegmentStream(self._home / "segments" / state.service)
        while True:
            batch = stream.read(follow.cursor, _BATCH)
            predictions = [
                decode_prediction(r.payload) for r in batch.records if r.kind == "prediction"
            ]
            feedback = [
                decode_feedback(r.payload) for r in batch.records if r.kind == "feedback"
            ]
            follow.stage.add(predictions, feedback)
            done = batch.cursor == follow.cursor or len(batch.records) < _BATCH
            follow.cursor = batch.cursor
            if done:
                return follow

    def _seen(
        self, look: Look, stage: Stage, attempts: Mapping[str, Attempts], used: ArmsUsed
    ) -> StageSeen:
        state, mark = look.state, look.mark or {}
        faults = used.withheld
        windows = {gate.name: stage.slower(gate.name) for gate in state.plan.gates}

        def arm(label: str) -> ArmSeen:
            before = mark["attempts"].get(label, [0, 0])
            now = attempts.get(label)
            total, errors = (now.total - before[0], now.errors - before[1]) if now else (0, 0)
            insane = faults.get(label, 0) - mark["faults"].get(label, 0)
            return arm_seen(stage.arms.get(label, Arm()), total, errors, insane)

        stable = state.stable or ""
        return StageSeen(
            share_bp=int(mark["share_bp"]),
            candidate=arm(state.candidate),
            control=arm(control_label(stable)),
            stable=arm(stable),
            windows={**windows, **Spans(mark.get("spans", {})).counts()},
        )

    def _expected(self, look: Look, stage: Stage, now: datetime) -> float | None:
        """Return about how many new viewers the candidate will still have at this step."""
        state = look.state
        began = (now - state.since).total_seconds()
        if began <= 0 or not stage.answers:
            return None
        left_s = max(0.0, state.plan.max_hold_s - began)
        coming = stage.coming(stage.answers / began * left_s)
        return coming * state.share_bp / 10_000

    def _ready(self, service: str) -> tuple[str, ...]:
        spec = self._spec(service)
        ready: dict[str, int] = {}
        for process in self._supervisor().processes():
            if (process.kind, process.service) == ("replica", service) and process.ready:
                ready[process.version] = ready.get(process.version, 0) + 1
        return tuple(sorted(v for v, n in ready.items() if spec and n >= spec.replicas))

    def _fallen(self, look: Look) -> tuple[Fallen, ...]:
        state = look.state
        loops = self._supervisor().looping()
        fallen = [
            Fallen(label=g.version, reason=f"its replicas crash again and again ({n} times)")
            for g, n in loops
            if (g.kind, g.service) == ("replica", state.service)
        ]
        fallen += [
            Fallen(label=g.version, reason=f"it is refused: {why}")
            for g, why in self._supervisor().refusals()
            if (g.kind, g.service) == ("replica", state.service)
        ]
        if state.phase == "pending" and (why := self._refused(state.candidate)):
            fallen.append(Fallen(label=state.candidate, reason=why))
        late = look.began_at is not None and (
            self._clock.now() - look.began_at > timedelta(seconds=READY_S)
        )
        if (
            state.phase == "warming"
            and late
            and state.awaiting is None  # it was warm, and a person is waited for
            and state.candidate not in self._ready(state.service)
        ):
            reason = f"it was not warm in {READY_S:g} s"
            fallen.append(Fallen(label=state.candidate, reason=reason))
        return tuple(fallen)

    def _refused(self, version: str) -> str:
        """Return why the version's image may not be started, or nothing."""
        try:
            packaged = read_packaged(self._files, version)
            if packaged is not None:
                check_image(self._artifacts, packaged)
                self._signing.check_image(packaged)
        except LifecycleError as error:
            return f"its image is refused: {error}"
        return ""

    def _used(self, state: RolloutState, *, anew: bool = False) -> ArmsUsed:
        """Return what the replicas of each arm used and withheld, since they started."""
        labels = (state.candidate, state.stable, control_label(state.stable or ""))
        return self._arms.read(state.service, labels, anew=anew)

    def _spec(self, service: str) -> ServiceSpec | None:
        spec = self._manifests.spec()
        return spec.services.get(service) if spec else None


def _time(text: str) -> datetime | None:
    return parse_time(text) if text else None
