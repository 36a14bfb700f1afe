"""Columnar folding: exact bins, the same windows however records are split, old states."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.monitors import live_window
from mlg.monitors.answers import AsciiTexts, Coded, answers_of, coded, joined, micros, time_text
from mlg.monitors.fold import FoldState, WindowPlan, fold
from mlg.monitors.fold_state import Answered
from mlg.monitors.sums import Sums, bins_of
from mlg.monitors.windows import REQUESTS, Feature, Window, layout_of, summarise

JOBS = ("artist", "doctor", "writer")
LAYOUTS = {
    "v1": layout_of("v1", ["viewer:age", "viewer:job", "margin"], {"viewer:job": JOBS}),
    "v2": layout_of("v2", ["margin", "viewer:job"], {"viewer:job": JOBS[::-1]}),
}
SINGLES = st.floats(width=32)


def made(rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """Return n rows of two versions, rescues among them, some without a viewer."""
    rows: list[dict[str, Any]] = []
    for place in range(n):
        version = "v1" if rng.random() < 0.7 else "v2"
        job = float(rng.integers(-1, 4))
        age, margin = float(rng.integers(18, 60)), float(np.float32(rng.normal()))
        features = [age, job, margin] if version == "v1" else [margin, job]
        if rng.random() < 0.1:
            features[0] = float(rng.choice([np.nan, np.inf, -np.inf]))
        rescue = rng.random() < 0.1
        rows.append(
            {
                "prediction_id": f"p{place}", "service": "home", "model_version": version,
                "served_by": "fallback" if rescue else "model",
                "reason": "rescue" if rescue else "ranked",
                "raw_confidence": float(rng.random()), "items": [1, 2],
                "viewer": f"u{rng.integers(0, 20)}" if rng.random() < 0.9 else None,
                "at": time_text(micros("2026-01-01T00:00:00Z") + 10_000 * place),
                "features": [] if rescue else features,
            }
        )  # fmt: skip
    return rows


def plain(window: Window) -> tuple[Any, ...]:
    features = [(s.name, s.n, s.missing, s.infinite, s.counts) for s in window.features]
    return (
        window.stream, window.number, window.start, window.end, window.n, features,
        window.shares, window.confidence.n, window.rows, window.actors, window.top_actors,
    )  # fmt: skip


def moments(windows: list[Window]) -> list[float]:
    parts = [one for window in windows for one in (*window.features, window.confidence)]
    return [value for one in parts for value in (one.mean, one.m2)]


@given(st.integers(0, 10**6), st.lists(st.integers(3, 60), min_size=1, max_size=8), st.data())
@settings(max_examples=12, deadline=None)
def test_any_split_of_the_records_gives_the_same_windows(
    seed: int, cuts: list[int], data: st.DataObject
) -> None:
    seconds = data.draw(st.booleans())
    plan = WindowPlan(
        service="home", events=None if seconds else 40, seconds=0.3 if seconds else None,
        late_s=0.2,
    )  # fmt: skip
    rows = made(np.random.default_rng(seed), 100)
    whole = fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS)
    state, windows, low = FoldState(), [], 0
    while low < len(rows):
        for size in cuts:
            step = fold(state, rows[low : low + size], [], plan=plan, layouts=LAYOUTS)
            state = msgspec.json.decode(msgspec.json.encode(step.state), type=FoldState)
            windows += step.windows
            low += size
    for stream in (REQUESTS, "v1", "v2"):
        once = [w for w in whole.windows if w.stream == stream]
        again = [w for w in windows if w.stream == stream]
        assert list(map(plain, again)) == list(map(plain, once))
        assert moments(again) == pytest.approx(moments(once), rel=1e-6, abs=1e-9)
    assert (state.read, state.late) == (whole.state.read, whole.state.late)


def test_parts_and_rows_are_folded_alike() -> None:
    plan = WindowPlan(service="home", events=40)
    rows = made(np.random.default_rng(3), 100)
    whole = fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS)
    parts = [answers_of(rows[:30], "home"), answers_of(rows[30:], "home")]
    for answers in (parts, [joined(parts)]):
        step = fold(FoldState(), answers, [], plan=plan, layouts=LAYOUTS)
        assert sorted(w.number for w in step.windows) == sorted(w.number for w in whole.windows)
        assert step.state.remembered == whole.state.remembered


@given(
    st.lists(st.lists(SINGLES, min_size=3, max_size=3), min_size=1, max_size=30),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70, unique=True).map(sorted),
    st.integers(0, 30),
)
@settings(max_examples=80, deadline=None)
def test_sums_of_a_matrix_are_the_summaries_of_its_columns(
    table: list[list[float]], edges: list[float], cut: int
) -> None:
    features = (Feature(name="x"), Feature(name="job", levels=JOBS), Feature(name="y"))
    own = (tuple(edges), (), tuple(edges[:1]))
    x = np.array(table, dtype=np.float32)
    x[:, 0] = np.where(np.arange(len(x)) % 3 == 0, np.float32(edges[0]), x[:, 0])
    sums = Sums(bins_of(features, own))
    sums.add(x[:cut].T)
    sums = Sums(bins_of(features, own), sums.summaries())  # what is stored goes on
    sums.add(x[cut:].T)
    for column, (feature, found) in enumerate(zip(features, sums.summaries(), strict=True)):
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = summarise(feature, x[:, column].astype(np.float64), own[column])
        assert (found.n, found.missing, found.infinite) == (
            wanted.n, wanted.missing, wanted.infinite,
        )  # fmt: skip
        assert found.counts == wanted.counts
        assert found.mean == pytest.approx(wanted.mean, rel=1e-6)
        assert found.m2 == pytest.approx(wanted.m2, rel=1e-6)


def test_a_state_of_before_goes_on_with_what_it_remembers() -> None:
    plan = WindowPlan(service="home", events=2, label_wait_s=0.0, label_lag=0)
    rows = made(np.random.default_rng(1), 12)
    for row in rows:
        row.update(model_version="v1", served_by="model", reason="ranked",
                   features=[20.0, 1.0, 0.5])  # fmt: skip
    before = fold(FoldState(), rows[:2], [], plan=plan, layouts=LAYOUTS).state
    old = replace(
        before,
        remembered=FoldState().remembered,
        answered={
            f"p{n}": Answered(version="v1", number=0, items="\n7\nseven\n", raw=0.5,
                              by_model=True, labelled=n == 1, watch=0.5 if n == 1 else None)
            for n in range(2)
        },
    )  # fmt: skip
    old = msgspec.json.decode(msgspec.json.encode(old), type=FoldState)
    play = {"prediction_id": "p0", "item_id": "seven", "event": "play"}
    step = fold(old, rows, [play], plan=plan, layouts=LAYOUTS)
    assert step.state.duplicates == 2
    assert step.state.answered == {}
    first = next(one for one in step.quality if one.number == 0)
    assert (first.n, first.labelled, first.hits, first.watch_sum) == (2, 2, 1, 0.5)


def test_a_record_within_one_call_that_comes_twice_counts_once() -> None:
    plan = WindowPlan(service="home", events=100)
    rows = made(np.random.default_rng(1), 20)
    state = fold(FoldState(), [*rows[:10], *rows[5:], *rows], [], plan=plan, layouts={}).state
    assert (state.read, state.duplicates) == (20, 25)
    assert state.streams[REQUESTS].open[0].n == 20


def test_more_viewers_than_are_counted_are_answers_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_window, "MAX_ACTORS", 3)
    plan = WindowPlan(service="home", events=10)
    rows = [
        {**row, "viewer": f"u{n % 5}", "model_version": "v1", "reason": "ranked",
         "features": [20.0, 0.0, 1.0]}
        for n, row in enumerate(made(np.random.default_rng(1), 10))
    ]  # fmt: skip
    for cuts in ([10], [2, 4, 4], [1] * 10):
        state, windows, low = FoldState(), [], 0
        for size in cuts:
            step = fold(state, rows[low : low + size], [], plan=plan, layouts=LAYOUTS)
            state, low = step.state, low + size
            windows += step.windows
        window = next(w for w in windows if w.stream == REQUESTS)
        assert (window.n, window.actors, window.features[0].n) == (10, 3, 3)
        assert window.top_actors == (("u0", 2), ("u1", 2), ("u2", 2))


def test_texts_of_one_length_are_texts() -> None:
    names = ["beta", "alfa", "beta", "zeta"]
    made_of = coded(names)
    column = Coded(codes=made_of.codes, texts=AsciiTexts(np.array(made_of.texts, dtype="S4")))
    assert [column.text(row) for row in range(4)] == names
    assert column.pick(np.array([2, 0])) == ["zeta", "beta"]
    assert column.texts[0:2] == ["beta", "alfa"]
    assert set(column.smallest(np.arange(3), 2).tolist()) == {0, 1}
