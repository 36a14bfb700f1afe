"""Events as canonical bytes."""

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.uris import EventId, make_uri
from mlg.graph.encode import GENESIS, chain_hash, content, decode, encode

ATTR = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)
ATTR |= st.floats(allow_nan=False, allow_infinity=False)
PAIRS = st.dictionaries(st.text(min_size=1, max_size=6), ATTR, max_size=4).map(
    lambda found: tuple(sorted(found.items()))
)
TIMES = st.integers(0, 4 * 10**15).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
RUN = make_uri("run", "p", "ranker", "1")


def event(**changes: object) -> Event:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {
        "key": "k", "id": EventId("i"), "at": at, "recorded_at": at, "type": "mlg.run.started",
        "actor": "local:ada", "subject": RUN,
    }  # fmt: skip
    return Event(**{**fields, **changes})


@given(attrs=PAIRS, data=PAIRS, at=TIMES, name=st.text(max_size=5))
def test_an_event_survives_its_bytes(attrs, data, at, name) -> None:
    found = event(
        at=at,
        nodes=(NodeFact(uri=RUN, name=name, attrs=attrs),),
        edges=(EdgeFact(src=make_uri("pipeline", "p", "r"), role="version_of", dst=RUN),),
        data=data,
    )
    assert decode(encode(found)) == found


@given(attrs=PAIRS, data=PAIRS)
def test_the_bytes_are_those_of_the_published_canonical_form(attrs, data) -> None:
    values = [value for _, value in (*attrs, *data)]
    assume(not any(isinstance(value, float) and abs(value) >= 2**53 for value in values))
    found = encode(event(data=data, nodes=(NodeFact(uri=RUN, attrs=attrs),)))
    assert found == rfc8785.dumps(msgspec.json.decode(found))


def test_attributes_are_a_json_object_sorted_by_key() -> None:
    assert b'"data":{"a":1,"b":true}' in encode(event(data=(("b", True), ("a", 1))))


def test_the_chain_hash_is_sha256_over_hash_bytes_and_data() -> None:
    expected = hashlib.sha256(bytes(32) + b"x").hexdigest()
    assert chain_hash(GENESIS, b"x") == expected


def test_the_same_act_told_again_has_the_same_content() -> None:
    later = datetime(2027, 1, 1, tzinfo=UTC)
    again = event(id=EventId("j"), at=later, recorded_at=later, cause=EventId("c"))
    assert content(encode(event())) == content(encode(again))
    assert content(encode(event())) != content(encode(event(actor="local:eve")))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data.replace(b":null", b": null", 1),
        lambda data: data.replace(b'"cause"', b'"cauze"'),
        lambda data: data.replace(b"2026", b"20x6", 1),
        lambda _: b"[]",
        lambda _: b"\xff",
    ],
)
def test_bytes_that_encode_did_not_make_are_refused(damage) -> None:
    with pytest.raises(ValueError, match="event"):
        decode(damage(encode(event())))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53])
def test_a_number_without_canonical_form_is_refused(value) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - rfc8785's own words
        encode(event(data=(("x", value),)))


def test_a_key_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        encode(event(data=(("x", 1), ("x", 2))))
