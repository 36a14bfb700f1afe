"""The battery of tests on a version that is warm and takes no traffic yet."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.app.supervise import Supervisor
from mlg.core.errors import BackendError
from mlg.core.ports import ArtifactStore, Network
from mlg.core.predict import Key
from mlg.core.processes import ProcessState
from mlg.core.uris import Digest
from mlg.manifest.specs_services import ServiceSpec, StagingSpec
from mlg.release.staging import (
    Answer,
    LoadBudget,
    StagingReport,
    TestResult,
    failed_to_run,
    judge_bias,
    judge_contract,
    judge_golden,
    judge_load,
    report,
)
from mlg.serving.warmup import golden_requests

LOAD_REQUESTS: Final = 400
LOAD_HZ: Final = 100.0
P99_MS: Final = 150.0
"""Budget where the manifest has no objective for latency."""


class Staging:
    """Asks one replica of the version, directly and as no viewer.

    Args:
        artifacts: Where the version's recorded requests are.
        supervisor: Knows its replicas.
        network: Reaches them.
    """

    def __init__(
        self, artifacts: ArtifactStore, supervisor: Callable[[], Supervisor], network: Network
    ) -> None:
        self._artifacts, self._supervisor, self._network = artifacts, supervisor, network

    def run(
        self, service: str, version: str, artifact: str, spec: ServiceSpec | None
    ) -> StagingReport:
        """Return what the battery says; a test that hangs is an ERROR.

        Raises:
            BackendError: No replica of the version is ready.
        """
        asked = (spec.rollout.staging if spec and spec.rollout else None) or StagingSpec()
        replicas = [
            p
            for p in self._supervisor().processes()
            if (p.kind, p.service, p.version) == ("replica", service, version) and p.ready
        ]
        if not replicas:
            raise BackendError(f"no replica of {version} is ready", where=f"service {service}")
        battery = _Battery(
            self._network, service, replicas[0], golden_requests(self._folder(artifact)), spec
        )
        worker = threading.Thread(target=battery.run, args=(asked.tests,), daemon=True)
        worker.start()
        worker.join(asked.deadline_s)
        hung = worker.is_alive()
        battery.stopped.set()  # the request under way ends by its own timeout
        results = list(battery.done)
        if hung:
            named = {result.name for result in results}
            why = f"it hung: no result in {asked.deadline_s:g} s"
            results += [failed_to_run(n, why) for n in asked.tests if n not in named]
        return report(asked.tests, results)

    def _folder(self, artifact: str) -> Path:
        return self._artifacts.open(Digest(artifact))


class _Battery:
    """The tests of one version, asked of one replica one after the other."""

    def __init__(
        self,
        network: Network,
        service: str,
        replica: ProcessState,
        bodies: Sequence[bytes],
        spec: ServiceSpec | None,
    ) -> None:
        self._network, self._service, self._replica = network, service, replica
        self._bodies, self._spec = bodies, spec
        self.done: list[TestResult] = []
        self.stopped = threading.Event()

    def run(self, tests: Sequence[str]) -> None:
        """Run the tests until all are done or the battery is stopped."""
        with contextlib.suppress(_StoppedError):
            self._run(tests)

    def _run(self, tests: Sequence[str]) -> None:
        bodies = self._bodies
        first = [self._ask(body) for body in bodies]
        for name in tests:
            if name == "contract":
                # the replica itself withholds answers with items outside its catalogue
                version = self._replica.version
                self.done.append(judge_contract(first, version=version, known=_any))
            elif name == "golden":
                again = [self._ask(body) for body in bodies]
                pairs = [
                    (a, b)
                    for a, b in zip(first, again, strict=True)
                    if a.served_by == b.served_by  # exploration is drawn anew each time
                ]
                judged = judge_golden([a for a, _ in pairs], [b for _, b in pairs])
                self.done.append(judged)
            elif name == "load":
                self.done.append(self._load())
            else:
                self.done.append(judge_bias(()))

    def _load(self) -> TestResult:
        spec = self._spec
        latency = spec.rollback.latency_p99 if spec and spec.rollback else None
        budget = LoadBudget(
            p99_ms=latency.max_ms if latency else P99_MS, errors=0.0, rate_hz=LOAD_HZ
        )
        began = time.monotonic()

        def one(number: int, body: bytes) -> tuple[bool, float]:
            due = began + number / LOAD_HZ
            time.sleep(max(0.0, due - time.monotonic()))
            answer = self._ask(body)
            return answer.status == 200, (time.monotonic() - due) * 1e3

        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="load") as pool:
            bodies = list(islice(cycle(self._bodies), LOAD_REQUESTS))
            timed = list(pool.map(one, range(len(bodies)), bodies))
        good = [ms for ok, ms in timed if ok]
        seconds = time.monotonic() - began
        return judge_load(good, failed=len(timed) - len(good), seconds=seconds, budget=budget)

    def _ask(self, body: bytes) -> Answer:
        if self.stopped.is_set():
            raise _StoppedError
        reply = self._network.request(
            "POST",
            f"http://127.0.0.1:{self._replica.port}/v1/services/{self._service}/recommend",
            body=body,
            headers=(("content-type", "application/json"),),
            timeout_s=5.0,
        )
        k = int(msgspec.json.decode(body).get("k") or 10)
        if reply.status != 200:
            return Answer(status=reply.status, k=k)
        found: Mapping[str, Any] = msgspec.json.decode(reply.body)
        return Answer(
            status=200,
            items=tuple(item["id"] for item in found["items"]),
            scores=tuple(item["score"] for item in found["items"]),
            confidence=found["confidence"],
            served_by=found["served_by"],
            version=found["model_version"],
            prediction_id=found["prediction_id"],
            k=k,
        )


class _StoppedError(Exception):
    """The battery's time is over."""


def _any(item: Key) -> bool:
    del item
    return True
