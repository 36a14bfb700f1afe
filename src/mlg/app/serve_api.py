"""Runs the control plane's HTTP application on its own thread and event loop."""

import gc
import socket
import threading
from typing import TYPE_CHECKING, Final

import uvicorn

from mlg.api.security import check_bind
from mlg.core.errors import BackendError

if TYPE_CHECKING:
    from litestar import Litestar

_BACKLOG: Final = 256
_GRACE_S: Final = 5


class _Server(uvicorn.Server):
    """A server that says when its start ended, well or not."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.start_ended = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.start_ended.set()


class ApiServer:
    """The running application; made by `start_api`."""

    def __init__(self, app: "Litestar", listener: socket.socket) -> None:
        self._app, self._listener = app, listener
        self.host, self.port = listener.getsockname()[:2]
        config = uvicorn.Config(
            app,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # a forwarding header must never become the peer's address: loopback is admin
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="mlg-api", daemon=True)

    @property
    def url(self) -> str:
        """Address of the API."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self, timeout_s: float = 10.0) -> None:
        """Return once the application answers.

        Raises:
            BackendError: It did not start in time, or its start failed.
        """
        self._thread.start()
        if not self._server.start_ended.wait(timeout_s) or not self._server.started:
            self.stop()
            raise BackendError(
                "the control API did not start", where=self.url, hint="see the log above."
            )
        gc.collect()
        gc.freeze()  # what was imported is looked at no more while an answer is made

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the open streams, answer what was asked, and close the port."""
        self._app.state["streams"].closing.set()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._listener.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._server.start_ended.set()


def start_api(app: "Litestar", *, host: str = "127.0.0.1", port: int = 7070) -> ApiServer:
    """Listen and return once the API answers; port 0 takes a free one.

    Args:
        app: What `mlg.api.app.create_app` returned.
        host: A loopback address.
        port: Port to listen on.

    Returns:
        The server: `port`, `url`, `stop()`.

    Raises:
        DeniedError: The host is not loopback.
        BackendError: The port is in use, or the application did not start.
    """
    check_bind(host)
    server = ApiServer(app, _listen(host, port))
    server.start()
    return server


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as refused:
        listener.close()
        raise BackendError(
            f"cannot listen on port {port}: {refused.strerror}",
            where=f"{host}:{port}",
            hint="another program has it; choose another with --port, or 0 for a free one.",
        ) from refused
    return listener
