from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.monitors.fold import FoldState, WindowPlan, fold
from mlg.monitors.windows import REQUESTS, Feature, Window, layout_of, merge, summarise

LAYOUTS = {"v1": layout_of("v1", ["viewer:age", "score_margin"], {})}


def answer(n: int, second: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "prediction_id": f"p{n}", "service": "home", "model_version": "v1",
        "served_by": "model", "reason": "ranked", "raw_confidence": 0.5, "viewer": f"v{n}",
        "items": [1], "at": f"2026-01-01T00:00:{second:09.6f}Z", "features": [20.0 + n, 1.0],
        **changes,
    }  # fmt: skip


def closed(windows: tuple[Window, ...], stream: str) -> list[Window]:
    return [window for window in windows if window.stream == stream]


def test_a_window_of_events_closes_when_it_is_full_whatever_the_batches() -> None:
    plan = WindowPlan(service="home", events=4)
    rows = [answer(n) for n in range(10)]
    whole = fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS)
    state, windows = FoldState(), []
    for row in rows:
        step = fold(state, [row], [], plan=plan, layouts=LAYOUTS)
        state = step.state
        windows += step.windows
    assert [w.n for w in closed(whole.windows, REQUESTS)] == [4, 4]
    first, again = closed(whole.windows, REQUESTS)[1], closed(tuple(windows), REQUESTS)[1]
    assert first.features[0].counts == again.features[0].counts
    assert first.features[0].mean == pytest.approx(again.features[0].mean)
    assert first.rows == again.rows


def test_an_answer_that_comes_twice_counts_once() -> None:
    plan = WindowPlan(service="home", events=4)
    once = fold(FoldState(), [answer(1), answer(1)], [], plan=plan, layouts=LAYOUTS)
    twice = fold(once.state, [answer(1)], [], plan=plan, layouts=LAYOUTS)
    assert twice.state.streams[REQUESTS].open[0].n == 1
    assert twice.state.duplicates == 2


def test_windows_of_seconds_wait_for_late_answers_and_count_those_too_late() -> None:
    plan = WindowPlan(service="home", events=None, seconds=2.0, late_s=2.0)
    rows = [answer(1, 0.1), answer(2, 3.9), answer(3, 1.9), answer(4, 3.8), answer(5, 3.95)]
    step = fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS)
    assert closed(step.windows, REQUESTS) == []
    later = [answer(n, 8.0) for n in (6, 7, 8)]
    step = fold(step.state, later, [], plan=plan, layouts=LAYOUTS)
    assert [w.n for w in closed(step.windows, REQUESTS)] == [2, 3]
    step = fold(step.state, [answer(9, 0.5)], [], plan=plan, layouts=LAYOUTS)
    assert step.state.late == 2  # in the stream of requests and in the version's


def test_one_clock_far_ahead_closes_nothing() -> None:
    plan = WindowPlan(service="home", events=None, seconds=2.0)
    ahead = answer(3, at="2031-01-01T00:00:00Z")
    rows = [answer(1, 0.1), answer(2, 0.2), ahead, answer(4, 0.3)]
    assert fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS).windows == ()


def test_quality_waits_for_labels_and_says_how_complete_they_are() -> None:
    plan = WindowPlan(service="home", events=4, label_wait_s=10.0, label_lag=3)
    liked = {"prediction_id": "p0", "item_id": 1, "event": "play", "watch_through": 0.5}
    seen = {"prediction_id": "p1", "item_id": 1, "event": "impression"}
    early = {"prediction_id": "p9", "item_id": 1, "event": "play"}
    rows = [answer(n) for n in range(4)]
    step = fold(FoldState(), rows, [liked, liked, seen, early], plan=plan, layouts=LAYOUTS)
    assert step.quality == ()
    after = [answer(n, 30.0) for n in range(4, 8)]
    (quality,) = fold(step.state, after, [], plan=plan, layouts=LAYOUTS).quality
    assert (quality.n, quality.labelled, quality.hits, quality.expected) == (4, 2, 1, 1.0)
    assert quality.label_completeness == 0.5
    assert (quality.watch_n, quality.watch_sum) == (1, 0.5)


def test_a_backlog_in_one_call_is_judged_before_it_is_forgotten() -> None:
    plan = WindowPlan(service="home", events=500)
    rows = [answer(n, n % 60 + n / 1e6) for n in range(8_000)]
    liked = [
        {"prediction_id": f"p{n}", "item_id": 1, "event": "play" if n % 500 < 100 else "skip"}
        for n in range(8_000)
    ]
    step = fold(FoldState(), rows, liked, plan=plan, layouts=LAYOUTS)
    # of 5,000 answers that are remembered none is of these windows; the others' labels may come
    assert [(q.number, q.labelled, q.hits) for q in step.quality] == [
        (number, 500, 100) for number in range(6)
    ]
    assert len(step.state.remembered.ids) == 5_000
    assert [one.number for one in step.state.waiting] == list(range(6, 16))


def test_one_viewer_is_one_observation_of_his_attributes() -> None:
    plan = WindowPlan(service="home", events=4)
    rows = [answer(n, viewer="same" if n < 3 else "other") for n in range(4)]
    step = fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS)
    (window,) = closed(step.windows, REQUESTS)
    assert (window.features[0].n, window.actors, window.top_actors[0][1]) == (2, 2, 3)
    (own,) = closed(step.windows, "v1")
    assert own.features[0].n == 4


def test_a_rescue_says_nothing_of_features_and_other_services_nothing_at_all() -> None:
    plan = WindowPlan(service="home", events=2)
    rows = [
        answer(1, reason="rescue", served_by="fallback", features=[], model_version="list"),
        answer(2, service="other"),
        answer(3),
    ]
    step = fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS)
    (window,) = closed(step.windows, REQUESTS)
    assert window.shares == {"served_by=rescue": 1, "served_by=model": 1}
    assert window.features[0].n == 1


def test_rows_of_an_unknown_layout_and_broken_records_are_counted() -> None:
    plan = WindowPlan(service="home", events=2)
    rows = [answer(1, features=[1.0]), {"prediction_id": "p2"}, answer(3, at="noon")]
    state = fold(FoldState(), rows, [{"event": "play"}], plan=plan, layouts=LAYOUTS).state
    assert (state.unknown_layout, state.malformed) == (1, 3)


def test_level_codes_of_another_version_are_read_by_their_text() -> None:
    layouts = {
        "v1": layout_of("v1", ["viewer:job"], {"viewer:job": ["artist", "writer"]}),
        "v2": layout_of("v2", ["viewer:job"], {"viewer:job": ["actor", "artist", "writer"]}),
    }
    rows = [
        answer(1, features=[1.0]),
        answer(2, features=[2.0], model_version="v2"),
        answer(3, features=[0.0], model_version="v2"),
    ]
    plan = WindowPlan(service="home", events=3)
    (window,) = closed(
        fold(FoldState(), rows, [], plan=plan, layouts=layouts).windows, REQUESTS
    )
    assert window.features[0].counts == (0, 2, 1)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=40),
    st.integers(0, 40),
)
@settings(max_examples=50)
def test_summaries_merge_to_that_of_all_rows(values: list[float], cut: int) -> None:
    feature, x = Feature(name="x"), np.array(values)
    whole = summarise(feature, x, (0.0,))
    both = merge(summarise(feature, x[:cut], (0.0,)), summarise(feature, x[cut:], (0.0,)))
    assert (both.n, both.missing, both.counts) == (whole.n, whole.missing, whole.counts)
    assert both.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-6)
    assert both.m2 == pytest.approx(whole.m2, rel=1e-6, abs=1e-3)
