"""Whether a JSON value is an OpenLineage event that we take, and which of the three kinds.

The specification is the published schema, 2-0-2, shipped unchanged. Our own limits on top:
depth, length of URIs, and times that the log can write.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, Literal, cast

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from mlg.core.clock import parse_time
from mlg.core.errors import ManifestError
from mlg.graph.encode import canonical

MAX_DEPTH: Final = 64
"""Deepest nesting of one event."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = 2**53
_HINT: Final = "see docs/openlineage.md and the OpenLineage specification, 2-0-2."

Kind = Literal["RunEvent", "JobEvent", "DatasetEvent"]


class LineageEventError(ManifestError):
    """An OpenLineage event that is not taken; `where` is a JSON path. Both texts are cut."""

    code = "lineage_event"

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what[:300], where=where[:300], hint=_HINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An event that keeps the specification and our limits."""

    kind: Kind
    content: dict[str, Any]
    at: datetime
    """`eventTime`, aware UTC."""
    digest: str
    """sha256 of the event's RFC 8785 bytes, lower-case hex."""


def check(value: Any) -> Checked:
    """Return the event with its kind, time and digest.

    Args:
        value: Any JSON value, as built-in types.

    Raises:
        LineageEventError: It is no event of the specification, or beyond our limits.
    """
    if not isinstance(value, dict):
        raise LineageEventError(
            f"expected an OpenLineage event (an object), got {_shape(value)}", "$"
        )
    event = cast("dict[str, Any]", value)
    _check_depth(event)
    kind = _kind(event)
    try:
        digest = sha256(canonical(_doubles(event))).hexdigest()
    except (ValueError, OverflowError) as wrong:
        raise LineageEventError(f"this JSON has no canonical form: {wrong}", "$") from wrong
    return Checked(kind=kind, content=event, at=_time(event["eventTime"]), digest=digest)


def original(event: Checked) -> str:
    """Return the event as JSON text with sorted keys; its numbers are as they came."""
    return msgspec.json.encode(event.content, order="sorted").decode()


def _kind(event: dict[str, Any]) -> Kind:
    """Return the one definition of the schema's `oneOf` that the event keeps.

    Raises:
        LineageEventError: It keeps none of them, or two.
    """
    possible: tuple[Kind, ...]
    if "job" in event:
        possible = ("RunEvent",) if "run" in event else ("JobEvent",)
        if "run" not in event and "dataset" in event:
            possible = ("JobEvent", "DatasetEvent")
    else:
        possible = ("DatasetEvent",) if "dataset" in event else ("RunEvent",)
    kept: list[Kind] = [kind for kind in possible if _validators()[kind].is_valid(event)]
    if len(kept) == 1:
        return kept[0]
    if kept:
        raise LineageEventError("expected a job or a dataset, got both and no run", "$")
    if not event.keys() & {"run", "job", "dataset"}:
        raise LineageEventError(
            "expected run and job, or job, or dataset; got none of them", "$"
        )
    error = best_match(_validators()[possible[0]].iter_errors(event))
    assert error is not None  # noqa: S101 - it is not valid, so there is one
    while error.context:  # an `anyOf` of one branch says only that no branch fits
        error = error.context[0]
    raise LineageEventError(error.message, error.json_path)


@cache
def _validators() -> dict[Kind, Draft202012Validator]:
    path = files("mlg.graph").joinpath("schemas/openlineage-2-0-2.json")
    schema = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    kinds: tuple[Kind, ...] = ("RunEvent", "JobEvent", "DatasetEvent")
    return {
        kind: Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{kind}"})
        for kind in kinds
    }


def _time(text: str) -> datetime:
    try:
        at = parse_time(text.upper())
    except (ValueError, OverflowError) as wrong:
        raise LineageEventError(
            f"expected an RFC 3339 time with a zone, got {text[:60]!r}", "$.eventTime"
        ) from wrong
    if at < _EARLIEST:
        raise LineageEventError(f"expected a time since 1970, got {text[:60]!r}", "$.eventTime")
    return at


def _check_depth(event: dict[str, Any]) -> None:
    level: list[Any] = [event]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise LineageEventError(f"an event may be nested {MAX_DEPTH} deep", "$")


def _doubles(value: Any) -> Any:
    """Return the value with whole numbers beyond 2**53 as RFC 8785 reads them: doubles."""
    if isinstance(value, dict):
        return {name: _doubles(one) for name, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_doubles(one) for one in cast("list[Any]", value)]
    if isinstance(value, int) and abs(value) >= _EXACT:
        return float(value)
    return value


def _shape(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
