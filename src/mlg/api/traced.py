"""A span for each request to the control plane, where spans are made."""

from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mlg.telemetry.tracing import Tracing

_NAMED: Final = 4
"""Parts of a path that name a span; what follows differs by request."""


class Traced:
    """Opens a span around the application."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does; a stream's span lasts as long as it does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        name = f"{scope['method']} {'/'.join(path.split('/')[:_NAMED])}"
        known = {"http.request.method": str(scope["method"]), "url.path": path}
        with self._tracing.handling(name, dict(scope["headers"]), known) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.say("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.failed(str(message["status"]))
                await send(message)

            await self._app(scope, receive, told)
