"""Runs a serving application on an inherited socket until it is told to end, then drains."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any, Final, cast

import uvicorn
import uvloop

from mlg.core.clock import Clock
from mlg.core.errors import ExhaustedError, LifecycleError
from mlg.serving.asgi import STARVED, ServingApp
from mlg.serving.policy import PolicyFile
from mlg.serving.whole import WholeAnswers

_LOG: Final = logging.getLogger("mlg.serving")
_POLL_S: Final = 0.2
_QUIET_S: Final = 0.5
"""A draining process ends once no viewer request came for so long: gateways have left."""
_DRAIN_S: Final = 3.0
"""At the latest; below the launcher's grace of 5 s."""


class DrainingServer(uvicorn.Server):
    """A uvicorn server that on SIGTERM first stops being ready, and only then listening.

    Args:
        config: Uvicorn's.
        app: The application, told to drain.
        clock: Seconds.
    """

    def __init__(self, config: uvicorn.Config, app: ServingApp, clock: Clock) -> None:
        super().__init__(config)
        self._app, self._clock = app, clock
        self._drain_from_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to drain at the first signal; end at once at the second."""
        if self._drain_from_s is not None:
            self.should_exit = True
            return
        self._drain_from_s = self._clock.monotonic_s()
        self._app.drain()

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server must end; asked ten times a second."""
        if self._drain_from_s is None and self._app.draining:  # by its own decision
            self._drain_from_s = self._clock.monotonic_s()
        if self._drain_from_s is not None:
            now_s = self._clock.monotonic_s()
            since_s = max(self._drain_from_s, self._app.last_request_s)
            quiet = self._app.busy == 0 and now_s - since_s >= _QUIET_S
            if quiet or now_s - self._drain_from_s >= _DRAIN_S:
                return True
        return await super().on_tick(counter)


def serve(
    app: ServingApp,
    listener: socket.socket,
    *,
    clock: Clock,
    warm_up: Callable[[], int],
    rehearse: Callable[[], Awaitable[int]] | None = None,
    policy: PolicyFile | None = None,
    on_policy_error: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; health checks are answered while warming up.

    Args:
        app: The application.
        listener: A listening TCP socket.
        clock: Seconds.
        warm_up: Called once in a thread; the application is ready when it returns.
        rehearse: Awaited after it, while copies of requests are answered, before it is ready.
        policy: Polled meanwhile.
        on_policy_error: Called for each policy file that was refused.

    Raises:
        LifecycleError: The warm-up failed; nothing was served.
        ExhaustedError: The model has no memory left.
        RuntimeError: The loop could not be ended.
        MemoryError: Likewise.
    """
    try:
        uvloop.run(_serve(app, listener, clock, warm_up, rehearse, policy, on_policy_error))
    except (MemoryError, RuntimeError):  # the loop's end wants memory, for a thread
        if not app.exhausted:
            raise
    if app.exhausted:
        raise ExhaustedError(
            f"no memory for {STARVED} requests in a row",
            hint="give the service more by resources.memory, or find what the model keeps.",
        )


async def _serve(
    app: ServingApp,
    listener: socket.socket,
    clock: Clock,
    warm_up: Callable[[], int],
    rehearse: Callable[[], Awaitable[int]] | None,
    policy: PolicyFile | None,
    on_policy_error: Callable[[], None],
) -> None:
    config = uvicorn.Config(
        cast("Any", app),
        http=WholeAnswers,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=1024,
    )
    server = DrainingServer(config, app, clock)
    failures: list[LifecycleError] = []
    tasks: Sequence[asyncio.Task[None]] = (
        asyncio.create_task(_warm(app, server, warm_up, rehearse, failures)),
        asyncio.create_task(_poll(policy, on_policy_error)),
    )
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise failures[0]


async def _warm(
    app: ServingApp,
    server: DrainingServer,
    warm_up: Callable[[], int],
    rehearse: Callable[[], Awaitable[int]] | None,
    failures: list[LifecycleError],
) -> None:
    try:
        requests = await asyncio.to_thread(warm_up)
        _LOG.info("the model is warm", extra={"requests": requests})
        if rehearse is not None:
            app.rehearsing = True
            _LOG.info("the server is warm", extra={"requests": await rehearse()})
    except LifecycleError as error:
        failures.append(error)
        server.should_exit = True
        return
    except OSError as error:  # it is told to end, or has no socket left: others notice that
        _LOG.warning("not rehearsed", extra={"problem": str(error)})
    app.warmed()
    _LOG.info("ready")


async def _poll(policy: PolicyFile | None, on_error: Callable[[], None]) -> None:
    while policy is not None:
        errors = policy.errors
        if policy.poll():
            _LOG.info("policy in force", extra={"policy": policy.current.version})
        if policy.errors > errors:
            _LOG.error("policy refused", extra={"problem": policy.problem})
            on_error()
        await asyncio.sleep(_POLL_S)
