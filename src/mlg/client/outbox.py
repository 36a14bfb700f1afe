"""Records on their way: sent at once when the control plane answers, else kept on disk."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any, Final

from mlg.client.spool import BATCH_BYTES, FORMAT, Record, Replayed, Spool
from mlg.core.clock import Clock
from mlg.core.errors import (
    BackendError,
    ConflictError,
    DeniedError,
    LifecycleError,
    ManifestError,
    NotFoundError,
)

RETRY_S: Final = 30.0
"""After a failure the control plane is asked again no sooner than this."""

_LATER: Final = (BackendError, NotFoundError, DeniedError)
"""Errors that say nothing against the record: nobody there, an older version, no role."""

logger = logging.getLogger("mlg.client")


class HostClock:
    """The machine's time, for scripts that hand in no clock."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.now(UTC)  # noqa: TID251  # a notebook hands in no clock

    def monotonic_s(self) -> float:
        """Return seconds that never run back."""
        return monotonic()

    def wait(self, seconds: float) -> None:
        """Return after so many seconds."""
        sleep(seconds)


class Outbox:
    """Takes records in order; safe between threads.

    Args:
        spool: Where records wait.
        post: Posts a body of records and returns the answer; None when there is nobody.
        clock: For waiting between tries.
    """

    def __init__(
        self, spool: Spool, post: Callable[[bytes], Mapping[str, Any]] | None, clock: Clock
    ) -> None:
        self._spool, self._post, self._clock = spool, post, clock
        self._lock = threading.Lock()
        self._not_before_s = float("-inf")
        self._told = False

    def put(self, record: Record) -> None:
        """Send a record, or keep it on disk; when this returns it cannot be lost.

        Raises:
            ManifestError: The record is too large, or the control plane will never take it.
            ConflictError: Its key, or its model's version, is there with other content.
            BackendError: It could be neither sent nor kept.
        """
        size = len(_body([record]))
        if size > BATCH_BYTES:
            raise ManifestError(
                f"a record may have {BATCH_BYTES} bytes, this one has {size}",
                where=str(record.get("kind")),
                hint="log fewer values at a time, or shorter texts.",
            )
        with self._lock:
            if self._clock.monotonic_s() >= self._not_before_s and self._try_flush():
                try:
                    (result,) = self._send([record])
                except _LATER as error:
                    self._failed(error)
                else:
                    _check(result)
                    return
            self._spool.append(record)

    def flush(self, *, anyone: bool = False) -> Replayed:
        """Send everything that waits.

        Args:
            anyone: Also what is meant for other control planes, or for none.

        Raises:
            LifecycleError: Nobody answers, or a file cannot be read; what was not sent stays.
        """
        with self._lock:
            return self._spool.replay(self._send, anyone=anyone)

    def try_flush(self) -> None:
        """Send what waits, if anybody answers now."""
        with self._lock:
            self._try_flush()

    def close(self) -> None:
        """Let go of the file, so that others may send it."""
        with self._lock:
            self._spool.close()

    def _try_flush(self) -> bool:
        """Send what waits; return whether somebody is there and nothing waits any more."""
        if self._post is None:
            return False
        try:
            told = self._spool.replay(self._send)
        except (*_LATER, ManifestError) as error:
            self._failed(error)
            return False
        if told.refused:
            logger.warning("%s records were refused; see %s", told.refused, self._spool.folder)
        return True

    def _failed(self, error: LifecycleError) -> None:
        self._not_before_s = self._clock.monotonic_s() + RETRY_S
        if not self._told:
            self._told = True
            logger.warning("records wait in %s: %s", self._spool.folder, error)

    def _send(self, records: list[Record]) -> list[Mapping[str, Any]]:
        """Send records and return the result of each.

        Raises:
            BackendError: Nobody is there, or it is no control plane of mlg.
            ManifestError: The request as a whole is refused.
            ConflictError: Likewise.
        """
        if self._post is None:
            raise BackendError(
                "no control plane is named",
                where="url",
                hint="mlg.Client('http://127.0.0.1:7070').replay(), or mlg spool replay.",
            )
        try:
            results = list(self._post(_body(records))["results"])
        except (ManifestError, ConflictError) as refused:
            if len(records) > 1:
                raise
            if refused.where == "format":  # of another version: a newer client may send it
                raise BackendError(
                    refused.what, where=refused.where, hint=refused.hint
                ) from refused
            return [{"status": "refused", **refused.as_dict()}]
        except (ValueError, KeyError, TypeError):
            results = []
        if len(results) != len(records):
            raise BackendError(
                "the answer is none of a control plane",
                where="/api/v1/records",
                hint="does another program listen at this address?",
            )
        self._told = False
        return results


def _check(result: Mapping[str, Any]) -> None:
    """Raise what a refused record was refused with.

    Raises:
        LifecycleError: It was refused.
    """
    if result.get("status") == "accepted":
        return
    kind = ConflictError if result.get("error") == ConflictError.code else ManifestError
    refused = kind(
        str(result.get("what", "refused")),
        where=str(result.get("where", "")),
        hint=str(result.get("hint", "")),
    )
    raise refused


def _body(records: list[Record]) -> bytes:
    told = {"format": FORMAT, "records": records}
    return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
