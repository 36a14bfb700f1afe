import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlg.adapters.enrichment_memory import MemoryEnrichment
from mlg.adapters.enrichment_sqlite import VERSION, SqliteEnrichment
from mlg.core.errors import BackendError
from mlg.core.ports import EnrichmentQueue
from mlg.core.providers import Thing

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(microseconds=1)
A, B = Thing(type="run", id="a"), Thing(type="run", id="b")


@pytest.fixture(params=["memory", "sqlite"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EnrichmentQueue]:
    if request.param == "memory":
        yield MemoryEnrichment()
        return
    found = SqliteEnrichment(tmp_path / "enrichment.sqlite3")
    yield found
    found.close()


def things(queue: EnrichmentQueue, at: datetime = AT, limit: int = 10) -> list[Thing]:
    return [one.thing for one in queue.due("m", at, limit)]


def test_what_was_asked_for_is_due_from_then_on_the_longest_first(
    queue: EnrichmentQueue,
) -> None:
    queue.ask("m", [B], AT)
    queue.ask("m", [A], LATER)
    queue.ask("other", [A], AT)
    assert things(queue, AT - timedelta(seconds=1)) == []
    assert things(queue, AT) == [B]
    assert things(queue, LATER) == [B, A]
    assert things(queue, LATER, limit=1) == [B]


def test_a_thing_asked_for_twice_is_one_row_and_keeps_its_place(queue: EnrichmentQueue) -> None:
    queue.ask("m", [A, A], AT)
    queue.ask("m", [B], AT)
    queue.ask("m", [A], LATER)
    assert things(queue, LATER) == [A, B]
    counts, listed = queue.standings()
    assert [(one.provider, one.waiting) for one in counts] == [("m", 2)]
    assert [one.thing for one in listed] == [A, B]


def test_what_was_settled_is_due_no_more(queue: EnrichmentQueue) -> None:
    queue.ask("m", [A], AT)
    (row,) = queue.due("m", AT, 10)
    queue.settle([replace(row, state="enriched", next_at=None, enriched_at=LATER)])
    assert things(queue, LATER) == []
    (counts,), (told,) = queue.standings("m", "enriched")
    assert (counts.enriched, counts.enriched_at, told.enriched_at) == (1, LATER, LATER)
    assert queue.standings("m", "failing")[1] == ()


def test_a_thing_asked_for_while_it_was_looked_at_stays_due(queue: EnrichmentQueue) -> None:
    queue.ask("m", [A], AT)
    (row,) = queue.due("m", AT, 10)
    queue.ask("m", [A], LATER)
    queue.settle([replace(row, state="enriched", next_at=None, enriched_at=AT)])
    assert things(queue, LATER) == [A]
    assert queue.standings("m", "waiting")[1][0].enriched_at == AT


def test_a_failure_is_due_again_at_its_time_and_an_event_makes_it_due_at_once(
    queue: EnrichmentQueue,
) -> None:
    queue.ask("m", [A], AT)
    (row,) = queue.due("m", AT, 10)
    again = AT + timedelta(seconds=4)
    queue.settle([replace(row, state="failing", tries=2, next_at=again, error="down")])
    assert things(queue, AT) == []
    (waiting,) = queue.due("m", again, 10)
    assert (waiting.tries, waiting.error) == (2, "down")
    queue.ask("m", [A], LATER)
    assert things(queue, LATER) == [A]


def test_what_a_sweep_told_is_known_and_takes_nothing_from_what_waits(
    queue: EnrichmentQueue,
) -> None:
    queue.ask("m", [A], AT)
    (row,) = queue.due("m", AT, 10)
    swept = replace(row, state="enriched", asked=0, next_at=None, enriched_at=LATER)
    queue.settle([swept, replace(swept, thing=B)])
    assert things(queue, AT) == [A]
    (counts,), _ = queue.standings("m")
    assert (counts.waiting, counts.enriched) == (1, 1)


CHILD = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from mlg.adapters.enrichment_sqlite import SqliteEnrichment
from mlg.core.providers import Thing
queue = SqliteEnrichment(Path(sys.argv[1]))
queue.ask("m", [Thing(type="run", id="a")], datetime(2026, 1, 1, tzinfo=UTC))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_taken_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "enrichment.sqlite3"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], check=False, env=os.environ.copy()
    )
    assert done.returncode == -signal.SIGKILL
    queue = SqliteEnrichment(path)
    assert things(queue) == [A]
    queue.close()


def test_a_file_of_a_newer_version_or_of_something_else_is_refused(tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    database = sqlite3.connect(newer)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    with pytest.raises(BackendError, match="newer mlg"):
        SqliteEnrichment(newer)
    (tmp_path / "text").write_text("this is no database" * 100)
    with pytest.raises(BackendError, match="cannot be kept"):
        SqliteEnrichment(tmp_path / "text")
