"""The whole mesh as one value, what it looks like to Envoy, and how its counters read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from mlg.core.traffic import (
    FULL_BP,
    Endpoint,
    ServiceEndpoints,
    TrafficSplit,
    VersionEndpoints,
)
from mlg.mesh.resources import (
    FALLBACK,
    Resource,
    assignment,
    cluster,
    cluster_name,
    refusal,
    route,
    route_configuration,
    service_action,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One service as the gateway holds it."""

    endpoints: ServiceEndpoints
    split: TrafficSplit | None = None
    retained: tuple[VersionEndpoints, ...] = ()
    """Versions that left `endpoints` while the split still sends them traffic."""

    @property
    def versions(self) -> tuple[VersionEndpoints, ...]:
        """Every version that has a cluster."""
        return (*self.endpoints.versions, *self.retained)

    @property
    def empty(self) -> bool:
        """Whether nothing is left that could answer: the service is taken away."""
        return not (self.endpoints.versions or self.endpoints.fallback)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshState:
    """Everything that is placed, sorted by service."""

    services: tuple[Placed, ...] = ()

    def service(self, name: str) -> Placed | None:
        """Return one service, or None."""
        return next((p for p in self.services if p.endpoints.service == name), None)

    def placed(self, endpoints: ServiceEndpoints) -> "MeshState":
        """Return the mesh with these endpoints; versions under traffic stay until it leaves."""
        name = endpoints.service
        former = self.service(name)
        split = former.split if former else None
        kept: tuple[VersionEndpoints, ...] = ()
        if former and split:
            under_traffic = {share.version for share in split.shares if share.bp}
            wanted = {v.version for v in endpoints.versions}
            kept = tuple(
                v
                for v in former.versions
                if v.version in under_traffic and v.version not in wanted
            )
        placed = Placed(endpoints=endpoints, split=split, retained=kept)
        others = [p for p in self.services if p.endpoints.service != name]
        if placed.empty:
            return MeshState(services=tuple(others))
        return MeshState(services=_sorted([*others, placed]))

    def split_by(self, split: TrafficSplit) -> "MeshState":
        """Return the mesh with this split; versions that nothing needs any more are dropped."""
        services: list[Placed] = []
        under_traffic = {share.version for share in split.shares if share.bp}
        for placed in self.services:
            if placed.endpoints.service != split.service:
                services.append(placed)
                continue
            kept = tuple(v for v in placed.retained if v.version in under_traffic)
            services.append(replace(placed, split=split, retained=kept))
        return MeshState(services=_sorted(services))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSnapshot:
    """The files that say to Envoy what a mesh state means."""

    clusters: tuple[Resource, ...]
    assignments: tuple[tuple[str, Resource], ...]
    """Cluster name and its endpoints, sorted by name."""
    routes: Resource


def beside(former: MeshState, wanted: MeshState, service: str) -> MeshState:
    """Return the wanted mesh with all that the service had still in it.

    What is put in force first, so that the new is healthy before the old is taken away.
    """
    old, new = former.service(service), wanted.service(service)
    if old is None or new is None:
        return wanted if old is None else former
    before = {v.version: v.endpoints for v in old.versions}
    after = {v.version: v.endpoints for v in new.versions}
    versions = tuple(
        VersionEndpoints(
            version=version,
            endpoints=_together(before.get(version, ()), after.get(version, ())),
        )
        for version in sorted({*before, *after})
    )
    endpoints = replace(
        new.endpoints,
        versions=versions,
        stable=new.endpoints.stable or old.endpoints.stable,
        fallback=_together(old.endpoints.fallback, new.endpoints.fallback),
    )
    others = [p for p in wanted.services if p.endpoints.service != service]
    return MeshState(
        services=_sorted([*others, replace(new, endpoints=endpoints, retained=())])
    )


def render(state: MeshState, *, folder: str) -> MeshSnapshot:
    """Return clusters, endpoints and routes of a mesh.

    Args:
        state: What is placed.
        folder: Folder of the xDS files, as the gateway sees it.
    """
    clusters: list[Resource] = []
    assignments: list[tuple[str, Resource]] = []
    for placed in state.services:
        for version, tiers in cluster_tiers(placed):
            name = cluster_name(placed.endpoints.service, version)
            clusters.append(
                cluster(
                    name,
                    eject=version in (placed.endpoints.stable, FALLBACK),
                    folder=folder,
                    file=endpoints_file(name),
                    health_path=placed.endpoints.health_path,
                )
            )
            assignments.append((name, assignment(name, tiers)))
    clusters.sort(key=lambda resource: str(resource["name"]))
    return MeshSnapshot(
        clusters=tuple(clusters),
        assignments=tuple(sorted(assignments, key=lambda pair: pair[0])),
        routes=route_configuration(_routes(state)),
    )


def cluster_tiers(placed: Placed) -> tuple[tuple[str, tuple[tuple[Endpoint, ...], ...]], ...]:
    """Return each cluster's endpoints by priority: its version, the stable one, popularity."""
    by_version = {v.version: v.endpoints for v in placed.versions}
    stable = by_version.get(placed.endpoints.stable or "", ())
    fallback = placed.endpoints.fallback
    tiers = [(v, (own, stable, fallback)) for v, own in sorted(by_version.items())]
    if fallback:
        tiers.append((FALLBACK, (fallback, stable, ())))
    return tuple(tiers)


def shares_in_hash_order(
    split: TrafficSplit, stable: str | None
) -> tuple[tuple[str, int], ...]:
    """Return the shares so that a growing one keeps its viewers, without empty shares.

    A viewer's key falls on a place of 0..9999 and the shares lie there side by side. With
    the stable version between the others, a canary grows from one end and a control from
    the other, and neither moves the other's viewers.

    Examples:
        >>> from mlg.core.traffic import Share
        >>> split = TrafficSplit(service="home", shares=(Share(version="a", bp=50),
        ...     Share(version="b", bp=9900), Share(version="c", bp=50)))
        >>> shares_in_hash_order(split, "b")
        (('a', 50), ('b', 9900), ('c', 50))
    """
    middle = [share for share in split.shares if share.version == stable]
    others = [share for share in split.shares if share.version != stable]
    ordered = (*others[0::2], *middle, *reversed(others[1::2]))
    return tuple((share.version, share.bp) for share in ordered if share.bp)


def endpoints_file(cluster_name: str) -> str:
    """Return the name of the file with a cluster's endpoints."""
    return f"eds-{quote(cluster_name, safe='@')}.json"


def discovery_file(resources: Sequence[Resource]) -> tuple[str, bytes]:
    """Return the version and the bytes of one xDS file; equal resources, equal version."""
    body = json.dumps(list(resources), sort_keys=True, separators=(",", ":"))
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return version, f'{{"version_info":"{version}","resources":{body}}}'.encode()


def _routes(state: MeshState) -> list[Resource]:
    routes: list[Resource] = []
    models: dict[str, Resource] = {}
    for placed in state.services:
        service = placed.endpoints
        action = service_action(service, _weights(placed)) if _weights(placed) else None
        where = {"path_separated_prefix": f"/v1/services/{quote(service.service)}"}
        sticky = "" if service.health_path else service.sticky
        routes.append(_to(where, action, service.service, sticky=sticky))
        if service.health_path:
            continue  # it speaks no Open Inference Protocol
        model = {
            "path_separated_prefix": f"/v2/models/{quote(service.model or service.service)}"
        }
        models.setdefault(str(model), _to(model, action, service.service))
        models.setdefault("health", _to({"prefix": "/v2/health/"}, action, service.service))
    routes.extend(models.values())
    routes.append(refusal({"prefix": "/"}, 404, "no service or model at this path"))
    return routes


def _to(match: Resource, action: Resource | None, service: str, sticky: str = "") -> Resource:
    if action is None:
        return refusal(match, 503, f"service {service} has nothing that could answer yet")
    return route(match, action, sticky=sticky)


def _weights(placed: Placed) -> tuple[tuple[str, int], ...]:
    if placed.split is not None:
        return shares_in_hash_order(placed.split, placed.endpoints.stable)
    return ((FALLBACK, FULL_BP),) if placed.endpoints.fallback else ()


def _together(
    before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]
) -> tuple[Endpoint, ...]:
    return (*before, *(endpoint for endpoint in after if endpoint not in before))


def _sorted(services: Sequence[Placed]) -> tuple[Placed, ...]:
    return tuple(sorted(services, key=lambda placed: placed.endpoints.service))
