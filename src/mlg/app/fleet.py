"""The wanted state of an instance, from its files to the supervisor."""

from collections.abc import Callable

from mlg.app.specs import has_list
from mlg.app.supervise import Supervisor
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, NotFoundError, RefusedError
from mlg.core.ports import Files
from mlg.core.traffic import FULL_BP
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_services import CanarySpec, ServiceSpec
from mlg.mesh.policy import traffic_policy
from mlg.release.fleet import Group, WantedService, WantedVersion
from mlg.release.wanted import group_of
from mlg.workflows.state import read_wanted


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
            held = self._supervisor().waiting(service)
            if held and self._clock.monotonic_s() > until_s:
                raise BackendError(
                    f"the service waits for others: {' '.join(held)}",
                    where=f"service {service}",
                    hint="bring up what it depends on first; mlg status says how it stands.",
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
                    layer=item.layer,
                    begin=item.begin,
                )
                for item in wanted.versions
            ),
            salt=wanted.salt,
            stable=stable.version if stable and stable.bp == FULL_BP else None,
            model=service.model or "",
            fallback=has_list(service, wanted),
            memory_bytes=service.resources.memory_bytes if service.resources else None,
            sticky=_sticky(service),
            depends_on=service.depends_on,
            health_path=service.health if service.command is not None else "",
            traffic=traffic_policy(service),
        )


def _sticky(service: ServiceSpec) -> str:
    """Return the declared field of the request by which a viewer stays with one version."""
    canary = service.rollout.canary if service.rollout else None
    return (canary or CanarySpec()).sticky
