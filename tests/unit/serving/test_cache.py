"""The cache of results: what it may stand for, what goes first, what is counted and logged."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core.predict import Interaction, Query, Ranked, ServingPolicy
from mlg.serving.cache import CacheSize, ResultCache, key_of
from mlg.serving.log import decode_prediction

AT = datetime(2026, 1, 1, tzinfo=UTC)
RECOMMEND = "/v1/services/home/recommend"
ANSWER = Ranked(items=(1,), scores=(1.0,), raw_confidence=0.5)
BASE = Query(user_id=7, k=3, at=AT, history=(Interaction(item_id=1),), viewer=(("age", 1),))


def cache(entries: int = 10, ttl_s: float = 60.0) -> ResultCache:
    return ResultCache(CacheSize(entries=entries, ttl_s=ttl_s))


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": 8},
        {"user_id": "7"},
        {"user_id": None},
        {"k": 4},
        {"history": None},
        {"history": ()},
        {"history": (Interaction(item_id="1"),)},
        {"history": (Interaction(item_id=1, event="impression"),)},
        {"history": (Interaction(item_id=1, at=AT),)},
        {"history": (Interaction(item_id=1, value=1.0),)},
        {"viewer": ()},
        {"viewer": (("age", 2),)},
        {"viewer": (("age", 1.0),)},
        {"viewer": (("age", True),)},
    ],
)
def test_a_request_that_differs_in_anything_is_another(change: dict[str, Any]) -> None:
    kept = cache()
    kept.put(BASE, "p1", ANSWER)
    assert kept.get(BASE, "p1") is ANSWER
    assert kept.get(replace(BASE, **change), "p1") is None
    assert kept.get(BASE, "p2") is None


def test_an_answer_stands_from_its_time_on_until_its_ttl() -> None:
    kept = cache(ttl_s=60.0)
    kept.put(BASE, "p1", ANSWER)

    def at(seconds: float) -> Ranked | None:
        return kept.get(replace(BASE, at=AT + timedelta(seconds=seconds)), "p1")

    assert at(0.0) is ANSWER
    assert at(59.9) is ANSWER
    assert at(60.0) is None
    assert at(-0.1) is None  # it may know what a request of earlier may not


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 5))
def test_it_keeps_what_was_asked_for_last(asked: list[int], entries: int) -> None:
    kept = cache(entries)
    order: list[int] = []  # an independent LRU: newest last
    for user in asked:
        query = Query(user_id=user, k=1, at=AT)
        assert (kept.get(query, "p") is not None) == (user in order)
        kept.put(query, "p", ANSWER)
        order = [*(one for one in order if one != user), user][-entries:]
        assert len(kept) == len(order)


def test_the_key_of_equal_requests_is_equal() -> None:
    assert key_of(BASE, "p") == key_of(
        Query(
            user_id=7, k=3, at=AT + timedelta(hours=1), history=BASE.history, viewer=BASE.viewer
        ),
        "p",
    )


def test_a_hit_is_not_ranked_again_and_is_an_answer_of_its_own(stubs: Any) -> None:
    echo = stubs.Echo()
    wire = stubs.Wire(stubs.service(recommender=echo, cache=cache()))
    body = {"user_id": 7, "k": 3, "context": {"at": "2026-01-01T00:00:00Z"}}
    later = json.loads(json.dumps(body))
    later["context"]["at"] = "2026-01-01T00:00:30Z"
    first, second = wire.ask(RECOMMEND, body)[2], wire.ask(RECOMMEND, later)[2]
    other = wire.ask(RECOMMEND, {**body, "user_id": 8})[2]
    assert len(echo.asked) == 2
    assert first["items"] == second["items"]
    ids = [first["prediction_id"], second["prediction_id"], other["prediction_id"]]
    assert len(set(ids)) == 3
    rows = [decode_prediction(record.payload) for record in wire.logged()]
    assert [row["prediction_id"] for row in rows] == ids
    assert rows[1]["at"] == "2026-01-01T00:00:30.000000Z"
    metrics = wire.ask("/metrics", method="GET")[2]
    assert 'mlg_cache_hits_total{service="home",version="v1"} 1.0' in metrics
    assert 'mlg_cache_misses_total{service="home",version="v1"} 2.0' in metrics


def test_a_kept_answer_is_decided_anew(stubs: Any) -> None:
    drawn = iter([0.999, 0.0])  # abstain, then explore
    policy = ServingPolicy(service="home", version="p", abstain_below=0.05, explore_bp=100)
    service = stubs.service(
        recommender=stubs.Echo(), cache=cache(), policy=policy, draw=lambda: next(drawn)
    )
    wire = stubs.Wire(service)
    body = {"user_id": "unsure", "context": {"at": "2026-01-01T00:00:00Z"}}
    reasons = [wire.ask(RECOMMEND, body)[2]["reason"] for _ in range(2)]
    assert reasons == ["abstain", "explore"]


def test_a_withheld_answer_is_not_kept(stubs: Any) -> None:
    kept = cache()
    wire = stubs.Wire(stubs.service(cache=kept))
    assert [wire.ask(RECOMMEND, {"user_id": "nan"})[0] for _ in range(2)] == [500, 500]
    assert len(kept) == 0


def test_without_a_cache_nothing_is_counted(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service())
    wire.ask(RECOMMEND, {"user_id": 1})
    metrics = wire.ask("/metrics", method="GET")[2]
    assert 'mlg_cache_hits_total{service="home",version="v1"} 0.0' in metrics
    assert 'mlg_cache_misses_total{service="home",version="v1"} 0.0' in metrics
