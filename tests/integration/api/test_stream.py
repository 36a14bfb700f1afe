"""The live stream, message by message."""

import asyncio
import json
from typing import Any

import pytest

from mlg.api.stream import Streams, messages
from mlg.core.errors import BackendError


def collect(plane: Any, streams: Streams, *, after: int, until: Any) -> list[tuple[str, Any]]:
    """Return (event, decoded data) up to the first message that `until` accepts."""

    async def read() -> list[tuple[str, Any]]:
        got: list[tuple[str, Any]] = []
        source = messages(plane.services(), streams, after)
        async with asyncio.timeout(20):
            async for message in source:
                if message.event is None:
                    continue
                got.append((message.event, json.loads(str(message.data))))
                if message.event == "graph":
                    assert message.id == got[-1][1]["seq"]
                if until(got):
                    break
        await source.aclose()
        return got

    return asyncio.run(read())


def test_events_come_in_order_after_a_seq_with_counters(plane: Any, fakes: Any) -> None:
    plane.log.append([fakes.make_event(n) for n in range(1, 451)])

    def until(seen: list[tuple[str, Any]]) -> bool:
        return seen[-1][1].get("seq") == 450

    got = collect(plane, Streams(), after=2, until=until)
    assert [data["seq"] for name, data in got if name == "graph"] == list(range(3, 451))
    assert ("live", plane.control.counters) in got


def test_an_event_that_comes_later_is_sent(plane: Any, fakes: Any) -> None:
    def until(seen: list[tuple[str, Any]]) -> bool:
        if len(seen) == 1:
            plane.log.append([fakes.make_event(1)])
        return seen[-1][0] == "graph"

    got = collect(plane, Streams(), after=0, until=until)
    assert got[0][0] == "live"
    assert got[-1][1]["key"] == "k1"


def test_a_failing_store_is_told_and_the_stream_goes_on(plane: Any, fakes: Any) -> None:
    plane.log.broken = True
    plane.log.append([fakes.make_event(1)])

    def until(seen: list[tuple[str, Any]]) -> bool:
        plane.log.broken = False
        return seen[-1][0] == "graph"

    got = collect(plane, Streams(), after=0, until=until)
    assert got[0] == (
        "problem",
        {"error": "backend", "what": "the disk is gone", "where": "graph.sqlite3", "hint": ""},
    )


def test_the_stream_ends_when_the_server_stops_and_gives_its_place_back(plane: Any) -> None:
    streams = Streams(limit=1)

    def until(_: list[tuple[str, Any]]) -> bool:
        with pytest.raises(BackendError, match="1 live streams"):
            streams.check()
        streams.closing.set()
        return False

    assert [name for name, _ in collect(plane, streams, after=0, until=until)] == ["live"]
    streams.closing.clear()
    streams.check()
