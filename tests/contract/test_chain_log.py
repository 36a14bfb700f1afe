"""What every ChainLog must do, stores and readers of both databases alike."""

import itertools
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from tests.postgres import database

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.graph import merkle
from mlg.graph.audit import ChainLog, make_anchor, signature_holds, verify_chain
from mlg.graph.log_tree import LogTree
from mlg.graph.record import Recorder

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = bytes(range(32))


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


@pytest.fixture(params=["sqlite", "postgres"])
def logs(request, tmp_path):
    """A store with seven events of three subjects, and a reader of it."""
    if request.param == "sqlite":
        path = tmp_path / "graph.sqlite3"
        store, reader = SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path)
    else:
        url = database(request.getfixturevalue("postgres_url"), f"chain-{uuid4().hex}")
        store, reader = PostgresGraph(url), PostgresGraphReader(url)
    r = Recorder(project="p", actor="local:ada", clock=ManualClock(START), ids=Counter())
    store.append(
        [
            r.event("mlg.run.noted", key=f"k{n}", subject=r.uri("run", "r", str(n % 3)))
            for n in range(7)
        ]
    )
    yield store, reader
    reader.close()
    store.close()


def test_the_same_log_is_read_with_and_without_content(logs) -> None:
    for log in logs:
        assert [raw.seq for raw in log.chain()] == [1, 2, 3, 4, 5, 6, 7]
        assert [raw.digest for raw in log.chain(2, 3)] == [
            one.digest for one in log.links(2, 3)
        ]
        assert log.last_seq() == 7
        assert verify_chain(log, (), None)["ok"]


def test_events_are_found_by_id_and_by_subject_once_and_in_order(logs) -> None:
    for log in logs:
        zero, one = "mlg://run/mlg/p/r@0", "mlg://run/mlg/p/r@1"
        assert log.seqs_of((), (zero,)) == (1, 4, 7)
        assert log.seqs_of(("id-000000005", "id-000000003"), ()) == (3, 5)
        assert log.seqs_of(("id-000000004", "none"), {zero, one}) == (1, 2, 4, 5, 7)
        assert log.seqs_of((), ("mlg://run/mlg/p/r@9", "'; DROP TABLE event; --")) == ()
        assert log.seqs_of((), ()) == ()


def test_a_head_by_the_tree_is_the_head_by_all_hashes(logs) -> None:
    for log in logs:
        tree = LogTree(log)
        whole = make_anchor(log, at=START, private_key=KEY)
        assert make_anchor(log, at=START, private_key=KEY, root=tree.root) == whole
        assert whole is not None
        assert whole.root == merkle.root([raw.digest for raw in log.chain()]).hex()
        assert signature_holds(whole, bytes.fromhex(whole.public_key))
        assert verify_chain(log, (whole,), bytes.fromhex(whole.public_key))["ok"]


def test_stores_and_readers_keep_the_protocol(logs) -> None:
    names = [name for name in vars(ChainLog) if not name.startswith("_")]
    assert sorted(names) == ["chain", "last_seq", "links", "seqs_of"]
    assert all(callable(getattr(log, name)) for log in logs for name in names)
