"""The whole mesh as one value, what it looks like to Envoy, and how its counters read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
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
    OVERFLOW,
    SHADOW,
    assignment,
    cluster,
    cluster_name,
    rate_limit,
    refusal,
    route,
    route_configuration,
    service_action,
)
from mlg.mesh.sources import Resource, Sources
from mlg.mesh.split import Way

_SERVER: Final = ("/v2", "/v2/")
"""Where the Open Inference Protocol's server metadata are asked."""
_GET: Final = [{"name": ":method", "string_match": {"exact": "GET"}}]


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
            under_traffic = {share.version for share in split.everything if share.bp}
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
        under_traffic = {share.version for share in split.everything if share.bp}
        for placed in self.services:
            if placed.endpoints.service != split.service:
                services.append(placed)
                continue
            kept = tuple(v for v in placed.retained if v.version in under_traffic)
            services.append(replace(placed, split=split, retained=kept))
        return MeshState(services=_sorted(services))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSnapshot:
    """The resources that say to Envoy what a mesh state means."""

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


def render(state: MeshState, *, sources: Sources, gateways: int = 2) -> MeshSnapshot:
    """Return clusters, endpoints and routes of a mesh.

    Args:
        state: What is placed.
        sources: Where a gateway finds a cluster's endpoints.
        gateways: How many share the viewers, and a service's rate limit.
    """
    clusters: list[Resource] = []
    assignments: list[tuple[str, Resource]] = []
    for placed in state.services:
        for tiers in cluster_tiers(placed):
            by_priority = assignment(tiers.cluster, tiers.endpoints)
            clusters.append(
                cluster(
                    tiers.cluster,
                    eject=tiers.eject,
                    endpoints=sources.endpoints(tiers.cluster),
                    in_flight=placed.endpoints.traffic.in_flight,
                    rescued=len(by_priority["endpoints"]) > 1,
                    health_path=placed.endpoints.health_path,
                )
            )
            assignments.append((tiers.cluster, by_priority))
    clusters.sort(key=lambda resource: str(resource["name"]))
    return MeshSnapshot(
        clusters=tuple(clusters),
        assignments=tuple(sorted(assignments, key=lambda pair: pair[0])),
        routes=route_configuration(_routes(state, gateways)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """One cluster's endpoints by priority, and how much it is given."""

    cluster: str
    endpoints: tuple[tuple[Endpoint, ...], ...]
    limit: int
    """Requests of one gateway under way at once; grows with the replicas."""
    eject: bool
    """Whether failing hosts are left out for a while."""


def cluster_tiers(placed: Placed) -> tuple[Tiers, ...]:
    """Return a service's clusters.

    A version's own cluster is rescued by the stable version and then by the popularity list;
    its overflow begins at the list. Copies of requests are rescued by nobody.
    """
    name, policy = placed.endpoints.service, placed.endpoints.traffic
    by_version = {v.version: v.endpoints for v in placed.versions}
    stable = by_version.get(placed.endpoints.stable or "", ())
    listed = placed.endpoints.fallback

    def tiers(
        version: str, role: str, *endpoints: tuple[Endpoint, ...], eject: bool = False
    ) -> Tiers:
        return Tiers(
            cluster=cluster_name(name, version, role),
            endpoints=endpoints,
            limit=policy.in_flight * max(1, len(endpoints[0])),
            eject=eject,
        )

    found: list[Tiers] = []
    for version, own in sorted(by_version.items()):
        eject = version == placed.endpoints.stable
        found.append(tiers(version, "", own, stable, listed, eject=eject))
        if listed:
            found.append(tiers(version, OVERFLOW, listed, stable, eject=True))
        if policy.shadow_bp:
            found.append(tiers(version, SHADOW, own))
    if listed:
        found.append(tiers(FALLBACK, "", listed, stable, eject=True))
    return tuple(found)


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


def discovery_file(resources: Sequence[Resource]) -> tuple[str, bytes]:
    """Return the version and the bytes of one xDS file; equal resources, equal version."""
    body = json.dumps(list(resources), sort_keys=True, separators=(",", ":"))
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return version, f'{{"version_info":"{version}","resources":{body}}}'.encode()


def _routes(state: MeshState, gateways: int) -> list[Resource]:
    routes: list[Resource] = []
    models: dict[str, Resource] = {}
    for placed in state.services:
        service = placed.endpoints
        ways = _ways(placed)
        limit = service.traffic.rate_limit
        limited = rate_limit(service.service, limit, gateways) if limit else None
        shadows = _shadows(placed)

        def to(
            match: Resource,
            *,
            high: bool = False,
            sticky: str = "",
            limited: Resource | None = None,
            shadows: Sequence[str] = (),
            service: ServiceEndpoints = service,
            ways: Sequence[Way] = ways,
        ) -> Resource:
            if not ways:
                what = f"service {service.service} has nothing that could answer yet"
                return refusal(match, 503, what)
            if high:  # small, and never where another server cannot answer it
                ways = [replace(way, overflow="", limit=0) for way in ways]
            strip = f"/v1/services/{service.service}" if service.health_path else ""
            action = service_action(
                service.traffic, ways, high=high, shadows=shadows, strip=strip
            )
            return route(match, action, sticky=sticky, limited=limited)

        prefix = f"/v1/services/{quote(service.service)}"
        if service.health_path:  # no body is looked into, and no other protocol spoken
            routes.append(to({"path_separated_prefix": prefix}, limited=limited))
            continue
        routes += [
            # feedback is small and comes once: never copied, never refused for its number
            to({"path": f"{prefix}/feedback"}, high=True),
            to(
                {"path_separated_prefix": prefix},
                sticky=service.sticky,
                limited=limited,
                shadows=shadows,
            ),
        ]
        model = {
            "path_separated_prefix": f"/v2/models/{quote(service.model or service.service)}"
        }
        # whether the version is ready is asked of the version, whatever the load
        asking = {**model, "headers": _GET}
        models.setdefault(str(asking), to(asking, high=True))
        models.setdefault(str(model), to(model, limited=limited, shadows=shadows))
        models.setdefault("health", to({"prefix": "/v2/health/"}, high=True))
        # what the server is: the same from each, so from the first that can say it
        for path in _SERVER if ways else ():
            models.setdefault(path, to(_asked(path), high=True))
    for path in _SERVER if models else ():
        what = "no service has anything that could answer yet"
        models.setdefault(path, refusal(_asked(path), 503, what))
    routes.extend(models.values())
    routes.append(refusal({"prefix": "/"}, 404, "no service or model at this path"))
    return routes


def _asked(path: str) -> Resource:
    return {"path": path, "headers": _GET}


def _ways(placed: Placed) -> list[Way]:
    """Return the service's split with the overflow of each part; empty: nothing answers."""
    name, listed = placed.endpoints.service, placed.endpoints.fallback
    if placed.split is None:
        return [Way(cluster=cluster_name(name, FALLBACK), weight=FULL_BP)] if listed else []
    limits = {tiers.cluster: tiers.limit for tiers in cluster_tiers(placed)}
    layered = [
        (layer.salt, share.version, share.bp, begin)
        for layer in placed.split.layers
        for begin, share in layer.parts
    ]
    own = shares_in_hash_order(placed.split, placed.endpoints.stable)
    return [
        Way(
            cluster=cluster_name(name, version),
            weight=bp,
            overflow=cluster_name(name, version, OVERFLOW) if listed else "",
            limit=limits.get(cluster_name(name, version), 0),
            salt=salt,
            deal="" if salt else placed.split.salt,
            begin=begin,
        )
        for salt, version, bp, begin in (
            *layered,
            *(("", version, bp, None) for version, bp in own),
        )
    ]


def _shadows(placed: Placed) -> tuple[str, ...]:
    """Return the clusters of the versions that get copies: warm, without a share."""
    name = placed.endpoints.service
    if placed.split is None or not placed.endpoints.traffic.shadow_bp:
        return ()
    shared = {share.version for share in placed.split.everything if share.bp}
    return tuple(
        cluster_name(name, v.version, SHADOW)
        for v in sorted(placed.versions, key=lambda v: v.version)
        if v.version not in shared
    )


def _together(
    before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]
) -> tuple[Endpoint, ...]:
    return (*before, *(endpoint for endpoint in after if endpoint not in before))


def _sorted(services: Sequence[Placed]) -> tuple[Placed, ...]:
    return tuple(sorted(services, key=lambda placed: placed.endpoints.service))
