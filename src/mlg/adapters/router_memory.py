"""Traffic routing that only remembers, for tests and the simulator."""

from typing import TYPE_CHECKING

from mlg.core.errors import BackendError, NotFoundError
from mlg.core.traffic import Attempts, Endpoint, ServiceEndpoints, TrafficSplit
from mlg.mesh.snapshot import MeshState

if TYPE_CHECKING:
    from mlg.core.ports import TrafficRouter


class MemoryRouter:
    """Keeps the mesh as a value; lost when the process ends.

    Endpoints in `unhealthy` never become healthy; `count` stands in for traffic.
    """

    def __init__(self) -> None:
        self.state = MeshState()
        self.unhealthy: set[Endpoint] = set()
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def place(self, endpoints: ServiceEndpoints) -> None:
        for version in endpoints.versions:
            if not set(version.endpoints) - self.unhealthy:
                raise BackendError(
                    f"version {version.version} has no healthy replica",
                    where=f"service {endpoints.service}",
                    hint="see the log of its replicas",
                )
        self.state = self.state.placed(endpoints)

    def apply(self, split: TrafficSplit) -> None:
        placed = self.state.service(split.service)
        known = {v.version for v in placed.versions} if placed else set[str]()
        for share in split.everything:
            if share.version not in known:
                raise NotFoundError(
                    f"version {share.version} was not placed",
                    where=f"service {split.service}",
                    hint="place its endpoints first",
                )
        self.state = self.state.split_by(split)

    def observed(self, service: str) -> TrafficSplit | None:
        placed = self.state.service(service)
        return placed.split if placed else None

    def attempts(self, service: str) -> tuple[Attempts, ...]:
        placed = self.state.service(service)
        versions = sorted(v.version for v in placed.versions) if placed else []
        return tuple(
            Attempts(service=service, version=v, total=total, errors=errors)
            for v in versions
            for total, errors in [self._counts.get((service, v), (0, 0))]
        )

    def count(self, service: str, version: str, *, total: int, errors: int = 0) -> None:
        """Add attempts, as traffic would."""
        before = self._counts.get((service, version), (0, 0))
        self._counts[service, version] = (before[0] + total, before[1] + errors)


if TYPE_CHECKING:
    _: TrafficRouter = MemoryRouter()
