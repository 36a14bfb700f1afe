"""What the supervisor does, told to the graph."""

import logging
from collections.abc import Callable
from typing import Final

from mlg.core.clock import parse_time, rfc3339
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.events import Event
from mlg.core.ports import Files, GraphStore
from mlg.core.processes import ProcessState
from mlg.core.traffic import version_of
from mlg.core.uris import Uri, parse_uri
from mlg.graph import record_acts, record_models, record_services
from mlg.graph.record import Recorder, deployment_uri
from mlg.workflows.rollouts import in_flight
from mlg.workflows.state import read_wanted

_STATES: Final = {
    "ready": "started",
    "crashed": "crashed",
    "hung": "crashed",
    "stopped": "stopped",
    "ended": "stopped",
}

logger = logging.getLogger("mlg.supervisor")


class Happenings:
    """Records process starts, crashes, refusals and ends; the rest goes to the log.

    Args:
        files: The wanted state, to name the deployment.
        store: The event log.
        recorder: Makes events in the name of an actor.
        model: The model that a service serves.
    """

    def __init__(
        self,
        files: Files,
        store: GraphStore,
        recorder: Callable[[str], Recorder],
        model: Callable[[str], str],
    ) -> None:
        self._files, self._store, self._recorder = files, store, recorder
        self._model = model

    def __call__(self, kind: str, process: ProcessState | None, detail: str) -> None:
        """Take what happened; a store that is down never stops the supervisor."""
        logger.info("%s %s %s", kind, process.id if process else "", detail)
        recorder = self._recorder("system:supervisor")
        if kind in {"failed", "crash_loop"}:
            self._append(
                record_acts.failure_recorded(
                    recorder,
                    key=f"{kind}:{recorder.ids.new_id()}",
                    subject=recorder.uri("health_check", "supervisor"),
                    error=BackendError(detail, hint="mlg status; see the logs in run/."),
                    command="supervise",
                )
            )
        if kind == "refused" and process is not None:
            self._refused(recorder, process, detail)
        if kind == "ready" and process is not None and process.kind == "replica":
            self._restored(recorder, process)
        state = _STATES.get(kind)
        if process is None or state is None:
            return
        deployment = self._deployment(recorder, process)
        self._append(
            record_services.process_changed(
                recorder,
                key=f"process:{process.id}:{process.nonce}:{state}",
                process_id=process.id,
                state=state,
                service=process.service,
                deployment=deployment,
                exit_code=process.exit_code,
                detail=f"{kind}: {detail}",
            )
        )

    def _refused(self, recorder: Recorder, process: ProcessState, reason: str) -> None:
        """Record that a server refused its model, and what that means for its deployment."""
        service, deployment = process.service, self._deployment(recorder, process)
        stable = read_wanted(self._files, service).stable
        version = process.version or (stable.version if stable else "unknown")
        key = f"process:{process.id}:{process.nonce}:refused"
        self._append(
            record_models.model_refused(
                recorder,
                key=key,
                model=self._model(service),
                version=version_of(version),
                reason=reason,
                process_id=process.id,
                service=service,
                deployment=deployment,
                rollout=in_flight(self._files, service),
            )
        )
        if deployment is not None:
            self._append(
                record_services.health_changed(
                    recorder,
                    key=f"{key}:health",
                    deployment=deployment,
                    health="refused",
                    facts={"reason": f"{process.id} refused it: {reason}"},
                )
            )
            mark = rfc3339(recorder.clock.now())
            self._files.write(_mark_of(deployment, service), mark.encode())

    def _restored(self, recorder: Recorder, process: ProcessState) -> None:
        """Record that a deployment is well again once a replica loads what was refused."""
        deployment = self._deployment(recorder, process)
        mark = self._files.read(_mark_of(deployment, process.service)) if deployment else None
        if deployment is None or mark is None or process.started_at < parse_time(mark.decode()):
            return
        self._append(
            record_services.health_changed(
                recorder,
                key=f"process:{process.id}:{process.nonce}:restored",
                deployment=deployment,
                health="healthy",
                facts={"reason": f"{process.id} loaded it: it is what was signed again"},
            )
        )
        self._files.remove(_mark_of(deployment, process.service))

    def _deployment(self, recorder: Recorder, process: ProcessState) -> Uri | None:
        """Return the deployment that a replica runs for."""
        if process.kind != "replica":
            return None
        wanted = read_wanted(self._files, process.service)
        found = [v for v in wanted.versions if v.version == process.version and v.deployment]
        return deployment_uri(recorder, process.service, found[0].deployment) if found else None

    def _append(self, event: Event) -> None:
        try:
            self._store.append((event,))
        except LifecycleError as error:
            logger.warning("not recorded: %s", error)


def _mark_of(deployment: Uri, service: str) -> str:
    """Return the file that says since when a deployment has been refused."""
    return f"services/{service}/refused/{parse_uri(deployment).version}"
