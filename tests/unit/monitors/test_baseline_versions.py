"""When a baseline is worth a version, and what its document says."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mlg.core.clock import rfc3339
from mlg.monitors.baseline import HOLD, Baseline
from mlg.monitors.baseline_document import (
    document,
    edges_of,
    encoded,
    first_at,
    learnings,
    season_of,
)
from mlg.monitors.baseline_versions import BaselineVersion, versions_to_keep
from mlg.monitors.budget import Budget
from mlg.monitors.evaluate import MonitorState, evaluate
from mlg.monitors.fold import FoldState
from mlg.monitors.usual import known
from mlg.monitors.windows import Quality
from mlg.stats.season import DAILY, DAY_S

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def quality(number: int, rate: float) -> Quality:
    start = START + number * HOUR
    return Quality(
        service="home", version="v1", number=number, start=rfc3339(start),
        end=rfc3339(start + HOUR), n=1_000, labelled=1_000, hits=int(1_000 * rate),
        expected=300.0,
    )  # fmt: skip


def hours(count: int) -> tuple[MonitorState, list[tuple[int, BaselineVersion]]]:
    rng, state = np.random.default_rng(3), MonitorState()
    found: list[tuple[int, BaselineVersion]] = []
    for number in range(count):
        before = state
        state, signals = evaluate(
            state, quality(number, 0.3 + rng.normal(0, 0.01)), budget=Budget(windows=100_000)
        )
        assert signals == ()
        found += [(number, one) for one in versions_to_keep(before, state, ())]
    return state, found


def test_phase_i_ends_once_and_the_day_is_told_once_two_days_were_learned() -> None:
    state, found = hours(70)
    assert [(one.stream, one.reason) for _, one in found] == [
        ("quality:v1", "learned"), ("quality:v1", "season"),
    ]  # fmt: skip
    (learned, first), (switched, second) = found
    assert learned == 19
    # windows are learned ten late, the first ends at hour 1: hour 49 is two days later
    assert switched == 48 + HOLD
    usual = second.baseline.usual
    assert usual is not None
    assert (usual.columns, season_of(usual)) == (DAILY, "day")
    assert usual.last_s - usual.first_s == 2 * DAY_S
    assert first.baseline.usual is not None
    assert season_of(first.baseline.usual) == "level"
    (none, one) = learnings(state)
    assert (none.stream, none.windows, none.known) == ("v1", 0, False)
    assert (one.stream, one.windows, one.known) == ("quality:v1", 70 - HOLD, True)


def test_a_document_with_a_day_names_its_waves_and_reads_shares_as_shares() -> None:
    _, found = hours(70)
    baseline = found[1][1].baseline
    told = document(baseline, monitor="m", service="home", stream="quality:v1", edges={})
    assert told["regressors"] == [
        "level", "sin 7 a week", "cos 7 a week", "sin 14 a week", "cos 14 a week",
    ]  # fmt: skip
    hits = next(one for one in told["statistics"] if one["metric"] == "hit_rate.share")
    assert hits["usual"] == pytest.approx(0.3, abs=0.005)
    assert hits["coefficients"][0] == pytest.approx(math.asin(math.sqrt(0.3)), abs=0.005)
    gap = next(one for one in told["statistics"] if one["metric"] == "calibration.mean")
    assert gap["usual"] == pytest.approx(0.0, abs=0.005)
    assert (told["numbers"], told["texts"], told["vectors"]) == ([], [], [])


def test_the_spread_of_an_ewma_of_independent_windows_is_that_of_the_textbook() -> None:
    usual = known(["age.location"], ["location"], centre=0.5, sigma=2.0)
    told = document(
        Baseline(usual=usual, scores={"age": (-1.0, 1.0)}),
        monitor="m", service="s", stream="requests", edges={"age": (30.0,)},
    )  # fmt: skip
    (one,) = told["statistics"]
    assert one["ewma_sd"] == pytest.approx(2.0 * math.sqrt(0.1 / 1.9))
    assert (one["coefficients"], one["usual"], one["sigma"]) == ([0.5], 0.5, 2.0)
    assert told["numbers"] == [{"feature": "age", "edges": [30.0], "scores": [-1.0, 1.0]}]
    assert (told["first_at"], first_at(usual)) == (None, None)  # as if it were always known


def test_written_again_from_its_json_a_document_has_the_same_bytes() -> None:
    _, found = hours(70)
    told = document(found[1][1].baseline, monitor="m", service="s", stream="q", edges={})
    assert encoded(json.loads(encoded(told))) == encoded(told)


def test_what_still_learns_has_no_document_and_an_unknown_stream_no_edges() -> None:
    with pytest.raises(ValueError, match="still learns"):
        document(Baseline(), monitor="m", service="s", stream="requests", edges={})
    assert edges_of(FoldState(), "requests") == {}
