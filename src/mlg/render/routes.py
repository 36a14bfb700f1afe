"""The split of a service as a route of the Gateway API, with the same weights."""

from collections.abc import Collection
from typing import Final

from mlg.core.errors import ManifestError
from mlg.core.traffic import FULL_BP
from mlg.render.inputs import Cluster, Object, RunningService
from mlg.render.names import dns_label
from mlg.render.pods import FALLBACK, PORT, metadata, name_of, service_labels

MOST_BACKENDS: Final = 16
"""Backends of one rule, by the definition of HTTPRoute."""
_TIMEOUT: Final = "2s"
_ASSIGNED_HEADER: Final = "mlg-assigned-version"


def route(cluster: Cluster, service: RunningService, also: Collection[str] = ()) -> Object:
    """Return the HTTPRoute of a service: weights out of 10,000, 0 for what is kept warm.

    Args:
        cluster: Where it goes.
        service: The service.
        also: Further path prefixes that lead here.

    Raises:
        ManifestError: More versions run than one rule can name.

    Source:
        Gateway API v1, HTTPRoute; backends have weights of 0..1,000,000.
    """
    backends = _backends(cluster, service)
    if len(backends) > MOST_BACKENDS:
        raise ManifestError(
            f"{len(service.versions)} versions run, and a route has room for "
            f"{MOST_BACKENDS - 1} beside the popularity list",
            where=f"service {service.name}",
            hint="let old versions end first: mlg status lists them.",
        )
    parent: Object = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": cluster.gateway,
    }
    if cluster.gateway_namespace:
        parent["namespace"] = cluster.gateway_namespace
    paths = (f"/v1/services/{service.name}", *also)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(
            cluster,
            dns_label(cluster.project, service.name),
            service_labels(cluster, service),
            {"mlg.service": service.name},
        ),
        "spec": {
            "parentRefs": [parent],
            "rules": [
                {
                    "matches": [
                        {"path": {"type": "PathPrefix", "value": path}} for path in paths
                    ],
                    # who was assigned to what is not for viewers to say
                    "filters": [
                        {
                            "type": "RequestHeaderModifier",
                            "requestHeaderModifier": {"remove": [_ASSIGNED_HEADER]},
                        }
                    ],
                    "backendRefs": backends,
                    "timeouts": {"request": _TIMEOUT},
                }
            ],
        },
    }


def routes(cluster: Cluster, services: tuple[RunningService, ...]) -> list[Object]:
    """Return the routes of all services; of a model served twice, the first one has its path.

    Raises:
        ManifestError: More versions run than one rule can name.
    """
    found: list[Object] = []
    models: set[str] = set()
    for service in services:
        also = [] if service.model in models else [f"/v2/models/{service.model}"]
        if not models:
            also.append("/v2/health")
        models.add(service.model)
        found.append(route(cluster, service, also))
    return found


def notes_on(service: RunningService) -> list[str]:
    """Return what a route of this service cannot do that mlg's own gateway does."""
    canary = service.spec.rollout.canary if service.spec.rollout else None
    field = canary.sticky if canary else "user_id"
    shared = sum(0 < version.bp < FULL_BP for version in service.versions) > 1
    if not shared:
        return []
    return [
        f"service {service.name}: viewers do not stay with a version: HTTPRoute has no weights "
        f"by a hash of {field}, so judge this split by requests, not by viewers."
    ]


def _backends(cluster: Cluster, service: RunningService) -> list[Object]:
    weights = [(version.version, version.bp) for version in service.versions]
    return [
        {
            "group": "",
            "kind": "Service",
            "name": name_of(cluster, service.name, version),
            "port": PORT,
            "weight": weight,
        }
        for version, weight in (*weights, (FALLBACK, 0))
    ]
