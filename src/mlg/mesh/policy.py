"""What a service's manifest says about its traffic, as numbers for the gateways."""

import math
from typing import Final

from mlg.core.traffic import DEFAULT_TRAFFIC, RateLimit, TrafficPolicy
from mlg.manifest.specs_services import ServiceSpec

_LEAST_MS: Final = 50
"""A pause of the collector or of the scheduler is no failure of a replica."""
_MOST_MS: Final = 5_000


def traffic_policy(service: ServiceSpec) -> TrafficPolicy:
    """Return how the gateways treat a service's requests.

    One attempt may take twice the objective of the p99, from 50 ms to 5 s, and 500 ms
    without an objective: a replica that hangs costs a viewer that much before another one is
    asked. All attempts together may take 2 s, or what two that hang need with half a second
    for the popularity list.

    Args:
        service: The service's part of the manifest.

    Examples:
        >>> from mlg.manifest.specs_services import LatencyObjective, RollbackSpec
        >>> objective = RollbackSpec(latency_p99=LatencyObjective(max_ms=150.0))
        >>> policy = traffic_policy(ServiceSpec(rollback=objective))
        >>> policy.per_try_timeout_ms, policy.timeout_ms
        (300, 2000)
    """
    told = service.traffic
    per_try_ms = DEFAULT_TRAFFIC.per_try_timeout_ms
    if service.rollback is not None and service.rollback.latency_p99 is not None:
        aimed_ms = math.ceil(2 * service.rollback.latency_p99.max_ms)
        per_try_ms = min(max(aimed_ms, _LEAST_MS), _MOST_MS)
    limit = told.rate_limit
    return TrafficPolicy(
        timeout_ms=max(DEFAULT_TRAFFIC.timeout_ms, 2 * per_try_ms + 500),
        per_try_timeout_ms=per_try_ms,
        in_flight=told.in_flight,
        rate_limit=RateLimit(
            per_s=limit.requests_per_second,
            burst=limit.burst or max(1, math.ceil(limit.requests_per_second)),
        )
        if limit
        else None,
        shadow_bp=told.shadow_bp,
    )
