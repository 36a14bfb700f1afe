"""What is usual: level, season, memory and spread, against how the windows were made."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from mlg.monitors.spreads import MAX_AR
from mlg.monitors.usual import (
    Usual,
    ewma_spread,
    expected,
    fitted,
    learn,
    long_run,
)
from mlg.stats.season import DAILY, DAY_S, LEVEL, WEEKLY, columns_for

STEP_S = 600.0


def of(values: np.ndarray, *, at_s: np.ndarray | None = None, noise: float = 0.01) -> Usual:
    n, m = values.shape
    return fitted(
        values, np.zeros(n) if at_s is None else at_s,
        metrics=[f"x{place}.location" for place in range(m)], kinds=["location"] * m,
        shown=[0.0] * m, noise=np.full(m, noise), memory=5.0 * n,
    )  # fmt: skip


def following(rng: np.random.Generator, phi: Sequence[float], n: int) -> np.ndarray:
    """Return series of unit spread with these autocorrelations, shape (n, len(phi))."""
    own = np.array(phi)
    rows = [rng.standard_normal(len(own))]
    for _ in range(n - 1):
        rows.append(own * rows[-1] + np.sqrt(1 - own**2) * rng.standard_normal(len(own)))
    return np.array(rows)


def test_autocorrelated_windows_widen_limits_and_an_outlier_does_not() -> None:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((400, 1))
    assert of(following(rng, [0.6], 400)).autocorrelations[0] == pytest.approx(0.6, abs=0.12)
    assert of(noise).autocorrelations[0] < 0.15
    assert of(np.arange(30.0)[:, None]).autocorrelations[0] == MAX_AR
    wild = of(np.vstack([noise, [[1e6]]]))
    assert wild.sds[0] < 1.5
    assert abs(expected(wild, 0.0)[0][0]) < 0.1


def test_statistics_of_one_traffic_tell_each_other_how_windows_follow() -> None:
    rng = np.random.default_rng(6)
    for phi in (0.0, 0.5):
        windows = following(rng, [phi] * 60, 20)
        together = of(windows).autocorrelations
        alone = np.array([of(one[:, None]).autocorrelations[0] for one in windows.T])
        assert together.mean() == pytest.approx(phi, abs=0.2)
        assert together.std() < 0.6 * alone.std()
    # where they differ, each keeps its own
    mixed = of(following(rng, [0.0] * 30 + [0.7] * 30, 500)).autocorrelations
    assert mixed[:30].mean() == pytest.approx(0.0, abs=0.1)
    assert mixed[30:].mean() == pytest.approx(0.7, abs=0.1)


def test_the_spread_of_an_ewma_is_that_of_the_process() -> None:
    """Closed form for AR(1), and the same where chance among rows is added to it."""
    rng = np.random.default_rng(7)
    n, phi, lam = 4_000, 0.6, 0.1
    plain = of(following(rng, [phi] * 20, n))
    factor = lam / (2 - lam) * (1 + phi * (1 - lam)) / (1 - phi * (1 - lam))
    assert ewma_spread(plain, lam).mean() == pytest.approx(factor**0.5, rel=0.06)
    assert long_run(plain).mean() == pytest.approx((1 + phi) / (1 - phi), rel=0.15)
    # half of the variance is chance: every autocorrelation is half as large
    both = of((following(rng, [phi] * 20, n) + rng.standard_normal((n, 20))) / 2**0.5)
    carry = phi * (1 - lam)
    factor = lam / (2 - lam) * (1 + 2 * 0.5 * carry / (1 - carry))
    assert ewma_spread(both, lam).mean() == pytest.approx(factor**0.5, rel=0.06)


def test_the_hour_of_the_day_is_told_from_two_days_on() -> None:
    rng = np.random.default_rng(8)
    at_s = np.arange(3 * 144) * STEP_S + 20_000 * DAY_S
    wave = 2.0 * np.sin(2 * np.pi * at_s / DAY_S) + np.cos(4 * np.pi * at_s / DAY_S)
    values = 5.0 + wave[:, None] + 0.3 * rng.standard_normal((len(at_s), 12))
    usual = of(values, at_s=at_s)
    assert usual.columns == DAILY
    for hour in (0, 6, 15):
        at = 20_010 * DAY_S + hour * 3_600
        turn = 2 * np.pi * hour / 24
        centre, doubt = expected(usual, at)
        true = 5.0 + 2 * np.sin(turn) + np.cos(2 * turn)
        assert centre == pytest.approx(np.full(12, true), abs=4 * float(doubt.max()))
        assert doubt.max() < 0.06
    assert usual.sds == pytest.approx(np.full(12, 0.3), rel=0.1)
    day = of(values[:144], at_s=at_s[:144])
    assert day.columns == LEVEL
    assert day.sds.mean() > 1.0  # the wave is taken for spread until it can be told


def test_a_season_begins_to_be_told_as_windows_come() -> None:
    rng = np.random.default_rng(9)
    start = 20_000 * DAY_S
    wave = lambda at: 2.0 * np.sin(2 * np.pi * at / DAY_S)  # noqa: E731
    at_s = start + np.arange(144) * STEP_S
    values = wave(at_s)[:, None] + 0.2 * rng.standard_normal((144, 10))
    usual = of(values, at_s=at_s)
    for number in range(144, 6 * 144):
        at = start + number * STEP_S
        row = wave(at) + 0.2 * rng.standard_normal(10)
        usual = learn(usual, row, at, np.full(10, True))
        if number == 2 * 144 - 1:
            assert usual.columns == LEVEL
    assert usual.columns == DAILY
    assert usual.sds.mean() == pytest.approx(0.2, rel=0.25)
    centre, _ = expected(usual, start + 7.25 * DAY_S)
    assert centre.mean() == pytest.approx(2.0, abs=0.1)


def test_a_slow_change_is_learned_and_an_old_level_forgotten() -> None:
    rng = np.random.default_rng(10)
    usual = of(rng.standard_normal((20, 10)))
    for number in range(1_000):
        row = 1e-2 * number + rng.standard_normal(10)
        usual = learn(usual, row, float(number), np.full(10, True))
    centre, _ = expected(usual, 0.0)
    # exponential weights of 100 windows lag a ramp by 100 windows
    assert centre.mean() == pytest.approx(10.0 - 1.0, abs=0.2)
    assert usual.sds.mean() == pytest.approx(1.4, abs=0.3)


def test_only_what_is_calm_learns() -> None:
    rng = np.random.default_rng(11)
    usual = of(rng.standard_normal((20, 2)))
    before, _ = expected(usual, 0.0)
    for number in range(100):
        usual = learn(usual, np.array([3.0, 3.0]), float(number), np.array([True, False]))
    after, _ = expected(usual, 0.0)
    assert after[0] - before[0] > 1.0
    assert after[1] == pytest.approx(before[1], abs=1e-6)


def test_missing_windows_and_constants() -> None:
    rng = np.random.default_rng(12)
    values = rng.standard_normal((40, 10))
    values[::3, 0] = np.nan
    values[:, 1] = 7.0
    usual = of(values)
    centre, doubt = expected(usual, 0.0)
    assert np.isfinite(centre).all()
    assert np.isfinite(doubt).all()
    assert centre[0] == pytest.approx(float(np.nanmean(values[:, 0])), abs=0.15)
    assert (centre[1], usual.sds[1]) == (pytest.approx(7.0), pytest.approx(0.01, rel=0.01))
    after = learn(usual, np.full(10, np.nan), 1.0, np.full(10, True))
    assert expected(after, 0.0)[0] == pytest.approx(centre)
    assert msgspec.json.decode(msgspec.json.encode(after), type=Usual) == after
    with pytest.raises(ValueError, match="at least 3"):
        of(values[:2])


@pytest.mark.parametrize(
    ("days", "step_s", "columns"),
    [
        (1.9, 60.0, LEVEL), (2.0, 60.0, DAILY), (27.0, 60.0, DAILY), (28.0, 60.0, WEEKLY),
        (365.0, DAY_S, LEVEL), (365.0, 0.0, LEVEL), (10.0, -5.0, LEVEL),
    ],
)  # fmt: skip
def test_which_waves_a_stretch_can_tell(days: float, step_s: float, columns: int) -> None:
    assert columns_for(days * DAY_S, step_s) == columns
