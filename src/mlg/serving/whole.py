"""Answers leave in one piece: a process that is killed sends all of one or nothing.

Uvicorn hands status and headers to the transport before the body. A kill -9 between the
two writes leaves the gateway with half an answer, which it can no longer give to another
replica. Here what is written in one turn of the event loop leaves in one system call.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class WholeWrites:
    """A transport that joins the writes of one turn of the loop.

    Args:
        transport: Where they go.
        loop: Its event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> None:
        """Keep the part until this turn of the loop is over."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(part)

    def close(self) -> None:
        """Write what is kept, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts.clear()


class WholeAnswers(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 over transports that send whole answers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection."""
        super().connection_made(cast("asyncio.Transport", WholeWrites(transport, self.loop)))
