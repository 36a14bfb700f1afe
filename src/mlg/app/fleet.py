"""The wanted state of an instance, from its files to the supervisor."""

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from mlg.adapters.keys_signing import TRUSTED_KEYS
from mlg.adapters.router_envoy import gateway_spec
from mlg.app.data_plane import THREAD_ENV
from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, NotFoundError, RefusedError
from mlg.core.ports import ArtifactStore, Files
from mlg.core.processes import ProcessKind, ProcessSpec
from mlg.core.traffic import FULL_BP, version_of
from mlg.core.uris import Digest
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_services import CanarySpec, ServiceSpec
from mlg.mesh.policy import traffic_policy
from mlg.release.fleet import Group, WantedService, WantedVersion
from mlg.release.wanted import group_of, process_id
from mlg.workflows.packaged import read_packaged
from mlg.workflows.state import Wanted, read_wanted
from mlg.workflows.state import WantedVersion as ToRun


class WantedFleet:
    """Turns the manifest and the `wanted.json` files into what the supervisor keeps running.

    Args:
        files: The instance's small files.
        supervisor: Keeps processes as they are wanted.
        clock: Deadlines.
        manifest: The manifest in force, or None before the first apply.
    """

    def __init__(
        self,
        files: Files,
        supervisor: Callable[[], Supervisor],
        clock: Clock,
        manifest: Callable[[], ManifestSpec | None],
    ) -> None:
        self._files, self._supervisor, self._clock = files, supervisor, clock
        self._manifest = manifest

    def refresh(self) -> None:
        """Read the wanted state again and act on it."""
        spec = self._manifest()
        services = spec.services if spec else {}
        self._supervisor().want(
            tuple(self._service(spec, name) for name in sorted(services) if spec)
        )

    def wait_ready(self, service: str, version: str, deadline_s: float) -> None:
        """Return once every wanted replica of the version is warm.

        Raises:
            BackendError: Not in time, or they end as they start.
            RefusedError: They refuse to load it.
            NotFoundError: No such service.
        """
        spec = self._manifest()
        if spec is None or service not in spec.services:
            raise NotFoundError(f"no service {service!r}", hint="mlg status lists them.")
        wanted = spec.services[service].replicas
        group = Group("replica", service, version)
        until_s = self._clock.monotonic_s() + deadline_s
        while True:
            processes = [p for p in self._supervisor().processes() if group_of(p) == group]
            ready = sum(p.ready for p in processes)
            if ready >= wanted:
                return
            if why := dict(self._supervisor().refusals()).get(group):
                raise RefusedError(
                    f"replicas of {version} refuse to load it: {why}",
                    where=f"service {service}",
                )
            crashes = dict(self._supervisor().looping()).get(group, 0)
            if crashes:
                raise BackendError(
                    f"replicas of {version} end as they start ({crashes} times)",
                    where=f"service {service}",
                    hint="see the replicas' logs in the home's run folder.",
                )
            if self._clock.monotonic_s() > until_s:
                raise BackendError(
                    f"{ready} of {wanted} replicas of {version} were ready in {deadline_s:g} s",
                    where=f"service {service}",
                    hint="see the replicas' logs in the home's run folder.",
                )
            self._clock.wait(0.05)

    def wait_live(self, service: str, version: str, deadline_s: float) -> None:
        """Return once viewers are answered by the version; raises as the supervisor does."""
        self._supervisor().wait_live(service, version, deadline_s)

    def _service(self, spec: ManifestSpec, name: str) -> WantedService:
        service = spec.services[name]
        wanted = read_wanted(self._files, name)
        stable = wanted.stable
        return WantedService(
            name=name,
            versions=tuple(
                WantedVersion(
                    version=item.version,
                    artifact=item.artifact,
                    replicas=service.replicas,
                    bp=item.bp,
                )
                for item in wanted.versions
            ),
            stable=stable.version if stable and stable.bp == FULL_BP else None,
            model=service.model or "",
            memory_bytes=service.resources.memory_bytes if service.resources else None,
            sticky=_sticky(service),
            traffic=traffic_policy(service),
        )


class Specs:
    """How each process of the data plane is started."""

    def __init__(
        self,
        home: Path,
        files: Files,
        artifacts: ArtifactStore,
        gateway_port: int,
        manifest: Callable[[], ManifestSpec | None],
    ) -> None:
        self._home, self._files, self._artifacts = home, files, artifacts
        self._gateway_port, self._manifest = gateway_port, manifest

    def __call__(self, kind: ProcessKind, service: str, version: str, n: int) -> ProcessSpec:
        """Return the specification of process number `n` of the group.

        Raises:
            NotFoundError: The service is not in the manifest, or the version not wanted.
        """
        id_ = process_id(Group(kind, service, version), n)
        if kind == "gateway":
            # what gateway 1 is started with; the others differ in the names of their files only
            told = self._files.read(f"gateway/{process_id(Group(kind), 1)}.json") or b""
            digest = sha256(f"{self._gateway_port}\0".encode() + told).hexdigest()
            return gateway_spec(self._home / "gateway", id_, self._gateway_port, digest=digest)
        spec = self._manifest()
        if spec is None or service not in spec.services:
            raise NotFoundError(f"no service {service!r} in the manifest")
        declared = spec.services[service]
        wanted = read_wanted(self._files, service)
        argv = [
            sys.executable, "-m", f"mlg.app.{kind}", "--home", str(self._home),
            "--service", service, "--clock", declared.clock,
        ]  # fmt: skip
        memory_bytes, brought_by = None, ""
        if kind == "replica":
            argv += ["--model", declared.model or service, "--version", version_of(version)]
            if version_of(version) != version:
                argv += ["--arm", version]
            found = _wanted_version(wanted, version)
            argv += self._model(found.artifact)
            brought_by = found.deployment
            memory_bytes = declared.resources.memory_bytes if declared.resources else None
        elif wanted.stable is not None:
            argv += self._model(wanted.stable.artifact)
        # other trusted keys are another check, so what runs is replaced; and what one
        # rollout's replicas refused, the next one's look at again
        keys = (self._files.read(TRUSTED_KEYS) or b"").decode(errors="replace")
        told = [*argv, str(memory_bytes), self._restart(service), keys, brought_by]
        digest = sha256("\0".join(told).encode())
        return ProcessSpec(
            id=id_,
            kind=kind,
            argv=(*argv, "--id", id_),
            env=THREAD_ENV,
            service=service,
            version=version,
            digest=digest.hexdigest(),
            memory_bytes=memory_bytes,
        )

    def _model(self, artifact: Digest) -> list[str]:
        """Return where a model and its signature are; the process checks both as it loads."""
        packaged = read_packaged(self._files, artifact[:12])
        found = ["--artifact", str(self._artifacts.locate(artifact)), "--digest", artifact]
        if packaged is not None and packaged.signature is not None:
            found += ["--signature", str(self._artifacts.locate(packaged.signature))]
        return found

    def _restart(self, service: str) -> str:
        """Return the mark of the last asked-for restart; another mark replaces replicas."""
        return (self._files.read(f"services/{service}/restart") or b"").decode()


def _sticky(service: ServiceSpec) -> str:
    """Return the declared field of the request by which a viewer stays with one version."""
    canary = service.rollout.canary if service.rollout else None
    return (canary or CanarySpec()).sticky


def _wanted_version(wanted: Wanted, version: str) -> ToRun:
    for item in wanted.versions:
        if item.version == version:
            return item
    raise NotFoundError(f"version {version} is not wanted", where=wanted.service)
