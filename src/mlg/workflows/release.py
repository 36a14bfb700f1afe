"""Release of a model version to a service: start, wait, switch, retire.

In this form an accepted version goes straight to 100 %; the canary comes between
`start` and `switch`. Each step may run twice and does the same thing both times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dbos import DBOS, DBOSConfiguredInstance

from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.ports import Files, GraphStore
from mlg.core.traffic import FULL_BP
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
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
    def run(self, service: str, model: str, artifact: str, cause: str) -> dict[str, str]:
        """Bring the version to 100 %; return `{"state", "deployment"}` or the error."""
        deployment = DBOS.workflow_id or ""
        version = artifact[:12]
        started = self.start(service, model, artifact, deployment, cause)
        if "error" in started:
            return started
        warm = self.warm(service, version)
        if "error" in warm:
            self.abandon(service, model, deployment, warm["error"])
            return warm
        switched = self.switch(service, model, deployment, cause)
        if "error" in switched:
            return switched
        self.retire(service, model, deployment)
        return {"state": "released", "deployment": deployment, "version": version}

    @DBOS.step(name="release.start")
    def start(
        self, service: str, model: str, artifact: str, deployment: str, cause: str
    ) -> dict[str, str]:
        """Start replicas of the version with no traffic."""
        wanted = read_wanted(self._ports.files, service)
        if not any(item.deployment == deployment for item in wanted.versions):
            newcomer = WantedVersion(
                version=artifact[:12], artifact=Digest(artifact), bp=0, deployment=deployment
            )
            others = tuple(v for v in wanted.versions if v.version != newcomer.version)
            known = [v for v in wanted.versions if v.version == newcomer.version]
            if known:
                newcomer = WantedVersion(
                    version=newcomer.version,
                    artifact=newcomer.artifact,
                    bp=known[0].bp,
                    deployment=deployment,
                )
            write_wanted(self._ports.files, Wanted(service=service, versions=(*others, newcomer)))
        self._record(
            self._ports.recorder().deployment_started(
                service=service,
                deployment=deployment,
                model=model,
                version=artifact[:12],
                artifact=artifact,
                key=f"{deployment}:start",
                cause=cause or None,
            )
        )
        self._ports.fleet.refresh()
        return {}

    @DBOS.step(name="release.warm")
    def warm(self, service: str, version: str) -> dict[str, str]:
        """Wait until the version's replicas have answered their warm-up."""
        try:
            self._ports.fleet.wait_ready(service, version, READY_S)
        except LifecycleError as error:
            return {"state": "failed", "error": str(error), "hint": error.hint}
        return {}

    @DBOS.step(name="release.abandon")
    def abandon(self, service: str, model: str, deployment: str, reason: str) -> None:
        """Take back a version that never became ready; what served goes on serving."""
        wanted = read_wanted(self._ports.files, service)
        kept = tuple(item for item in wanted.versions if item.deployment != deployment)
        write_wanted(self._ports.files, Wanted(service=service, versions=kept))
        self._ports.fleet.refresh()
        self._record(
            self._ports.recorder().deployment_ended(
                service=service,
                deployment=deployment,
                reason=reason,
                key=f"{deployment}:abandon",
            )
        )

    @DBOS.step(name="release.switch")
    def switch(self, service: str, model: str, deployment: str, cause: str) -> dict[str, str]:
        """Send all traffic to the version: clusters first, then routes."""
        wanted = read_wanted(self._ports.files, service)
        moved = tuple(
            WantedVersion(
                version=item.version,
                artifact=item.artifact,
                bp=FULL_BP if item.deployment == deployment else 0,
                deployment=item.deployment,
            )
            for item in wanted.versions
        )
        write_wanted(self._ports.files, Wanted(service=service, versions=moved))
        self._ports.fleet.refresh()
        new = next(item for item in moved if item.deployment == deployment)
        try:
            self._ports.fleet.wait_live(service, new.version, READY_S)
        except LifecycleError as error:
            return {"state": "failed", "error": str(error), "hint": error.hint}
        self._record(
            self._ports.recorder().deployment_shared(
                service=service,
                deployment=deployment,
                share_bp=FULL_BP,
                key=f"{deployment}:switch",
                health="ready",
            ),
            *(
                self._ports.recorder().deployment_shared(
                    service=service,
                    deployment=item.deployment,
                    share_bp=0,
                    key=f"{deployment}:switch:{item.deployment}",
                    health="warm",
                )
                for item in moved
                if item.deployment != deployment
            ),
        )
        return {}

    @DBOS.step(name="release.retire")
    def retire(self, service: str, model: str, deployment: str) -> None:
        """End the versions that have no traffic any more."""
        wanted = read_wanted(self._ports.files, service)
        old = tuple(item for item in wanted.versions if item.deployment != deployment)
        new = next(item for item in wanted.versions if item.deployment == deployment)
        self._record(
            *(
                self._ports.recorder().deployment_ended(
                    service=service,
                    deployment=item.deployment,
                    reason=f"replaced by {deployment}",
                    superseded_by=deployment,
                    key=f"{deployment}:retire:{item.deployment}",
                )
                for item in old
            )
        )
        write_wanted(self._ports.files, Wanted(service=service, versions=(new,)))
        self._ports.fleet.refresh()

    def _record(self, *events: Event) -> None:
        append_once(self._ports.store, events)
