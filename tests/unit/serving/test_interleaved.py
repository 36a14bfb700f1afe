"""One process, two rankers: what a viewer gets, and what the log says of it."""

from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.serving.stubs import KEY, CountingIds, StubRecommender, Wire

from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.predict import Query, Ranked, ServingPolicy
from mlg.serving.cache import CacheSize, ResultCache
from mlg.serving.instruments import Instruments
from mlg.serving.interleaved import InterleavedService
from mlg.serving.log import decode_prediction
from mlg.serving.service import Identity

PATH = "/v1/services/home/recommend"


@dataclass
class Backwards(StubRecommender):
    """Ranks 20..21-k; what happens to `sad` viewers happens to its answers only."""

    confidence: float = 0.5
    logged_features: tuple[str, ...] = ("other",)
    broken: bool = False

    def recommend(self, query: Query) -> Ranked:
        if self.broken:
            raise RuntimeError("broken")
        items = tuple(range(20, 20 - query.k, -1))
        scores = tuple(float(item) for item in items)
        return Ranked(
            items=items, scores=scores, raw_confidence=self.confidence, features=(0.0,)
        )


def both(
    candidate: Any, stable: Any, *, abstain_below: float = 0.0, cache: Any = None
) -> InterleavedService:
    policy = ServingPolicy(
        service="home", version="p1", abstain_below=abstain_below, explore_bp=0
    )
    return InterleavedService(
        Identity(
            service="home", model="ranker", version="new", arm="new~interleaved",
            clock="request",
        ),
        candidate,
        beside=stable,
        beside_version="old",
        rescue=False,
        policy=lambda: policy,
        clock=ManualClock(),
        ids=CountingIds(),
        draw=lambda: 0.0,
        salt=lambda: "00" * 16,
        viewer_key=KEY,
        instruments=Instruments("home", "new"),
        cache=cache,
    )  # fmt: skip


def logged(wire: Wire) -> list[dict[str, Any]]:
    return [decode_prediction(record.payload) for record in wire.logged()]


def test_a_list_has_items_of_both_and_the_log_says_whose_each_is() -> None:
    wire = Wire(both(StubRecommender(), Backwards()))
    status, headers, answer = wire.ask(PATH, {"user_id": "ann", "k": 4})
    assert status == 200
    assert [item["id"] for item in answer["items"]] == [1, 20, 2, 19]
    assert answer["model_version"] == headers["mlg-model-version"] == "new"
    (row,) = logged(wire)
    assert row["interleaved"] == {"beside": "old", "teams": "cscs"}
    assert (row["arm"], row["model_version"]) == ("new~interleaved", "new")
    assert row["features"] == pytest.approx([0.5, 1.25])  # the candidate's own
    assert row["scores"] == sorted(row["scores"], reverse=True)


def test_equal_rankers_answer_as_each_of_them_would() -> None:
    wire = Wire(both(StubRecommender(), StubRecommender()))
    _, _, answer = wire.ask(PATH, {"user_id": "ann", "k": 5})
    assert [item["id"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert logged(wire)[0]["interleaved"]["teams"] == "CSCSC"


@pytest.mark.parametrize("fault", ["broken", "nan", "short", "twice", "foreign", "mad"])
def test_where_the_candidate_fails_the_viewer_gets_the_stable_list(fault: str) -> None:
    wire = Wire(both(StubRecommender(), Backwards()))
    status, _, answer = wire.ask(PATH, {"user_id": fault, "k": 3})
    assert status == 200
    assert [item["id"] for item in answer["items"]] == [20, 19, 18]
    assert answer["model_version"] == "old"
    (row,) = logged(wire)
    told = {"beside": "old", "teams": "", "alone": "candidate_failed"}
    assert (row["interleaved"], row["features"]) == (told, [])


def test_where_the_candidate_is_unsure_the_viewer_gets_the_stable_list() -> None:
    wire = Wire(both(StubRecommender(), Backwards(), abstain_below=0.1))
    _, _, answer = wire.ask(PATH, {"user_id": "unsure", "k": 2})
    assert [item["id"] for item in answer["items"]] == [20, 19]
    assert answer["served_by"] == "model"
    assert logged(wire)[0]["interleaved"]["alone"] == "candidate_abstained"


def test_where_the_stable_version_abstains_the_popularity_list_answers() -> None:
    wire = Wire(both(StubRecommender(), Backwards(confidence=0.01), abstain_below=0.1))
    _, _, answer = wire.ask(PATH, {"user_id": "ann", "k": 2})
    assert (answer["served_by"], answer["reason"]) == ("fallback", "abstain")
    assert logged(wire)[0]["interleaved"]["alone"] == "stable_abstained"


def test_where_the_stable_version_fails_the_gateway_is_told_to_ask_another() -> None:
    wire = Wire(both(StubRecommender(), Backwards(broken=True)))
    status, headers, _ = wire.ask(PATH, {"user_id": "ann", "k": 2})
    assert (status, headers["mlg-fault"]) == (500, "error")
    assert logged(wire) == []


def test_a_kept_answer_is_drafted_anew_and_batches_are_too() -> None:
    cache = ResultCache(CacheSize(entries=10, ttl_s=60.0))
    wire = Wire(both(StubRecommender(), Backwards(), cache=cache))
    asked = {"user_id": "ann", "k": 4, "context": {"at": "2026-01-01T00:00:00Z"}}
    for _ in range(2):
        wire.ask(PATH, asked)
    assert [row["interleaved"]["teams"] for row in logged(wire)] == ["cscs", "cscs"]
    service = both(StubRecommender(), Backwards())
    at = ManualClock().now()
    queries = [Query(user_id=name, k=2, at=at) for name in ("ann", "broken")]
    one, two = service.rank_many(queries)
    assert (one.items, one.stable.items) == ((1, 2), (20, 19))
    assert (two.failed, two.items) == (True, (20, 19))


def test_rows_of_other_groups_have_no_such_field() -> None:
    from tests.unit.serving.stubs import service

    wire = Wire(service())
    wire.ask(PATH, {"user_id": "ann", "k": 2})
    assert "interleaved" not in logged(wire)[0]
    with pytest.raises(BackendError):
        decode_prediction(b"\x80")
