"""Outgoing HTTP to functions in the same process, for tests and the simulator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlg.core.ports import Reply

if TYPE_CHECKING:
    from mlg.core.ports import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a handler is asked."""

    method: str
    path: str
    """With its query."""
    headers: tuple[tuple[str, str], ...]
    body: bytes


class MemoryNetwork:
    """Answers by the handler that serves the URL's host and port; nobody there is status 0."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str], Callable[[Request], Reply]] = {}

    def serve(self, base: str, handler: Callable[[Request], Reply]) -> None:
        """Let `handler` answer for every URL that begins with `base` (scheme and host)."""
        parts = urlsplit(base)
        self._handlers[parts.scheme, parts.netloc] = handler

    def unserve(self, base: str) -> None:
        """Let nobody answer there any more."""
        parts = urlsplit(base)
        self._handlers.pop((parts.scheme, parts.netloc), None)

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        timeout_s: float = 5.0,  # noqa: ARG002 (functions answer at once)
    ) -> Reply:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "http+unix"):
            raise ValueError(f"expected http, https or http+unix, got {parts.scheme!r}")
        handler = self._handlers.get((parts.scheme, parts.netloc))
        if handler is None:
            return Reply(status=0)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return handler(Request(method=method, path=path, headers=headers, body=body))


if TYPE_CHECKING:
    _: Network = MemoryNetwork()
