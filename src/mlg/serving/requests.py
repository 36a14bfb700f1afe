"""JSON bodies of the viewer API -> typed values; what a caller can get wrong ends here."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from mlg.core.clock import parse_time
from mlg.core.errors import LifecycleError
from mlg.core.predict import FeedbackKind, Interaction, Query

MAX_BODY_BYTES: Final = 64 * 1024
MAX_K: Final = 100
DEFAULT_K: Final = 10
KEY_MAX: Final = 256
"""Characters of a viewer's or an item's key, at most."""

ClockMode = Literal["request", "system"]

_Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Text = Annotated[str, Meta(min_length=1, max_length=KEY_MAX)]
_Key = _Int | _Text
_Word = Annotated[str, Meta(min_length=1, max_length=64)]
_Value = _Int | float | bool | Annotated[str, Meta(max_length=1024)] | None


class RequestError(LifecycleError):
    """What a viewer's client sent is wrong.

    Args:
        what: What was expected and what was found.
        status: The HTTP status, 4xx.
        where: The header, path or JSON path.
        hint: One thing to do.
    """

    code = "request"
    exit_code = 2
    http_status = 400

    def __init__(
        self, what: str, *, status: int = 400, where: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status


class _Seen(Struct):
    item_id: _Key
    event: _Word = "play"
    at: str | None = None
    value: float | None = None


class _Context(Struct):
    at: str | None = None
    history: list[_Seen] | None = None
    viewer: dict[_Word, _Value] | None = None


class _Recommend(Struct):
    user_id: _Key | None = None
    context: _Context | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_K)] | None = None


class _Feedback(Struct):
    prediction_id: Annotated[str, Meta(pattern="^[0-9A-Za-z-]{1,64}$")]
    item_id: _Key
    event: FeedbackKind
    watch_through: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    at: str | None = None


class Feedback(Struct, frozen=True, kw_only=True):
    """What a viewer did with one item of one answer."""

    prediction_id: str
    item_id: str | int
    event: FeedbackKind
    watch_through: float | None
    at: datetime


_RECOMMEND: Final = msgspec.json.Decoder(_Recommend)
_FEEDBACK: Final = msgspec.json.Decoder(_Feedback)


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Return a body as the decoder's type.

    Raises:
        RequestError: It is no JSON, or not of that type.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RequestError(
            f"bad request body: {error}", hint="send one JSON object, see /schema/openapi.json."
        ) from error


def _time(text: str, where: str) -> datetime:
    try:
        return parse_time(text)
    except (ValueError, OverflowError) as error:
        raise RequestError(str(error), where=where) from error


def parse_recommend(
    body: bytes, *, now: datetime, clock: ClockMode, default_k: int = DEFAULT_K
) -> Query:
    """Return the query that a body asks.

    Args:
        body: JSON object `{user_id?, context?, k?}`; unknown fields are ignored.
        now: Event time when the body gives none, or may not give one.
        clock: `request` lets `context.at` set the event time.
        default_k: Number of items when the body names none.

    Raises:
        RequestError: The body is no JSON, a field has the wrong type, or `k` is not 1..100.

    Examples:
        >>> from datetime import UTC
        >>> now = datetime(2026, 1, 1, tzinfo=UTC)
        >>> parse_recommend(b'{"user_id": 7, "k": 3}', now=now, clock="system").k
        3
    """
    asked: _Recommend = decode(_RECOMMEND, body)
    k = default_k if asked.k is None else asked.k
    context = asked.context
    if context is None:
        return Query(user_id=asked.user_id, k=k, at=now)
    at = now
    if context.at is not None:
        stated = _time(context.at, "context.at")
        at = stated if clock == "request" else now
    history = None
    if context.history is not None:
        history = tuple(
            Interaction(
                item_id=seen.item_id,
                at=None if seen.at is None else _time(seen.at, "context.history[].at"),
                event=seen.event,
                value=seen.value,
            )
            for seen in context.history
        )
    viewer = tuple(sorted((context.viewer or {}).items()))
    return Query(user_id=asked.user_id, k=k, at=at, history=history, viewer=viewer)


def parse_feedback(body: bytes, *, now: datetime, clock: ClockMode) -> Feedback:
    """Return the feedback that a body gives.

    Args:
        body: JSON object `{prediction_id, item_id, event, watch_through?, at?}`.
        now: Event time when the body gives none, or may not give one.
        clock: `request` lets `at` set the event time.

    Raises:
        RequestError: The body is no JSON, a field is missing, or has the wrong type or range.
    """
    given: _Feedback = decode(_FEEDBACK, body)
    at = now
    if given.at is not None:
        stated = _time(given.at, "at")
        at = stated if clock == "request" else now
    return Feedback(
        prediction_id=given.prediction_id,
        item_id=given.item_id,
        event=given.event,
        watch_through=given.watch_through,
        at=at,
    )
