"""Release of a model version to a service: start, wait, switch, retire.

In this form an accepted version goes straight to 100 %; the canary comes between
`start` and `switch`. Each step may run twice and does the same thing both times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from dbos import DBOS, DBOSConfiguredInstance

from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.ports import Files, GraphStore
from mlg.core.traffic import FULL_BP
from mlg.core.uris import Digest
from mlg.graph import record_services
from mlg.graph.record import Recorder, deployment_uri, model_uri, run_uri
from mlg.workflows.record import append_once
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted

READY_S = 90.0
"""How long a new version may take until each of its replicas is warm."""


class Fleet(Protocol):
    """What makes the wanted state real."""

    def refresh(self) -> None:
        """Read the wanted state again and act on it."""
        ...

    def wait_ready(self, service: str, version: str, deadline_s: float) -> None:
        """Return once every wanted replica of the version is warm.

        Raises:
            BackendError: Not in time.
        """
        ...

    def wait_live(self, service: str, version: str, deadline_s: float) -> None:
        """Return once the gateway sends the wanted share to the version.

        Raises:
            BackendError: Not in time.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePorts:
    """What a release needs from the world."""

    files: Files
    fleet: Fleet
    store: GraphStore
    recorder: Callable[[], Recorder]


@DBOS.dbos_class()
class Release(DBOSConfiguredInstance):
    """Durable release of one version to one service."""

    def __init__(self, ports: ReleasePorts) -> None:
        self._ports = ports
        super().__init__("release")

    @DBOS.workflow(name="release")
    def run(self, service: str, model: str, artifact: str, run_id: str) -> dict[str, Any]:
        """Bring the version to 100 %; return `{"state", "deployment"}` or the error."""
        deployment = DBOS.workflow_id or ""
        version = artifact[:12]
        if self.start(service, model, artifact, deployment, run_id) == "serving":
            return {"state": "released", "deployment": "", "version": version}
        failed = self.warm(service, version)
        if failed:
            self.abandon(service, deployment, failed)
            return {"state": "failed", "error": failed}
        failed = self.switch(service, deployment)
        if failed:
            self.abandon(service, deployment, failed)
            return {"state": "failed", "error": failed}
        self.retire(service, deployment)
        return {"state": "released", "deployment": deployment, "version": version}

    @DBOS.step(name="release.start")
    def start(
        self, service: str, model: str, artifact: str, deployment: str, run_id: str
    ) -> str:
        """Start replicas of the version with no traffic; `serving` if it serves already."""
        wanted = read_wanted(self._ports.files, service)
        version = artifact[:12]
        there = next((item for item in wanted.versions if item.version == version), None)
        if there is not None and there.deployment != deployment and there.bp == FULL_BP:
            return "serving"
        if there is None:
            newcomer = WantedVersion(
                version=version, artifact=Digest(artifact), bp=0, deployment=deployment
            )
            versions = (*wanted.versions, newcomer)
            write_wanted(self._ports.files, Wanted(service=service, versions=versions))
        recorder = self._ports.recorder()
        self._record(
            record_services.deployment_started(
                recorder,
                key=f"{deployment}:start",
                service=service,
                deployment_id=deployment,
                model_version=model_uri(recorder, model, version),
                image_digest=artifact,
                share_bp=0,
                health="starting",
                triggered_by=run_uri(recorder, model, run_id),
            )
        )
        self._ports.fleet.refresh()
        return "started"

    @DBOS.step(name="release.warm")
    def warm(self, service: str, version: str) -> dict[str, str]:
        """Wait until the version's replicas have answered their warm-up."""
        try:
            self._ports.fleet.wait_ready(service, version, READY_S)
        except LifecycleError as error:
            return error.as_dict()
        return {}

    @DBOS.step(name="release.abandon")
    def abandon(self, service: str, deployment: str, error: dict[str, str]) -> None:
        """Take back a version that did not come to serve; what served goes on serving."""
        wanted = read_wanted(self._ports.files, service)
        kept = tuple(item for item in wanted.versions if item.deployment != deployment)
        if kept and not any(item.bp == FULL_BP for item in kept):
            kept = (msgspec.structs.replace(kept[-1], bp=FULL_BP), *kept[:-1])
        write_wanted(self._ports.files, Wanted(service=service, versions=kept))
        self._ports.fleet.refresh()
        recorder = self._ports.recorder()
        self._record(
            record_services.deployment_ended(
                recorder,
                key=f"{deployment}:abandon",
                deployment=deployment_uri(recorder, service, deployment),
                reason=error.get("what", ""),
            )
        )

    @DBOS.step(name="release.switch")
    def switch(self, service: str, deployment: str) -> dict[str, str]:
        """Send all traffic to the version: clusters first, then routes."""
        wanted = read_wanted(self._ports.files, service)
        moved = tuple(
            msgspec.structs.replace(item, bp=FULL_BP if item.deployment == deployment else 0)
            for item in wanted.versions
        )
        write_wanted(self._ports.files, Wanted(service=service, versions=moved))
        self._ports.fleet.refresh()
        new = next(item for item in moved if item.deployment == deployment)
        try:
            self._ports.fleet.wait_live(service, new.version, READY_S)
        except LifecycleError as error:
            return error.as_dict()
        recorder = self._ports.recorder()
        shares = {deployment_uri(recorder, service, v.deployment): v.bp for v in moved}
        subject = deployment_uri(recorder, service, deployment)
        self._record(
            record_services.shares_changed(
                recorder, key=f"{deployment}:switch", service=service, shares=shares
            ),
            record_services.health_changed(
                recorder, key=f"{deployment}:healthy", deployment=subject, health="healthy"
            ),
        )
        return {}

    @DBOS.step(name="release.retire")
    def retire(self, service: str, deployment: str) -> None:
        """End the versions that have no traffic any more."""
        wanted = read_wanted(self._ports.files, service)
        recorder = self._ports.recorder()
        self._record(
            *(
                record_services.deployment_ended(
                    recorder,
                    key=f"{deployment}:retire:{item.deployment}",
                    deployment=deployment_uri(recorder, service, item.deployment),
                    reason=f"replaced by {deployment}",
                )
                for item in wanted.versions
                if item.deployment != deployment
            )
        )
        kept = tuple(item for item in wanted.versions if item.deployment == deployment)
        write_wanted(self._ports.files, Wanted(service=service, versions=kept))
        self._ports.fleet.refresh()

    def _record(self, *events: Event) -> None:
        append_once(self._ports.store, events)
