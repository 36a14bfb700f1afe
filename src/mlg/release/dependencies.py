"""Which services wait for others before their first replica is started: pure decisions.

A dependency orders the start only. A service that has begun goes on, and its replicas are
restarted, whatever becomes of what it depends on: two services that are down are not better
than one. Popularity servers wait for nobody, so viewers are answered meanwhile.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mlg.core.processes import ProcessState
from mlg.core.traffic import ServiceEndpoints
from mlg.release.wanted import FleetFacts, Group, WantedService, group_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One service that is not started yet."""

    service: str
    reasons: tuple[str, ...]
    """What is missing, one sentence a dependency."""


def order(
    begun: Collection[str], facts: FleetFacts
) -> tuple[tuple[str, ...], tuple[Waiting, ...]]:
    """Return the services that have begun, and those that wait for others.

    A service begins when everything that it depends on is healthy, and has begun already
    when one of its replicas is there, such as after a restart of the control plane. One
    without a version has nothing to begin with.

    Args:
        begun: What the last call returned.
        facts: What is so.
    """
    there = {p.service for p in facts.processes if p.kind == "replica" and p.alive}
    now: list[str] = []
    waits: list[Waiting] = []
    for service in facts.services:
        if not service.versions or not service.depends_on:
            continue
        reasons = [why for one in service.depends_on if (why := _unhealthy(one, facts))]
        if service.name in begun or service.name in there or not reasons:
            now.append(service.name)
        else:
            waits.append(Waiting(service=service.name, reasons=tuple(reasons)))
    return tuple(sorted(now)), tuple(sorted(waits, key=lambda one: one.service))


def _unhealthy(name: str, facts: FleetFacts) -> str:
    """Return why a service is not healthy, as one sentence; empty when it is.

    Healthy is who has, for each version with a share, a replica that is ready and that the
    gateway knows, where there is one.
    """
    service = next((s for s in facts.services if s.name == name), None)
    serving = _serving(service)
    if service is None or not serving:
        return f"{name} has no version that serves yet."
    gateways = any(w.group == Group("gateway") and w.count for w in facts.groups)
    placed = next((p for p in facts.placed if p.service == name), None)
    for version in serving:
        ready = [
            p
            for p in facts.processes
            if p.ready and group_of(p) == Group("replica", name, version)
        ]
        if not ready:
            return f"{name} has no ready replica of {version}."
        if gateways and not _known(ready, version, placed):
            return f"{name} is ready, and not in the gateway yet."
    return ""


def _serving(service: WantedService | None) -> tuple[str, ...]:
    return tuple(v.version for v in service.versions if v.bp) if service else ()


def _known(
    ready: Sequence[ProcessState], version: str, placed: ServiceEndpoints | None
) -> bool:
    """Whether the gateway has one of these replicas as an endpoint of the version."""
    ports = {
        endpoint.port
        for one in (placed.versions if placed else ())
        if one.version == version
        for endpoint in one.endpoints
    }
    return any(p.port in ports for p in ready)
