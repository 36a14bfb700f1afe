"""Events as canonical bytes (RFC 8785), and the hash that chains them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any, Final, cast

import msgspec
import rfc8785

from mlg.core.clock import parse_time, rfc3339
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import EventId, Uri

GENESIS: Final = "0" * 64
"""What the first event's `prev_hash` is."""

STAMP: Final = ("at", "cause", "id", "recorded_at")
"""Fields that differ when a step runs again; content under one key is compared without them."""


def canonical(value: object) -> bytes:
    """Return a JSON value as RFC 8785 bytes.

    Raises:
        ValueError: The value holds NaN, an infinity, or an integer beyond 2**53 - 1.

    Examples:
        >>> canonical({"b": 1.0, "a": [True, None]})
        b'{"a":[true,null],"b":1}'
    """
    return rfc8785.dumps(cast("Any", value))


def pairs_object(pairs: Iterable[tuple[str, Attr]]) -> dict[str, Attr]:
    """Return pairs as a JSON object.

    Raises:
        ValueError: A key comes twice.
    """
    listed = pairs if isinstance(pairs, tuple) else tuple(pairs)
    found = dict(listed)
    if len(found) != len(listed):
        raise ValueError(f"a key comes twice in {listed!r}")
    return found


def object_pairs(found: Mapping[str, Attr]) -> tuple[tuple[str, Attr], ...]:
    """Return a JSON object as pairs sorted by key."""
    return tuple(sorted(found.items()))


def encode(event: Event) -> bytes:
    """Return the event as canonical JSON bytes, every field present.

    Raises:
        ValueError: A time has no zone, a key comes twice, or a number has no canonical form.
    """
    said = pairs_object(event.data)
    attrs = [pairs_object(fact.attrs) for fact in event.nodes]
    plain = _is_plain([said, *attrs])
    return (_plain_bytes if plain else canonical)(
        {
            "key": event.key,
            "id": event.id,
            "at": rfc3339(event.at),
            "recorded_at": rfc3339(event.recorded_at),
            "type": event.type,
            "actor": event.actor,
            "subject": event.subject,
            "cause": event.cause,
            "nodes": [
                {
                    "uri": fact.uri,
                    "name": fact.name,
                    "digest": fact.digest,
                    "attrs": known,
                    "ended": fact.ended,
                }
                for fact, known in zip(event.nodes, attrs, strict=True)
            ],
            "edges": event.edges if plain else [asdict(fact) for fact in event.edges],
            "data": said,
        }
    )


def _is_plain(objects: Sequence[Mapping[str, Attr]]) -> bool:
    """Return whether msgspec writes these objects as RFC 8785 does."""
    names = set(chain.from_iterable(objects))
    values = chain.from_iterable(one.values() for one in objects)
    numbers = [value for value in values if isinstance(value, (int, float))]
    return all(map(str.isascii, names)) and all(
        abs(value) < 2**53
        if isinstance(value, int)
        else 1e-4 <= abs(value) < 1e15 and not value.is_integer()
        for value in numbers
    )


_plain_bytes: Final = msgspec.json.Encoder(order="sorted").encode
"""Does what `canonical` does, many times faster, where `_is_plain` holds throughout."""


def canonical_texts(value: Mapping[str, int | str | Sequence[str]]) -> bytes:
    """Do what `canonical` does, many times faster, for ASCII keys and texts.

    Args:
        value: Its integers are below 2**53.

    Examples:
        >>> canonical_texts({"b": 'say "é"', "a": [1]}) == canonical({"b": 'say "é"', "a": [1]})
        True
    """
    return _plain_bytes(value)


class _StoredNode(msgspec.Struct, frozen=True):
    uri: str
    name: str
    digest: str | None
    attrs: dict[str, Any]
    ended: bool


class _Stored(msgspec.Struct, frozen=True):
    """An event as its bytes hold it; what they hold beside it shows when it is encoded anew."""

    key: str
    id: str
    at: str
    recorded_at: str
    type: str
    actor: str
    subject: str
    cause: str | None
    nodes: list[_StoredNode]
    edges: tuple[EdgeFact, ...]
    data: dict[str, Any]


_STORED: Final = msgspec.json.Decoder(_Stored).decode


def decode(data: bytes) -> Event:
    """Return the event that the bytes hold.

    Raises:
        ValueError: The bytes are not what `encode` makes: damaged, or not canonical.
    """
    try:
        found = _STORED(data)
        event = Event(
            key=found.key,
            id=EventId(found.id),
            at=parse_time(found.at),
            recorded_at=parse_time(found.recorded_at),
            type=found.type,
            actor=found.actor,
            subject=Uri(found.subject),
            cause=None if found.cause is None else EventId(found.cause),
            nodes=tuple(
                NodeFact(
                    uri=Uri(fact.uri),
                    name=fact.name,
                    digest=fact.digest,
                    attrs=_decoded_pairs(fact.attrs),
                    ended=fact.ended,
                )
                for fact in found.nodes
            ),
            edges=found.edges,
            data=_decoded_pairs(found.data),
        )
        again = encode(event)
    except (msgspec.MsgspecError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"these bytes are no event: {error}") from error
    if again != data:
        raise ValueError("these bytes are an event, but not in its canonical form")
    return event


def _decoded_pairs(found: dict[str, Attr]) -> tuple[tuple[str, Attr], ...]:
    """Return pairs; what is written as an integer but too large for one was a float."""
    return tuple(
        (name, float(value) if isinstance(value, int) and abs(value) >= 2**53 else value)
        for name, value in object_pairs(found)
    )


def content(data: bytes) -> bytes:
    """Return encoded event bytes without the `STAMP` fields, for comparing under one key.

    A step that a crash made run again says the same thing with a new id at a later
    time; that is the same content.
    """
    found = msgspec.json.decode(data, type=dict[str, Any])
    return canonical({name: value for name, value in found.items() if name not in STAMP})


def chain_hash(prev_hash: str, data: bytes) -> str:
    """Return sha256(prev_hash bytes + data) as hex; `prev_hash` is hex too.

    Examples:
        >>> chain_hash(GENESIS, b"")[:8]
        '66687aad'
    """
    return hashlib.sha256(bytes.fromhex(prev_hash) + data).hexdigest()
