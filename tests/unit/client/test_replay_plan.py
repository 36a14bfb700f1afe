"""From held-out events to requests."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.client.replay_plan import (
    DAY_US,
    WEEK_US,
    Emphasis,
    Interactions,
    Replay,
    ReplayPlan,
    wilson,
)
from mlg.core.clock import parse_time

EVENT = st.tuples(
    st.integers(1, 4), st.integers(1, 9), st.integers(0, 20 * 24), st.integers(1, 5)
)


def table(rows: list[tuple[int, int, int, int]]) -> Interactions:
    """Rows of (viewer, item, hour, value)."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    viewer, item, hour, value = (np.array(column, dtype=np.int64) for column in columns)
    return Interactions(
        viewer=viewer,
        item=item,
        at_us=hour * (DAY_US // 24),
        value=value.astype(np.float64),
    )


def us(text: str) -> int:
    return round(parse_time(text).timestamp() * 1e6)


@settings(deadline=None)
@given(
    st.lists(EVENT, min_size=1, max_size=60), st.lists(EVENT, max_size=20), st.integers(1, 3)
)
def test_time_never_runs_back_and_history_is_strictly_earlier(
    held: list[Any], before: list[Any], passes: int
) -> None:
    late = [(v, i, h + 21 * 24, r) for v, i, h, r in held]
    plan = ReplayPlan(table(late), table(before), Replay(passes=passes, history=5))
    requests = list(plan)
    assert len(requests) == len(plan)
    times = [us(request.at) for request in requests]
    assert all(a <= b for a, b in pairwise(times))
    per_session: dict[str, int] = {}
    for request in requests:
        per_session[request.session] = per_session.get(request.session, 0) + 1
        history = request.body["context"]["history"]
        assert len(history) <= 5
        assert all(us(entry["at"]) < us(request.at) for entry in history)
        shift = request.pass_no * plan.span_us
        rows = [r for r in late if r[0] == request.viewer]
        later = {r[1] for r in rows if r[2] * (DAY_US // 24) + shift >= us(request.at)}
        assert set(request.wanted) == later
        assert later  # a viewer asks when he really is there
    assert max(per_session.values()) <= 4
    assert {request.viewer for request in requests} == {row[0] for row in late}


def test_passes_are_whole_weeks_apart_with_the_same_requests() -> None:
    rows = [(1, 1, 0, 5), (1, 2, 24, 3), (2, 1, 30, 1)]
    requests = list(ReplayPlan(table(rows), None, Replay(passes=2)))
    first, second = requests[:3], requests[3:]
    for one, other in zip(first, second, strict=True):
        assert us(other.at) - us(one.at) == WEEK_US
        assert one.wanted == other.wanted
        assert one.session != other.session
    assert first[0].session == "1.0.0"
    assert first[0].body["session_id"] == "1.0.0"
    later = ReplayPlan(table(rows), None, Replay(passes=1, first_pass=1))
    assert list(later) == second


def test_watch_through_is_the_value_between_its_ends() -> None:
    rows = [(1, 10 + value, value, value) for value in range(1, 6)]
    plan = ReplayPlan(table(rows), None, Replay(value_range=(1.0, 5.0)))
    assert next(iter(plan)).wanted == {11: 0.0, 12: 0.25, 13: 0.5, 14: 0.75, 15: 1.0}
    liked = ReplayPlan(table(rows), None, Replay(value_range=(1.0, 5.0), hit_at_least=4))
    assert set(next(iter(liked)).wanted) == {14, 15}


def test_four_requests_of_a_long_session_are_spread_over_it() -> None:
    rows = [(1, hour, hour, 3) for hour in range(10)]
    requests = list(ReplayPlan(table(rows), None, Replay()))
    assert [us(request.at) // (DAY_US // 24) for request in requests] == [0, 3, 6, 9]
    assert [len(r.body["context"]["history"]) for r in requests] == [0, 3, 6, 9]


def test_a_table_without_viewers_gives_one_session_an_impression() -> None:
    heldout = Interactions(
        item=np.array(["b", "a"]),
        at_us=np.array([2, 1], dtype=np.int64),
        value=np.array([0.0, 1.0]),
        context=(("segment", np.array(["x", "y"])), ("age", np.array([1, 2]))),
    )
    first, second = ReplayPlan(heldout, None, Replay(hit_at_least=1.0))
    assert first.wanted == {"a": 1.0}
    assert second.wanted == {}
    assert first.body["context"]["viewer"] == {"segment": "y", "age": 2}
    assert "user_id" not in first.body
    assert first.session != second.session


def test_columns_must_fit_together() -> None:
    with pytest.raises(ValueError, match="length"):
        Interactions(
            item=np.array([1]), at_us=np.array([], dtype=np.int64), value=np.array([1.0])
        )
    with pytest.raises(ValueError, match="value_range"):
        Replay(value_range=(1.0, 1.0))
    with pytest.raises(ValueError, match="passes"):
        Replay(passes=0)


def test_the_wilson_interval_is_the_published_one() -> None:
    # R. G. Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(
    st.lists(EVENT, min_size=4, max_size=60, unique_by=lambda row: (row[0], row[2])),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_an_emphasis_asks_only_what_its_viewers_asked_at_other_times(
    held: list[Any], share: float
) -> None:
    usual = list(ReplayPlan(table(held), None, Replay()))
    mine = [request for request in usual if request.viewer == 1]
    if not mine or len(mine) > share * len(usual):
        return
    emphasis = Emphasis(viewers=frozenset({1}), share=share)
    plan = ReplayPlan(table(held), None, Replay(emphasis=emphasis, passes=2))
    asked = list(plan)[: len(usual)]
    assert len(plan) == 2 * len(usual)
    assert [request.at for request in asked] == [request.at for request in usual]
    count = sum(request.viewer == 1 for request in asked)
    assert count == len(usual) - round(len(usual) * (1 - share))
    real = {(r.viewer, tuple(sorted(r.wanted.items())), items_of(r)) for r in usual}
    for request in asked:
        assert (
            request.viewer,
            tuple(sorted(request.wanted.items())),
            items_of(request),
        ) in real
        history = request.body["context"]["history"]
        assert all(us(entry["at"]) < us(request.at) for entry in history)
    times = [items_of(request) for request in asked if request.viewer == 1]
    each = [times.count(one) for one in set(times)]
    whole = {items_of(request) for request in mine}
    if len(whole) == len(mine):  # each is asked as often as the others, give or take one
        assert max(each) - min(each) <= 1


def items_of(request: Any) -> tuple[Any, ...]:
    return tuple(entry["item_id"] for entry in request.body["context"]["history"])


def test_an_emphasis_that_cannot_be_is_refused() -> None:
    rows = [(1, 1, 1, 5), (2, 2, 2, 4)]
    for viewers, share in (({9}, 0.9), ({1}, 0.1)):
        emphasis = Emphasis(viewers=frozenset(viewers), share=share)
        with pytest.raises(ValueError, match="emphasised"):
            ReplayPlan(table(rows), None, Replay(emphasis=emphasis))
    with pytest.raises(ValueError, match="share"):
        Emphasis(viewers=frozenset({1}), share=0.0)


def test_a_plan_goes_on_after_a_time_in_whole_spans() -> None:
    plan = ReplayPlan(table([(1, 1, 24, 5), (1, 2, 30, 5)]), None, Replay(passes=2))
    begun = DAY_US
    for late, first in ((0, 0), (begun, 0), (begun + 1, 1), (begun + WEEK_US + 1, 2)):
        later = plan.after(late)
        assert (later.replay.first_pass, len(later)) == (first, 4)
        assert all(us(request.at) >= late for request in later)


def test_a_bootstrap_draws_whole_viewers_anew_for_each_pass() -> None:
    rows = [(v, i, 24 + 5 * i + v, 5) for v in range(1, 21) for i in range(1, 4)]
    usual = list(ReplayPlan(table(rows), None, Replay()))
    plan = ReplayPlan(table(rows), None, Replay(passes=2, bootstrap=7))
    found = list(plan)
    assert len(found) == len(plan)
    assert [r.at for r in found] == sorted(r.at for r in found)
    times: list[dict[int, int]] = []
    for pass_no in (0, 1):
        mine = [r for r in found if r.pass_no == pass_no]
        whole = {v: sum(r.viewer == v for r in mine) for v in range(1, 21)}
        own = {v: sum(r.viewer == v for r in usual) for v in range(1, 21)}
        assert all(whole[v] % own[v] == 0 for v in whole)
        times.append({v: whole[v] // own[v] for v in whole})
        assert sum(times[-1].values()) == 20
    assert times[0] != times[1]
    assert list(plan) == list(ReplayPlan(table(rows), None, Replay(passes=2, bootstrap=7)))
