"""A recommender of known behaviour, and a service around it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

from mlg.adapters.stream_memory import MemoryStream
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.ports import Cursor, EventStream, Record
from mlg.core.predict import Key, Query, Ranked, ServingPolicy
from mlg.serving.asgi import ServingApp
from mlg.serving.instruments import Instruments
from mlg.serving.log import LogBatch
from mlg.serving.popularity import StoredList
from mlg.serving.service import Identity, Service

KEY = b"k" * 32
LISTED = StoredList(
    items=tuple(range(100, 130)), scores=tuple(float(30 - i) for i in range(30)), hit_rate=0.25
)


@dataclass
class StubRecommender:
    """Ranks 1..k; a viewer's number chooses the confidence or a fault."""

    popularity: StoredList = LISTED
    logged_features: tuple[str, ...] = ("age", "novelty")
    longest_history: int = 0

    def is_known_item(self, item: Key, /) -> bool:
        return isinstance(item, int) and 0 < item <= 200

    def recommend(self, query: Query) -> Ranked:
        items, scores = tuple(range(1, query.k + 1)), tuple(float(-i) for i in range(query.k))
        confidence = 0.5
        match query.user_id:
            case "nan":
                scores = (nan, *scores[1:])
            case "short":
                items, scores = items[:0], scores[:0]
            case "one":
                items, scores = items[:1], scores[:1]
            case "twice":
                items = (1,) * query.k
            case "foreign":
                items = (999, *items[1:])
            case "sure":
                confidence = 0.9
            case "unsure":
                confidence = 0.01
            case "mad":
                confidence = 2.0
            case "broken":
                raise RuntimeError("broken")
            case _:
                pass
        return Ranked(
            items=items, scores=scores, raw_confidence=confidence, features=(0.5, 1.25)
        )


class Echo(StubRecommender):
    """Remembers what it was asked, alone and together."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Query] = []
        self.batches: list[int] = []

    def recommend(self, query: Query) -> Ranked:
        self.asked.append(query)
        return super().recommend(query)

    def recommend_many(self, queries: list[Query]) -> list[Ranked]:
        self.batches.append(len(queries))
        return [super(Echo, self).recommend(query) for query in queries]


class CountingIds:
    def __init__(self) -> None:
        self.made = 0

    def new_id(self) -> str:
        self.made += 1
        return f"00000000-0000-7000-8000-{self.made:012d}"


class FullDisk:
    """A stream that can take nothing."""

    def append(self, records: Any) -> None:  # noqa: ARG002
        raise BackendError("no space left", where="segments")

    def read(self, cursor: Any, limit: int = 1) -> Any:
        raise NotImplementedError

    def committed(self, consumer: str) -> Any:
        raise NotImplementedError

    def commit(self, cursor: Any) -> None:
        raise NotImplementedError


def service(
    *,
    policy: ServingPolicy | None = None,
    draw: Callable[[], float] = lambda: 0.999,
    recommender: Any = None,
    rescue: bool = False,
    clock: Any = None,
    cache: Any = None,
) -> Service:
    chosen = policy or ServingPolicy(service="home", version="p1")
    return Service(
        Identity(service="home", model="ranker", version="v1", clock="request", nonce="n0"),
        recommender or StubRecommender(),
        rescue=rescue,
        policy=lambda: chosen,
        clock=clock or ManualClock(),
        ids=CountingIds(),
        draw=draw,
        salt=lambda: "00" * 16,
        viewer_key=KEY,
        instruments=Instruments("home", "v1"),
        cache=cache,
    )


def payloads(records: tuple[Record, ...]) -> list[bytes]:
    return [record.payload for record in records]


class Wire:
    """An application and the log behind it."""

    def __init__(
        self, service: Any, stream: Any = None, *, warm: bool = True, batch: Any = None
    ) -> None:
        self.stream: EventStream = stream or MemoryStream()
        self.service = service
        self.gaps: list[int] = []
        log = LogBatch(
            self.stream, lambda n, _: (self.gaps.append(n), service.instruments.gap(n))
        )
        self.app = ServingApp(service, log, batch)
        if warm:
            self.app.warmed()

    async def ask_async(
        self,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        method: str = "POST",
        chunks: int = 1,
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        size = max(1, -(-len(body) // chunks))
        parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": n + 1 < len(parts)}
            for n, part in enumerate(parts)
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        given = {k.lower().encode(): v.encode() for k, v in (headers or {}).items()}
        scope = {"type": "http", "method": method, "path": path, "headers": list(given.items())}
        await self.app(scope, receive, send)
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], got, sent[1]["body"]

    def ask(self, path: str, body: Any = b"", **how: Any) -> tuple[int, dict[str, str], Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, headers, content = asyncio.run(self.ask_async(path, raw, **how))
        as_json = headers["content-type"] == "application/json"
        return status, headers, json.loads(content) if as_json else content.decode()

    def logged(self) -> list[Any]:
        return list(self.stream.read(Cursor(consumer="test")).records)
