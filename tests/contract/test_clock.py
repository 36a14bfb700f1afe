from datetime import UTC, timedelta

import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.core.clock import Clock, ManualClock


@pytest.fixture(params=["manual", "system"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return ManualClock() if request.param == "manual" else SystemClock()


def test_now_is_aware_utc(clock: Clock) -> None:
    assert clock.now().tzinfo is UTC


def test_waiting_moves_both_times_on(clock: Clock) -> None:
    now, elapsed_s = clock.now(), clock.monotonic_s()
    clock.wait(0.02)
    assert clock.monotonic_s() - elapsed_s >= 0.02
    assert clock.now() - now >= timedelta(seconds=0.019)


def test_time_does_not_run_back(clock: Clock) -> None:
    seen = [clock.monotonic_s() for _ in range(100)]
    assert seen == sorted(seen)
