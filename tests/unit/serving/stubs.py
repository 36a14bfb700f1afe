"""A recommender of known behaviour, and a service around it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.ports import Record
from mlg.core.predict import Key, Query, Ranked, ServingPolicy
from mlg.serving.instruments import Instruments
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
    )


def payloads(records: tuple[Record, ...]) -> list[bytes]:
    return [record.payload for record in records]
