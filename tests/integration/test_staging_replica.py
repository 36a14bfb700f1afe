"""The whole battery on a real replica of a two-stage model: well, killed, and stopped."""

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_replica import (
    KEY,
    RECOMMEND,
    Replica,
    Starter,
    artifact,  # noqa: F401 - a fixture
    start,  # noqa: F401 - a fixture
)

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.network_http import HttpNetwork
from mlg.app.live_requests import LogRequests
from mlg.app.staging import Staging
from mlg.app.staging_battery import Battery, Known, Target
from mlg.app.staging_memory import MemoryWatch, runs
from mlg.core.processes import ProcessState
from mlg.core.uris import Digest
from mlg.manifest.specs_services import (
    BudgetSpec,
    LoadSpec,
    RolloutSpec,
    ServiceSpec,
    StagingSpec,
    StagingTest,
)
from mlg.release.staging import StagingReport
from mlg.serving.log import hashed
from mlg.serving.warmup import golden_requests
from mlg.workflows.state import WantedVersion

TESTS: tuple[StagingTest, ...] = (
    "contract",
    "golden",
    "load",
    "memory",
    "robustness",
    "compare",
)


def spec(tests: tuple[StagingTest, ...] = TESTS, **more: Any) -> ServiceSpec:
    staging = StagingSpec(
        tests=tests,
        load=LoadSpec(rate_hz=50.0, seconds=2.0),
        budget=BudgetSpec(p99_ms=2_000.0, memory_bytes=1 << 30),
        **more,
    )
    return ServiceSpec(model="ranker", clock="request", rollout=RolloutSpec(staging=staging))


class Running:
    """One replica as the supervisor tells of it, and the store with its model."""

    def __init__(self, replica: Replica, store: LocalArtifacts, model: Digest) -> None:
        self.replica, self.store, self.model = replica, store, model
        self.state = ProcessState(
            id="replica-home-1",
            kind="replica",
            service="home",
            version="v1",
            digest="d",
            pid=replica.process.pid,
            port=replica.port,
            nonce="n",
            started_at=SystemClock().now(),
            alive=True,
            ready=True,
        )

    def processes(self) -> tuple[ProcessState, ...]:
        return (self.state,)

    def run(self, service: ServiceSpec, **more: Any) -> StagingReport:
        told: Any = self
        live = LogRequests(self.replica.home, lambda: KEY)
        staging = Staging(self.store, lambda: told, HttpNetwork(), lambda _: None, live=live)
        return staging.run("home", "v1", self.model, service, **more)


@pytest.fixture
def running(start: Starter, artifact: Path, tmp_path: Path) -> Running:  # noqa: F811
    store = LocalArtifacts(tmp_path / "artifacts")
    return Running(start.replica(artifact), store, store.put(artifact))


def test_a_real_model_passes_and_nothing_is_logged(running: Running) -> None:
    serving = WantedVersion(version="v1", artifact=running.model, bp=10_000, deployment="d")
    found = running.run(spec(), production=serving, about={"rollout": "r1"})
    told = {r.name: (r.verdict, r.reason) for r in found.results}
    assert found.verdict == "PASS", told
    assert list(told) == list(TESTS)
    figures = found.figures
    # it is compared with itself
    assert figures["figure.compare.overlap"] == 1.0
    assert figures["figure.load.requests"] == 100
    held = figures["figure.memory.peak_bytes"]
    assert isinstance(held, int)
    assert 10 << 20 < held < 1 << 30
    assert "figure.robustness.overlap.history" in figures
    assert "figure.robustness.overlap.viewer.age" in figures
    assert running.replica.predictions() == []
    page = running.store.open(Digest(found.document)).read_text()
    assert all(name in page for name in TESTS)


def test_what_viewers_asked_is_asked_again_and_none_of_it_is_logged(running: Running) -> None:
    """Of a hundred requests 30 are of viewers whom the model does not know."""
    at = "2026-02-01T00:00:00Z"
    for user in [*range(1, 71), *range(1_001, 1_031)]:
        body = {"user_id": user, "k": 5, "context": {"at": at}}
        assert running.replica.ask(RECOMMEND, body)[0] == 200
    before = [row["prediction_id"] for row in running.replica.predictions()]
    serving = WantedVersion(version="v1", artifact=running.model, bp=10_000, deployment="d")
    found = running.run(spec(("load", "compare")), production=serving)
    assert found.verdict == "PASS", found.reason
    for test in ("load", "compare"):
        assert found.figures[f"figure.{test}.from_log"] == 100
        assert found.figures[f"figure.{test}.from_log_known"] == 70
        assert found.figures[f"figure.{test}.from_recorded"] == 0
    # the same request made again gets the same answer of the same version
    assert found.figures["figure.compare.overlap"] == 1.0
    assert found.figures["figure.compare.requests"] == 100
    assert [row["prediction_id"] for row in running.replica.predictions()] == before
    assert not any(str(hashed(KEY, user)) in found.reason for user in range(1, 71))


def test_a_replica_that_is_killed_in_the_middle_is_an_error(running: Running) -> None:
    network, pid = HttpNetwork(), running.replica.process.pid
    with MemoryWatch(pid) as watch:
        target = Target(
            port=running.replica.port,
            version="v1",
            alive=partial(runs, pid),
            held_bytes=watch.peak_bytes,
        )
        bodies = golden_requests(running.store.open(running.model))
        battery = Battery(network, "home", target, spec(), Known(bodies=bodies))
        worker = threading.Thread(target=battery.run, args=(TESTS,))
        worker.start()
        wait_for(lambda: any(r.name == "contract" for r in battery.done))
        os.kill(pid, signal.SIGKILL)
        running.replica.process.wait()
        worker.join(20.0)
    assert not worker.is_alive()
    last = battery.done[-1]
    assert (last.verdict, last.reason) == ("ERROR", "its replica ended while it was tested")
    assert {r.name for r in battery.done} == set(TESTS)


def test_one_that_hangs_is_an_error_and_one_that_the_window_ends_waits(
    running: Running,
) -> None:
    os.kill(running.replica.process.pid, signal.SIGSTOP)
    try:
        hung = running.run(spec(("contract", "golden"), deadline_s=1.0))
        assert (hung.verdict, hung.cut) == ("ERROR", False)
        assert "it hung: no result in 1 s" in hung.reason
        until = SystemClock().now() + timedelta(seconds=1)
        cut = running.run(spec(("contract", "golden"), deadline_s=30.0), until=until)
        assert (cut.verdict, cut.cut) == ("INCONCLUSIVE", True)
        assert "the window closed" in cut.reason
    finally:
        os.kill(running.replica.process.pid, signal.SIGCONT)


def wait_for(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 20.0
    while not fact():
        assert time.monotonic() < end
        threading.Event().wait(0.005)
