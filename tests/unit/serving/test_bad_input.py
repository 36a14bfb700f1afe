"""Whatever a client sends: a clear 4xx or a sensible answer, never a 5xx."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RECOMMEND = "/v1/services/home/recommend"
FEEDBACK = "/v1/services/home/feedback"
INFER = "/v2/models/ranker/infer"
PREDICTION = "00000000-0000-7000-8000-000000000001"
PLAY = {"prediction_id": PREDICTION, "item_id": 3, "event": "play"}

LONG = b'{"x": "' + b"a" * 70_000 + b'"}'


def history(*seen: Any) -> dict[str, Any]:
    return {"context": {"history": list(seen)}}


ANSWERED = [
    ("nothing at all is known", {}, 10),
    ("an unknown viewer", {"user_id": "nobody", "k": 2}, 2),
    ("a null viewer", {"user_id": None, "k": 2}, 2),
    ("an unknown item in the history", history({"item_id": 10**9}), 10),
    ("an item of another type", history({"item_id": "x"}), 10),
    ("an empty history", {"context": {"history": []}}, 10),
    ("a null history", {"context": {"history": None}}, 10),
    ("an unknown feature", {"context": {"viewer": {"shoe": 42}}}, 10),
    ("an unknown field", {"color": "red", "k": 1}, 1),
    ("the smallest k", {"k": 1}, 1),
    ("the largest k", {"k": 100}, 100),
    ("a future history", history({"item_id": 1, "at": "9999-01-01T00:00:00Z"}), 10),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "items"), [row[1:] for row in ANSWERED], ids=[r[0] for r in ANSWERED]
)
def test_what_is_not_known_is_answered(stubs: Any, body: Any, items: int) -> None:
    status, _, answer = stubs.Wire(stubs.service()).ask(RECOMMEND, body)
    assert (status, len(answer["items"])) == (200, items)


REFUSED = [
    ("no JSON", RECOMMEND, b"{", 400, "bad request body"),
    ("no body", RECOMMEND, b"", 400, "bad request body"),
    ("no object", RECOMMEND, b"[]", 400, "expected `object`"),
    ("no UTF-8", RECOMMEND, b"\xff", 400, "bad request body"),
    ("k of 0", RECOMMEND, b'{"k": 0}', 400, "$.k"),
    ("k of -1", RECOMMEND, b'{"k": -1}', 400, "$.k"),
    ("k of 101", RECOMMEND, b'{"k": 101}', 400, "$.k"),
    ("k as text", RECOMMEND, b'{"k": "3"}', 400, "$.k"),
    ("k as a fraction", RECOMMEND, b'{"k": 1.5}', 400, "$.k"),
    ("an empty viewer", RECOMMEND, b'{"user_id": ""}', 400, "$.user_id"),
    ("a viewer as list", RECOMMEND, b'{"user_id": [1]}', 400, "$.user_id"),
    ("a history as text", RECOMMEND, {"context": {"history": "x"}}, 400, "context.history"),
    ("an item of null", RECOMMEND, history({"item_id": None}), 400, "item_id"),
    ("a time without zone", RECOMMEND, {"context": {"at": "2026-01-01"}}, 400, "context.at"),
    ("NaN", RECOMMEND, b'{"context": {"viewer": {"a": NaN}}}', 400, "bad request"),
    ("a body too long", RECOMMEND, LONG, 413, "65536 bytes"),
    ("feedback of nothing", FEEDBACK, b"{}", 400, "prediction_id"),
    ("feedback of another kind", FEEDBACK, {**PLAY, "event": "buy"}, 400, "$.event"),
    ("feedback over 1", FEEDBACK, {**PLAY, "watch_through": 1.1}, 400, "$.watch_through"),
    ("feedback without item", FEEDBACK, {**PLAY, "item_id": None}, 400, "$.item_id"),
    ("no inputs", INFER, b"{}", 400, "inputs"),
    ("a body too long for the protocol", INFER, LONG, 413, "65536 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [row[1:] for row in REFUSED],
    ids=[r[0] for r in REFUSED],
)
def test_what_is_wrong_is_refused_by_name(
    stubs: Any, path: str, body: Any, status: int, words: str
) -> None:
    wire = stubs.Wire(stubs.service())
    got, _, answer = wire.ask(path, body, chunks=3)
    assert got == status
    text = answer["error"] if path == INFER else f"{answer['where']} {answer['what']}"
    assert words.lower() in text.lower()
    assert wire.logged() == []


_LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["INT64", "BYTES", "user_id", "k", "2026-01-01T00:00:00Z", "play"])
)  # fmt: skip
_KEYS = [
    "user_id", "k", "context", "at", "history", "item_id", "viewer", "event", "prediction_id",
    "watch_through", "value", "inputs", "outputs", "name", "data", "shape", "datatype", "id",
    "parameters",
]  # fmt: skip
_JSON = st.recursive(
    _LEAF,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=7)
    ),
    max_leaves=25,
)
_TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["user_id", "k", "history"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from(["BYTES", "INT64", "UINT8", "FP32", "BOOL"]),
        "data": st.lists(_JSON, max_size=4),
    }
)
_NEAR = st.fixed_dictionaries(
    {"inputs": st.lists(_TENSOR, max_size=3), "user_id": st.just(1), "k": st.integers(-2, 102)},
    optional={"context": _JSON, "outputs": _JSON, "item_id": _LEAF, "event": _LEAF},
)
_BODIES = st.binary(max_size=200) | (_JSON | _NEAR).map(
    lambda value: json.dumps(value).encode()
)


@pytest.fixture(scope="module")
def wires(stubs: Any) -> list[Any]:
    from mlg.serving.batch import BatchSize
    from mlg.serving.cache import CacheSize, ResultCache

    kept = ResultCache(CacheSize(entries=50, ttl_s=60.0))
    batch = BatchSize(most=4, deadline_ms=1.0)
    return [
        stubs.Wire(stubs.service()),
        stubs.Wire(stubs.service(recommender=stubs.Echo(), cache=kept), batch=batch),
    ]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=_BODIES,
    path=st.sampled_from([RECOMMEND, FEEDBACK, INFER]),
    which=st.integers(0, 1),
    kind=st.sampled_from(["application/json", "text/plain", "", "application/json; x"]),
)
def test_no_body_makes_it_answer_5xx(
    wires: list[Any], body: bytes, path: str, which: int, kind: str
) -> None:
    status, headers, answer = wires[which].ask(path, body, headers={"content-type": kind})
    assert status in {200, 202, 400, 415}
    if status in {400, 415}:
        assert answer["error"]
        assert "mlg-fault" not in headers
