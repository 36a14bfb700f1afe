"""A long log is checked by two processes, and what they say is what one says."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_check import BesideCheck
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.graph import audit
from mlg.graph.audit import make_anchor, public_key_of, verify_chain
from mlg.graph.record import Recorder

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = bytes(range(32))


@pytest.mark.parametrize("hurt", [None, 40, 130, 151])
def test_a_long_log_checked_by_two_processes_says_what_one_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurt: int | None
) -> None:
    path, clock = tmp_path / "graph.sqlite3", ManualClock(START)
    recorder = Recorder(project="p", actor="local:ada", clock=clock, ids=Uuid7Ids(clock))
    run = recorder.uri("run", "r", "1")
    monkeypatch.setattr(audit, "LONG", 100)
    with SqliteGraph(path, clock) as log:
        told = [recorder.event("mlg.run.started", key=f"k{n}", subject=run) for n in range(152)]
        log.append(told[:150])
        anchor = make_anchor(log, at=START, private_key=KEY)
        log.append(told[150:])
        assert anchor is not None
        if hurt:
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("DROP TRIGGER event_no_update")
                db.execute("UPDATE event SET type = 'mlg.run.ended' WHERE seq = ?", (hurt,))
        beside = BesideCheck(path)
        found = verify_chain(log, [anchor], public_key_of(KEY), beside)
        assert found == verify_chain(log, [anchor], public_key_of(KEY))
        assert (found["first_bad"] or {}).get("seq") == hurt
        assert found["ok"] is (hurt is None)
        assert beside.started


def test_a_head_that_was_signed_over_another_log_is_found_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(START)
    recorder = Recorder(project="p", actor="local:ada", clock=clock, ids=Uuid7Ids(clock))
    monkeypatch.setattr(audit, "LONG", 100)
    anchors = []
    for name in ("one", "two"):
        with SqliteGraph(tmp_path / f"{name}.sqlite3", clock) as log:
            run = recorder.uri("run", name, "1")
            log.append(
                [
                    recorder.event("mlg.run.started", key=f"k{n}", subject=run)
                    for n in range(120)
                ]
            )
            anchors.append(make_anchor(log, at=START, private_key=KEY))
    with SqliteGraph(tmp_path / "one.sqlite3", clock) as log:
        beside = BesideCheck(tmp_path / "one.sqlite3")
        found = verify_chain(log, [anchors[1]], public_key_of(KEY), beside)
    assert found["first_bad"] == {
        "seq": 120,
        "reason": "the chain up to here is not the one that was signed",
    }
