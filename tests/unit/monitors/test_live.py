"""Live counters: what is counted, and that nothing is counted twice."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.monitors.live import BINS, EDGES_MS, LiveState, update
from mlg.monitors.live_summary import quantile_ms, summary


def answer(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "prediction_id": f"p{number}",
        "service": "home",
        "model_version": "v1",
        "served_by": "model",
        "reason": "ok",
        "raw_confidence": 0.31,
        "confidence": 0.3,
        "latency_ms": 2.0,
        "items": [1, 2, 3],
        "at": "2026-01-01T00:00:00Z",
        **changes,
    }


def reaction(number: int, item: object = 1, event: str = "play", **more: Any) -> dict[str, Any]:
    return {"prediction_id": f"p{number}", "item_id": item, "event": event, **more}


def total(state: LiveState) -> Mapping[str, Any]:
    (service,) = summary(state)["services"]
    return service["total"]


def test_answers_are_counted_by_version_and_by_who_answered() -> None:
    state = update(
        LiveState(),
        [
            answer(1),
            answer(2, served_by="fallback", reason="abstain", raw_confidence=0.02),
            answer(3, model_version="v2", raw_confidence=1.0),
            answer(4, model_version="v2", raw_confidence=None),
        ],
        [],
    )
    counted = summary(state)["services"][0]
    assert counted["total"]["requests"] == 4
    assert counted["total"]["served_by"] == {"fallback": 1, "model": 3}
    assert counted["total"]["reasons"] == {"abstain": 1, "ok": 3}
    bins = counted["total"]["confidence"]["bins"]
    assert (len(bins), sum(bins), bins[0], bins[6], bins[19]) == (BINS, 3, 1, 1, 1)
    assert counted["total"]["confidence"]["mean_raw"] == pytest.approx((0.31 + 0.02 + 1) / 3)
    assert [(v["version"], v["requests"]) for v in counted["versions"]] == [
        ("v1", 2),
        ("v2", 2),
    ]


def test_a_hit_is_an_item_of_the_answer_and_counts_once() -> None:
    state = update(
        LiveState(),
        [answer(n) for n in range(1, 5)],
        [
            reaction(1, 1, "play"),
            reaction(1, 2, "complete"),  # the same answer: still one hit
            reaction(2, 1, "impression"),  # was shown, not liked
            reaction(3, 99, "play"),  # never in the answer
            reaction(4, "3", "play"),  # ids compare as text
        ],
    )
    assert total(state)["hits"] == {"n": 2, "rate": 0.5}
    assert total(state)["feedback"] == {"complete": 1, "impression": 1, "play": 3}


def test_watch_through_is_the_largest_of_each_item_in_any_order() -> None:
    growing = [
        reaction(1, 1, "play", watch_through=0.2),
        reaction(1, 1, "complete", watch_through=0.9),
        reaction(1, 2, "play", watch_through=0.5),
    ]
    forward = update(LiveState(), [answer(1)], growing)
    backward = update(LiveState(), [answer(1)], growing[::-1])
    for state in (forward, backward):
        assert total(state)["watch_through"]["n"] == 2
        assert total(state)["watch_through"]["mean"] == pytest.approx(0.7)
        band = total(state)["bands"][3]
        assert (band["from"], band["to"], band["answers"]) == (0.3, 0.4, 1)
        assert (band["hit_rate"], band["watch_n"]) == (1.0, 2)


RECORDS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.sampled_from(["play", "complete"])),
    max_size=30,
)


@given(st.lists(st.integers(0, 6), max_size=20), RECORDS, st.integers(0, 40))
def test_a_batch_that_comes_again_changes_no_counter(
    numbers: list[int], records: list[tuple[int, int, str]], cut: int
) -> None:
    answers = [answer(n) for n in numbers]
    feedback = [reaction(n, item, event, watch_through=0.5) for n, item, event in records]
    once = update(LiveState(), answers, feedback)
    again = update(once, answers, feedback)
    assert again.series == once.series
    parts = update(update(LiveState(), [], feedback[:cut]), answers, feedback[cut:])
    assert parts.series == once.series  # early feedback waits for its answer


@given(RECORDS)
def test_the_given_state_is_not_changed_and_goes_through_json(
    records: list[tuple[int, int, str]],
) -> None:
    before = update(LiveState(), [answer(0), answer(1)], [reaction(0)])
    kept = msgspec.json.encode(before)
    after = update(before, [answer(n) for n, _, _ in records], [reaction(*r) for r in records])
    assert msgspec.json.encode(before) == kept
    assert msgspec.json.decode(kept, type=LiveState) == before
    assert msgspec.json.decode(msgspec.json.encode(after), type=LiveState) == after
    msgspec.json.encode(summary(after))


def test_the_window_is_bounded_and_late_feedback_is_an_orphan() -> None:
    state = update(LiveState(), [answer(n) for n in range(10)], [], window=4, pending=2)
    assert list(state.window) == ["p6", "p7", "p8", "p9"]
    late = [reaction(n) for n in range(5)]
    state = update(state, [], late, window=4, pending=2)
    assert (len(state.pending), state.orphans, total(state)["hits"]["n"]) == (2, 3, 0)
    assert total(state)["requests"] == 10


def test_broken_records_are_counted_and_skipped() -> None:
    nonsense: list[dict[str, Any]] = [{}, answer(1, prediction_id=None), answer(2, service="")]
    state = update(LiveState(), nonsense, [{}, reaction(1, None), reaction(1, 1, "")])
    assert (state.malformed, state.series) == (6, ())
    odd = update(
        LiveState(),
        [answer(1, raw_confidence=float("nan"), latency_ms=float("inf"), items=None)],
        [reaction(1, 7, watch_through=7.0)],
    )
    assert total(odd)["confidence"] == {"bins": [0] * BINS, "mean_raw": None}
    assert total(odd)["hits"]["n"] == 1  # without a list of items every item counts
    assert total(odd)["watch_through"] == {"n": 0, "mean": None}
    assert total(odd)["latency_ms"] == {"p50": None, "p99": None}


def test_the_newest_answers_are_kept_to_be_traced() -> None:
    state = update(LiveState(), [answer(n) for n in range(30)], [])
    recent = summary(state)["recent_predictions"]
    assert [one["prediction_id"] for one in recent] == [f"p{n}" for n in range(29, 17, -1)]
    assert recent[0]["confidence"] == 0.3


def test_reasons_are_bounded() -> None:
    state = update(LiveState(), [answer(n, reason=f"r{n}") for n in range(100)], [])
    reasons = total(state)["reasons"]
    assert (len(reasons), reasons["other"], sum(reasons.values())) == (65, 36, 100)


def test_quantiles_agree_with_exact_ones_within_a_bin() -> None:
    rng = np.random.default_rng(7)
    times = np.exp(rng.normal(1.0, 1.0, 20_000))
    state = update(
        LiveState(), [answer(n, latency_ms=float(ms)) for n, ms in enumerate(times)], []
    )
    width = EDGES_MS[1] / EDGES_MS[0]
    for q, name in ((0.5, "p50"), (0.99, "p99")):
        exact = float(np.quantile(times, q))
        assert exact / width <= total(state)["latency_ms"][name] <= exact * width


def test_a_quantile_outside_the_edges_is_the_edge() -> None:
    low = update(LiveState(), [answer(1, latency_ms=0.0)], [])
    high = update(LiveState(), [answer(1, latency_ms=1e9)], [])
    assert total(low)["latency_ms"]["p99"] == EDGES_MS[0]
    assert total(high)["latency_ms"]["p99"] == EDGES_MS[-1]
    assert quantile_ms([0] * (len(EDGES_MS) + 1), 0.5) is None


def test_the_caveats_are_said_and_may_be_said_otherwise() -> None:
    assert "never shown" in summary(LiveState())["caveats"]["hit"]
    own = summary(LiveState(), caveats={"hit": "A hit is a click."})
    assert own["caveats"] == {"hit": "A hit is a click."}
