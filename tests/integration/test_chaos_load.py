"""The open-loop load and its row, from requests made by hand and a server that stalls."""

import asyncio
import importlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import until

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def load() -> Iterator[ModuleType]:
    sys.path.insert(0, BENCHMARKS)
    yield importlib.import_module("chaos_load")
    sys.path.remove(BENCHMARKS)


def answer(served_by: str, items: int = 5, score: float = 1.0) -> bytes:
    shown = [{"id": n, "score": score} for n in range(items)]
    return json.dumps({"served_by": served_by, "items": shown}).encode()


def test_an_answer_is_good_when_it_is_whole_and_has_numbers(load: ModuleType) -> None:
    assert load.judged(answer("model"), 5) == "model"
    assert load.judged(answer("fallback"), 5) == "fallback"
    for bad in (answer("model", 4), answer("model", score=float("nan")), b"{}", b"[]", b"no"):
        assert load.judged(bad, 5) == "bad"


def test_a_row_counts_what_viewers_got(load: ModuleType) -> None:
    sent = [load.Sent(n / 100, 5.0, "model", True) for n in range(1_000)]
    sent[300] = load.Sent(3.0, 9.0, "503", True)
    sent[301] = load.Sent(3.01, 11.0, "reset", False)
    sent[302] = load.Sent(3.02, 40.0, "fallback", True)
    row = load.row("f", sent, 2.5, planned=False, lasts_s=0.0)
    assert (row["requests"], row["not_good"], row["non_2xx"], row["no_answer"]) == (
        1_000, 2, 1, 1,
    )  # fmt: skip
    assert (row["good"], row["good_with_one_retry"], row["held"]) == (0.998, 0.999, False)
    assert (row["model"], row["fallback"]) == (0.997, 0.001)
    assert (row["p50_ms"], row["p99_ms"], row["max_ms"]) == (5.0, 5.0, 40.0)
    assert row["back_s"] == pytest.approx(3.02 + 0.04 - 2.5)


def test_one_of_a_thousand_holds_the_bar_and_no_planned_operation(load: ModuleType) -> None:
    sent = [load.Sent(n / 100, 5.0, "model", True) for n in range(1_000)]
    sent[5] = load.Sent(0.05, 5.0, "connect", True)
    assert load.row("f", sent, 0.0, planned=False, lasts_s=0.0)["held"]
    assert not load.row("f", sent, 0.0, planned=True, lasts_s=0.0)["held"]
    sent[950] = load.Sent(9.5, 5.0, "fallback", True)
    assert load.row("f", sent, 0.0, planned=False, lasts_s=0.0)["back_s"] is None


class Stalling:
    """Answers at once, but for the time between `stall` and `go`."""

    def __init__(self) -> None:
        self.port, self.asked = 0, 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Stalling":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def stall(self) -> None:
        self._loop.call_soon_threadsafe(self._open.clear)

    def go(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    async def _run(self) -> None:
        self._loop, self._end, self._open = (
            asyncio.get_running_loop(), asyncio.Event(), asyncio.Event(),
        )  # fmt: skip
        self._open.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = answer("model")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = int(asked.lower().split(b"content-length: ")[1].split(b"\r")[0])
                await reader.readexactly(length)
                self.asked += 1
                await self._open.wait()
                writer.write(head + body)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


def test_a_stall_costs_every_request_that_it_delayed(load: ModuleType) -> None:
    with Stalling() as server:
        viewers = load.OpenLoop(server.port, "/", 100.0).start()
        until(lambda: len(viewers.sent) > 20, 10)
        server.stall()
        asked = server.asked
        until(lambda: server.asked > asked + 40, 10)  # nobody waits for the answers of others
        server.go()
        sent = viewers.stop()
    assert all(one.outcome == "model" for one in sent)
    slow = [one for one in sent if one.ms > 100.0]
    assert len(slow) >= 25
    assert max(one.ms for one in sent) >= 350.0
