"""Envoy's resources as plain JSON values: clusters, endpoints, routes, listener, bootstrap.

Pure data: nothing here reads a file, a clock or a socket. The fields are those that the
experiments of `evidence/serving.md` were run with; what differs says why.
"""

from collections.abc import Sequence
from typing import Any, Final

from mlg.core.traffic import Endpoint, ServiceEndpoints

Resource = dict[str, Any]
"""One JSON object in the words of Envoy's v3 API."""

FALLBACK: Final = "fallback"
"""In place of a version in the name of the cluster that answers while no version exists."""
ROUTES: Final = "viewers"
"""Name of the route configuration, and the statistics prefix of the viewers' listener."""
STICKY_HEADER: Final = "mlg-sticky-key"
STICKY_FILTER: Final = "envoy.filters.http.lua"
"""Name of the filter that fills the header, and of the route's metadata that it reads."""
STICKY_FIELD: Final = "sticky_field"
"""Key in that metadata: the body's field that is copied."""
ASSIGNED_HEADER: Final = "mlg-assigned-version"
"""Set by the gateway on every request: the version that the split chose, rescued or not."""
HEALTH_PATH: Final = "/v2/health/ready"

_API: Final = "type.googleapis.com/envoy"
_CLUSTER: Final = f"{_API}.config.cluster.v3.Cluster"
_ASSIGNMENT: Final = f"{_API}.config.endpoint.v3.ClusterLoadAssignment"
_ROUTE: Final = f"{_API}.config.route.v3.RouteConfiguration"
_ANY_HEALTHY: Final = 100_000
"""Overprovisioning in percent: one healthy replica in a thousand keeps its priority whole.

Envoy's own 140 would send 30 % of the viewers to the next priority, the popularity list,
as soon as one of two replicas is gone.
"""


def cluster_name(service: str, version: str) -> str:
    """Return the name of a version's cluster.

    Examples:
        >>> cluster_name("home", "3f2a")
        'home@3f2a'
    """
    return f"{service}@{version}"


def split_cluster_name(name: str) -> tuple[str, str]:
    """Return the service and the version of a cluster name, empty when it is not one of ours.

    Examples:
        >>> split_cluster_name("home@3f2a")
        ('home', '3f2a')
    """
    service, at, version = name.rpartition("@")
    return (service, version) if at else ("", "")


def file_source(folder: str, file: str) -> Resource:
    """Return the configuration source of one file that is replaced by rename."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": f"{folder}/{file}",
            "watched_directory": {"path": folder},
        },
    }


def assignment(name: str, tiers: Sequence[Sequence[Endpoint]]) -> Resource:
    """Return a cluster's endpoints by priority; an address counts only where it comes first.

    Args:
        name: The cluster's name.
        tiers: Endpoints of priority 0, 1, ...; empty tiers are skipped.
    """
    seen: set[Endpoint] = set()
    localities: list[Resource] = []
    for tier in tiers:
        fresh = [endpoint for endpoint in tier if endpoint not in seen]
        seen.update(fresh)
        if fresh:
            localities.append(
                {
                    "priority": len(localities),
                    "lb_endpoints": [{"endpoint": {"address": address(e)}} for e in fresh],
                }
            )
    return {
        "@type": _ASSIGNMENT,
        "cluster_name": name,
        "endpoints": localities,
        "policy": {"overprovisioning_factor": _ANY_HEALTHY},
    }


def cluster(
    name: str, *, eject: bool, folder: str, file: str, health_path: str = ""
) -> Resource:
    """Return one version's cluster; its endpoints come from a file of their own.

    Endpoints by file (EDS) and not in the cluster: a replica that comes or goes leaves the
    cluster, its connections and the per-host counters of the others as they are.

    Args:
        name: The cluster's name.
        eject: Whether failing hosts are ejected. Only for the stable version: a canary's
            attempts must keep being counted until the verdict.
        folder: Folder that holds the endpoints' file, as the gateway sees it.
        file: Name of that file.
        health_path: Path that its replicas are asked at; empty: mlg's own.
    """
    resource: Resource = {
        "@type": _CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": file_source(folder, file)},
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "ignore_health_on_host_removal": True,
        "health_checks": [
            {
                "timeout": "0.5s",
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": health_path or HEALTH_PATH},
            }
        ],
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 1024,
                    "max_pending_requests": 1024,
                    "max_requests": 1024,
                    "retry_budget": {
                        "budget_percent": {"value": 20},
                        "min_retry_concurrency": 16,
                    },
                }
            ]
        },
    }
    if eject:
        resource["outlier_detection"] = {
            "consecutive_5xx": 5,
            "interval": "0.5s",
            "base_ejection_time": "2s",
            "max_ejection_percent": 100,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 100,
        }
    return resource


def retry_policy(per_try_timeout_ms: int) -> Resource:
    """Return the rescue: every retry goes to another host and to the next priority."""
    extensions = f"{_API}.extensions.retry"
    return {
        "retry_on": "connect-failure,refused-stream,reset,5xx",
        "num_retries": 2,
        "per_try_timeout": _seconds(per_try_timeout_ms),
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "host_selection_retry_max_attempts": 3,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": f"{extensions}.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": (
                    f"{extensions}.priority.previous_priorities.v3.PreviousPrioritiesConfig"
                ),
                "update_frequency": 1,
            },
        },
    }


def service_action(service: ServiceEndpoints, weights: Sequence[tuple[str, int]]) -> Resource:
    """Return the route action of one service.

    Args:
        service: Names and timeouts.
        weights: Version and its weight out of 10,000, in the order in which they share the
            hash space; one named `FALLBACK` while no version exists.
    """
    action: Resource = {
        "timeout": _seconds(service.timeout_ms),
        "retry_policy": retry_policy(service.per_try_timeout_ms),
        "hash_policy": [
            {"header": {"header_name": STICKY_HEADER}, "terminal": True},
            {"header": {"header_name": "x-request-id"}},
        ],
        "weighted_clusters": {
            "use_hash_policy": True,
            "clusters": [
                {
                    "name": cluster_name(service.service, version),
                    "weight": weight,
                    "request_headers_to_add": [_set(ASSIGNED_HEADER, version)],
                }
                for version, weight in weights
            ],
        },
    }
    if service.health_path:  # a server of its own kind knows nothing of the gateway's paths
        prefix = f"^/v1/services/{service.service}/?(.*)$"
        action["regex_rewrite"] = {"pattern": {"regex": prefix}, "substitution": r"/\1"}
    return action


def route(match: Resource, action: Resource, *, sticky: str = "") -> Resource:
    """Return a route to clusters.

    Args:
        match: Which requests.
        action: Where they go.
        sticky: Field of the body that becomes the sticky key of a request without one; empty:
            the body is not looked into.
    """
    chosen: Resource = {"match": match, "route": action}
    if sticky:
        chosen["metadata"] = {"filter_metadata": {STICKY_FILTER: {STICKY_FIELD: sticky}}}
    return chosen


def refusal(match: Resource, status: int, what: str) -> Resource:
    """Return a route that the gateway answers itself; the listener puts it into JSON."""
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": what}},
    }


def route_configuration(routes: Sequence[Resource]) -> Resource:
    """Return the viewers' route configuration.

    Headers between gateway and replicas stop here, in both directions.
    """
    return {
        "@type": _ROUTE,
        "name": ROUTES,
        "request_headers_to_remove": ["mlg-fault"],
        "response_headers_to_remove": ["mlg-fault"],
        "virtual_hosts": [{"name": "mlg", "domains": ["*"], "routes": list(routes)}],
    }


def address(endpoint: Endpoint) -> Resource:
    """Return an address in Envoy's words."""
    return {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}


def _set(header: str, value: str) -> Resource:
    return {
        "header": {"key": header, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _seconds(ms: int) -> str:
    """Milliseconds in protobuf's JSON form of a duration."""
    return f"{ms / 1000:.3f}s"
