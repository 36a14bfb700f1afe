"""What an adopted recommender is asked, and how it may answer."""

import json
from datetime import UTC, datetime

import pytest

from mlg.core.errors import BackendError
from mlg.core.predict import Interaction, Query
from mlg.serving.inference import parse_infer
from mlg.serving.protocols import address_of, body_of, read_answer
from mlg.serving.requests import parse_recommend

T0 = datetime(2026, 1, 1, tzinfo=UTC)
QUERY = Query(
    user_id="u1",
    k=3,
    at=T0,
    history=(Interaction(item_id=7, at=T0, event="play", value=2.0),),
    viewer=(("age", 30),),
)


@pytest.mark.parametrize(
    ("given", "url", "protocol"),
    [
        ("http://h:1", "http://h:1/recommend", "recommend"),
        ("http://h:1/", "http://h:1/recommend", "recommend"),
        ("https://h/api/top?key=1", "https://h/api/top?key=1", "recommend"),
        ("http://h:1/v2/models/m/infer", "http://h:1/v2/models/m/infer", "infer"),
        (
            "http://h:1/v2/models/m/versions/2",
            "http://h:1/v2/models/m/versions/2/infer",
            "infer",
        ),
    ],
)
def test_the_address_says_the_protocol(given: str, url: str, protocol: str) -> None:
    found = address_of(given)
    assert (found.url, found.protocol) == (url, protocol)


def test_mlg_itself_understands_what_is_asked() -> None:
    asked = body_of(QUERY, "recommend")
    assert parse_recommend(asked, now=T0, clock="request") == QUERY
    viewer_only = parse_infer(body_of(QUERY, "infer"), now=T0).query
    assert viewer_only == Query(user_id="u1", k=3, at=T0)
    nobody = Query(user_id=None, k=2, at=T0)
    assert parse_infer(body_of(nobody, "infer"), now=T0).query == nobody
    assert parse_recommend(body_of(nobody, "recommend"), now=T0, clock="request") == nobody


@pytest.mark.parametrize(
    ("outputs", "items", "scores"),
    [
        ([("out", ["a", "b"])], ("a", "b"), (1.0, 0.5)),
        ([("score", [3.0, 1]), ("item_id", [7, 8])], (7, 8), (3.0, 1.0)),
        ([("items", [[7, 8]]), ("scores", [[0.5, 0.1]])], (7, 8), (0.5, 0.1)),
        ([("item_id", [])], (), ()),
    ],
)
def test_tensors_are_read_by_name_flat_or_in_rows(
    outputs: list[tuple[str, list[object]]],
    items: tuple[object, ...],
    scores: tuple[float, ...],
) -> None:
    body = json.dumps({"outputs": [{"name": n, "data": d, "shape": [1]} for n, d in outputs]})
    ranked = read_answer(body.encode(), "infer", 5)
    assert (ranked.items, ranked.scores, ranked.judged) == (items, scores, False)


def test_more_than_asked_for_is_cut() -> None:
    assert read_answer(b'{"items": ["a", "b", "c"]}', "recommend", 2).items == ("a", "b")


@pytest.mark.parametrize(
    ("body", "protocol"),
    [
        (b"", "recommend"),
        (b"<html>", "infer"),
        (b'{"items": {"a": 1}}', "recommend"),
        (b'{"items": [{"score": 1}]}', "recommend"),
        (b'{"outputs": []}', "infer"),
        (b'{"outputs": [{"name": "item_id", "data": [1.5]}]}', "infer"),
        (b'{"outputs": [{"name":"item_id","data":[1]},{"name":"score","data":[]}]}', "infer"),
    ],
)
def test_what_is_no_answer_is_said(body: bytes, protocol: str) -> None:
    with pytest.raises(BackendError, match=f"expected an answer of protocol {protocol}"):
        read_answer(body, protocol, 5)  # pyright: ignore[reportArgumentType]
