"""TCP ports of the loopback interface: which are free, and who has them."""

import errno
import socket
from typing import NoReturn

import psutil

from mlg.core.errors import BackendError


def check_port(port: int, host: str = "127.0.0.1") -> None:
    """Make sure that nobody listens on a port.

    Raises:
        BackendError: The port is in use, or may not be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            refuse_port(port, error)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free now; it may be taken by the time it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def refuse_port(port: int, error: OSError) -> NoReturn:
    """Say why a port cannot be had.

    Raises:
        BackendError: Always.
    """
    if error.errno != errno.EADDRINUSE:
        raise BackendError(
            f"port {port} could not be listened on: {error.strerror}",
            where=f"127.0.0.1:{port}",
            hint="choose a port above 1023 that this user may use",
        ) from error
    owner = _listener_of(port)
    raise BackendError(
        f"port {port} is in use" + (f" (pid {owner})" if owner else ""),
        where=f"127.0.0.1:{port}",
        hint="end what listens there, or choose another port (--port 0 takes a free one)",
    ) from error


def _listener_of(port: int) -> int | None:
    """Return who listens on a port, where this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port:
                return connection.pid
    except (psutil.Error, OSError):
        return None
    return None
