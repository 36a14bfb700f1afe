"""Outgoing HTTP with the standard library: `http`, `https` and unix sockets."""

import contextlib
import http.client
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from mlg.core.ports import Reply

if TYPE_CHECKING:
    from mlg.core.ports import Network

UNIX_SCHEME: Final = "http+unix"
_LARGEST_BODY: Final = 64 << 20


def unix_url(path: Path) -> str:
    """Return the base URL of a server on a unix socket.

    Examples:
        >>> unix_url(Path("/run/a.sock"))
        'http+unix://%2Frun%2Fa.sock'
    """
    return f"{UNIX_SCHEME}://{quote(str(path), safe='')}"


class HttpNetwork:
    """One connection a request; follows no redirect, uses no proxy."""

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        timeout_s: float = 5.0,
    ) -> Reply:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = _connection(parts.scheme, parts.netloc, timeout_s)
        with contextlib.closing(connection):
            try:
                connection.request(method, target, body=body or None, headers=dict(headers))
                answer = connection.getresponse()
                return Reply(
                    status=answer.status,
                    headers=tuple((k.lower(), v) for k, v in answer.getheaders()),
                    body=answer.read(_LARGEST_BODY),
                )
            except (OSError, http.client.HTTPException):
                return Reply(status=0)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, also where the socket's path is too long for the kernel."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if len(os.fsencode(self._path)) < 100:
            self.sock.connect(str(self._path))
            return
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _connection(scheme: str, netloc: str, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == UNIX_SCHEME:
        return _UnixConnection(Path(unquote(netloc)), timeout_s)
    if scheme == "https":
        return http.client.HTTPSConnection(netloc, timeout=timeout_s)
    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=timeout_s)
    raise ValueError(f"expected http, https or {UNIX_SCHEME}, got {scheme!r}")


if TYPE_CHECKING:
    _: Network = HttpNetwork()
