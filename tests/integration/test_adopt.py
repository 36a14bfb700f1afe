"""The process before an adopted recommender, over a real server that knows nothing of mlg."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import until
from tests.foreign import Foreign, foreign
from tests.real_mlserver import model_server

from mlg.adapters.recommender_http import HttpRecommender
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.ports import Cursor
from mlg.core.predict import Query
from mlg.serving.log import decode_prediction
from mlg.serving.popularity import StoredList, own_list

RECOMMEND = "/v1/services/old/recommend"
FEEDBACK = "/v1/services/old/feedback"


@dataclass
class Front:
    """One adapter process."""

    port: int
    home: Path

    def ask(self, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        raw = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        try:
            wire.request("POST" if raw else "GET", path, raw, headers)
            answer = wire.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, json.loads(answer.read() or b"null")
        finally:
            wire.close()

    def ready(self) -> bool:
        try:
            return self.ask("/v2/health/ready")[0] == 200
        except OSError:
            return False

    def predictions(self) -> list[dict[str, Any]]:
        batch = SegmentStream(self.home / "segments" / "old").read(Cursor(consumer="test"))
        return [decode_prediction(r.payload) for r in batch.records if r.kind == "prediction"]


@pytest.fixture
def server() -> Iterator[Foreign]:
    with foreign() as running:
        yield running


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, *options: str) -> Front:
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "viewer.key").write_bytes(bytes(32))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            env = {**os.environ, "MLG_LISTEN_FD": str(listening.fileno()), "MLG_NONCE": "n"}
            command = [
                sys.executable, "-m", "mlg.app.adopted", "--home", str(tmp_path),
                "--service", "old", "--id", "replica-old-1", "--model", "old",
                "--version", "adopted", "--clock", "request", "--url", url, *options,
            ]  # fmt: skip
            started.append(
                subprocess.Popen(command, env=env, pass_fds=(listening.fileno(),), cwd=tmp_path)
            )
            one = Front(listening.getsockname()[1], tmp_path)
            until(one.ready)
            return one

    yield start
    for process in started:
        process.kill()  # what SIGTERM does is told in test_replica.py
        process.wait(20)


@pytest.mark.parametrize("path", ["", "/v2/models/r/infer"])
def test_what_the_server_says_is_answered_and_logged(
    server: Foreign, front: Callable[..., Front], path: str
) -> None:
    one = front(server.url + path)
    status, headers, answer = one.ask(RECOMMEND, {"user_id": 7, "k": 3})
    assert status == 200
    assert [item["id"] for item in answer["items"]] == [7, 8, 9]
    assert [item["score"] for item in answer["items"]] == [0.86, 0.84, 0.82]  # 1 - id / 50
    assert (answer["served_by"], answer["model_version"]) == ("model", "adopted")
    assert answer["confidence"] == 0.0  # nobody measured it yet
    assert headers["mlg-prediction-id"] == answer["prediction_id"]
    (row,) = one.predictions()
    assert (row["prediction_id"], row["items"]) == (answer["prediction_id"], [7, 8, 9])
    assert server.asked[0][0] == (path or "/recommend")


def test_a_failure_is_withheld_so_that_the_gateway_asks_the_list(
    server: Foreign, front: Callable[..., Front]
) -> None:
    one = front(server.url)
    server.status = 503
    assert one.ask(RECOMMEND, {"user_id": 7, "k": 3})[0] == 500
    server.status, server.wait_s = 200, 5.0
    status, headers, _ = one.ask(RECOMMEND, {"user_id": 7, "k": 3})
    assert (status, headers["mlg-fault"]) == (500, "error")
    assert one.predictions() == []


def test_a_slow_server_does_not_silence_the_health_check(
    server: Foreign, front: Callable[..., Front]
) -> None:
    one = front(server.url)
    server.wait_s = 0.3
    with ThreadPoolExecutor(8) as pool:
        body = {"user_id": 1, "k": 2}
        answers = [pool.submit(one.ask, RECOMMEND, body) for _ in range(8)]
        until(lambda: len(server.asked) == 8)  # all of them wait there at once
        assert one.ready()
        assert {done.result()[0] for done in answers} <= {200, 500}


def test_confidence_comes_from_observed_hits(
    server: Foreign, front: Callable[..., Front]
) -> None:
    one = front(server.url)
    # viewers 0 and 40: highest scores 1.0 and 0.2, hits in 3 of 4 and in 1 of 4 answers
    for n in range(240):
        viewer = 40 * (n % 2)
        asked = {"user_id": viewer, "k": 2, "context": {"at": "2026-01-01T00:00:00Z"}}
        answer = one.ask(RECOMMEND, asked)[2]
        if (n // 2 % 4 == 0) if viewer else (n // 2 % 4 != 0):
            told = {
                "prediction_id": answer["prediction_id"],
                "item_id": viewer,
                "event": "play",
            }
            assert one.ask(FEEDBACK, told)[0] == 202
    later = {"at": "2026-01-01T01:00:00Z"}

    def shown(viewer: int) -> float:
        body = {"user_id": viewer, "k": 2, "context": later}
        return float(one.ask(RECOMMEND, body)[2]["confidence"])

    until(lambda: shown(0) > 0)
    assert (shown(0), shown(40)) == (0.75, 0.25)


def test_a_password_in_the_address_is_sent_and_never_said(server: Foreign) -> None:
    url = server.url.replace("http://", "http://me:secret@")
    with closing(HttpRecommender(url, StoredList())) as asker:
        query = Query(user_id=7, k=2, at=ManualClock().now())
        assert asker.recommend(query).items == (7, 8)
        assert dict(server.headers)[b"authorization"] == b"Basic bWU6c2VjcmV0"  # me:secret
        server.status = 500
        with pytest.raises(BackendError, match="answered 500") as caught:
            asker.recommend(query)
    assert "secret" not in json.dumps(caught.value.as_dict())


def test_a_kept_connection_that_was_closed_is_opened_again(server: Foreign) -> None:
    with closing(HttpRecommender(server.url, StoredList())) as asker:
        query = Query(user_id=7, k=2, at=ManualClock().now())
        asker.recommend(query)
        connection = asker._kept.connection  # pyright: ignore[reportPrivateUsage]
        connection.sock.shutdown(socket.SHUT_RDWR)
        assert asker.recommend(query).items == (7, 8)


@pytest.mark.parametrize(
    ("text", "items"),
    [('["a", 7]', ("a", 7)), ('{"items": [1], "scores": [2.5], "hit_rate": 0.1}', (1,))],
)
def test_a_list_written_by_hand_is_read(
    tmp_path: Path, text: str, items: tuple[object, ...]
) -> None:
    (tmp_path / "list.json").write_text(text)
    assert own_list(tmp_path / "list.json").items == items
    (tmp_path / "list.json").write_text('["a", "a"]')
    with pytest.raises(BackendError, match="no item twice"):
        own_list(tmp_path / "list.json")


if os.environ.get("MLG_FULL"):  # it takes ten seconds to come up

    def test_a_real_mlserver_answers_by_the_open_inference_protocol(
        tmp_path: Path, front: Callable[..., Front]
    ) -> None:
        with model_server(tmp_path) as url:
            one = front(f"{url}/v2/models/ranker/infer")
            answer = one.ask(RECOMMEND, {"user_id": "7", "k": 3})[2]
            assert [item["id"] for item in answer["items"]] == ["item-7", "item-8", "item-9"]
            assert [item["score"] for item in answer["items"]] == [1.0, 0.5, 0.25]
            assert len(one.predictions()) == 1
