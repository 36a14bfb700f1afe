"""What happened since a swap, counted for the objectives that may reverse it.

Shares of bad events come from the gateways and the log, levels (CPU, cache hits) from what
each replica says of itself once a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import msgspec

from mlg.app.replicas import ReplicaWatch, Sight
from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock
from mlg.core.traffic import Attempts
from mlg.manifest.specs_services import ServiceSpec
from mlg.monitors.arms import Arm, Stage
from mlg.monitors.live import EDGES_MS
from mlg.release.burn import WatchPoint, burning, objectives
from mlg.release.levels import (
    WARM_S,
    LevelFacts,
    LevelName,
    Ratio,
    Slice,
    judge_level,
    levels,
    ratio,
)
from mlg.release.verdicts import GateResult
from mlg.workflows.rollouts import Look

_SLICE_S: Final = 5.0
_STALE_S: Final = 10.0
"""A replica whose figures are older cannot be judged."""
_BEFORE_S: Final = 5.0
"""Of the former version what was seen so shortly before the first look is left out: the swap
happened within it."""


@dataclass(slots=True, kw_only=True)
class ObjectiveCounts:
    """Events since the swap, by objective, one point a look."""

    points: dict[str, list[WatchPoint]] = field(default_factory=dict[str, list[WatchPoint]])
    counted: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    beyond: dict[str, float | None] = field(default_factory=dict[str, float | None])
    """Since when each level stands beyond what is allowed, monotonic seconds."""


class Objectives:
    """Counts and judges.

    Args:
        replicas: What each replica says of itself.
        supervisor: Which replicas run.
        clock: The machine's time.
    """

    def __init__(
        self, replicas: ReplicaWatch, supervisor: Callable[[], Supervisor], clock: Clock
    ) -> None:
        self._replicas, self._supervisor, self._clock = replicas, supervisor, clock

    def former(self, look: Look) -> dict[str, Any] | None:
        """Return what a request cost the version that served before; None: it is not known.

        To be asked at the first look after a swap, and kept.
        """
        state = look.state
        if state.phase != "swapped" or state.stable is None:
            return None
        until_s = self._clock.monotonic_s() - _BEFORE_S
        found = ratio(self._slices(state.service, state.stable, "cpu", until_s) or ())
        return msgspec.to_builtins(found) if found.known else None

    def judged(
        self,
        spec: ServiceSpec | None,
        counts: ObjectiveCounts,
        look: Look,
        stage: Stage,
        attempts: Mapping[str, Attempts],
        now: datetime,
    ) -> tuple[GateResult, ...]:
        """Judge the objectives on what happened since the swap, one point a look.

        Args:
            spec: The service, as the manifest has it.
            counts: What was counted before; a point is added.
            look: The rollout, with the mark at which counting began.
            stage: Answers since then.
            attempts: What the gateways counted, by label.
            now: Event time.
        """
        shares = _shares(spec, counts, look, stage, attempts, now)
        return (*shares, *self._levels(spec, counts, look))

    def _levels(
        self, spec: ServiceSpec | None, counts: ObjectiveCounts, look: Look
    ) -> tuple[GateResult, ...]:
        state, kept = look.state, (look.mark or {}).get("former")
        fills_s = spec.cache.ttl_s if spec and spec.cache else 0.0
        results: list[GateResult] = []
        for level in levels(spec.rollback if spec else None):
            facts = LevelFacts(
                now_s=self._clock.monotonic_s(),
                warm=waited_s(look, self._clock) >= max(WARM_S, fills_s),
                slices=self._slices(state.service, state.candidate, level.name),
                former=msgspec.convert(kept, Ratio) if kept else None,
            )
            result, since_s = judge_level(level, facts, counts.beyond.get(level.name))
            counts.beyond[level.name] = since_s
            results.append(result)
        return tuple(results)

    def _slices(
        self, service: str, version: str, name: LevelName, until_s: float | None = None
    ) -> tuple[Slice, ...] | None:
        """Return the last minute of a version's replicas; None: not all could be read."""
        now_s = self._clock.monotonic_s()
        sums: dict[int, tuple[float, float]] = {}
        processes = [
            p
            for p in self._supervisor().processes()
            if (p.kind, p.service, p.version) == ("replica", service, version) and p.ready
        ]
        for process in processes:
            watched = self._replicas.watched(process)
            sights = [s for s in (watched.sights if watched else ()) if s.reading is not None]
            if not sights or now_s - sights[-1].at_s > _STALE_S:
                return None
            for first, last in pairwise(sights):
                if until_s is None or last.at_s <= until_s:
                    amount, events = _GROWN[name](first, last)
                    before = sums.get(int(last.at_s // _SLICE_S), (0.0, 0.0))
                    total = (before[0] + amount, before[1] + events)
                    sums[int(last.at_s // _SLICE_S)] = total
        if not processes:
            return None
        return tuple(Slice(amount=amount, events=events) for amount, events in sums.values())


def waited_s(look: Look, clock: Clock) -> float:
    """Return for how long, by the machine's clock, the rollout is in its phase or step."""
    return (clock.now() - look.began_at).total_seconds() if look.began_at else 0.0


def _cpu(first: Sight, last: Sight) -> tuple[float, float]:
    """Return CPU seconds and requests between two sights of a replica."""
    if first.reading is None or last.reading is None or last.cpu_ratio is None:
        return 0.0, 0.0
    cpu_s = last.cpu_ratio * (last.at_s - first.at_s)
    return cpu_s, float(last.reading.attempts - first.reading.attempts)


def _hits(first: Sight, last: Sight) -> tuple[float, float]:
    """Return hits and lookups of a replica's cache between two sights."""
    if first.reading is None or last.reading is None:
        return 0.0, 0.0
    hits = (last.reading.cache_hits or 0) - (first.reading.cache_hits or 0)
    return float(hits), float(last.reading.cache_lookups - first.reading.cache_lookups)


_GROWN: Final[dict[LevelName, Callable[[Sight, Sight], tuple[float, float]]]] = {
    "cpu": _cpu,
    "cache_hits": _hits,
}


def _shares(
    spec: ServiceSpec | None,
    counts: ObjectiveCounts,
    look: Look,
    stage: Stage,
    attempts: Mapping[str, Attempts],
    now: datetime,
) -> tuple[GateResult, ...]:
    state = look.state
    swapped = state.swapped_at or state.since
    results: list[GateResult] = []
    for objective in objectives(spec.rollback if spec else None):
        total, bad = _count_of(objective.name, objective.max_ms, look, stage, attempts)
        before = counts.counted.get(objective.name, (0, 0))
        counts.counted[objective.name] = (total, bad)
        if total > before[0]:
            point = WatchPoint(
                at=max(now, swapped + timedelta(microseconds=1)),
                total=total - before[0],
                bad=max(0, bad - before[1]),
            )
            counts.points.setdefault(objective.name, []).append(point)
        points = counts.points.get(objective.name, [])
        end = max([now, *(p.at for p in points)])
        results.append(burning(objective, points, swapped_at=swapped, now=end))
    return tuple(results)


def _count_of(
    name: str,
    max_ms: float | None,
    look: Look,
    stage: Stage,
    attempts: Mapping[str, Attempts],
) -> tuple[int, int]:
    """Return events and bad ones of an objective since the mark."""
    label = look.state.candidate
    arm = stage.arms.get(label, Arm())
    if name == "latency_p99" and max_ms is not None:
        slow = sum(
            n for n, edge in zip(arm.latency[1:], EDGES_MS, strict=True) if edge >= max_ms
        )
        return sum(arm.latency), slow
    before = (look.mark or {})["attempts"].get(label, [0, 0])
    now = attempts.get(label)
    total, errors = (now.total - before[0], now.errors - before[1]) if now else (0, 0)
    if name == "error_rate":
        return total, errors
    unanswered = max(0, total - errors - arm.answers) if errors else 0
    return max(total, arm.answers), unanswered
