"""The outermost door of the API: every request passes here, also one to no route."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mlg.api.security import (
    READS,
    WRITES,
    Caller,
    Denial,
    MethodError,
    check_host,
    check_length,
    check_media_type,
    check_origin,
)
from mlg.core.clock import Clock
from mlg.core.errors import DeniedError, LifecycleError

API_CSP: Final = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", API_CSP.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_BURST: Final = 20
_REFILL_S: Final = 3.0


class Denials:
    """Passes denials on to be recorded: 20 at once, then one in 3 s, the others counted.

    A hostile page can be refused thousands of times a second; the event log must not grow
    with it.
    """

    def __init__(self, clock: Clock, record: Callable[[Denial], None]) -> None:
        self._clock, self._record = clock, record
        self._tokens, self._filled_s = float(_BURST), clock.monotonic_s()
        self._suppressed = 0

    async def note(self, denial: Denial) -> None:
        """Record the denial in a thread, or count it."""
        now = self._clock.monotonic_s()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_s) / _REFILL_S)
        self._filled_s = now
        if self._tokens < 1:
            self._suppressed += 1
            return
        self._tokens -= 1
        suppressed, self._suppressed = self._suppressed, 0
        await asyncio.to_thread(self._record, replace(denial, suppressed=suppressed))


class Gate:
    """Checks host, method, origin, media type and declared length; adds the headers."""

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: tuple[str, ...], denials: Denials
    ) -> None:
        self._app, self._allowed_hosts, self._denials = app, allowed_hosts, denials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or let the application answer."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        caller = caller_of(scope)
        try:
            _inspect(caller, self._allowed_hosts)
        except DeniedError as denied:
            reason = "host" if denied.where == "Host" else "origin"
            await self._denials.note(denial_of(caller, reason, denied, caller.peer))
            await _refuse(denied, _with_headers(send))
        except LifecycleError as refused:
            await _refuse(refused, _with_headers(send))
        else:
            await self._app(scope, receive, _with_headers(send))


def caller_of(scope: MutableMapping[str, Any] | Scope) -> Caller:
    """Return what an ASGI scope says of the request."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    client = scope.get("client")
    return Caller(
        method=str(scope.get("method", "")),
        path=str(scope.get("path", ""))[:200],
        peer=str(client[0]) if client else "",
        headers=headers,
    )


def denial_of(caller: Caller, reason: str, denied: DeniedError, who: str) -> Denial:
    """Return the refusal as it is recorded."""
    return Denial(
        reason=reason,
        method=caller.method[:20],
        path=caller.path,
        caller=who,
        what=denied.what,
    )


def _inspect(caller: Caller, allowed_hosts: tuple[str, ...]) -> None:
    check_host(caller, allowed_hosts)
    if caller.method in WRITES:
        check_origin(caller)
        check_media_type(caller)
        check_length(caller)
    elif caller.method not in READS:
        raise MethodError(
            f"expected GET or POST, got {caller.method[:20]}",
            where=caller.path,
            hint="see /schema/openapi.json.",
        )


async def _refuse(error: LifecycleError, send: Send) -> None:
    body = msgspec.json.encode(error.as_dict())
    start: Any = {
        "type": "http.response.start",
        "status": error.http_status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            added = [(name, value) for name, value in _HEADERS if name not in present]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return send_with_headers
