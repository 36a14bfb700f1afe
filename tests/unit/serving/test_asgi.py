"""The viewer API, called as uvicorn calls it."""

import asyncio
from typing import Any

import msgspec
import pytest

from mlg.adapters.stream_memory import MemoryStream
from mlg.core.clock import parse_time
from mlg.core.predict import ServingPolicy
from mlg.serving.asgi import STARVED
from mlg.serving.log import decode_feedback, decode_prediction, hashed
from mlg.serving.service import PopularityOnly

RECOMMEND = "/v1/services/home/recommend"
FEEDBACK = "/v1/services/home/feedback"
PREDICTION = "00000000-0000-7000-8000-000000000001"


def test_an_answer_carries_its_facts_in_body_headers_and_log(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service())
    status, headers, answer = wire.ask(
        RECOMMEND,
        {"user_id": 7, "k": 3, "context": {"at": "1998-03-01T00:00:00Z"}},
        headers={"mlg-sticky-key": "s1", "mlg-assigned-version": "v1~control"},
    )
    assert status == 200
    assert [item["id"] for item in answer["items"]] == [1, 2, 3]
    assert (answer["served_by"], answer["reason"]) == ("model", "ranked")
    assert answer["confidence"] == 0.5
    assert headers["mlg-prediction-id"] == answer["prediction_id"] == PREDICTION
    assert headers["mlg-model-version"] == answer["model_version"] == "v1"
    assert headers["mlg-served-by"] == "model"
    assert float(headers["mlg-confidence"]) == 0.5
    (record,) = wire.logged()
    row = decode_prediction(record.payload)
    assert record.at == parse_time("1998-03-01T00:00:00Z")
    assert row["at"] == "1998-03-01T00:00:00.000000Z"
    assert row["viewer"] == hashed(stubs.KEY, 7)
    assert row["session"] == hashed(stubs.KEY, "s1")
    assert row["features"] == [0.5, 1.25]
    assert (row["items"], row["arm"], row["propensity"]) == ([1, 2, 3], "v1~control", 1.0)
    assert b"s1" not in record.payload


def test_a_copy_is_answered_and_neither_logged_nor_counted(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service())
    for headers in ({"mlg-shadow": "1"}, {}):
        status, _, answer = wire.ask(RECOMMEND, {"user_id": 7, "k": 3}, headers=headers)
        assert (status, len(answer["items"])) == (200, 3)
    assert wire.ask(RECOMMEND, b"{", headers={"mlg-shadow": "1"})[0] == 400
    assert len(wire.logged()) == 1
    counts = [
        line
        for line in wire.service.instruments.text().decode().splitlines()
        if line.startswith("mlg_attempts_total")
    ]
    assert [float(line.rpartition(" ")[2]) for line in counts] == [1.0]


def test_low_confidence_is_answered_from_the_list_without_seen_items(stubs: Any) -> None:
    policy = ServingPolicy(service="home", version="p2", abstain_below=0.05, explore_bp=100)
    wire = stubs.Wire(stubs.service(policy=policy))
    body = {"user_id": "unsure", "k": 2, "context": {"history": [{"item_id": 100}]}}
    status, headers, answer = wire.ask(RECOMMEND, body)
    assert status == 200
    assert [item["id"] for item in answer["items"]] == [101, 102]
    assert (answer["served_by"], answer["reason"]) == ("fallback", "abstain")
    assert headers["mlg-reason"] == "abstain"
    assert answer["confidence"] == 0.25  # the list's measured hit rate
    row = decode_prediction(wire.logged()[0].payload)
    assert (row["raw_confidence"], row["propensity"]) == (0.01, 0.99)
    assert (
        'mlg_abstentions_total{service="home",version="v1"} 1.0'
        in wire.ask("/metrics", method="GET")[2]
    )


def test_a_small_share_of_abstentions_is_explored(stubs: Any) -> None:
    policy = ServingPolicy(service="home", version="p2", abstain_below=0.05, explore_bp=100)
    wire = stubs.Wire(stubs.service(policy=policy, draw=lambda: 0.0099))
    _, _, answer = wire.ask(RECOMMEND, {"user_id": "unsure"})
    assert (answer["served_by"], answer["reason"]) == ("model", "explore")
    assert decode_prediction(wire.logged()[0].payload)["propensity"] == 0.01


def test_drift_lowers_the_shown_confidence_only(stubs: Any) -> None:
    wire = stubs.Wire(
        stubs.service(policy=ServingPolicy(service="home", version="p", drift_severity=1.0))
    )
    _, _, answer = wire.ask(RECOMMEND, {"user_id": 1})
    row = decode_prediction(wire.logged()[0].payload)
    assert (answer["confidence"], row["raw_confidence"]) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("viewer", "fault"),
    [
        ("nan", "nan"),
        ("short", "empty"),
        ("one", "length"),
        ("twice", "duplicate"),
        ("foreign", "unknown-item"),
        ("mad", "confidence"),
        ("broken", "error"),
    ],
)
def test_a_bad_answer_is_withheld_and_named(stubs: Any, viewer: str, fault: str) -> None:
    wire = stubs.Wire(stubs.service())
    status, headers, answer = wire.ask(RECOMMEND, {"user_id": viewer, "k": 3})
    assert (status, headers["mlg-fault"], answer["error"]) == (500, fault, "fault")
    assert wire.logged() == []
    metrics = wire.ask("/metrics", method="GET")[2]
    assert f'mlg_faults_total{{fault="{fault}",service="home",version="v1"}} 1.0' in metrics
    assert 'code="500",served_by="",service="home",version="v1"} 1.0' in metrics


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"k": 0}', 400),
        (b'{"k": 101}', 400),
        (b'{"k": "3"}', 400),
        (b'{"user_id": 1.5}', 400),
        (b'{"user_id": true}', 400),
        (b'{"user_id": ' + b"9" * 40 + b"}", 400),
        (b'{"context": {"at": "yesterday"}}', 400),
        (b'{"context": {"at": "2026-01-01T00:00:00"}}', 400),
        (b'{"context": {"at": "0001-01-01T00:00:00+14:00"}}', 400),
        (b'{"context": {"history": [{"item_id": null}]}}', 400),
        (b'{"context": {"viewer": {"age": [1]}}}', 400),
        (b'{"context": ' + b'{"context": ' * 20_000 + b"1" + b"}" * 20_000 + b"}", 413),
        (b'{"x": "' + b"a" * 70_000 + b'"}', 413),
        (b"[" * 60_000, 400),
    ],
)
def test_a_bad_body_is_a_clear_4xx(stubs: Any, body: bytes, status: int) -> None:
    got, _, answer = stubs.Wire(stubs.service()).ask(RECOMMEND, body, chunks=4)
    assert got == status
    assert set(answer) == {"error", "what", "where", "hint"}


def test_other_content_types_paths_and_methods_are_refused(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service())
    assert wire.ask(RECOMMEND, b"{}", headers={"content-type": "text/plain"})[0] == 415
    assert wire.ask(RECOMMEND, method="GET")[:2][0] == 405
    assert wire.ask("/v1/services/other/recommend", b"{}")[0] == 404
    assert wire.ask("/v2/models/other", method="GET")[0] == 404
    declared = {"content-length": "65537"}
    assert wire.ask(RECOMMEND, b"{}", headers=declared)[0] == 413


def test_feedback_is_logged_under_its_own_key(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service())
    body = {"prediction_id": PREDICTION, "item_id": 3, "event": "play", "watch_through": 0.75}
    assert wire.ask(FEEDBACK, body)[::2] == (202, {"accepted": True})
    wire.ask(FEEDBACK, body)
    wire.ask(FEEDBACK, {**body, "item_id": "3"})
    first, again, other = wire.logged()
    assert first.key == again.key != other.key
    row = decode_feedback(first.payload)
    assert (row["item_id"], row["event"], row["watch_through"]) == (3, "play", 0.75)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_id": None},
        {"prediction_id": "a b"},
        {"event": "skip"},
        {"watch_through": 1.01},
        {"item_id": []},
    ],
)
def test_bad_feedback_is_refused(stubs: Any, change: dict[str, Any]) -> None:
    body = {"prediction_id": PREDICTION, "item_id": 3, "event": "play", **change}
    wire = stubs.Wire(stubs.service())
    assert wire.ask(FEEDBACK, body)[0] == 400
    assert wire.logged() == []


def test_a_full_disk_fails_no_answer_and_is_counted(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service(), stubs.FullDisk())
    assert wire.ask(RECOMMEND, {"user_id": 1})[0] == 200
    body = {"prediction_id": PREDICTION, "item_id": 3, "event": "play"}
    assert wire.ask(FEEDBACK, body)[::2] == (202, {"accepted": False})
    assert wire.gaps == [1, 1]
    metrics = wire.ask("/metrics", method="GET")[2]
    assert 'mlg_log_gaps_total{service="home",version="v1"} 2.0' in metrics


def test_answers_of_one_tick_are_logged_with_one_append(stubs: Any) -> None:
    class Counting(MemoryStream):
        appends = 0

        def append(self, records: Any) -> None:
            self.appends += 1
            super().append(records)

    stream = Counting()
    wire = stubs.Wire(stubs.service(), stream)

    async def three() -> None:
        await asyncio.gather(*(wire.ask_async(RECOMMEND, b"{}") for _ in range(3)))

    asyncio.run(three())
    assert (stream.appends, len(wire.logged())) == (1, 3)


def test_it_is_ready_only_between_warm_up_and_draining(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service(), warm=False)
    ready = "/v2/health/ready"
    assert wire.ask("/v2/health/live", method="GET")[0] == 200
    assert wire.ask(ready, method="GET")[0] == 503
    assert wire.ask(RECOMMEND, b"{}")[0] == 503
    wire.app.warmed()
    assert wire.ask(ready, method="GET")[0] == 200
    wire.app.drain()
    assert wire.ask(ready, method="GET")[0] == 503
    status, headers, _ = wire.ask(RECOMMEND, b"{}")
    assert (status, headers["connection"]) == (200, "close")


def test_the_fallback_server_answers_as_rescue(stubs: Any) -> None:
    service = stubs.service(recommender=PopularityOnly(stubs.LISTED), rescue=True)
    wire = stubs.Wire(service)
    _, _, answer = wire.ask(RECOMMEND, {"user_id": 1, "k": 2})
    assert [item["id"] for item in answer["items"]] == [100, 101]
    assert (answer["served_by"], answer["reason"]) == ("fallback", "rescue")
    assert answer["confidence"] == 0.25
    assert answer["prediction_id"] == PREDICTION
    assert len(wire.logged()) == 1


def test_an_empty_list_is_an_empty_answer(stubs: Any) -> None:
    empty = PopularityOnly(type(stubs.LISTED)())
    _, _, answer = stubs.Wire(stubs.service(recommender=empty, rescue=True)).ask(
        RECOMMEND, b"{}"
    )
    assert (answer["items"], answer["confidence"]) == ([], 0.0)


def test_the_nonce_is_told(stubs: Any) -> None:
    assert stubs.Wire(stubs.service()).ask("/mlg/nonce", method="GET")[2] == "n0"


def test_a_log_row_that_cannot_be_read_says_so() -> None:
    from mlg.core.errors import BackendError

    for payload in (b"\xc1", msgspec.msgpack.encode({"a": 1})):
        with pytest.raises(BackendError):
            decode_prediction(payload)


@pytest.mark.parametrize(("longest", "status"), [(0, 500), (28, 500), (29, 200), (400, 200)])
def test_a_short_answer_leaves_only_where_a_kept_history_may_explain_it(
    stubs: Any, longest: int, status: int
) -> None:
    # of 30 items a viewer who met 28 can still be given 2
    wire = stubs.Wire(stubs.service(recommender=stubs.StubRecommender(longest_history=longest)))
    assert wire.ask(RECOMMEND, {"user_id": "one", "k": 2})[0] == status


class Hungry:
    """Finds no memory for viewer "big"."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def recommend(self, query: Any) -> Any:
        if query.user_id == "big":
            raise MemoryError
        return self._inner.recommend(query)


def test_want_of_memory_in_a_row_ends_the_process_and_a_greedy_request_does_not(
    stubs: Any,
) -> None:
    wire = stubs.Wire(stubs.service(recommender=Hungry(stubs.StubRecommender())))
    ask = "/v1/services/home/recommend"
    for _ in range(3):
        for _ in range(STARVED - 1):
            assert wire.ask(ask, {"user_id": "big"})[0] == 500
        assert wire.ask(ask, {"user_id": "small"})[0] == 200
    assert wire.app.ready
    for _ in range(STARVED):
        assert not wire.app.exhausted
        assert wire.ask(ask, {"user_id": "big"})[0] == 500
    assert wire.app.exhausted
    assert wire.app.draining
    assert wire.ask(ask, {"user_id": "small"})[0] == 200  # what still comes is answered
    assert wire.app.exhausted, "or the process would end without its reason"
    assert wire.ask("/v2/health/ready", method="GET")[0] == 503
