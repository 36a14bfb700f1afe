"""A throw-away replica of a serving version, where a fault hurts no viewer.

It lies in a home of its own, `<home>/gameday/<id>`: its log, policy and faults are not the
service's, and nothing routes to it. A supervisor of its own keeps it up as the real one would.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_local import VIEWER_KEY
from mlg.adapters.keys_signing import TRUSTED_KEYS
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.loopback_ports import free_port
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_memory import MemoryRouter
from mlg.app.ending import end_all
from mlg.app.load_check import refusal_of
from mlg.app.parts import Parts
from mlg.app.specs import Specs
from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock
from mlg.core.errors import BackendError
from mlg.core.ports import Ids
from mlg.core.processes import ProcessKind, ProcessSpec, ProcessState
from mlg.core.traffic import FULL_BP
from mlg.release.fleet import WantedService, WantedVersion
from mlg.workflows.state import WantedVersion as Serving

FOLDER: Final = "gameday"
_READY_S: Final = 60.0


class Range:
    """One replica of a version, kept up by a supervisor of its own, outside of the traffic.

    Args:
        parts: The instance.
        gameday: Id of the game day; names the folder.
        service: Whose version.
        serving: The version.
        own_copy: Whether it runs a copy of the artifact, so that this can be damaged.
        record: Takes what happens to it.
    """

    def __init__(
        self,
        parts: Parts,
        gameday: str,
        service: str,
        serving: Serving,
        *,
        own_copy: bool,
        record: Callable[[str, ProcessState | None, str], None],
    ) -> None:
        self.home = parts.home / FOLDER / gameday
        self.port = free_port()
        self._clock, self._service, self._version = parts.clock, service, serving.version
        files = LocalFiles(self.home)
        for name in (VIEWER_KEY, TRUSTED_KEYS):
            content = parts.files.read(name)
            if content is not None:
                files.write(name, content, mode=0o600)
        source = parts.artifacts.locate(serving.artifact)
        self.artifact = self.home / "artifact" if own_copy else source
        if own_copy:
            shutil.copytree(source, self.artifact)
        specs = Specs(self.home, parts.files, parts.artifacts, 0, parts.manifests.spec)

        def spec_for(kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
            spec = specs(kind, service, version, n)
            argv = tuple(a.replace(str(source), str(self.artifact)) for a in spec.argv)
            return replace(spec, argv=argv, port=self.port)

        self.launcher = ProcessLauncher(files, parts.clock, parts.ids, self.home)
        self.supervisor = Supervisor(
            launcher=self.launcher,
            router=MemoryRouter(),
            network=HttpNetwork(),
            clock=parts.clock,
            spec_for=spec_for,
            record=record,
            refusal=lambda process: refusal_of(files, process),
        )
        spec = parts.manifests.spec()
        declared = spec.services[service] if spec else None
        resources = declared.resources if declared else None
        self._wanted = WantedService(
            name=service,
            versions=(
                WantedVersion(
                    version=serving.version,
                    artifact=serving.artifact,
                    replicas=1,
                    bp=FULL_BP,
                ),
            ),
            stable=serving.version,
            model=(declared.model if declared else None) or "",
            fallback=False,
            memory_bytes=resources.memory_bytes if resources else None,
        )

    def start(self) -> None:
        """Start the replica and wait until it is ready.

        Raises:
            BackendError: It was not ready in time; it is ended again.
        """
        self.supervisor.want((self._wanted,))
        self.supervisor.start()
        until_s = self._clock.monotonic_s() + _READY_S
        while self.replica() is None:
            if self._clock.monotonic_s() > until_s:
                self.close()
                raise BackendError(
                    f"a throw-away replica of {self._version} was not ready in {_READY_S:g} s",
                    where=f"service {self._service}",
                    hint="see the logs of the service's own replicas in the run folder.",
                )
            self._clock.wait(0.05)

    def replica(self) -> ProcessState | None:
        """Return the replica, if it is ready."""
        return next((p for p in self.supervisor.processes() if p.ready), None)

    def close(self) -> None:
        """End the replica and remove everything of it."""
        self.supervisor.close()
        _remove(self.launcher, self.home)


def end_ranges(home: Path, clock: Clock, ids: Ids) -> None:
    """End and remove what game days of a control plane that died left behind."""
    for folder in sorted((home / FOLDER).glob("*/")):
        _remove(ProcessLauncher(LocalFiles(folder), clock, ids, folder), folder)


def _remove(launcher: ProcessLauncher, home: Path) -> None:
    end_all(launcher, grace_s=1.0)
    shutil.rmtree(home, ignore_errors=True)
