"""What breaks elsewhere: each has a stated behaviour, is counted, and nothing crashes."""

import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from mlg.monitors.answers import micros, time_text
from mlg.monitors.fold import FoldState, WindowPlan, fold
from mlg.monitors.levels import KEPT, MOST_LEVELS, SHARES, LongText, long_text
from mlg.monitors.monitor import Plan, new_monitor, observe
from mlg.monitors.windows import REQUESTS, Layout, Window, layout_of

START_US = micros("2026-03-01T00:00:00Z")
PLAN = Plan(window=WindowPlan(service="home", events=100), baseline=20)
EVENTS = WindowPlan(service="home", events=4)
SECONDS = WindowPlan(service="home", events=None, seconds=1.0, late_s=0.5)


def answer(n: int, features: list[float], *, at_s: float = 0.0, **how: Any) -> dict[str, Any]:
    return {
        "prediction_id": f"p{n}", "service": "home", "model_version": "v1", "items": [1],
        "served_by": "model", "reason": "ranked", "raw_confidence": 0.5, "viewer": f"v{n}",
        "at": time_text(START_US + round(at_s * 10**6)), "features": features, **how,
    }  # fmt: skip


def requests(windows: tuple[Window, ...]) -> list[Window]:
    return [window for window in windows if window.stream == REQUESTS]


def monitored(values: list[list[float]], layouts: dict[str, Layout]) -> set[str]:
    """Return what signals when the columns' values of window after window come."""
    monitor, found, count = new_monitor(PLAN), set[str](), 0
    for column in values:
        rows = [answer(count + n, [value], at_s=count + n) for n, value in enumerate(column)]
        seen = observe(monitor, rows, [], plan=PLAN, layouts=layouts)
        monitor, count = seen.monitor, count + len(rows)
        found |= {one.metric for one in seen.signals}
    return found


ONE = {"v1": layout_of("v1", ["x"], {})}


@pytest.mark.parametrize(
    ("before", "after", "signalled"),
    [
        ([float("nan")], [float("nan")], set()),
        ([7.0], [7.0], set()),
        ([float("nan")], [1.0, 2.0], {"x.missing"}),
        ([1.0, 2.0, 3.0], [float("nan")], {"x.missing"}),
        ([1.0, 2.0, 3.0], [1.0, 2.0, float("inf")], {"x.infinite", "x.missing"}),
        ([7.0], [8.0], {"x.location"}),
        ([1.0, 2.0, 3.0], [2.0], {"x.log_sd"}),
        ([1e-40, 0.0], [3e38], {"x.location"}),
    ],
)
def test_null_constant_and_infinite_features_are_charted(
    before: list[float], after: list[float], signalled: set[str]
) -> None:
    rng = np.random.default_rng(1)
    values = [rng.choice(before, 100).tolist() for _ in range(24)]
    assert monitored(values, ONE) == set()
    values += [rng.choice(after, 100).tolist() for _ in range(8)]
    assert signalled <= monitored(values, ONE)
    assert bool(signalled) == bool(monitored(values, ONE))


def test_a_new_column_is_counted_and_told_and_the_others_are_watched() -> None:
    layouts = {
        "v1": layout_of("v1", ["viewer:age"], {}),
        "v2": layout_of("v2", ["viewer:age", "viewer:city"], {"viewer:city": ["rome"]}),
    }
    rows = [answer(n, [20.0]) for n in range(2)]
    rows += [answer(n, [20.0, 0.0], model_version="v2") for n in (2, 3)]
    found = fold(FoldState(), rows, [], plan=EVENTS, layouts=layouts)
    (window,) = requests(found.windows)
    assert [(one.name, one.n) for one in window.features] == [("viewer:age", 4)]
    assert list(found.state.odd) == ["viewer:city is new in v2 and not watched yet"]


def test_a_column_that_changes_its_type_is_missing_and_told() -> None:
    layouts = {
        "v1": layout_of("v1", ["viewer:age"], {}),
        "v2": layout_of("v2", ["viewer:age"], {"viewer:age": ["old", "young"]}),
    }
    rows = [answer(n, [20.0]) for n in range(2)]
    rows += [answer(n, [1.0], model_version="v2") for n in (2, 3)]
    found = fold(FoldState(), rows, [], plan=EVENTS, layouts=layouts)
    (window,) = requests(found.windows)
    assert (window.features[0].n, window.features[0].missing) == (4, 2)
    assert list(found.state.odd) == [
        "viewer:age is a text in one version and a number in another"
    ]


def test_windows_in_which_nothing_came_are_counted() -> None:
    rows = [
        answer(n, [1.0], at_s=at) for n, at in enumerate((0.1, 0.2, 5.5, 5.6, 9.1, 9.2, 9.3))
    ]
    found = fold(FoldState(), rows, [], plan=SECONDS, layouts=ONE)
    assert [window.n for window in requests(found.windows)] == [2, 2]
    assert found.state.odd == {"windows without an answer": 4}
    assert fold(found.state, [], [], plan=SECONDS, layouts=ONE).windows == ()


def test_clocks_that_jump_ahead_and_back_do_not_blind_the_monitor() -> None:
    state, windows = FoldState(), []
    times = [0.1] * 10 + [1e7] * 5 + [2 + n / 50 for n in range(400)]
    for n, at_s in enumerate(times):
        step = fold(state, [answer(n, [1.0], at_s=at_s)], [], plan=SECONDS, layouts=ONE)
        state = msgspec.json.decode(msgspec.json.encode(step.state), type=FoldState)
        windows += requests(step.windows)
    assert state.odd["the clock of the answers went back"] == 1
    assert state.late == 2 * 199 + 0  # in the stream of requests and in the version's
    # after two hundred late ones in a row: 4 s of the traffic, and then each second again
    assert [window.n for window in windows[-3:]] == [50, 50, 50]


LEVELS = [f"city {n}" for n in range(1_000_000)]


def test_a_million_categories_are_counted_in_little() -> None:
    layouts = {"v1": layout_of("v1", ["viewer:city"], {"viewer:city": LEVELS})}
    codes = [3.0, 3.0, 999_999.0, 500.0, -1.0, 1_000_000.0, float("nan"), 250_000.0]
    rows = [answer(n, [code]) for n, code in enumerate(codes)]
    plan = WindowPlan(service="home", events=len(codes))
    found = fold(FoldState(), rows, [], plan=plan, layouts=layouts)
    (window,) = requests(found.windows)
    (city,) = window.features
    assert len(city.counts) == KEPT + SHARES + 1
    assert (city.n, city.missing, city.counts[3], city.counts[-1]) == (8, 1, 2, 2)
    assert sum(city.counts[KEPT:-1]) == 3
    assert len(msgspec.json.encode(found.state)) < 100_000


def test_a_level_falls_into_the_same_share_in_every_version() -> None:
    first, second = LEVELS[:2_000], LEVELS[500:2_500]
    layouts = {
        "v1": layout_of("v1", ["viewer:city"], {"viewer:city": first}),
        "v2": layout_of("v2", ["viewer:city"], {"viewer:city": second}),
        "v3": layout_of("v3", ["viewer:city"], {"viewer:city": ["city 7", "city 1234"]}),
    }
    city = LEVELS.index("city 1234")
    rows = [answer(0, [float(city)])]
    rows += [answer(1, [float(city - 500)], model_version="v2")]
    rows += [answer(2, [1.0], model_version="v3"), answer(3, [0.0], model_version="v3")]
    found = fold(FoldState(), rows, [], plan=EVENTS, layouts=layouts)
    (window,) = requests(found.windows)
    counts = window.features[0].counts
    assert counts[7] == 1
    assert max(counts[KEPT:-1]) == 3


def test_levels_that_a_short_list_does_not_have_are_other_texts_there() -> None:
    text = LongText(LEVELS[:1_500])
    codes = text.codes_in(("city 9", "city 1400"), shares=False)
    assert (codes[9], codes[1_400], codes[0], codes[-1]) == (0, 1, -1, -1)
    assert long_text(("a", "b")).codes_in((), shares=False).tolist() == [-1, -1, -1]


def test_as_many_levels_as_are_kept_by_name_stay_as_they_are() -> None:
    layout = layout_of("v1", ["x"], {"x": LEVELS[:MOST_LEVELS]})
    assert layout.features[0].levels == tuple(LEVELS[:MOST_LEVELS])
    assert sys.getsizeof(LongText(LEVELS).hashes) < 5_000_000
