"""The battery of tests on a version that takes no traffic yet: who is asked, and until when."""

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from mlg.adapters.clock_system import SystemClock
from mlg.app.staging_battery import Battery, Known, Target
from mlg.app.staging_memory import MemoryWatch, runs
from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.nodes import Attr
from mlg.core.ports import ArtifactStore, Network
from mlg.core.uris import Digest
from mlg.manifest.specs_services import ServiceSpec, StagingSpec
from mlg.recsys.golden import ANSWERS
from mlg.release.staging import Answer, StagingReport, TestResult, failed_to_run, report
from mlg.release.staging_bias import GroupScore
from mlg.release.staging_page import page
from mlg.release.staging_requests import LiveRequests
from mlg.serving.warmup import golden_requests
from mlg.workflows.packaged import Packaged
from mlg.workflows.state import WantedVersion

STACK_READY_S: Final = 120.0
"""How long containers may take until the version answers; less where the window closes."""


class Stacks(Protocol):
    """Starts a version's containers, and takes them down again."""

    def start(
        self, service: str, version: str, deadline_s: float, stage: ExitStack
    ) -> tuple[Target, int, TestResult]:
        """Return whom to ask, its process, and the result of the test `compose`.

        Leaving `stage` takes everything down, whatever happened.

        Raises:
            LifecycleError: No engine answers, or the version does not in time; nothing
                is left running.
        """
        ...


class Staging:
    """Asks one replica of the version, directly and as no viewer.

    Args:
        artifacts: Where the versions' recorded requests are, and reports are kept.
        supervisor: Knows the replicas.
        network: Reaches them.
        packaged: What a version was packaged as, which names its evaluation's report.
        stacks: Starts containers; None: versions are tested as processes only.
        expected_hz: Requests a second of a service in its busiest minute of late.
        live: What viewers asked a service of late, as versions in these folders know them.
        clock: Wall time, by which windows close.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        supervisor: Callable[[], Supervisor],
        network: Network,
        packaged: Callable[[str], Packaged | None],
        *,
        stacks: Stacks | None = None,
        expected_hz: Callable[[str], float | None] = lambda _: None,
        live: Callable[[str, Sequence[Path]], LiveRequests] = lambda _, __: LiveRequests(),
        clock: Clock | None = None,
    ) -> None:
        self._artifacts, self._supervisor, self._network = artifacts, supervisor, network
        self._packaged, self._stacks, self._expected_hz = packaged, stacks, expected_hz
        self._live, self._clock = live, clock or SystemClock()

    def run(
        self,
        service: str,
        version: str,
        artifact: str,
        spec: ServiceSpec | None,
        *,
        production: WantedVersion | None = None,
        until: datetime | None = None,
        about: Mapping[str, Attr] | None = None,
    ) -> StagingReport:
        """Return what the battery says; a test that hangs is an ERROR.

        Args:
            service: The service.
            version: What is tested.
            artifact: Digest of its model.
            spec: The service as it is declared.
            production: What serves; None before the first version.
            until: Wall time at which the window closes: what has no result by then is
                INCONCLUSIVE, and the report is marked so.
            about: More facts for the report's page; None keeps no page.

        Raises:
            BackendError: No replica of the version is ready, or what it was packaged with
                cannot be read.
        """
        asked = (spec.rollout.staging if spec and spec.rollout else None) or StagingSpec()
        began = self._clock.now()
        if self._stacks is not None and asked.compose:
            tests = ("compose", *asked.tests)
        else:
            tests = asked.tests
        with ExitStack() as stage:
            try:
                target, results = self._target(service, version, asked, until, stage)
            except _StackError as error:
                cut = self._left_s(until) <= 0.0
                results = [] if cut else [failed_to_run("compose", str(error.__cause__))]
                found = report(tests, results, cut=cut)
            else:
                known = self._known(service, version, artifact, spec, production)
                battery = Battery(self._network, service, target, spec, known)
                found = self._judged(battery, tests, results, asked, until)
        if about is None:
            return found
        told: dict[str, Attr] = {
            "begun": rfc3339(began),
            "ended": rfc3339(self._clock.now()),
            **about,
        }
        return self._kept(service, version, found, told)

    def _target(
        self,
        service: str,
        version: str,
        asked: StagingSpec,
        until: datetime | None,
        stage: ExitStack,
    ) -> tuple[Target, list[TestResult]]:
        """Return whom to ask, in a container that is started now or a process that runs.

        Raises:
            BackendError: No replica of the version is ready.
            _StackError: The containers could not be started.
        """
        if self._stacks is None or not asked.compose:
            found = self._replica(service, version)
            if found is None:
                raise BackendError(
                    f"no replica of {version} is ready", where=f"service {service}"
                )
            watch = stage.enter_context(MemoryWatch(found[1]))
            return _watched(found[0], watch), []
        try:
            left_s = min(STACK_READY_S, self._left_s(until))
            target, pid, result = self._stacks.start(service, version, left_s, stage)
        except LifecycleError as error:
            raise _StackError from error
        watch = stage.enter_context(MemoryWatch(pid))
        return _watched(target, watch), [result]

    def _judged(
        self,
        battery: Battery,
        tests: tuple[str, ...],
        results: list[TestResult],
        asked: StagingSpec,
        until: datetime | None,
    ) -> StagingReport:
        """Run the battery until it is done, or its time or its window is over."""
        worker = threading.Thread(target=battery.run, args=(asked.tests,), daemon=True)
        worker.start()
        left_s = self._left_s(until)
        worker.join(max(0.0, min(asked.deadline_s, left_s)))
        late = worker.is_alive()
        battery.stopped.set()  # the request under way ends by its own timeout
        found = [*results, *battery.done]
        cut = late and left_s < asked.deadline_s
        if late and not cut:
            named = {result.name for result in found}
            why = f"it hung: no result in {asked.deadline_s:g} s"
            found += [failed_to_run(n, why) for n in tests if n not in named]
        return report(tests, found, cut=cut)

    def _left_s(self, until: datetime | None) -> float:
        if until is None:
            return float("inf")
        return (until - self._clock.now()).total_seconds()

    def _replica(self, service: str, version: str) -> tuple[Target, int] | None:
        """Return a ready replica of a version and its process, or None."""
        for one in self._supervisor().processes():
            asked = (one.kind, one.service, one.version) == ("replica", service, version)
            if asked and one.ready:
                alive = partial(runs, one.pid)
                return Target(port=one.port, version=version, alive=alive), one.pid
        return None

    def _known(
        self,
        service: str,
        version: str,
        artifact: str,
        spec: ServiceSpec | None,
        production: WantedVersion | None,
    ) -> Known:
        """Return what the tests compare with."""
        asked = (spec.rollout.staging if spec and spec.rollout else None) or StagingSpec()
        folder = self._artifacts.open(Digest(artifact))
        served, bodies, folders = None, (), [folder]
        if production is not None and "compare" in asked.tests:
            served = self._replica(service, production.version)
            if production.artifact and self._artifacts.has(Digest(production.artifact)):
                folders.append(self._artifacts.open(Digest(production.artifact)))
                bodies = golden_requests(folders[1])
        asks = {"load", "compare"}.intersection(asked.tests)
        expected_hz = self._expected_hz(service)
        return Known(
            bodies=golden_requests(folder),
            # answers were recorded at the requests' own times, which this clock does not use
            recorded=recorded_answers(folder) if spec and spec.clock == "request" else None,
            groups=self._groups(version) if "bias" in asked.tests else None,
            production=served[0] if served else None,
            production_bodies=bodies,
            expected_hz=expected_hz / spec.replicas if expected_hz and spec else None,
            live=self._live(service, folders) if asks else LiveRequests(),
        )

    def _groups(self, version: str) -> dict[str, list[GroupScore]] | None:
        """Return the scores by group of the version's evaluation, if there are any."""
        packaged = self._packaged(version)
        if packaged is None or packaged.report is None:
            return None
        return read_groups(self._artifacts.open(packaged.report))

    def _kept(
        self, service: str, version: str, found: StagingReport, about: Mapping[str, Attr]
    ) -> StagingReport:
        """Keep the report as a page among the artifacts."""
        title = f"Staging of {version} for {service}"
        with tempfile.TemporaryDirectory(prefix="mlg-staging-") as folder:
            path = Path(folder) / "staging.html"
            path.write_text(page(title, found, about), encoding="utf-8")
            kept = self._artifacts.put(path)
        return replace(found, document=kept, about=tuple(about.items()))


def _watched(target: Target, watch: MemoryWatch) -> Target:
    return replace(target, held_bytes=watch.peak_bytes)


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


class _StackError(Exception):
    """The containers could not be started; the cause says why."""
