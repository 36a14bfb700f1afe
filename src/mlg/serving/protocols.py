"""How a recommender that mlg did not make is asked, and how its answers are read.

Two protocols: mlg's own `/recommend`, and the Open Inference Protocol's `infer`. Which one
an address speaks, the address says.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.errors import BackendError
from mlg.core.predict import Key, Query, Ranked

Protocol = Literal["recommend", "infer"]
_ITEM_NAMES: Final = ("item_id", "items", "item_ids")
_SCORE_NAMES: Final = ("score", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a recommender is asked, and how."""

    url: str
    protocol: Protocol


def address_of(url: str) -> Address:
    """Return where and how an adopted recommender is asked.

    Args:
        url: As the manifest has it. Without a path it is asked at `/recommend`; a path
            `/v2/models/NAME`, with `/infer` or without, is the Open Inference Protocol's.

    Examples:
        >>> address_of("http://old:8000").url
        'http://old:8000/recommend'
        >>> found = address_of("http://old:8000/v2/models/ranker")
        >>> found.url, found.protocol
        ('http://old:8000/v2/models/ranker/infer', 'infer')
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    protocol: Protocol = "recommend"
    if path.startswith("/v2/models/"):
        protocol = "infer"
        path = path if path.endswith("/infer") else f"{path}/infer"
    return Address(url=urlunsplit(parts._replace(path=path or "/recommend")), protocol=protocol)


def body_of(query: Query, protocol: Protocol) -> bytes:
    """Return the body that asks a query.

    `infer` carries the viewer and `k` only: the protocol has no word for a history.
    """
    if protocol == "infer":
        inputs = [_tensor("k", query.k)]
        if query.user_id is not None:
            inputs.insert(0, _tensor("user_id", query.user_id))
        return msgspec.json.encode({"inputs": inputs})
    context: dict[str, Any] = {"at": rfc3339(query.at)}
    if query.history is not None:
        context["history"] = [
            {
                "item_id": met.item_id,
                "event": met.event,
                "at": rfc3339(met.at) if met.at else None,
                "value": met.value,
            }
            for met in query.history
        ]
    if query.viewer:
        context["viewer"] = dict(query.viewer)
    asked = {"user_id": query.user_id, "k": query.k, "context": context}
    return msgspec.json.encode({k: v for k, v in asked.items() if v is not None})


def read_answer(body: bytes, protocol: Protocol, k: int) -> Ranked:
    """Return the first `k` items of an answer; its confidence is not judged yet.

    Items without scores get falling ones, 1/1, 1/2, 1/3, …: their order is all that is known.

    Args:
        body: What was answered with 200.
        protocol: How it was asked.
        k: Number of items that was asked for.

    Raises:
        BackendError: It is no answer of this protocol.

    Examples:
        >>> read_answer(b'{"items": ["a", {"id": "b", "score": 0.25}]}', "recommend", 9).scores
        (1.0, 0.25)
    """
    try:
        if protocol == "infer":
            items, scores = _tensors(msgspec.json.decode(body, type=_Inferred))
        else:
            found = msgspec.json.decode(body, type=_Recommended).items
            items = tuple(one.id if isinstance(one, _Item) else one for one in found)
            scores = tuple(
                one.score if isinstance(one, _Item) and one.score is not None else 1.0 / n
                for n, one in enumerate(found, start=1)
            )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BackendError(
            f"expected an answer of protocol {protocol}, got: {error}",
            hint="docs/adopt.md has both protocols.",
        ) from error
    features = (max(scores),) if scores else (0.0,)
    return Ranked(
        items=items[:k], scores=scores[:k], raw_confidence=0.0, features=features, judged=False
    )


class _Item(msgspec.Struct):
    id: str | int
    score: float | None = None


class _Recommended(msgspec.Struct):
    items: list[str | int | _Item]


class _Output(msgspec.Struct):
    name: str
    data: list[Any]


class _Inferred(msgspec.Struct):
    outputs: list[_Output]


def _tensor(name: str, value: Key) -> dict[str, Any]:
    datatype = "INT64" if isinstance(value, int) else "BYTES"
    return {"name": name, "shape": [1], "datatype": datatype, "data": [value]}


def _tensors(answer: _Inferred) -> tuple[tuple[Key, ...], tuple[float, ...]]:
    """Return items and scores: the outputs of these names, or the first as items.

    Raises:
        ValueError: There are no items, or not one score an item.
    """
    named = {output.name: _flat(output.data) for output in answer.outputs}
    if not named:
        raise ValueError("expected an output with the items, got none")
    first = answer.outputs[0].name
    items = msgspec.convert(
        named[next((n for n in _ITEM_NAMES if n in named), first)], tuple[str | int, ...]
    )
    given = next((named[n] for n in _SCORE_NAMES if n in named), None)
    if given is None:
        return items, tuple(1.0 / n for n in range(1, len(items) + 1))
    scores = msgspec.convert(given, tuple[float, ...])
    if len(scores) != len(items):
        raise ValueError(f"expected one score an item, got {len(scores)} for {len(items)}")
    return items, scores


def _flat(data: list[Any]) -> list[Any]:
    """Return tensor data without its rows: the protocol allows both forms."""
    flat: list[Any] = []
    for one in data:
        flat.extend(one if isinstance(one, list) else [one])  # pyright: ignore[reportUnknownArgumentType]
    return flat
