"""The replay client against servers that answer, fail, hang up and lie."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mlg.app.replay import Progress, Target, replay
from mlg.client.replay_plan import DAY_US, Interactions, Replay, ReplayPlan

Handler = Callable[[int, str, Any], tuple[int, Any] | None]


class Server:
    """A minimal HTTP server; the handler gets (number, path, body), None hangs up."""

    def __init__(self, handler: Handler, *, per_connection: int = 1_000_000) -> None:
        self._handler, self._per_connection = handler, per_connection
        self.seen: list[tuple[str, Any, str]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._up.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(self._per_connection):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = dict(
                    line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line
                )
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                path = head.split()[1]
                self.seen.append((path, body, fields["mlg-sticky-key"]))
                answer = self._handler(len(self.seen), path, body)
                if answer is None:
                    break
                content = json.dumps(answer[1]).encode()
                reply = f"HTTP/1.1 {answer[0]} x\r\ncontent-length: {len(content)}\r\n\r\n"
                writer.write(reply.encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(handler: Handler, **how: Any) -> Server:
        made.append(Server(handler, **how))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def plan(requests: int = 20) -> ReplayPlan:
    """Each of `requests` viewers takes item 1 with value 3 of 1..5, once."""
    return ReplayPlan(
        Interactions(
            viewer=np.arange(requests),
            item=np.ones(requests, dtype=np.int64),
            at_us=np.arange(requests, dtype=np.int64) * DAY_US,
            value=np.full(requests, 3.0),
        ),
        None,
        Replay(value_range=(1.0, 5.0)),
    )


def answers(_number: int, path: str, body: Any) -> tuple[int, Any]:
    """Even viewers get the item they want from the model, odd ones the list."""
    if path.endswith("/feedback"):
        return 202, {"accepted": True}
    even = body["user_id"] % 2 == 0
    return 200, {
        "items": [{"id": 7, "score": 1.0}, {"id": 1 if even else 8, "score": 0.5}],
        "confidence": 0.5 if even else 0.1,
        "served_by": "model" if even else "fallback",
        "reason": "ranked" if even else "abstain",
        "model_version": "v1",
        "prediction_id": f"p{body['user_id']}",
    }


def test_it_counts_what_came_back(serve: Callable[..., Server]) -> None:
    server = serve(answers)
    seen: list[Progress] = []
    summary = replay(
        plan(), Target(host="127.0.0.1", port=server.port, service="home"), seen.append
    )
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["requests"], summary["failed"], summary["reconnects"]) == (20, 0, 0)
    assert (summary["viewers"], summary["sessions"], summary["feedback"]) == (20, 20, 20)
    assert (summary["hits"], summary["hit_rate"]["value"]) == (10, 0.5)
    assert summary["mean_confidence"] == pytest.approx(0.3)
    by_list, by_model = summary["arms"]
    assert (by_list["served_by"], by_list["requests"], by_list["hits"]) == ("fallback", 10, 0)
    assert (by_model["reason"], by_model["requests"], by_model["hits"]) == ("ranked", 10, 10)
    assert by_model["hit_rate"]["low"] == pytest.approx(0.7225, abs=5e-5)  # 10 / (10 + z^2)
    assert summary["watch_through"][2] == {"low": 0.4, "high": 0.6, "n": 10, "mean": 0.5}
    assert (seen[-1].done, seen[-1].total, seen[-1].hits) == (20, 20, 10)


def test_feedback_is_a_play_of_the_hit_or_an_impression(serve: Callable[..., Server]) -> None:
    server = serve(answers)
    replay(plan(2), Target(host="127.0.0.1", port=server.port, service="home"))
    given = {b["prediction_id"]: b for path, b, _ in server.seen if path.endswith("/feedback")}
    assert given["p0"]["event"] == "play"
    assert (given["p0"]["item_id"], given["p0"]["watch_through"]) == (1, 0.5)
    assert (given["p1"]["event"], given["p1"]["item_id"]) == ("impression", 7)
    assert {key for _, _, key in server.seen} == {"0.0.0", "1.0.1"}


def test_every_failure_is_counted_and_none_is_retried(serve: Callable[..., Server]) -> None:
    def half(number: int, path: str, body: Any) -> tuple[int, Any]:
        good = answers(number, path, body)
        return (503, {}) if path.endswith("/recommend") and body["user_id"] < 5 else good

    server = serve(half)
    summary = replay(plan(), Target(host="127.0.0.1", port=server.port, service="home"))
    assert (summary["failed"], summary["failures"]) == (5, {"503": 5})
    assert summary["answered"] == 15
    recommends = [path for path, _, _ in server.seen if path.endswith("/recommend")]
    assert len(recommends) == 20


def test_a_connection_that_was_closed_between_requests_is_opened_again(
    serve: Callable[..., Server],
) -> None:
    server = serve(answers, per_connection=3)
    target = Target(host="127.0.0.1", port=server.port, service="home", connections=1)
    summary = replay(plan(6), target)
    assert (summary["failed"], summary["requests"], summary["feedback"]) == (0, 6, 6)
    assert summary["reconnects"] == 3  # 12 requests, 3 a connection, the first one is new


def test_a_fresh_connection_without_an_answer_is_a_failure(
    serve: Callable[..., Server],
) -> None:
    server = serve(lambda *_: None)
    summary = replay(plan(4), Target(host="127.0.0.1", port=server.port, service="home"))
    assert (summary["failed"], summary["answered"]) == (4, 0)
    assert summary["hit_rate"]["value"] is None
    nowhere = Target(host="127.0.0.1", port=server.port, service="home", connections=2)
    server.stop()
    server.stop = lambda: None  # type: ignore[method-assign]
    assert replay(plan(4), nowhere)["failed"] == 4


def test_the_rate_can_be_held(serve: Callable[..., Server]) -> None:
    server = serve(answers)
    target = Target(host="127.0.0.1", port=server.port, service="home", per_second=100.0)
    summary = replay(plan(30), target)
    assert summary["seconds"] >= 0.25
    assert summary["failed"] == 0
