"""The battery of tests on a version that is warm and takes no traffic yet."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from mlg.recsys.golden import ANSWERS
from mlg.release.staging import (
    Answer,
    GroupScore,
    LoadBudget,
    StagingReport,
    TestResult,
    failed_to_run,
    judge_bias_by,
    judge_contract,
    judge_golden,
    judge_load,
    judge_recorded,
    report,
)
from mlg.serving.warmup import golden_requests
from mlg.workflows.packaged import Packaged

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
        packaged: What a version was packaged as, which names its evaluation's report.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        supervisor: Callable[[], Supervisor],
        network: Network,
        packaged: Callable[[str], Packaged | None],
    ) -> None:
        self._artifacts, self._supervisor, self._network = artifacts, supervisor, network
        self._packaged = packaged

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
        folder = self._artifacts.open(Digest(artifact))
        battery = _Battery(
            self._network,
            service,
            replicas[0],
            golden_requests(folder),
            spec,
            # answers were recorded at the requests' own times, which this clock does not use
            recorded_answers(folder) if spec and spec.clock == "request" else None,
            self._groups(version) if "bias" in asked.tests else None,
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

    def _groups(self, version: str) -> dict[str, list[GroupScore]] | None:
        """Return the scores by group of the version's evaluation, if there are any."""
        packaged = self._packaged(version)
        if packaged is None or packaged.report is None:
            return None
        return read_groups(self._artifacts.open(packaged.report))


class _Battery:
    """The tests of one version, asked of one replica one after the other."""

    def __init__(
        self,
        network: Network,
        service: str,
        replica: ProcessState,
        bodies: Sequence[bytes],
        spec: ServiceSpec | None,
        recorded: tuple[Answer, ...] | None,
        groups: dict[str, list[GroupScore]] | None,
    ) -> None:
        self._recorded, self._groups = recorded, groups
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
                self.done.append(self._golden(first))
            elif name == "load":
                self.done.append(self._load())
            else:
                self.done.append(self._bias())

    def _golden(self, first: Sequence[Answer]) -> TestResult:
        """Compare with what was recorded; where nothing was, with a second round."""
        if self._recorded is not None and len(self._recorded) == len(first):
            return judge_recorded(self._recorded, first)
        again = [self._ask(body) for body in self._bodies]
        pairs = [
            (a, b)
            for a, b in zip(first, again, strict=True)
            if a.served_by == b.served_by  # exploration is drawn anew each time
        ]
        judged = judge_golden([a for a, _ in pairs], [b for _, b in pairs])
        words = f"{judged.reason}; asked twice, no recorded answers apply"
        return replace(judged, reason=words)

    def _bias(self) -> TestResult:
        staging = self._spec.rollout.staging if self._spec and self._spec.rollout else None
        bias = staging.bias if staging else None
        return judge_bias_by(bias.groups if bias else (), self._groups)

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
            fault = dict(reply.headers).get("mlg-fault", "")
            return Answer(status=reply.status, k=k, fault=fault)
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


def recorded_answers(artifact: Path) -> tuple[Answer, ...] | None:
    """Return the answers that were recorded when the version was packaged, if any were.

    Raises:
        BackendError: The file cannot be read.
    """
    path = artifact / ANSWERS
    try:
        lines = path.read_bytes().splitlines()
        found: list[Mapping[str, Any]] = [msgspec.json.decode(line) for line in lines]
        return tuple(
            Answer(status=200, items=tuple(one["items"]), scores=tuple(one["scores"]))
            for one in found
        )
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise BackendError(f"cannot be read: {error!r}", where=path.name) from error


def read_groups(report_path: Path) -> dict[str, list[GroupScore]] | None:
    """Return the scores by feature of viewers that an evaluation's report has.

    Raises:
        BackendError: The report cannot be read.
    """
    try:
        told = msgspec.json.decode(report_path.read_bytes(), type=_Report).groups
    except (OSError, msgspec.MsgspecError) as error:
        raise BackendError(f"cannot be read: {error}", where=report_path.name) from error
    if told is None:
        return None
    return {
        name: [
            GroupScore(group=f"{name} = {one.level}", n=one.n, mean=one.mean, sd=one.sd or 0.0)
            for one in levels
        ]
        for name, levels in told.items()
    }


class _Level(msgspec.Struct):
    level: str
    n: int
    mean: float
    sd: float | None


class _Report(msgspec.Struct):
    groups: dict[str, list[_Level]] | None = None


class _StoppedError(Exception):
    """The battery's time is over."""


def _any(item: Key) -> bool:
    del item
    return True
