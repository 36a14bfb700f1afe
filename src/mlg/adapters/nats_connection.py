"""One connection to a NATS server, on an event loop and a thread of its own.

The ports are synchronous: what they ask is run on the loop, and waited for.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import TimeoutError as LateError
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from mlg.core.errors import BackendError

if TYPE_CHECKING:
    from nats.aio.client import Client

T = TypeVar("T")

_AGAIN_S: Final = 0.2
"""Seconds between two tries to reach a server that was lost."""

logger = logging.getLogger("mlg.nats")


class NatsConnection:
    """Reaches a server at the first question, and again whenever it was lost.

    Args:
        url: `nats://host:4222` or `tls://…`; a user may be in it, a password may not.
        password: Of the URL's user; empty for none.
        timeout_s: After which a question has failed.
    """

    def __init__(self, url: str, password: str = "", *, timeout_s: float = 5.0) -> None:
        parts = urlsplit(url)
        self.where: Final = f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"
        """The server without its user, for messages."""
        self._user, self._password, self._timeout_s = parts.username, password, timeout_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    def run(self, work: Callable[["Client"], Awaitable[T]]) -> T:
        """Return what the work returns, run on the loop with the connected client.

        Raises:
            BackendError: The server cannot be reached, does not answer in time, or refuses;
                what it had already taken stays in force.
        """
        try:
            import nats.errors
        except ModuleNotFoundError as error:
            raise BackendError(
                "the package nats-py is not installed",
                where=self.where,
                hint="pip install 'mlg[nats]'",
            ) from error
        future = asyncio.run_coroutine_threadsafe(self._bounded(work), self._running())
        try:
            return future.result(2 * self._timeout_s + 5)
        except (TimeoutError, LateError, OSError, nats.errors.Error) as error:
            future.cancel()
            late = isinstance(error, TimeoutError | LateError)
            said = "no answer in time" if late else str(error).strip() or repr(error)
            raise BackendError(
                f"the NATS server failed: {said}",
                where=self.where,
                hint="is nats-server running there, with JetStream and room on its disk?",
            ) from error

    def close(self) -> None:
        """Let go of the server; a later question connects anew."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        ended = asyncio.run_coroutine_threadsafe(self._end(), loop)
        try:
            ended.result(self._timeout_s)
        except (TimeoutError, LateError, OSError):
            logger.warning("the connection to %s did not end in order", self.where)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(self._timeout_s)
        loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._loop, self._connecting = loop, asyncio.Lock()
                self._thread = threading.Thread(
                    target=loop.run_forever, name="mlg-nats", daemon=True
                )
                self._thread.start()
            return self._loop

    def _bounded(self, work: Callable[["Client"], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        async def bounded() -> T:
            client = await self._connected()
            return await asyncio.wait_for(work(client), self._timeout_s)

        return bounded()

    async def _connected(self) -> "Client":
        from nats.aio.client import Client

        async with self._connecting:
            if self._client is not None and not self._client.is_closed:
                return self._client
            client = Client()
            options: dict[str, Any] = {"reconnect_time_wait": _AGAIN_S, "connect_timeout": 2}
            if self._user:
                options |= {"user": self._user, "password": self._password}
            try:
                await asyncio.wait_for(
                    client.connect(
                        self.where, error_cb=self._lost, max_reconnect_attempts=-1, **options
                    ),
                    self._timeout_s,
                )
            except BaseException:
                await client.close()
                raise
            self._client = client
            return client

    async def _lost(self, error: Exception) -> None:
        logger.info("%s: %s", self.where, error)

    async def _end(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        mine = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
