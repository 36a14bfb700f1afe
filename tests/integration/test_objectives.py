"""The levels after a swap from what replicas say: real metrics, a real watch, one home."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_replica_watch import World

from mlg.app.objectives import ObjectiveCounts, Objectives
from mlg.app.replicas import Sight
from mlg.core.processes import ProcessState
from mlg.manifest.specs_services import (
    CacheObjective,
    CacheSpec,
    CpuObjective,
    RollbackSpec,
    ServiceSpec,
)
from mlg.monitors.arms import Stage
from mlg.release.rollout import begin
from mlg.release.rollout_types import RolloutPlan
from mlg.telemetry.reading import read_replica
from mlg.workflows.rollouts import Look

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = ServiceSpec(
    model="ranker",
    cache=CacheSpec(ttl_s=90.0),
    rollback=RollbackSpec(
        cpu=CpuObjective(max_increase_bp=5_000), cache_hits=CacheObjective(min_bp=3_000)
    ),
)


class Serving:
    """Replicas of `v1` as the watch sees them, every five seconds."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.seconds(5)
        self.objectives = Objectives(
            self.world.watch, lambda: self.world.supervisor, self.world.clock
        )
        self.counts = ObjectiveCounts()

    @property
    def processes(self) -> list[ProcessState]:
        found = self.world.supervisor.processes()
        return [p for p in found if p.kind == "replica" and p.ready]

    def minute(self, cost_s: float, hits: float, rate: int = 40) -> None:
        """Let a minute pass in which a request costs so much CPU and so many are hits."""
        for second in range(0, 60, 5):
            self.world.clock.wait(5.0)
            for process in self.processes:
                instruments = self.world.replicas[process.nonce].instruments
                for n in range(5 * rate):
                    instruments.looked_up(hit=(n + second) % 10 < 10 * hits)
                    instruments.refused(200)
                watched = self.world.watch.watched(process)
                assert watched is not None
                watched.sights.append(
                    Sight(
                        at_s=self.world.clock.monotonic_s(),
                        reading=read_replica(instruments.text().decode()),
                        cpu_ratio=cost_s * rate * (1.0 + 0.02 * (second % 3)),
                        memory_bytes=1,
                    )
                )
                while watched.sights[-1].at_s - watched.sights[0].at_s > 60.0:
                    watched.sights.popleft()
                assert all(a.at_s < b.at_s for a, b in pairwise(watched.sights))

    def look(self, swapped: datetime, former: Any) -> dict[str, Any]:
        state = begin("r1", "home", "v1", "v0", RolloutPlan(), T0)
        look = Look(state=state, began_at=swapped, mark={"former": former, "attempts": {}})
        found = self.objectives.judged(
            SPEC, self.counts, look, Stage(), {}, self.world.clock.now()
        )
        return {g.name: g for g in found if g.name in {"cpu", "cache_hits"}}


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def baseline(serving: Serving) -> Any:
    """Return what a request of the version that runs costs, as the first look keeps it."""
    state = begin("r0", "home", "v2", "v1", RolloutPlan(), T0)
    return serving.objectives.former(Look(state=replace(state, phase="swapped")))


def test_a_dearer_version_fails_after_a_minute_and_a_colder_cache_too(serving: Serving) -> None:
    serving.minute(0.002, 0.5)
    former = baseline(serving)
    assert former["value"] == pytest.approx(0.002, rel=0.03)
    swapped = serving.world.clock.now()
    serving.minute(0.0021, 0.5)
    said = serving.look(swapped, former)
    assert {g.verdict for g in said.values()} == {"INCONCLUSIVE"}, "a ttl of 90 s is not over"
    serving.minute(0.0021, 0.5)
    said = serving.look(swapped, former)
    assert {g.verdict for g in said.values()} == {"PASS"}
    assert said["cache_hits"].reason == "50.0% of 7200 lookups, 30.0% is the least"
    serving.minute(0.004, 0.1)
    said = serving.look(swapped, former)
    assert {g.verdict for g in said.values()} == {"INCONCLUSIVE"}
    assert "beyond it for 0 s" in said["cpu"].reason
    serving.minute(0.004, 0.1)
    said = serving.look(swapped, former)
    assert {g.verdict for g in said.values()} == {"FAIL"}, said
    assert said["cpu"].margin == 0.5


def test_replicas_that_cannot_be_read_are_an_error_that_reverses_nothing(
    serving: Serving,
) -> None:
    serving.minute(0.002, 0.5)
    swapped = serving.world.clock.now() - timedelta(hours=1)
    serving.world.clock.wait(30.0)
    assert {g.verdict for g in serving.look(swapped, None).values()} == {"ERROR"}
