import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.release.restarts import Restarts, crashed, proven


def test_delays_double_from_one_second_to_thirty() -> None:
    history, delays = Restarts(), []
    for n in range(7):
        at_s = n * 1_000.0  # far apart: never a loop
        history, looping = crashed(history, at_s)
        assert not looping
        delays.append(history.not_before_s - at_s)
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_the_fifth_crash_within_a_minute_is_a_loop_told_once() -> None:
    history, verdicts = Restarts(), []
    for n in range(7):
        history, looping = crashed(history, n * 10.0)
        verdicts.append(looping)
    assert verdicts == [False] * 4 + [True] + [False] * 2
    assert history.not_before_s == 60.0 + 60.0


@pytest.mark.parametrize(
    ("now_s", "ready_s", "forgotten"),
    [(64.9, 90.0, False), (65.0, 59.9, False), (65.0, 60.0, True)],
)
def test_a_minute_of_health_without_a_crash_clears_the_history(
    now_s: float, ready_s: float, forgotten: bool
) -> None:
    history, _ = crashed(Restarts(), 5.0)
    assert (proven(history, now_s, ready_s) == Restarts()) is forgotten


@given(st.lists(st.floats(0, 100), max_size=30))
def test_no_start_is_allowed_sooner_than_a_second_after_a_crash(gaps: list[float]) -> None:
    history, now_s = Restarts(), 0.0
    for gap in gaps:
        now_s += gap
        history, _ = crashed(history, now_s)
        assert history.not_before_s >= now_s + 1.0
