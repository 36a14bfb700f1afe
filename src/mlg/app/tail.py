"""Follows the log of predictions and feedback into the live counters.

Counters and read positions are one file, written by rename: after a crash both are
from the same moment, so nothing is lost or counted twice.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from mlg.adapters.stream_segments import SegmentStream
from mlg.core.clock import Clock, parse_time
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor, Files
from mlg.monitors.live import LiveState, update
from mlg.monitors.minutes import Minutes, busiest_hz, counted
from mlg.serving.log import decode_feedback, decode_prediction

_PATH = "live.json"
_BATCH = 5_000
_SAVE_EVERY_S = 5.0
"""The counters are megabytes: written rarely, and together with their positions."""

logger = logging.getLogger("mlg.tail")


class _Stored(msgspec.Struct, kw_only=True):
    state: LiveState
    cursors: dict[str, Cursor]
    gaps: int = 0
    newest: dict[str, str] = {}
    """Largest event time of an answer by service, RFC 3339."""
    minutes: dict[str, Minutes] = {}
    """Answers a minute of late, by service."""


class Tail:
    """Reads every service's segments a few times a second on a thread of its own.

    Args:
        home: The instance's folder.
        files: Keeps the counters.
        clock: For waiting.
        services: Names of the services to follow, asked at each round.
    """

    def __init__(
        self, home: Path, files: Files, clock: Clock, services: Callable[[], tuple[str, ...]]
    ) -> None:
        self._home, self._files, self._clock, self._services = home, files, clock, services
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._dirty = False
        self._thread = threading.Thread(target=self._run, name="mlg-tail", daemon=True)
        content = files.read(_PATH)
        self._stored = _Stored(state=LiveState(), cursors={})
        if content is not None:
            try:
                self._stored = msgspec.json.decode(content, type=_Stored)
            except msgspec.MsgspecError:
                logger.warning("live counters are damaged and start anew from the log")

    @property
    def state(self) -> LiveState:
        """The counters as of the last round."""
        return self._stored.state

    @property
    def gaps(self) -> int:
        """Records known to be lost: torn or damaged frames."""
        return self._stored.gaps

    def newest(self, service: str) -> datetime | None:
        """Return the largest event time among the newest answers, or None before the first."""
        with self._lock:
            text = self._stored.newest.get(service)
        return parse_time(text) if text else None

    def busiest_hz(self, service: str) -> float | None:
        """Return answers a second in the busiest minute of the last day; None: no answer."""
        with self._lock:
            counted = self._stored.minutes.get(service, {})
        return busiest_hz(counted, self._clock.now())

    def cursor(self, service: str) -> Cursor:
        """Return how far the service's log was read, after one more round."""
        self.round()
        return self._stored.cursors.get(service, Cursor(consumer="live"))

    def saved(self, service: str) -> Cursor | None:
        """Return how far the counters on disk are, or None of a service not followed."""
        if service not in self._services():
            return None
        self.save()
        return self._stored.cursors.get(service, Cursor(consumer="live"))

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the round and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
            self.save()

    def round(self) -> int:
        """Read what is new once; return the number of records."""
        with self._lock:
            count = sum(self._follow(service) for service in self._services())
            if count:
                self._dirty = True
            return count

    def save(self) -> None:
        """Write counters and positions, if they changed; both are of one moment."""
        with self._lock:
            if self._dirty:
                self._files.write(_PATH, msgspec.json.encode(self._stored))
                self._dirty = False

    def _follow(self, service: str) -> int:
        stream = SegmentStream(self._home / "segments" / service)
        cursor = self._stored.cursors.get(service, Cursor(consumer="live"))
        batch = stream.read(cursor, _BATCH)
        if batch.cursor == cursor:
            return 0
        predictions: list[dict[str, Any]] = []
        feedback: list[dict[str, Any]] = []
        for record in batch.records:
            if record.kind == "prediction":
                predictions.append(decode_prediction(record.payload))
            elif record.kind == "feedback":
                feedback.append(decode_feedback(record.payload))
        state = update(self._stored.state, predictions, feedback)
        newest = max((str(row["at"]) for row in predictions), default="")
        self._stored = _Stored(
            state=state,
            cursors={**self._stored.cursors, service: batch.cursor},
            gaps=self._stored.gaps + batch.gaps,
            newest={
                **self._stored.newest,
                service: max(newest, self._stored.newest.get(service, "")),
            },
            minutes={
                **self._stored.minutes,
                service: counted(self._stored.minutes.get(service, {}), predictions),
            },
        )
        return len(batch.records)

    def _run(self) -> None:
        saved_s = self._clock.monotonic_s()
        while not self._stop.is_set():
            try:
                count = self.round()
                if self._clock.monotonic_s() - saved_s > _SAVE_EVERY_S:
                    self.save()
                    saved_s = self._clock.monotonic_s()
            except LifecycleError as error:
                logger.warning("the log could not be followed: %s", error)
                count = 0
            if count < _BATCH:
                self._stop.wait(0.5)
