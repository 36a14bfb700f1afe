from datetime import UTC, datetime, timedelta

import pytest

from mlg.manifest.specs_services import (
    AvailabilityObjective,
    LatencyObjective,
    RollbackSpec,
    ShareObjective,
)
from mlg.release.burn import Objective, WatchPoint, burning, objectives
from mlg.release.verdicts import GateResult

SWAP = datetime(2026, 3, 1, tzinfo=UTC)
ERRORS = Objective(name="error_rate", allowed=0.01)


def watch(minutes: float, share: float, *, rate: int = 600, before: float = 0.0) -> GateResult:
    """Return the verdict after so many minutes with a share of bad events, point by minute."""
    count = max(1, int(minutes))
    points = [
        WatchPoint(
            at=SWAP + timedelta(minutes=minutes * (n + 1) / count),
            total=rate,
            bad=round(rate * share),
        )
        for n in range(count)
    ]
    older = WatchPoint(at=SWAP - timedelta(minutes=1), total=rate, bad=round(rate * before))
    now = SWAP + timedelta(minutes=minutes)
    return burning(ERRORS, [older, *points], swapped_at=SWAP, now=now)


def test_the_manifest_says_what_is_allowed() -> None:
    spec = RollbackSpec(
        error_rate=ShareObjective(max_bp=100),
        latency_p99=LatencyObjective(max_ms=150.0),
        availability=AvailabilityObjective(min_bp=9_990),
    )
    found = {o.name: o.allowed for o in objectives(spec)}
    assert found == pytest.approx(
        {"error_rate": 0.01, "latency_p99": 0.01, "availability": 0.001}
    )
    assert objectives(spec)[1].max_ms == 150.0


@pytest.mark.parametrize(
    ("minutes", "share", "verdict"),
    [
        (0.1, 1.0, "FAIL"),  # 100 times: at once
        (0.1, 0.2, "FAIL"),  # 20 times is over 14.4
        (4.0, 0.10, "PASS"),  # 10 times needs five minutes
        (6.0, 0.10, "FAIL"),
        (29.0, 0.05, "PASS"),  # 5 times needs half an hour
        (31.0, 0.05, "FAIL"),
        (119.0, 0.02, "PASS"),  # twice needs two hours
        (121.0, 0.02, "FAIL"),
        (240.0, 0.01, "PASS"),  # what is allowed
    ],
)
def test_the_faster_it_burns_the_sooner_it_fails(
    minutes: float, share: float, verdict: str
) -> None:
    assert watch(minutes, share).verdict == verdict


def test_what_was_before_the_swap_does_not_count_and_nothing_is_no_verdict() -> None:
    assert watch(1.0, 0.0, before=1.0).verdict == "PASS"
    nothing = burning(ERRORS, [], swapped_at=SWAP, now=SWAP)
    assert nothing.verdict == "INCONCLUSIVE"


def test_one_bad_answer_of_three_reverses_nothing() -> None:
    assert watch(0.1, 1 / 3, rate=3).verdict == "PASS"


def test_what_is_over_does_not_reverse() -> None:
    """Half of all failed for two minutes, an hour ago: the short window is quiet."""
    points = [
        WatchPoint(at=SWAP + timedelta(minutes=n + 1), total=600, bad=300 if n < 2 else 0)
        for n in range(60)
    ]
    now = SWAP + timedelta(minutes=60)
    assert burning(ERRORS, points, swapped_at=SWAP, now=now).verdict == "PASS"
    early = burning(ERRORS, points, swapped_at=SWAP, now=SWAP + timedelta(minutes=2))
    assert early.verdict == "FAIL"
