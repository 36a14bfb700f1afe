"""What Envoy's counters say, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlg.core.traffic import Endpoint
from mlg.mesh.resources import FALLBACK, LIMITED, SHADOW, cluster_name, split_cluster_name
from mlg.mesh.sources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCount:
    """One gateway's counters of one address in one cluster."""

    cluster: str
    endpoint: Endpoint
    answered: int
    """Attempts that ended with an answer below 500."""
    errors: int
    """Attempts that ended otherwise; refused connections too, which `rq_total` leaves out."""
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
                    answered=stats.get("rq_success", 0),
                    errors=stats.get("rq_error", 0),
                    healthy=not health.get("failed_active_health_check", False),
                )
            )
    return tuple(hosts)


NO_VERSION: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Viewer requests that were assigned to a version and ended with a code, each one once."""

    service: str
    version: str
    """`fallback` while the service has no version, `none` for what a rate limit refused."""
    code: int
    total: int


Group = tuple[str, str, str]
"""What is added up together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One counter of one source, as it stands."""

    counter: str
    """Its name, unique in the source."""
    group: Group
    value: int


def request_readings(stats: Mapping[str, Any]) -> list[Reading]:
    """Return the requests in an answer of the admin page `/stats?format=json`.

    Groups are (service, assigned version, code). `cluster.X.upstream_rq_<code>` counts an
    answer as the viewer got it, whichever priority gave it and after however many attempts;
    what overflowed is of the version that it was meant for. Copies are no viewers' requests.
    What a rate limit refused was assigned to no version: `none`, 429.
    """
    found: list[Reading] = []
    for stat in stats.get("stats", ()):
        name = str(stat.get("name", ""))
        limited = name.removesuffix(".http_local_rate_limit.rate_limited")
        if limited != name and limited.startswith(LIMITED):
            group = (limited.removeprefix(LIMITED), NO_VERSION, "429")
            found.append(Reading(counter=name, group=group, value=int(stat["value"])))
            continue
        head, _, code = name.removeprefix("cluster.").rpartition(".upstream_rq_")
        service, version, role = split_cluster_name(head)
        # `home@3f2a.external.upstream_rq_200` counts the same requests once more
        ours = service and role != SHADOW and "." not in f"{version}{role}"
        if ours and len(code) == 3 and code.isdigit():
            group = (service, version, code)
            found.append(Reading(counter=name, group=group, value=int(stat["value"])))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReading:
    """Where the counters of one source stood when they were last read."""

    source: str
    run: str
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsRecord:
    """All that must be kept for the sums to go on after a restart of who adds them up."""

    last: tuple[LastReading, ...] = ()
    sums: tuple[tuple[Group, int], ...] = ()


class Totals:
    """Sums of counters that begin again at 0 when their source, or the counter, does.

    Args:
        record: Where an earlier one stopped.
    """

    def __init__(self, record: TotalsRecord | None = None) -> None:
        kept = record or TotalsRecord()
        self._last = {seen.source: (seen.run, dict(seen.values)) for seen in kept.last}
        self._sums = dict(kept.sums)

    def see(self, source: str, run: str, readings: Sequence[Reading]) -> None:
        """Add what the counters grew by since they were last seen.

        Args:
            source: Who counts, a gateway.
            run: Name of its present life; in another one all counters began at 0.
            readings: All its counters; one that is missing is gone and would begin at 0.
        """
        former_run, former = self._last.get(source, ("", {}))
        if former_run != run:
            former = {}
        for reading in readings:
            last = former.get(reading.counter, 0)
            grown = reading.value - last if reading.value >= last else reading.value
            self._sums[reading.group] = self._sums.get(reading.group, 0) + grown
        self._last[source] = (run, {r.counter: r.value for r in readings})

    def of(self, group: Group) -> int:
        """Return a group's sum; 0 for one never seen."""
        return self._sums.get(group, 0)

    def all(self) -> list[tuple[Group, int]]:
        """Return every group with its sum, sorted."""
        return sorted(self._sums.items())

    def record(self) -> TotalsRecord:
        """Return what another one needs to go on from here."""
        return TotalsRecord(
            last=tuple(
                LastReading(source=source, run=run, values=tuple(sorted(values.items())))
                for source, (run, values) in sorted(self._last.items())
            ),
            sums=tuple(self.all()),
        )


def attempt_readings(
    hosts: Sequence[HostCount], owners: Mapping[Endpoint, tuple[str, str]]
) -> list[Reading]:
    """Return the attempts in one gateway's host counters.

    Groups are (service, version, `answered`, `errors` or `rescued`). An attempt counts for
    the version whose replica was asked, in whichever cluster: the stable version's cluster
    is not the only one that asks stable replicas. What another's replica, or the popularity
    list, answered in a version's cluster, or in its overflow, is a rescue of that version.
    Copies are `shadowed`, of them `shadow_errors`, and no attempts.

    Args:
        hosts: All hosts of all clusters.
        owners: Service and version of each replica's address.
    """
    readings: list[Reading] = []
    for host in hosts:
        service, version, role = split_cluster_name(host.cluster)
        if not service:
            continue
        name = f"{host.cluster} {host.endpoint.host}:{host.endpoint.port}"
        if role == SHADOW:
            copies = (
                ("shadowed", host.answered + host.errors),
                ("shadow_errors", host.errors),
            )
            readings += [
                Reading(counter=f"{name} {what}", group=(service, version, what), value=value)
                for what, value in copies
            ]
            continue
        owner = owners.get(host.endpoint)
        if owner is not None:
            for what, value in (("answered", host.answered), ("errors", host.errors)):
                readings.append(
                    Reading(counter=f"{name} {what}", group=(*owner, what), value=value)
                )
        if owner != (service, version) and version != FALLBACK:
            group = (service, version, "rescued")
            readings.append(
                Reading(counter=f"{name} rescued", group=group, value=host.answered)
            )
    return readings


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
