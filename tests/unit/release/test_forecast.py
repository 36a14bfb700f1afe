"""What a rollout will take and find: against closed forms and a plain simulation."""

from dataclasses import replace
from math import ceil, log

import numpy as np
import pytest

from mlg.manifest.specs_services import CanarySpec, RolloutGate, RolloutSpec
from mlg.release.forecast import Fault, StepForecast, Traffic, forecast, seconds_of
from mlg.release.rollout_plan import plan_of
from mlg.stats.sequential import RISES, Randomised, log_e_rise

PLAN = plan_of(
    RolloutSpec(
        canary=CanarySpec(steps_bp=(50, 500, 10_000), min_units=200),
        gates={"ctr": RolloutGate(max_drop_bp=500)},
    )
)
ERRORS = replace(PLAN, gates=tuple(g for g in PLAN.gates if g.name == "errors"))
TRAFFIC = Traffic(rate_hz=1_000.0)


def step(plan=PLAN, traffic=TRAFFIC, *, at: int = 0, runs: int = 200, **more) -> StepForecast:
    return forecast(plan, traffic, runs=runs, **more)[at]


def test_a_candidate_that_always_fails_is_found_by_as_many_as_the_test_needs() -> None:
    w, alpha = 0.005, ERRORS.gates[0].alpha
    needed = next(
        n
        for n in range(1, 50)
        if np.mean([(r / (1 + w * (r - 1))) ** n for r in RISES]) >= 1 / alpha
    )
    (found,) = (
        f for _, f in step(ERRORS, faults=(Fault(name="all", gate="errors", size=1.0),)).faults
    )
    assert found.median_requests == found.p95_requests == needed
    assert found.median_s == pytest.approx(needed / 5.0)
    assert found.share == 1.0


def test_a_version_without_a_failure_passes_with_the_least_units() -> None:
    """With `min_units` clean ones: that is how the smallest visible rate is defined."""
    healthy = step(ERRORS).healthy
    assert healthy.share == 1.0
    assert healthy.median_requests is not None
    assert 200 <= healthy.median_requests <= ceil(200 * 1.04)
    # ten requests a unit: ten times as long
    slow = step(ERRORS, replace(TRAFFIC, requests_per_unit=10.0)).healthy
    assert slow.median_requests is not None
    assert 2_000 <= slow.median_requests <= 2_000 * 1.05


def test_a_rise_is_found_as_a_plain_simulation_says() -> None:
    """Request by request, independent of the vectorised one: 0.1 % to 1 % at half a percent."""
    random = np.random.default_rng(3)
    alpha, w = ERRORS.gates[0].alpha, 0.005
    times: list[int] = []
    for _ in range(60):
        events = others = n = 0
        while log_e_rise((Randomised(events=events, control_events=others, share=w),)) < log(
            1 / alpha
        ):
            n += 10
            events += int(random.binomial(10, 0.01))
            others += int(random.binomial(1_990, 0.001))
        times.append(n)
    fault = Fault(name="1 %", gate="errors", size=0.01)
    (found,) = (
        f
        for _, f in step(
            ERRORS, replace(TRAFFIC, error_rate=0.001), faults=(fault,), runs=600
        ).faults
    )
    # the mean of 60 with a standard deviation of about 350 is off by 45: three of these
    assert found.median_requests == pytest.approx(float(np.median(times)), abs=170)


def test_what_traffic_cannot_show_is_said() -> None:
    quiet = replace(PLAN, max_hold_s=3_600.0)
    first, second = forecast(quiet, Traffic(rate_hz=1.0), runs=100)
    assert first.candidate_hz == pytest.approx(0.005)
    assert (first.healthy.share, first.healthy.median_s) == (0.0, None)
    assert second.unsupported == ("ctr",)
    assert seconds_of((first, second)) is None
    names = {name for name, _ in second.faults}
    assert {"ctr -10 %", "errors 100 %"} <= names
    assert "ctr -10 %" not in {name for name, _ in first.faults}


def test_a_drop_that_is_accepted_is_seldom_found_and_a_large_one_is() -> None:
    found = dict(step(at=1, runs=300).faults)
    assert found["ctr -50 %"].share == 1.0
    accepted = Fault(name="-5 %", gate="ctr", size=0.05)
    (own,) = (f for _, f in step(at=1, runs=300, faults=(accepted,)).faults)
    assert own.share <= 0.01 + 3 * (0.01 / 300) ** 0.5


def test_a_slower_candidate_is_found_sooner_the_slower_it_is() -> None:
    slower = [Fault(name=str(f), gate="latency_p99", size=f) for f in (1.0, 1.5, 3.0)]
    found = [f for _, f in step(runs=100, faults=tuple(slower)).faults]
    assert found[0].share == 0.0
    assert found[1].median_s is not None
    assert found[2].median_s is not None
    assert found[2].median_s < found[1].median_s
