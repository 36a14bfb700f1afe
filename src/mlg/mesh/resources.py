"""Envoy's resources as plain JSON values: clusters, endpoints, routes, listener, bootstrap.

Pure data: nothing here reads a file, a clock or a socket. The fields are those that the
experiments of `evidence/serving.md` were run with; what differs says why.
"""

import math
import re
from collections.abc import Sequence
from typing import Final

from mlg.core.traffic import Endpoint, RateLimit, TrafficPolicy
from mlg.mesh.sources import Resource
from mlg.mesh.split import Way, split_plugin

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
OVERFLOW: Final = "overflow"
"""Role of the cluster that answers in place of a version that has enough under way."""
SHADOW: Final = "shadow"
"""Role of the cluster that copies of requests go to."""
SHADOW_HEADER: Final = "mlg-shadow"
"""On copies of requests only: their answers go nowhere and are not logged."""
RATE_LIMIT_FILTER: Final = "envoy.filters.http.local_ratelimit"
LIMITED: Final = "limit."
"""Begins the statistics' prefix of a service's rate limit."""

_API: Final = "type.googleapis.com/envoy"
_CLUSTER: Final = f"{_API}.config.cluster.v3.Cluster"
_ASSIGNMENT: Final = f"{_API}.config.endpoint.v3.ClusterLoadAssignment"
_ROUTE: Final = f"{_API}.config.route.v3.RouteConfiguration"
_PROTOCOL: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SLOW_START_S: Final = 5
_LEAST_BREAKER: Final = 1_024
_ANY_HEALTHY: Final = 100_000
"""Overprovisioning in percent: one healthy replica in a thousand keeps its priority whole.

Envoy's own 140 would send 30 % of the viewers to the next priority, the popularity list,
as soon as one of two replicas is gone.
"""


def cluster_name(service: str, version: str, role: str = "") -> str:
    """Return the name of one of a version's clusters.

    Examples:
        >>> cluster_name("home", "3f2a"), cluster_name("home", "3f2a", OVERFLOW)
        ('home@3f2a', 'home@3f2a+overflow')
    """
    return f"{service}@{version}+{role}" if role else f"{service}@{version}"


def split_cluster_name(name: str) -> tuple[str, str, str]:
    """Return service, version and role of a cluster name, empty when it is not one of ours.

    Examples:
        >>> split_cluster_name("home@3f2a"), split_cluster_name("home@3f2a+shadow")
        (('home', '3f2a', ''), ('home', '3f2a', 'shadow'))
    """
    service, at, rest = name.rpartition("@")
    version, _, role = rest.partition("+")
    return (service, version, role) if at else ("", "", "")


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
    name: str,
    *,
    eject: bool,
    endpoints: Resource,
    in_flight: int,
    rescued: bool,
    health_path: str = "",
) -> Resource:
    """Return one version's cluster; its endpoints come by themselves.

    Endpoints by EDS and not in the cluster: a replica that comes or goes leaves the
    cluster, its connections and the per-host counters of the others as they are.

    Args:
        name: The cluster's name.
        eject: Whether failing hosts are ejected. Only for the stable version: a canary's
            attempts must keep being counted until the verdict.
        endpoints: Configuration source of the endpoints.
        in_flight: Requests of one gateway under way at once with one replica. Nothing here
            depends on how many replicas there are: another number would be another cluster,
            with new connections and counters. The split's limits grow with them.
        rescued: Whether a failed attempt has another priority to go to.
        health_path: Path that its replicas are asked at; empty: mlg's own.
    """
    _, version, role = split_cluster_name(name)
    resource: Resource = {
        "@type": _CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": endpoints},
        "typed_extension_protocol_options": {_PROTOCOL: _protocol(version, role)},
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        # a replica that is new, or healthy again, gets its part little by little
        "least_request_lb_config": {
            "slow_start_config": {
                "slow_start_window": f"{_SLOW_START_S}s",
                "min_weight_percent": {"value": 10},
            }
        },
        "ignore_health_on_host_removal": True,
        "health_checks": [
            {
                # on a busy machine half a second is not rare, and what hangs is bounded by
                # the attempt's timeout and by what the split gives
                "timeout": "1s",
                "interval": "0.5s",
                # most overflow clusters never have traffic
                "no_traffic_interval": "2s" if role == OVERFLOW else "0.5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": health_path or HEALTH_PATH},
            }
        ],
        "circuit_breakers": {
            "thresholds": [
                _threshold(priority, in_flight, rescued=rescued, role=role)
                for priority in ("DEFAULT", "HIGH")
            ]
        },
    }
    if eject:
        resource["outlier_detection"] = {
            "interval": "0.5s",
            "base_ejection_time": "2s",
            "max_ejection_percent": 100,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 100,
        }
    return resource


def _protocol(version: str, role: str) -> Resource:
    """Return HTTP/1.1, with the headers that every attempt in the cluster is sent with.

    Here and not in the route, which is chosen twice: before the sticky key is known, and
    after; what the route's headers say of the cluster is of the first time.
    """
    filters = f"{_API}.extensions.filters.http"
    headers = [_set(ASSIGNED_HEADER, version)]
    if role == SHADOW:
        headers.append(_set(SHADOW_HEADER, "1"))
    return {
        "@type": f"{_API.removesuffix('envoy')}{_PROTOCOL}",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [
            {
                "name": "envoy.filters.http.header_mutation",
                "typed_config": {
                    "@type": f"{filters}.header_mutation.v3.HeaderMutation",
                    "mutations": {"request_mutations": [{"append": h} for h in headers]},
                },
            },
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": f"{filters}.upstream_codec.v3.UpstreamCodec"},
            },
        ],
    }


def _threshold(priority: str, in_flight: int, *, rescued: bool, role: str) -> Resource:
    """Return the circuit breaker of one route priority.

    What exceeds it is answered 503 and never retried, so it lies far above what the split
    gives and what rescues add. A retry goes to another priority and happens once in each, so
    where there is one, all that is under way may be rescued at the same moment; where there
    is none, retries ask the same replicas once more and have the usual small budget. Copies
    are dropped where they exceed what one replica takes.
    """
    most = in_flight if role == SHADOW else max(_LEAST_BREAKER, 16 * in_flight)
    return {
        "priority": priority,
        "max_connections": most,
        "max_pending_requests": most,
        "max_requests": most,
        "retry_budget": {
            "budget_percent": {"value": 100 if rescued else 20},
            "min_retry_concurrency": max(16, in_flight) if rescued else 16,
        },
    }


def retry_policy(per_try_timeout_ms: int) -> Resource:
    """Return the rescue: every retry goes to another host and to the next priority."""
    extensions = f"{_API}.extensions.retry"
    return {
        "retry_on": "connect-failure,refused-stream,reset,5xx",
        "num_retries": 2,
        "per_try_timeout": _seconds(per_try_timeout_ms),
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        # a host that just went has the fewest requests and is chosen over and over
        "host_selection_retry_max_attempts": 8,
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


def service_action(
    policy: TrafficPolicy,
    ways: Sequence[Way],
    *,
    high: bool = False,
    shadows: Sequence[str] = (),
    strip: str = "",
) -> Resource:
    """Return the route action of one service.

    Args:
        policy: Timeouts, and the share that is copied.
        ways: The split.
        high: Whether the requests have the circuit breakers of high priority: small ones that
            must not be lost among the others.
        shadows: Clusters that a share of the requests is copied to.
        strip: Prefix that is taken off the path: a server of its own kind knows nothing of the
            gateway's paths.
    """
    action: Resource = {
        "timeout": _seconds(policy.timeout_ms),
        "retry_policy": retry_policy(policy.per_try_timeout_ms),
        "inline_cluster_specifier_plugin": split_plugin(ways, STICKY_HEADER),
    }
    if high:
        action["priority"] = "HIGH"
    if shadows:
        action["request_mirror_policies"] = [
            {
                "cluster": shadow,
                "runtime_fraction": {
                    "default_value": {
                        "numerator": policy.shadow_bp,
                        "denominator": "TEN_THOUSAND",
                    }
                },
            }
            for shadow in shadows
        ]
    if strip:
        pattern = {"regex": f"^{re.escape(strip)}/?(.*)$"}
        action["regex_rewrite"] = {"pattern": pattern, "substitution": r"/\1"}
    return action


def rate_limit(service: str, limit: RateLimit, gateways: int) -> Resource:
    """Return what makes a route refuse requests with 429; each gateway takes its equal part.

    The bucket is filled about ten times a second, so that a refused viewer need not wait a
    whole one.

    Args:
        service: Whose requests.
        limit: Over all gateways.
        gateways: How many share the viewers.

    Examples:
        >>> bucket = rate_limit("home", RateLimit(per_s=60, burst=9), 2)["token_bucket"]
        >>> bucket["max_tokens"], bucket["tokens_per_fill"], bucket["fill_interval"]
        (5, 3, '0.100s')
    """
    per_s = limit.per_s / gateways
    tokens = max(1, int(per_s / 10))
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": f"{_API}.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": f"{LIMITED}{service}",
        "token_bucket": {
            "max_tokens": max(tokens, math.ceil(limit.burst / gateways)),
            "tokens_per_fill": tokens,
            "fill_interval": _seconds(math.ceil(1_000 * tokens / per_s)),
        },
        "filter_enabled": always,
        "filter_enforced": always,
        "response_headers_to_add": [_set("retry-after", str(max(1, math.ceil(1 / per_s))))],
    }


def route(
    match: Resource, action: Resource, *, sticky: str = "", limited: Resource | None = None
) -> Resource:
    """Return a route to clusters.

    Args:
        match: Which requests.
        action: Where they go.
        sticky: Field of the body that becomes the sticky key of a request without one; empty:
            the body is not looked into.
        limited: The rate limit, or None.
    """
    chosen: Resource = {
        "match": match,
        "route": action,
    }
    if sticky:
        chosen["metadata"] = {"filter_metadata": {STICKY_FILTER: {STICKY_FIELD: sticky}}}
    if limited is not None:
        chosen["typed_per_filter_config"] = {RATE_LIMIT_FILTER: limited}
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
        "request_headers_to_remove": ["mlg-fault", SHADOW_HEADER],
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
