"""Incidents at the near limits are counted one by one, and correct the design."""

import numpy as np
import pytest

from mlg.monitors.budget import Budget
from mlg.monitors.calibrate import (
    LASTS,
    LEAST,
    MOST,
    PRIOR,
    Calibration,
    counted,
    near,
)
from mlg.monitors.lasting import AWAY, COOL_DOWN, QUIET


def run(windows: list[list[str]], *, designed: float = 0.1) -> Calibration:
    found = Calibration()
    for close in windows:
        found = counted(found, "requests", close, designed)
    return found


def test_an_incident_counts_once_however_long_it_lasts_and_however_many_join() -> None:
    found = run([["a"], ["a", "b"], [], ["a"], *[[]] * QUIET])
    assert (found.opened, found.open, found.cooling) == (1, False, COOL_DOWN)
    assert found.designed == pytest.approx(0.1)  # while one is open none can open


def test_the_same_again_soon_is_no_other_one_and_another_is() -> None:
    over = [["a"], *[[]] * QUIET]
    assert run([*over, ["a"]]).opened == 1
    assert run([*over, ["b"]]).opened == 2
    assert run([*over, *[[]] * COOL_DOWN, ["a"]]).opened == 2


def test_windows_of_another_stream_do_not_close_it() -> None:
    found = run([["a"]])
    for _ in range(AWAY - 1):
        found = counted(found, "v2", [], 0.1)
    assert found.open
    # until it is clear that its own stream has ended
    assert not counted(found, "v2", [], 0.1).open


def test_the_rate_is_what_was_counted_in_units_of_the_design() -> None:
    """A Poisson process of 0.25 incidents a designed one is found, and followed."""
    rng = np.random.default_rng(1)
    found, was = Calibration(), PRIOR
    assert found.rate == PRIOR
    for rate in (0.25, 0.05):
        for number in range(60_000):
            happens = rng.random() < rate * 0.1
            found = counted(found, "requests", [f"m{number}"] if happens else [], 0.1)
        assert found.rate == pytest.approx(rate, rel=0.35)
        assert found.rate != was
        was = found.rate
    assert found.opened <= LASTS


def test_it_stays_within_bounds() -> None:
    assert Calibration(designed=1e9).rate == LEAST
    assert Calibration(opened=1e6).rate == MOST


def test_the_near_limits_are_nearer_and_follow_the_rate() -> None:
    budget = Budget(windows=10_000.0)
    assert budget.near(100, 1.0).arl == pytest.approx(near(10_000.0) * 100)
    assert budget.near(100, 1.0).ewma < budget.limits(100, 1.0).ewma
    assert budget.limits(100, 0.5).arl == pytest.approx(500_000)
