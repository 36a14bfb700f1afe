import pytest

from mlg.core.traffic import RateLimit
from mlg.manifest.specs_services import (
    LatencyObjective,
    RateLimitSpec,
    RollbackSpec,
    ServiceSpec,
    TrafficSpec,
)
from mlg.mesh.policy import traffic_policy


@pytest.mark.parametrize(
    ("objective_ms", "per_try_ms", "timeout_ms"),
    [(1.0, 50, 2_000), (150.0, 300, 2_000), (1_000.0, 2_000, 4_500), (60_000.0, 5_000, 10_500)],
)
def test_an_attempt_may_take_twice_the_objective_within_bounds(
    objective_ms: float, per_try_ms: int, timeout_ms: int
) -> None:
    objective = RollbackSpec(latency_p99=LatencyObjective(max_ms=objective_ms))
    policy = traffic_policy(ServiceSpec(rollback=objective))
    assert (policy.per_try_timeout_ms, policy.timeout_ms) == (per_try_ms, timeout_ms)
    # a version that hangs, a stable one that does, and still time for the popularity list
    assert policy.timeout_ms >= 2 * policy.per_try_timeout_ms + 500


def test_without_an_objective_an_attempt_may_take_half_a_second() -> None:
    policy = traffic_policy(ServiceSpec())
    assert (policy.per_try_timeout_ms, policy.timeout_ms) == (500, 2_000)
    assert (policy.in_flight, policy.rate_limit, policy.shadow_bp) == (32, None, 0)


def test_a_rate_limit_without_a_burst_takes_the_requests_of_a_second_at_once() -> None:
    def limited(told: RateLimitSpec) -> RateLimit | None:
        return traffic_policy(ServiceSpec(traffic=TrafficSpec(rate_limit=told))).rate_limit

    assert limited(RateLimitSpec(requests_per_second=2.5)) == RateLimit(per_s=2.5, burst=3)
    assert limited(RateLimitSpec(requests_per_second=0.1)) == RateLimit(per_s=0.1, burst=1)
    assert limited(RateLimitSpec(requests_per_second=9, burst=4)) == RateLimit(per_s=9, burst=4)
