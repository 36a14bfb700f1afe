"""The live stream: new events of the graph in order, and counters every second."""

import asyncio
from collections.abc import AsyncGenerator
from threading import Event as Flag
from typing import Final

import msgspec
from litestar.response.sse import ServerSentEventMessage

from mlg.api.operations import ApiServices
from mlg.core.errors import BackendError, LifecycleError
from mlg.graph.answers import event_answer

POLL_S: Final = 0.25
"""How often the log is asked for new events."""
_POLLS_A_SECOND: Final = 4
_BATCH: Final = 200
_RETRY_MS: Final = 2_000


class Streams:
    """Counts the open streams, and ends them all when the server stops."""

    def __init__(self, limit: int = 32) -> None:
        self.closing = Flag()
        """Set it before the server stops: an open stream would hold it up."""
        self._limit, self._open = limit, 0

    def check(self) -> None:
        """Refuse one more stream than may be open.

        Raises:
            BackendError: There are too many streams, or the server is stopping.
        """
        if self._open >= self._limit or self.closing.is_set():
            raise BackendError(
                f"{self._limit} live streams are open already, or the server is stopping",
                where="/stream",
                hint="close a page that shows the stream.",
            )

    def enter(self) -> None:
        """Take a place."""
        self._open += 1

    def leave(self) -> None:
        """Give the place back."""
        self._open -= 1


async def messages(
    services: ApiServices, streams: Streams, after: int
) -> AsyncGenerator[ServerSentEventMessage, None]:
    """Yield the events with seq > `after` as they come, and `live` counters every second.

    Messages: `graph` (one event; its id is the seq, so a reconnecting browser goes on where
    it was), `live` (counters), `problem` (an error object: the stream goes on).
    """
    streams.enter()
    try:
        yield ServerSentEventMessage(retry=_RETRY_MS, comment="mlg", data=None)
        polls = 0
        while not streams.closing.is_set():
            full = False
            try:
                stored = await asyncio.to_thread(services.store.events, after, _BATCH)
                for event in stored:
                    yield _message("graph", event_answer(event), event.seq)
                    after = event.seq
                full = len(stored) == _BATCH
                if polls % _POLLS_A_SECOND == 0:
                    yield _message("live", await asyncio.to_thread(services.operations.live))
            except LifecycleError as error:
                yield _message("problem", error.as_dict())
            polls += 1
            await asyncio.sleep(0 if full else POLL_S)
    finally:
        streams.leave()


def _message(event: str, content: object, seq: int | None = None) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        event=event, id=seq, data=msgspec.json.encode(content).decode()
    )
