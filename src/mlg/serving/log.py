"""Rows of the prediction and feedback log: how answers become records, and back.

A viewer's id never enters the log: rows hold HMAC-SHA256(key, id), the same for all
rows of one viewer, and a salt of their own for the leaf hash of the sealed segment.
"""

import asyncio
import hmac
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np

from mlg.core.clock import rfc3339
from mlg.core.errors import BackendError
from mlg.core.ports import EventStream, Record
from mlg.core.predict import Key, Prediction
from mlg.serving.requests import Feedback

LOG_SCHEMA: Final = "mlg.log/1"
"""Name of the payload schema in the header of each segment file."""


def hashed(key: bytes, identifier: Key | None) -> str | None:
    """Return the HMAC-SHA256 of an identifier's text as hex; None stays None.

    Examples:
        >>> len(hashed(b"k" * 32, 7) or "")
        64
    """
    if identifier is None:
        return None
    return hmac.digest(key, str(identifier).encode(), "sha256").hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the log keeps of an answer beside the answer."""

    viewer: str | None
    session: str | None
    salt: str
    received_at: datetime
    features: Sequence[float]
    arm: str
    propensity: float
    given: bool = False
    """Whether the request brought features of the viewer."""
    interleaved: Mapping[str, str] | None = None
    """Of a group that interleaves: `beside`, the other version; `teams`, a letter an item as
    `draft.Drafted` has it; `alone`, why the other version's list was shown alone."""


def prediction_record(prediction: Prediction, around: Circumstances) -> Record:
    """Return the log record of one answer; its features as packed little-endian float32."""
    at = rfc3339(prediction.at)
    same = prediction.at == around.received_at
    payload: dict[str, Any] = {
        "prediction_id": prediction.prediction_id,
        "service": prediction.service,
        "model_version": prediction.version,
        "policy": prediction.policy,
        "viewer": around.viewer,
        "salt": around.salt,
        "session": around.session,
        "items": prediction.items,
        "scores": prediction.scores,
        "raw_confidence": prediction.raw_confidence,
        "confidence": prediction.confidence,
        "served_by": prediction.served_by,
        "reason": prediction.reason,
        "at": at,
        "received_at": at if same else rfc3339(around.received_at),
        "latency_ms": prediction.latency_ms,
        "features": _packed(around.features),
        "arm": around.arm,
        "propensity": around.propensity,
        "given": around.given,
    }
    if around.interleaved is not None:  # rows of other groups have no such field
        payload["interleaved"] = around.interleaved
    return Record(
        kind="prediction",
        key=prediction.prediction_id,
        at=prediction.at,
        payload=msgspec.msgpack.encode(payload),
    )


def _packed(features: Sequence[float]) -> bytes:
    """Return little-endian float32; beyond its range is infinite."""
    packed = array("f", features)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def feedback_record(feedback: Feedback, *, service: str, received_at: datetime) -> Record:
    """Return the log record of one feedback; its key makes a repeated one a duplicate."""
    key = msgspec.json.encode((feedback.prediction_id, feedback.item_id, feedback.event))
    payload = {
        "prediction_id": feedback.prediction_id,
        "service": service,
        "item_id": feedback.item_id,
        "event": feedback.event,
        "watch_through": feedback.watch_through,
        "at": rfc3339(feedback.at),
        "received_at": rfc3339(received_at),
    }
    return Record(
        kind="feedback",
        key=key.decode(),
        at=feedback.at,
        payload=msgspec.msgpack.encode(payload),
    )


def _payload(payload: bytes, needs: str) -> dict[str, Any]:
    try:
        row = msgspec.msgpack.decode(payload, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BackendError(f"a log row cannot be read: {error}", where="segment log") from error
    if needs not in row:
        raise BackendError(f"expected field {needs!r}, got {sorted(row)}", where="segment log")
    return row


def decode_prediction(payload: bytes) -> dict[str, Any]:
    """Return a prediction row as plain values; `features` as a list of floats.

    Raises:
        BackendError: The payload is no such row.
    """
    row = _payload(payload, "features")
    row["features"] = np.frombuffer(row["features"], dtype="<f4").tolist()
    return row


def decode_feedback(payload: bytes) -> dict[str, Any]:
    """Return a feedback row as plain values.

    Raises:
        BackendError: The payload is no such row.
    """
    return _payload(payload, "event")


class LogBatch:
    """Writes the records of one event-loop tick with one append.

    A record that cannot be written is counted and never fails an answer.

    Args:
        stream: Where records go.
        on_gap: Told how many records were lost, and why.
    """

    def __init__(self, stream: EventStream, on_gap: Callable[[int, str], None]) -> None:
        self._stream = stream
        self._on_gap = on_gap
        self._waiting: list[tuple[Record, asyncio.Future[bool]]] = []

    async def put(self, record: Record) -> bool:
        """Return once the record survives this process (True) or is known lost (False)."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[bool] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((record, written))
        return await written

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            self._stream.append([record for record, _ in waiting])
        except BackendError as error:
            self._on_gap(len(waiting), str(error))
            kept = False
        else:
            kept = True
        for _, written in waiting:
            if not written.done():
                written.set_result(kept)
