"""Copies this home's segment files into NATS JetStream, for readers on other hosts.

Where reading goes on is written in the same message as the records, and the server takes a
message only after the one that it follows: whatever dies when, each record is there once.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.stream_nats import CHUNK, NatsStream, fits
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.errors import BackendError, ConflictError, LifecycleError
from mlg.core.ports import Cursor, Record

CONSUMER: Final = "ship"
_WAIT_S: Final = 0.25

logger = logging.getLogger("mlg.shipping")


@dataclass(slots=True, kw_only=True)
class _Place:
    """How far one service's log was shipped."""

    stream: NatsStream
    mark: Cursor
    newest: int
    idle: bool = False
    """Whether the mark is kept beside the stream as well, for when its message is gone."""


class Shipper:
    """Follows every service's segments on a thread of its own.

    Args:
        home: The instance's folder.
        connection: To the server.
        host: This home's name, unlike any other's.
        services: Names of the services, asked at each round.
        namespace: Of the instance on the server.
        max_age_s: After which the server forgets records; 0 keeps them.
    """

    def __init__(
        self,
        home: Path,
        connection: NatsConnection,
        host: str,
        services: Callable[[], Sequence[str]],
        *,
        namespace: str = "mlg",
        max_age_s: float = 0.0,
    ) -> None:
        self._home, self._connection, self._host = home, connection, host
        self._services, self._namespace, self._max_age_s = services, namespace, max_age_s
        self._consumer = f"{CONSUMER}-{host}"
        self._places: dict[str, _Place] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-shipper", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the message under way, and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(15)

    def shipped(self, service: str) -> Cursor:
        """Return up to where the service's segments are on the server's disk."""
        place = self._places.get(service)
        return place.mark if place is not None else Cursor(consumer=CONSUMER)

    def round(self) -> int:
        """Ship a message of each service; return the number of records.

        Raises:
            LifecycleError: The server or a file failed; the next round goes on.
        """
        return sum(self._ship(service) for service in self._services())

    def _ship(self, service: str) -> int:
        place = self._places.get(service) or self._find(service)
        segments = SegmentStream(self._home / "segments" / service)
        batch = segments.read(place.mark, CHUNK)
        limit = len(batch.records)
        while not fits(batch.records):
            limit = max(1, limit // 2)
            batch = segments.read(place.mark, limit)
        if batch.gaps:
            logger.warning("%s: %d damaged places in the log", service, batch.gaps)
        if not batch.records:
            place.mark = batch.cursor
            if not place.idle:
                kept = (*place.mark.positions, (place.stream.place(), 1))
                place.stream.commit(Cursor(consumer=self._consumer, positions=kept))
                place.idle = True
            return 0
        self._places[service] = self._sent(service, place, batch.records, batch.cursor)
        return len(batch.records)

    def _sent(
        self, service: str, place: _Place, records: Sequence[Record], mark: Cursor
    ) -> _Place:
        """Write a message; return where that leaves the service.

        Raises:
            ConflictError: Another process ships under this home's name.
            BackendError: The server failed; it is found out what it took.
        """
        stream = place.stream
        try:
            newest = stream.ship(records, mark, place.newest)
        except BackendError:
            self._places.pop(service, None)
            raise
        except ConflictError:
            del self._places[service]
            found, newest = stream.shipped()
            if found is not None and found not in {place.mark, mark}:
                raise
            # an answer was lost, or the newest message grew too old and went
            return _Place(stream=stream, mark=found or place.mark, newest=newest)
        return _Place(stream=stream, mark=mark, newest=newest)

    def _find(self, service: str) -> _Place:
        stream = NatsStream(
            self._connection,
            service,
            self._host,
            namespace=self._namespace,
            max_age_s=self._max_age_s,
        )
        mark, newest = stream.shipped()
        if mark is None:  # nothing yet, or all of it grew too old
            mark = Cursor(consumer=CONSUMER)
            kept = dict(stream.committed(self._consumer).positions)
            if kept.pop(stream.place(), None) is not None:
                mark = replace(mark, positions=tuple(kept.items()))
        self._places[service] = _Place(stream=stream, mark=mark, newest=newest)
        return self._places[service]

    def _run(self) -> None:
        while not self._stop.is_set():
            count = 0
            try:
                count = self.round()
            except LifecycleError as error:
                logger.warning("the log could not be shipped: %s", error)
                self._stop.wait(1.0)
            if count == 0:
                self._stop.wait(_WAIT_S)
