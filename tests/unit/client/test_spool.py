"""The file of waiting records: whatever a crash leaves of it, what was acknowledged is read."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlg.client.outbox import RETRY_S, Outbox
from mlg.client.spool import Replayed, Spool
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ManifestError

URL = "http://127.0.0.1:7070"


class Sent:
    """A control plane in memory; raises `down` while it is set."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.down: Exception | None = None
        self.asked = 0

    def batch(self, records: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
        self.asked += 1
        if self.down is not None:
            raise self.down
        self.records += records
        return [{"status": "accepted"} for _ in records]

    def post(self, body: bytes) -> dict[str, Any]:
        return {"results": self.batch(json.loads(body)["records"])}


def test_a_file_cut_at_any_byte_gives_the_records_whose_lines_are_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a", URL, ManualClock())
    records = [{"n": n, "text": "ö\n"} for n in range(4)]
    for record in records:
        spool.append(record)
    spool.close()
    (file,) = (tmp_path / "a").glob("*.jsonl")
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    for cut in range(len(content) + 1):
        folder = tmp_path / "b"
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(content[:cut])
        sent = Sent()
        told = Spool(folder, URL, ManualClock()).replay(sent.batch, anyone=True)
        whole = content[:cut].count(b"\n") - 1
        assert sent.records == records[: max(0, whole)], cut
        inside_a_line = whole >= 0 and cut not in {
            sum(map(len, lines[:n])) for n in range(len(lines) + 1)
        }
        assert told.cut == int(inside_a_line)
        assert not list(folder.iterdir())


def test_many_records_go_in_requests_of_bounded_size(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, ManualClock())
    for n in range(3):
        spool.append({"n": n, "text": "x" * 400_000})
    sent = Sent()
    assert spool.replay(sent.batch).sent == 3
    assert sent.asked == 2  # two of 400 kB fit into one request, three do not
    assert [record["n"] for record in sent.records] == [0, 1, 2]


def test_what_is_not_sent_stays(tmp_path: Path) -> None:
    spool, sent = Spool(tmp_path, URL, ManualClock()), Sent()
    spool.append({"n": 1})
    sent.down = BackendError("nobody")
    with pytest.raises(BackendError):
        spool.replay(sent.batch)
    spool.append({"n": 2})
    sent.down = None
    assert spool.replay(sent.batch).sent == 2
    assert spool.replay(sent.batch) == Replayed()


def test_a_file_that_is_no_spool_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text('{"my": "notes"}\n')
    with pytest.raises(ManifestError, match="no spool"):
        Spool(tmp_path, URL, ManualClock()).replay(Sent().batch, anyone=True)
    assert (tmp_path / "notes.jsonl").exists()


def test_files_are_private_to_the_account(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "spool", URL, ManualClock())
    spool.append({})
    (file,) = spool.waiting()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_nobody_is_asked_again_before_its_time_and_the_order_stays(tmp_path: Path) -> None:
    clock, sent = ManualClock(), Sent()
    box = Outbox(Spool(tmp_path, URL, clock), sent.post, clock)
    sent.down = BackendError("nobody")
    for n in range(3):
        box.put({"n": n})
    assert sent.asked == 1
    sent.down = None
    box.put({"n": 3})
    assert sent.records == []
    clock.wait(RETRY_S)
    box.put({"n": 4})
    assert [record["n"] for record in sent.records] == [0, 1, 2, 3, 4]
    assert not list(tmp_path.iterdir())


def test_a_control_plane_of_another_version_gets_its_records_later(tmp_path: Path) -> None:
    clock, sent = ManualClock(), Sent()
    box = Outbox(Spool(tmp_path, URL, clock), sent.post, clock)
    sent.down = ManifestError("records of format 1, this control plane reads 2", where="format")
    box.put({"n": 1})
    with pytest.raises(BackendError, match="reads 2"):
        box.flush()
    sent.down = None
    assert box.flush().sent == 1


def test_an_answer_of_another_program_loses_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    answers: list[Any] = [{}, {"results": []}, [], {"results": 7}]
    for answer in answers:
        box = Outbox(Spool(tmp_path, URL, clock), lambda _, a=answer: a, clock)
        box.put({"n": 1})
        box.close()
    sent = Sent()
    assert Spool(tmp_path, URL, clock).replay(sent.batch).sent == len(answers)


def test_threads_share_one_client(tmp_path: Path) -> None:
    clock, sent = ManualClock(), Sent()
    box = Outbox(Spool(tmp_path, URL, clock), None, clock)

    def work(worker: int) -> None:
        for n in range(10):
            box.put({"worker": worker, "n": n})

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    box.close()
    Spool(tmp_path, URL, clock).replay(sent.batch)
    for worker in range(4):
        own = [record["n"] for record in sent.records if record["worker"] == worker]
        assert own == list(range(10))
