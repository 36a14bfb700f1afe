"""What Envoy's counters say, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlg.core.traffic import Endpoint
from mlg.mesh.resources import Resource, cluster_name, split_cluster_name


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCount:
    """One gateway's counters of one address in one cluster."""

    cluster: str
    endpoint: Endpoint
    total: int
    errors: int
    healthy: bool


def read_hosts(clusters: Mapping[str, Any]) -> tuple[HostCount, ...]:
    """Return the hosts in an answer of the admin page `/clusters?format=json`."""
    hosts: list[HostCount] = []
    for status in clusters.get("cluster_statuses", ()):
        for host in status.get("host_statuses", ()):
            address = host["address"]["socket_address"]
            stats = {s["name"]: int(s.get("value", 0)) for s in host.get("stats", ())}
            health = host.get("health_status", {})
            hosts.append(
                HostCount(
                    cluster=str(status["name"]),
                    endpoint=Endpoint(
                        host=str(address["address"]), port=int(address["port_value"])
                    ),
                    total=stats.get("rq_total", 0),
                    errors=stats.get("rq_error", 0),
                    healthy=not health.get("failed_active_health_check", False),
                )
            )
    return tuple(hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Viewer requests that were assigned to a version and ended with a code, each one once."""

    service: str
    version: str
    """`fallback` while the service has no version."""
    code: int
    total: int


def read_requests(stats: Mapping[str, Any]) -> tuple[Requests, ...]:
    """Return the requests in an answer of the admin page `/stats?format=json`.

    `cluster.X.upstream_rq_<code>` counts an answer as the viewer got it, whichever
    priority gave it and after however many attempts.
    """
    found: list[Requests] = []
    for stat in stats.get("stats", ()):
        name = str(stat.get("name", ""))
        head, _, code = name.removeprefix("cluster.").rpartition(".upstream_rq_")
        service, version = split_cluster_name(head)
        # `home@3f2a.external.upstream_rq_200` counts the same requests once more
        if service and "." not in version and len(code) == 3 and code.isdigit():
            found.append(
                Requests(
                    service=service, version=version, code=int(code), total=int(stat["value"])
                )
            )
    return tuple(found)


class Totals:
    """Sums of counters that begin again at 0 when their owner does."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], int] = {}
        self._sums: dict[tuple[str, str, str], int] = {}

    def see(self, counter: tuple[str, ...], group: tuple[str, str, str], value: int) -> None:
        """Add what a counter grew by to its group; a fall means that it began again."""
        last = self._last.get(counter, 0)
        grown = value - last if value >= last else value
        self._last[counter] = value
        self._sums[group] = self._sums.get(group, 0) + grown

    def of(self, group: tuple[str, str, str]) -> int:
        """Return a group's sum; 0 for one never seen."""
        return self._sums.get(group, 0)

    def all(self) -> list[tuple[tuple[str, str, str], int]]:
        """Return every group with its sum, sorted."""
        return sorted(self._sums.items())


def are_healthy(
    hosts: Sequence[HostCount],
    service: str,
    version: str,
    endpoints: Sequence[Endpoint],
    *,
    some: bool,
) -> bool:
    """Whether some, or all, of the endpoints are healthy in their version's own cluster."""
    name = cluster_name(service, version)
    healthy = {host.endpoint for host in hosts if host.cluster == name and host.healthy}
    return bool(healthy & set(endpoints)) if some else healthy >= set(endpoints)


def addresses(resource: Resource) -> list[Endpoint]:
    """Return the addresses in an endpoints' resource."""
    return [
        Endpoint(host=address["address"], port=address["port_value"])
        for locality in resource["endpoints"]
        for host in locality["lb_endpoints"]
        for address in [host["endpoint"]["address"]["socket_address"]]
    ]
