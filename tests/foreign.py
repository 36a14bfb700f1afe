"""A recommender that knows nothing of mlg: a small ASGI server on a thread."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn

ITEMS = 50


@dataclass
class Foreign:
    """What the server does, and what it was asked."""

    url: str = ""
    status: int = 200
    wait_s: float = 0.0
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    """Of the newest request."""
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nobody is to wait any longer."""
    loop: asyncio.AbstractEventLoop | None = None
    """Where requests wait."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer `/recommend` and `/v2/models/r/infer`: items from the viewer's number on."""
        if scope["type"] != "http":
            return
        self.headers = list(scope["headers"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        asked = json.loads(body or b"{}")
        self.asked.append((scope["path"], asked))
        if self.wait_s:
            self.loop = asyncio.get_running_loop()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.wait_s):
                    await self.ends.wait()
        infer = scope["path"].endswith("/infer")
        given = {t["name"]: t["data"][0] for t in asked["inputs"]} if infer else asked
        first, k = int(given.get("user_id", 0)), int(given["k"])
        items = [(first + n) % ITEMS for n in range(k)]
        scores = [round(1.0 - n / ITEMS, 6) for n in items]
        answer: Any = {
            "items": [{"id": i, "score": s} for i, s in zip(items, scores, strict=True)]
        }
        if infer:
            shape = [1, k]
            answer = {
                "model_name": "r",
                "outputs": [
                    {"name": "item_id", "datatype": "INT64", "shape": shape, "data": items},
                    {"name": "score", "datatype": "FP64", "shape": shape, "data": scores},
                ],
            }
        headers = [(b"content-type", b"application/json")]
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@contextmanager
def foreign() -> Iterator[Foreign]:
    """Run the server meanwhile."""
    app = Foreign()
    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield app
        finally:
            server.should_exit = True
            if app.loop is not None:
                app.loop.call_soon_threadsafe(app.ends.set)
            thread.join(10)
