"""Where a game day's fault is made: a throw-away replica, or what answers viewers."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.network_http import HttpNetwork
from mlg.app.gameday_probes import Prober
from mlg.app.gameday_range import Range
from mlg.app.parts import Parts
from mlg.app.staging import Staging
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.events import Event
from mlg.core.processes import ProcessState
from mlg.graph import record_acts, record_gamedays, record_models, record_services
from mlg.graph.record import Recorder
from mlg.release.gameday import Drill, Environment, Score
from mlg.serving.warmup import golden_requests
from mlg.workflows.packaged import read_packaged
from mlg.workflows.state import WantedVersion

_STATES: Final = {"ready": "started", "crashed": "crashed", "hung": "crashed"}
_MODEL_FAULTS: Final = frozenset(("errors", "nan", "short", "slow", "memory"))
"""Faults of the model, that the tests of staging are asked about."""


@dataclass(slots=True)
class Day:
    """One game day, under way or over."""

    id: str
    drill: Drill
    service: str
    environment: Environment
    by: str
    target: str = ""
    state: str = "preparing"
    """`preparing`, `running`, `settling`, `ended`."""
    error: str = ""
    score: Score | None = None
    ending: threading.Event = field(default_factory=threading.Event)

    def document(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        found = None if self.score is None else msgspec.to_builtins(self.score)
        verdict = "ERROR" if self.error else None
        if self.score is not None:
            verdict = "PASS" if self.score.passed else "FAIL"
        return {
            "gameday": self.id,
            "fault": self.drill.name,
            "what": self.drill.what,
            "lasts": self.drill.lasts,
            "service": self.service,
            "environment": self.environment,
            "target": self.target,
            "by": self.by,
            "state": self.state,
            "verdict": verdict,
            "error": self.error,
            "score": found,
        }


class Field:
    """Where a fault is made: what is hit, who is asked, and which names events tell it by."""

    def __init__(
        self, parts: Parts, day: Day, serving: WantedVersion, stage: ExitStack
    ) -> None:
        self._parts, self._day, self._serving = parts, day, serving
        self.artifact: Path = parts.artifacts.locate(serving.artifact)
        bodies = golden_requests(self.artifact)
        gateway = f"http://127.0.0.1:{parts.gateway_port}"
        self._range: Range | None = None
        if day.environment == "staging":
            made = Range(
                parts,
                day.id,
                day.service,
                serving,
                own_copy=day.drill.name == "corrupt",
                record=self._happened,
            )
            stage.callback(made.close)
            made.start()
            self._range, self.home, self.artifact = made, made.home, made.artifact
            gateway = f"http://127.0.0.1:{made.port}"
            self.target = self._chosen(made.supervisor.processes())
            day.target = f"gameday-{self.target.id}"
        else:
            self.home = parts.home
            self.target = self._chosen(parts.supervisor.processes())
            day.target = self.target.id
        process = day.drill.name in {"kill", "hang", "gateway"}
        self.names: Sequence[str] = (day.target,) if process else (day.service, serving.version)
        if day.environment == "staging":
            self.names = (day.target, day.id)
        url = f"{gateway}/v1/services/{day.service}/recommend"
        self.prober = Prober(HttpNetwork(), parts.clock, url, bodies)

    def test(self, begun: Event) -> None:
        """Ask the tests of staging about the throw-away replica, and record what they say."""
        made, parts, day = self._range, self._parts, self._day
        if made is None or day.drill.name not in _MODEL_FAULTS:
            return
        spec = parts.manifests.spec()
        staging = Staging(
            parts.artifacts,
            lambda: made.supervisor,
            HttpNetwork(),
            lambda version: read_packaged(parts.files, version),
        )
        try:
            found = staging.run(
                day.service,
                self._serving.version,
                self._serving.artifact,
                spec.services[day.service] if spec else None,
            )
            verdict, reason = found.verdict, found.reason
        except LifecycleError as error:
            verdict, reason = "ERROR", str(error)
        recorder = parts.recorder("system:gameday")
        parts.store.append(
            (
                record_gamedays.gameday_checked(
                    recorder,
                    key=f"gameday:{day.id}:checked",
                    service=day.service,
                    gameday=day.id,
                    verdict=verdict,
                    reason=reason,
                    cause=begun.id,
                ),
            )
        )

    def _chosen(self, processes: Sequence[ProcessState]) -> ProcessState:
        """Return the first ready process that the fault is made for.

        Raises:
            BackendError: None is ready.
        """
        kind = "gateway" if self._day.drill.name == "gateway" else "replica"
        of = (self._day.service, self._serving.version)
        ready = [p for p in processes if p.ready and p.kind == kind]
        found = next(
            (p for p in ready if kind == "gateway" or (p.service, p.version) == of), None
        )
        if found is None:
            raise BackendError(
                f"no {kind} is ready to be hit", where=f"service {self._day.service}"
            )
        return found

    def _happened(self, kind: str, process: ProcessState | None, detail: str) -> None:
        """Record what the throw-away replica's supervisor sees, under names of its own."""
        recorder = self._parts.recorder("system:supervisor")
        if kind in {"failed", "crash_loop", "refused"}:
            self._parts.store.append((self._failed(recorder, kind, detail),))
        state = _STATES.get(kind)
        if process is None or state is None:
            return
        self._parts.store.append(
            (
                record_services.process_changed(
                    recorder,
                    key=f"gameday:{self._day.id}:{process.nonce}:{state}",
                    process_id=f"gameday-{process.id}",
                    state=state,
                    service=process.service,
                    exit_code=process.exit_code,
                    detail=f"{kind}: {detail}",
                ),
            )
        )

    def _failed(self, recorder: Recorder, kind: str, detail: str) -> Event:
        key = f"gameday:{self._day.id}:{kind}:{recorder.ids.new_id()}"
        spec = self._parts.manifests.spec()
        service = spec.services[self._day.service] if spec else None
        if kind == "refused":
            return record_models.model_refused(
                recorder,
                key=key,
                model=(service.model if service else None) or self._day.service,
                version=self._serving.version,
                reason=detail,
                process_id=self._day.target,
                service=self._day.service,
            )
        return record_acts.failure_recorded(
            recorder,
            key=key,
            subject=recorder.uri("health_check", "gameday-supervisor"),
            error=BackendError(detail, where=self._day.target, hint="a game day made it."),
            command="supervise",
        )
