"""The reactor on a real log: where it begins, and what it never answers twice."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.app.reactor import STATE, Reactor
from mlg.core.clock import ManualClock
from mlg.graph import record_runs
from mlg.graph.record import Recorder, node
from mlg.manifest.load import parse_manifest

MANIFEST = (Path(__file__).parents[1] / "projects" / "tiny" / "mlg.yaml").read_text()
RULES = """
automations:
  note:
    autonomy: act
    on: {run: done}
    do: [{audit: {note: done}}]
  guard:
    autonomy: act
    on: {alert: confidence_drop}
    if: 'event.data.drop > 0.2 && event.data.n > 50 && !(event.data.kind == "x")'
    do: [{restart: {service: front}}]
"""


@pytest.fixture
def it(tmp_path: Path) -> Iterator[SimpleNamespace]:
    clock, files = ManualClock(), MemoryFiles()
    store = SqliteGraph(tmp_path / "graph.sqlite3", clock)
    reader = SqliteGraphReader(tmp_path / "graph.sqlite3")
    recorder = Recorder(project="tiny", actor="a", clock=clock, ids=Uuid7Ids(clock))
    spec = parse_manifest(MANIFEST + RULES).spec
    begun: list[Any] = []

    def reactor() -> Reactor:
        return Reactor(
            files=files, clock=clock, store=store, reader=reader,
            spec=lambda: spec, start=begun.append,
        )  # fmt: skip

    def run_done(number: int) -> None:
        event = record_runs.run_finished(
            recorder, key=f"run:{number}", pipeline="list", run_id=f"r{number}",
            seconds=1.0, facts={"verdict": "done"},
        )  # fmt: skip
        store.append((event,))

    def alert(word: str) -> None:
        uri = recorder.uri("alert", "a1")
        facts = {"kind": "confidence_drop", "service": "front", "drop": 0.9, "n": 9}
        event = recorder.event(
            f"mlg.alert.{word}", key=word, subject=uri, nodes=[node(uri, facts)], facts=facts
        )
        store.append((event,))

    yield SimpleNamespace(
        reactor=reactor, run_done=run_done, alert=alert, begun=begun, files=files
    )
    reader.close()
    store.close()


def test_history_is_not_answered_and_what_follows_is_once(it: SimpleNamespace) -> None:
    it.run_done(1)
    first = it.reactor()
    first.open()
    it.run_done(2)
    assert first.round() == 1
    assert first.round() == 0
    again = it.reactor()  # the next control plane
    again.open()
    assert again.round() == 0
    assert [one.decision.outcome for one in it.begun] == ["acts"]
    assert it.begun[0].subject.endswith("@r2")


def test_a_restored_log_that_is_shorter_is_followed_from_its_head(it: SimpleNamespace) -> None:
    it.run_done(1)
    it.files.write(STATE, b'{"seq": 900}')
    reactor = it.reactor()
    reactor.open()
    assert (reactor.round(), it.begun) == (0, [])
    it.run_done(2)
    assert (reactor.round(), len(it.begun)) == (1, 1)


def test_a_place_that_cannot_be_read_begins_at_the_head(it: SimpleNamespace) -> None:
    it.run_done(1)
    it.files.write(STATE, b"torn")
    reactor = it.reactor()
    reactor.open()
    it.run_done(2)
    assert (reactor.round(), len(it.begun)) == (1, 1)


def test_a_rule_that_does_not_act_on_an_opened_alert_says_for_what(it: SimpleNamespace) -> None:
    reactor = it.reactor()
    reactor.open()
    it.alert("opened")
    it.alert("grown")
    assert reactor.round() == 2
    (one,) = it.begun  # not of each growth
    assert (one.decision.rule, one.decision.outcome) == ("guard", "condition_false")
    assert one.decision.reason == "the condition does not hold: event.data.n > 50"
    assert one.decision.commands == ()
