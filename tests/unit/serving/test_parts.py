"""Confidence, decisions, policy file, warm-up, popularity list."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.predict import Interaction, Query, Ranked, ServingPolicy
from mlg.serving.confidence import SHRINK, shown_confidence
from mlg.serving.policy import PolicyFile
from mlg.serving.popularity import load_list
from mlg.serving.ranker import decide, popular
from mlg.serving.sanity import fault_of
from mlg.serving.service import FaultError
from mlg.serving.warmup import MOST_REQUESTS, MOST_S, golden_requests, warm_up

UNIT = st.floats(0, 1)


@given(UNIT, UNIT, UNIT, UNIT)
def test_the_shrink_is_monotone_and_never_raises(
    a: float, b: float, s: float, t: float
) -> None:
    low, high = sorted((a, b))
    calm, wild = sorted((s, t))
    assert shown_confidence(low, s) <= shown_confidence(high, s)
    assert shown_confidence(a, wild) <= shown_confidence(a, calm) <= a
    assert shown_confidence(a, 0.0) == a
    assert shown_confidence(a, 1.0) == pytest.approx(a * (1 - SHRINK))


@given(UNIT, UNIT, st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_propensities_of_a_decision_are_the_drawn_shares(
    raw: float, threshold: float, explore_bp: int, drawn: float
) -> None:
    policy = ServingPolicy(
        service="home", version="1", abstain_below=threshold, explore_bp=explore_bp
    )
    decision = decide(raw, policy, lambda: drawn)
    if raw >= threshold:
        assert (decision.reason, decision.propensity) == ("ranked", 1.0)
    elif drawn < explore_bp / 10_000:
        assert (decision.reason, decision.propensity) == ("explore", explore_bp / 10_000)
    else:
        assert (decision.reason, decision.propensity) == ("abstain", 1 - explore_bp / 10_000)
    assert decision.propensity > 0


def test_the_list_skips_what_was_seen(stubs: Any) -> None:
    ranked = popular(stubs.LISTED, 2, {100, 102})
    assert ranked.items == (101, 103)
    assert popular(stubs.LISTED, 100, set()).items == stubs.LISTED.items


def test_fewer_items_than_the_catalogue_can_fill_is_a_fault() -> None:
    three = Ranked(items=(1, 2, 3), scores=(3.0, 2.0, 1.0), raw_confidence=0.5)
    known = {1, 2, 3}.__contains__
    assert fault_of(three, k=10, at_least=3, known=known) is None
    assert fault_of(three, k=10, at_least=4, known=known) == "length"
    assert fault_of(three, k=2, at_least=1, known=known) == "length"


AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"scores": (3.0, nan, 1.0)}, "nan"),
        ({"scores": (inf, 2.0, 1.0)}, "nan"),
        ({"scores": (3.0, 2.0)}, "length"),
        ({"items": (1, 2), "scores": (2.0, 1.0)}, "length"),
        ({"items": (), "scores": ()}, "empty"),
        ({"items": (1, 2, 2)}, "duplicate"),
        ({"items": (1, 2, 99)}, "unknown-item"),
        ({"items": (1, 2, 7)}, "stale"),
        ({"raw_confidence": nan}, "confidence"),
        ({"raw_confidence": -0.1}, "confidence"),
        ({"features": (1.0,)}, "features"),
    ],
)
def test_every_kind_of_bad_answer_has_its_word(change: Any, fault: str | None) -> None:
    good = Ranked(
        items=(1, 2, 3), scores=(3.0, 2.0, 1.0), raw_confidence=0.5, features=(1.0, 2.0)
    )
    known = set(range(10)).__contains__
    found = fault_of(replace(good, **change), k=3, at_least=3, known=known, met={7}, features=2)
    assert found == fault


class Repeating:
    """Gives item 1 to everyone."""

    logged_features = ()

    def __init__(self, listed: Any, *, repeats: bool) -> None:
        self.popularity, self.repeats = listed, repeats

    def is_known_item(self, item: Any) -> bool:
        return item in {1, *range(100, 130)}

    def recommend(self, _query: Query) -> Ranked:
        return Ranked(items=(1,), scores=(1.0,), raw_confidence=0.5)


@pytest.mark.parametrize(
    ("event", "stale"),
    [
        (Interaction(item_id=1), True),
        (Interaction(item_id=1, at=datetime(2025, 12, 31, tzinfo=UTC)), True),
        (Interaction(item_id=1, at=AT), False),  # not before the request: not had yet
        (Interaction(item_id=1, event="impression"), False),
        (Interaction(item_id=100), False),
    ],
)
def test_an_item_that_the_viewer_had_is_stale_where_the_model_never_repeats(
    stubs: Any, event: Interaction, stale: bool
) -> None:
    query = Query(user_id=1, k=1, at=AT, history=(event,))
    repeating = stubs.service(recommender=Repeating(stubs.LISTED, repeats=True))
    assert repeating.rank(query).items == (1,)
    service = stubs.service(recommender=Repeating(stubs.LISTED, repeats=False))
    if stale:
        with pytest.raises(FaultError, match="stale"):
            service.rank(query)
    else:
        assert service.rank(query).items == (1,)


@pytest.mark.parametrize(
    "answer", [None, Ranked(items=([],), scores=(1.0,), raw_confidence=0.5)]
)
def test_what_is_no_answer_at_all_is_a_fault(stubs: Any, answer: Any) -> None:
    broken = Repeating(stubs.LISTED, repeats=True)
    broken.recommend = lambda _query: answer  # type: ignore[method-assign]
    service = stubs.service(recommender=broken)
    with pytest.raises(FaultError, match="error"):
        service.rank(Query(user_id=1, k=1, at=AT))


def write(path: Path, text: str) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(text)
    os.replace(beside, path)


def test_a_policy_is_in_force_once_polled_and_an_invalid_one_keeps_the_last(
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.json"
    file = PolicyFile(path, "home")
    assert not file.poll()
    assert file.current.version == "default"
    write(path, json.dumps({"service": "home", "version": "7", "abstain_below": 0.5}))
    assert file.poll()
    assert not file.poll()
    assert (file.current.version, file.current.abstain_below) == ("7", 0.5)
    bad = (
        "{",
        json.dumps({"service": "home", "version": "8", "abstain_below": 2}),
        json.dumps({"service": "other", "version": "8"}),
        json.dumps({"service": "home", "version": "8", "explore_bp": "1%"}),
    )
    for n, text in enumerate(bad, start=1):
        write(path, text)
        assert not file.poll()
        assert (file.errors, file.current.version) == (n, "7")
        assert file.problem
        assert not file.poll()
        assert file.errors == n  # counted once
    path.unlink()
    assert not file.poll()
    assert file.current.version == "7"


class Ticking(ManualClock):
    """Each reading costs a millisecond."""

    def monotonic_s(self) -> float:
        self.wait(0.001)
        return super().monotonic_s()


def test_warm_up_ends_when_latency_is_flat(stubs: Any) -> None:
    clock = Ticking()
    service = stubs.service(clock=clock)
    bodies = [b'{"user_id": 1, "k": 5}'] * 100
    assert warm_up(service, bodies, clock=clock, mode="request") == 40
    assert warm_up(service, bodies[:10], clock=clock, mode="request") == 40, "round and round"
    assert warm_up(service, [], clock=clock, mode="request") == 0


def test_warm_up_has_an_end_where_latency_never_is_flat(stubs: Any) -> None:
    class Rising(ManualClock):
        """Each reading costs a thousandth more than the one before."""

        step_s = 0.001

        def monotonic_s(self) -> float:
            self.step_s *= 1.02
            self.wait(self.step_s)
            return super().monotonic_s()

    clock = Rising()
    service = stubs.service(clock=clock)
    bodies = [b'{"user_id": 1, "k": 5}'] * 10
    assert 40 < warm_up(service, bodies, clock=clock, mode="request") < MOST_REQUESTS
    assert clock.monotonic_s() < 2 * MOST_S


def test_a_failing_recorded_request_ends_the_warm_up(stubs: Any) -> None:
    service = stubs.service()
    for body in (b'{"user_id": "nan"}', b"{"):
        with pytest.raises(BackendError) as caught:
            warm_up(service, [b"{}", body], clock=ManualClock(), mode="request")
        assert caught.value.where == "golden.jsonl:2"


def test_golden_requests_are_the_lines_of_the_artifact(tmp_path: Path) -> None:
    assert golden_requests(tmp_path) == ()
    (tmp_path / "golden.jsonl").write_bytes(b'{"k": 1}\n\n{"k": 2}\n')
    assert golden_requests(tmp_path) == (b'{"k": 1}', b'{"k": 2}')


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"items": [1], "scores": []}',
        '{"items": [1, 1], "scores": [1, 2]}',
        '{"hit_rate": 1.5}',
        '{"items": [null], "scores": [1]}',
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "popularity.json").write_text(text)
    with pytest.raises(BackendError):
        load_list(tmp_path)


def test_a_list_is_read_and_a_missing_artifact_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "popularity.json").write_text(
        '{"items": ["a", 2], "scores": [2, 1], "hit_rate": 0.5, "extra": 1}'
    )
    listed = load_list(tmp_path)
    assert (listed.items, listed.scores, listed.hit_rate) == (("a", 2), (2.0, 1.0), 0.5)
    assert load_list(None).items == ()
