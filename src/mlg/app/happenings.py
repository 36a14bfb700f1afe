"""What the supervisor does, told to the graph."""

import logging
from collections.abc import Callable
from typing import Final

from mlg.core.errors import BackendError, LifecycleError
from mlg.core.events import Event
from mlg.core.ports import Files, GraphStore
from mlg.core.processes import ProcessState
from mlg.graph import record_acts, record_services
from mlg.graph.record import Recorder, deployment_uri
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
    """Records process starts, crashes and ends; the rest goes to the log.

    Args:
        files: The wanted state, to name the deployment.
        store: The event log.
        recorder: Makes events in the name of an actor.
    """

    def __init__(
        self, files: Files, store: GraphStore, recorder: Callable[[str], Recorder]
    ) -> None:
        self._files, self._store, self._recorder = files, store, recorder

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
        state = _STATES.get(kind)
        if process is None or state is None:
            return
        deployment = None
        if process.kind == "replica":
            wanted = read_wanted(self._files, process.service)
            found = [v for v in wanted.versions if v.version == process.version]
            if found:
                deployment = deployment_uri(recorder, process.service, found[0].deployment)
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

    def _append(self, event: Event) -> None:
        try:
            self._store.append((event,))
        except LifecycleError as error:
            logger.warning("not recorded: %s", error)
