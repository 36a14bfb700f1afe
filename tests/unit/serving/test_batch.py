"""Micro-batches: who is ranked together, when, and that nobody suffers for another."""

import asyncio
import json
from typing import Any

import pytest

from mlg.core.predict import Query, Ranked
from mlg.serving.batch import Batcher, BatchSize

RECOMMEND = "/v1/services/home/recommend"
SIZE = BatchSize(most=4, deadline_ms=20.0)


def together(wire: Any, users: list[Any]) -> list[tuple[int, Any]]:
    async def all_of_them() -> list[Any]:
        bodies = [json.dumps({"user_id": user, "k": 3}).encode() for user in users]
        return await asyncio.gather(*(wire.ask_async(RECOMMEND, body) for body in bodies))

    answers = asyncio.run(all_of_them())
    return [(status, json.loads(content)) for status, _, content in answers]


def test_what_waits_together_is_ranked_together_up_to_the_most(stubs: Any) -> None:
    echo = stubs.Echo()
    wire = stubs.Wire(stubs.service(recommender=echo), batch=SIZE)
    answers = together(wire, list(range(6)))
    assert [status for status, _ in answers] == [200] * 6
    assert echo.batches == [4, 2]
    assert len({body["prediction_id"] for _, body in answers}) == 6
    assert len(wire.logged()) == 6


def test_a_batch_answers_what_each_alone_is_answered(stubs: Any) -> None:
    users = [1, "sure", "unsure", "nan", "twice", 2]
    alone = stubs.Wire(stubs.service())
    expected = [alone.ask(RECOMMEND, {"user_id": user, "k": 3})[::2] for user in users]
    batched = together(stubs.Wire(stubs.service(recommender=stubs.Echo()), batch=SIZE), users)
    for (status, body), (got, answer) in zip(expected, batched, strict=True):
        assert got == status
        body.pop("prediction_id", None)
        answer.pop("prediction_id", None)
        assert answer == body


def test_one_that_breaks_the_model_fails_alone(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service(recommender=stubs.Echo()), batch=SIZE)
    answers = together(wire, [1, "broken", 2])
    assert [status for status, _ in answers] == [200, 500, 200]
    metrics = wire.ask("/metrics", method="GET")[2]
    assert 'mlg_faults_total{fault="error",service="home",version="v1"} 1.0' in metrics


def test_a_model_that_ranks_one_at_a_time_is_asked_for_each(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service(), batch=SIZE)
    assert [status for status, _ in together(wire, [1, 2, 3])] == [200] * 3


def ranked(queries: Any) -> list[Ranked]:
    return [Ranked(items=(q.k,), scores=(1.0,), raw_confidence=0.5) for q in queries]


def query(k: int) -> Query:
    from datetime import UTC, datetime

    return Query(user_id=None, k=k, at=datetime(2026, 1, 1, tzinfo=UTC))


def test_one_alone_does_not_wait_for_the_deadline() -> None:
    async def alone() -> Ranked:
        batcher = Batcher(ranked, BatchSize(most=16, deadline_ms=3_600_000.0), lambda: 1)
        return await asyncio.wait_for(batcher.rank(query(1)), timeout=5.0)

    assert asyncio.run(alone()).items == (1,)


def test_one_that_others_are_in_hand_beside_is_answered_at_the_deadline() -> None:
    async def late() -> tuple[float, Ranked]:
        loop = asyncio.get_running_loop()
        batcher = Batcher(ranked, BatchSize(most=16, deadline_ms=30.0), lambda: 2)
        began = loop.time()
        answer = await asyncio.wait_for(batcher.rank(query(1)), timeout=5.0)
        return loop.time() - began, answer

    waited_s, answer = asyncio.run(late())
    assert answer.items == (1,)
    assert waited_s >= 0.029


def test_one_who_left_is_not_ranked() -> None:
    asked: list[int] = []

    def rank(queries: Any) -> list[Ranked]:
        asked.append(len(queries))
        return ranked(queries)

    async def leave() -> Ranked:
        batcher = Batcher(rank, BatchSize(most=16, deadline_ms=10.0), lambda: 3)
        gone = asyncio.ensure_future(batcher.rank(query(1)))
        stays = asyncio.ensure_future(batcher.rank(query(2)))
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.wait_for(stays, timeout=5.0)

    assert asyncio.run(leave()).items == (2,)
    assert asked == [1]


def test_an_error_reaches_who_asked() -> None:
    async def ask() -> Ranked:
        batcher = Batcher(lambda _: [ValueError("no")], SIZE, lambda: 1)
        return await batcher.rank(query(1))

    with pytest.raises(ValueError, match="no"):
        asyncio.run(ask())
