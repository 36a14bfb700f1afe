"""What the gateways should be told of services: where versions listen, and their shares."""

from collections.abc import Iterable, Set
from typing import Final

from mlg.core.traffic import (
    HOLDOUT,
    Endpoint,
    Layer,
    ServiceEndpoints,
    Share,
    TrafficSplit,
    VersionEndpoints,
)
from mlg.release.wanted import (
    Command,
    FleetFacts,
    Group,
    Place,
    Split,
    WantedService,
    WantedVersion,
    group_of,
    number_of,
)

_HOST: Final = "127.0.0.1"


def wanted_endpoints(
    service: WantedService, facts: FleetFacts, draining: Set[str]
) -> ServiceEndpoints:
    """Return where the service's versions should be looked for.

    A version without a ready replica keeps its former endpoints: they fail their health
    checks and the gateway rescues the requests, which costs less than a version that is
    not there. Before its first ready replica a version is left out.
    """
    former = _placed(facts, service.name)
    before = {v.version: v.endpoints for v in former.versions} if former else {}
    versions: list[VersionEndpoints] = []
    for wanted in sorted(service.versions, key=lambda v: v.version):
        group = Group("replica", service.name, wanted.version)
        ready = _ready_endpoints(facts, group, draining) or before.get(wanted.version, ())
        if ready:
            versions.append(VersionEndpoints(version=wanted.version, endpoints=ready))
    known = {v.version for v in versions}
    stable = service.stable if service.stable in known else former.stable if former else None
    fallback = _ready_endpoints(facts, Group("fallback", service.name), draining)
    if not fallback and service.fallback and former:
        fallback = former.fallback
    return ServiceEndpoints(
        service=service.name,
        versions=tuple(versions),
        stable=stable if stable in known else None,
        fallback=fallback,
        traffic=service.traffic,
        model=service.model,
        sticky=service.sticky,
        health_path=service.health_path,
    )


def wanted_split(service: WantedService, facts: FleetFacts) -> TrafficSplit | None:
    """Return the split that can be put in force now, or None when the former one stays.

    Every version with a share must be placed: a share never waits for a replica.
    """
    former = _placed(facts, service.name)
    known = {v.version for v in former.versions} if former else set[str]()
    having = [v for v in service.versions if v.bp]
    own = tuple(Share(version=v.version, bp=v.bp) for v in having if not v.layer)
    if not own or any(v.version not in known for v in having):
        return None
    salts = dict.fromkeys(v.layer for v in having if v.layer)
    return TrafficSplit(
        service=service.name,
        shares=own,
        layers=tuple(
            _layer(salt, [v for v in having if v.layer == salt]) for salt in _in_order(salts)
        ),
        salt=service.salt,
    )


def _layer(salt: str, versions: Iterable[WantedVersion]) -> Layer:
    """Return one layer; where a part has no place of its own, each follows the one before."""
    placed = sorted(versions, key=lambda v: v.begin or 0)
    begins = [v.begin for v in placed if v.begin is not None]
    return Layer(
        salt=salt,
        shares=tuple(Share(version=v.version, bp=v.bp) for v in placed),
        begins=tuple(begins) if len(begins) == len(placed) else (),
    )


def _in_order(salts: Iterable[str]) -> list[str]:
    """Return the layers' salts in the order in which they take viewers: the holdout first."""
    return sorted(salts, key=lambda salt: (salt != HOLDOUT, salt))


def traffic(facts: FleetFacts, draining: Set[str]) -> list[Command]:
    """Return what the gateways must be told; nothing while no gateway listens."""
    gateways = Group("gateway")
    expected = any(w.group == gateways and w.count for w in facts.groups)
    if expected and not any(p.ready for p in facts.processes if group_of(p) == gateways):
        return []
    commands: list[Command] = []
    for service in facts.services:
        endpoints = wanted_endpoints(service, facts, draining)
        placed = _placed(facts, service.name)
        if endpoints != placed and (endpoints.versions or endpoints.fallback):
            commands.append(Place(endpoints=endpoints))
        split = wanted_split(service, facts)
        if split is not None and split != split_of(facts, service.name):
            commands.append(Split(split=split))
    names = {service.name for service in facts.services}
    for placed in facts.placed:
        if placed.service not in names:
            nothing = ServiceEndpoints(
                service=placed.service, versions=(), stable=None, fallback=()
            )
            commands.append(Place(endpoints=nothing))
    return commands


def _ready_endpoints(
    facts: FleetFacts, group: Group, draining: Set[str]
) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(host=_HOST, port=p.port)
        for p in sorted(facts.processes, key=number_of)
        if group_of(p) == group and p.alive and p.ready and p.id not in draining
    )


def _placed(facts: FleetFacts, service: str) -> ServiceEndpoints | None:
    return next((p for p in facts.placed if p.service == service), None)


def split_of(facts: FleetFacts, service: str) -> TrafficSplit | None:
    """Return the split of a service that is in force."""
    return next((s for s in facts.splits if s.service == service), None)
