"""What happened since a swap, counted for the objectives that may reverse it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mlg.core.clock import Clock
from mlg.core.traffic import Attempts
from mlg.manifest.specs_services import ServiceSpec
from mlg.monitors.arms import Arm, Stage
from mlg.monitors.live import EDGES_MS
from mlg.release.burn import WatchPoint, burning, objectives
from mlg.release.verdicts import GateResult
from mlg.workflows.rollouts import Look


@dataclass(slots=True, kw_only=True)
class ObjectiveCounts:
    """Events since the swap, by objective, one point a look."""

    points: dict[str, list[WatchPoint]] = field(default_factory=dict[str, list[WatchPoint]])
    counted: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


def judged(
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


def waited_s(look: Look, clock: Clock) -> float:
    """Return for how long, by the machine's clock, the rollout is in its phase or step."""
    return (clock.now() - look.began_at).total_seconds() if look.began_at else 0.0


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
