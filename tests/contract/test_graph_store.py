"""What every GraphStore must do, on SQLite and PostgreSQL alike; then what is SQLite's own."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import until
from tests.postgres import database

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sql_rows import moment
from mlg.adapters.graph_sql_store import PROJECTIONS
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.graph_sqlite_schema import MIGRATIONS
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ConflictError
from mlg.core.events import EdgeFact, Event, Revision
from mlg.core.reading import NodeQuery
from mlg.core.uris import EventId
from mlg.graph.audit import verify_chain
from mlg.graph.encode import GENESIS
from mlg.graph.project import intervals
from mlg.graph.record import Recorder, edge, node

START = datetime(2026, 1, 1, tzinfo=UTC)


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(project="p", actor="local:ada", clock=ManualClock(START), ids=Counter())


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request, tmp_path):
    """A function that opens the store and its reader; the same graph each time."""
    if request.param == "sqlite":
        path = tmp_path / "graph.sqlite3"
        return lambda: (SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path))
    url = request.getfixturevalue("postgres_url")
    url = database(url, f"store-{uuid4().hex}")
    return lambda: (PostgresGraph(url), PostgresGraphReader(url))


@pytest.fixture
def store(opened):
    found, reader = opened()
    with found, reader:
        yield found


@pytest.fixture
def file(tmp_path):
    with SqliteGraph(tmp_path / "graph.sqlite3", ManualClock(START)) as found:
        yield found


def run_event(recorder: Recorder, n: int, *, minute: int | None = None, **attrs) -> Event:
    run = recorder.uri("run", "ranker", str(n))
    return recorder.event(
        "mlg.run.started",
        key=f"run-{n}-{minute}",
        subject=run,
        nodes=[node(run, {"n": n, **attrs})],
        edges=[edge(recorder.uri("pipeline", "ranker"), "version_of", run)],
        at=START + timedelta(minutes=n if minute is None else minute),
    )


def by_uri(path: Path) -> list[tuple]:
    """Return nodes and edges without anything that depends on the order of arrival."""
    with sqlite3.connect(path) as db:
        nodes = db.execute(
            "SELECT uri, kind, name, digest, attrs, valid_from, valid_to, last_at, last_key"
            " FROM node ORDER BY uri"
        ).fetchall()
        edges = db.execute(
            "SELECT a.uri, r.name, b.uri, provenance, e.valid_from, e.valid_to, v.id"
            " FROM edge e JOIN node a ON a.id = src_id JOIN node b ON b.id = dst_id"
            " JOIN role r ON r.id = e.role JOIN event v ON v.seq = e.seq"
            " WHERE e.valid_from IS NOT NULL ORDER BY 1, 2, 3, 5"
        ).fetchall()
    db.close()
    return nodes + edges


def dump(path: Path) -> dict[str, list[tuple]]:
    """Return every row of the projections, once every node is indexed."""
    with sqlite3.connect(path) as db:
        until(lambda: not db.execute(WAITING).fetchone()[0], deadline_s=20)
        found = {
            table: db.execute(
                f"SELECT {'rowid, ' if table == 'search' else ''}* FROM {table}"
                " ORDER BY 1, 2, 3, 4"
            ).fetchall()
            for table in PROJECTIONS
            if table != "search_due"
        }
    db.close()
    return found


WAITING = (
    "SELECT (SELECT count(*) FROM search_due)"
    " + (SELECT coalesce(max(id), 0) FROM node) - (SELECT upto FROM search_state)"
)


def test_an_empty_log_stands_at_zero(store) -> None:
    assert store.head() == Revision(seq=0, hash=GENESIS)
    assert store.events() == ()


def test_events_come_back_as_they_were_in_order(store, recorder) -> None:
    events = [run_event(recorder, n) for n in range(5)]
    head = store.append(events)
    stored = store.events()
    assert [s.event for s in stored] == events
    assert [s.seq for s in stored] == [1, 2, 3, 4, 5]
    assert head == store.head() == Revision(seq=5, hash=stored[-1].hash)
    assert [s.prev_hash for s in stored] == [GENESIS, *(s.hash for s in stored[:-1])]
    assert [s.seq for s in store.events(after=2, limit=2)] == [3, 4]


def test_the_same_key_and_content_is_recorded_once(store, recorder) -> None:
    first = store.append([run_event(recorder, 1)])
    assert store.append([run_event(recorder, 1)]) == first  # another id, the same act
    assert len(store.events()) == 1


def test_the_same_key_with_other_content_is_a_conflict_and_nothing_is_written(
    store, recorder
) -> None:
    store.append([run_event(recorder, 1)])
    with pytest.raises(ConflictError, match="run-1-None"):
        store.append([run_event(recorder, 2), run_event(recorder, 1, other=True)])
    assert len(store.events()) == 1


def test_a_cause_that_names_a_skipped_event_becomes_the_recorded_one(store, recorder) -> None:
    first, again = run_event(recorder, 1), run_event(recorder, 1)
    store.append([first])
    store.append([again])
    run = recorder.uri("run", "ranker", "1")
    store.append([recorder.event("mlg.run.finished", key="f", subject=run, cause=again.id)])
    assert store.events()[-1].event.cause == first.id


def test_expect_lets_only_one_of_two_deciders_write(store, recorder) -> None:
    seen = store.head()
    store.append([run_event(recorder, 1)], expect=seen)
    with pytest.raises(ConflictError, match="stands at 1, not at 0"):
        store.append([run_event(recorder, 2)], expect=seen)
    assert (
        store.append([run_event(recorder, 1)], expect=seen).seq == 1
    )  # a retry is no conflict
    assert len(store.events()) == 1


def test_an_id_under_another_key_is_a_conflict(store, recorder) -> None:
    from dataclasses import replace

    first = run_event(recorder, 1)
    store.append([first])
    with pytest.raises(ConflictError, match="another key"):
        store.append([replace(run_event(recorder, 2), id=first.id)])


def test_a_forbidden_edge_is_refused_before_anything_is_written(store, recorder) -> None:
    from dataclasses import replace

    run, pipeline = recorder.uri("run", "r", "1"), recorder.uri("pipeline", "r")
    wrong = EdgeFact(src=run, role="version_of", dst=pipeline)
    with pytest.raises(ValueError, match="no edge run -version_of-> pipeline"):
        store.append([run_event(recorder, 1), replace(run_event(recorder, 2), edges=(wrong,))])
    assert store.head().seq == 0


def test_rebuilding_makes_the_same_rows(file, recorder, tmp_path) -> None:
    path = tmp_path / "graph.sqlite3"
    file.append([run_event(recorder, n) for n in range(20)])
    file.append([run_event(recorder, n, minute=n - 3, late=True) for n in range(20)])
    run = recorder.uri("run", "ranker", "3")
    pipeline = recorder.uri("pipeline", "ranker")
    for minute, ended in ((40, True), (50, False), (30, True)):
        arrow = edge(pipeline, "version_of", run, ended=ended)
        at = START + timedelta(minutes=minute)
        file.append(
            [recorder.event("mlg.x.y", key=f"e{minute}", subject=run, edges=[arrow], at=at)]
        )
    before = dump(path)
    assert file.rebuild() == 43
    assert dump(path) == before
    assert all(before.values())


def test_any_order_of_arrival_gives_one_graph(recorder, tmp_path) -> None:
    run, pipeline = recorder.uri("run", "r", "1"), recorder.uri("pipeline", "r")

    def told(minute: int, key: str, *, ended: bool = False, **attrs: object) -> Event:
        return recorder.event(
            "mlg.x.y",
            key=key,
            subject=run,
            nodes=[node(run, attrs, ended=ended)],
            edges=[edge(pipeline, "version_of", run, ended=ended)],
            at=START + timedelta(minutes=minute),
        )

    events = [
        told(0, "a", x=1), told(1, "b", ended=True), told(1, "c", x=3, y=1), told(2, "d", y=2)
    ]  # fmt: skip
    graphs = []
    for place, order in enumerate(itertools.permutations(events)):
        path = tmp_path / f"{place}.sqlite3"
        with SqliteGraph(path, ManualClock(START)) as found:
            for event in order:
                found.append([event])
        graphs.append(by_uri(path))
    assert len(graphs) == 24
    assert all(found == graphs[0] for found in graphs)
    edges = [row for row in graphs[0] if row[1] == "version_of"]
    assert len(edges) == 2  # open 0..1, then open again from 1


@settings(max_examples=25, deadline=None)
@given(
    told=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 4), min_size=12, max_size=12),
)
def test_an_arrow_told_of_again_and_again_holds_when_its_facts_say(
    told: list[tuple[int, bool]], sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    recorder = Recorder(project="p", actor="t", clock=ManualClock(START), ids=Prefixed(0))
    run, pipeline = recorder.uri("run", "r", "1"), recorder.uri("pipeline", "r")
    events = [
        recorder.event(
            "mlg.x.y",
            key=f"{n:02}",
            subject=run,
            edges=[edge(pipeline, "version_of", run, ended=ended)],
            at=START + timedelta(minutes=minute),
        )
        for n, (minute, ended) in enumerate(told)
    ]
    spans = intervals(((one.at, one.key, 0), one.edges[0].ended) for one in events)
    path = tmp_path_factory.mktemp("again") / "g.sqlite3"
    left = list(events)
    with SqliteGraph(path, ManualClock(START)) as found:
        for size in sizes:
            found.append(left[:size])
            del left[:size]
        edges = [row for row in by_uri(path) if row[1] == "version_of"]
        found.rebuild()
        assert [row for row in by_uri(path) if row[1] == "version_of"] == edges
    held = [
        (moment(since), None if until is None else moment(until))
        for *_, since, until, _ in edges
    ]
    assert sorted(held, key=str) == sorted(
        ((one.valid_from, one.valid_to) for one in spans), key=str
    )


def test_many_threads_append_and_every_event_is_there_once(store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        mine = Recorder(
            project="p", actor=f"t{number}", clock=ManualClock(START), ids=Prefixed(number)
        )
        try:
            for n in range(25):
                store.append([run_event(mine, number * 1000 + n)])
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.head().seq == 200
    keys = {s.event.key for s in store.events()}
    assert len(keys) == 200
    assert verify_chain(store, (), None) == {"ok": True, "events": 200, "first_bad": None}


class Prefixed:
    def __init__(self, number: int) -> None:
        self._number, self._next = number, itertools.count()

    def new_id(self) -> str:
        return f"{self._number}-{next(self._next)}"


def test_a_conflict_in_a_shared_transaction_hurts_only_its_caller(store, recorder) -> None:
    store.append([run_event(recorder, 0)])
    results: dict[int, object] = {}
    mine = [
        Recorder(project="p", actor="t", clock=ManualClock(START), ids=Prefixed(n))
        for n in range(6)
    ]
    barrier = threading.Barrier(6)

    def work(n: int) -> None:
        event = run_event(mine[n], 0, other=n) if n % 2 else run_event(mine[n], 100 + n)
        barrier.wait()
        try:
            results[n] = store.append([event])
        except ConflictError as error:
            results[n] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [isinstance(results[n], ConflictError) for n in range(6)] == [False, True] * 3
    assert store.head().seq == 4
    assert verify_chain(store, (), None)["ok"]


def test_a_full_disk_writes_nothing_and_says_what_to_do(tmp_path, recorder) -> None:
    path = tmp_path / "graph.sqlite3"
    with SqliteGraph(path, ManualClock(START), max_pages=80) as found:
        taken = 0

        def fill() -> None:
            nonlocal taken
            for n in range(10_000):
                found.append([run_event(recorder, n, text="x" * 500)])
                taken += 1

        with pytest.raises(BackendError, match="full") as caught:
            fill()
        assert "free disk space" in caught.value.hint
        assert 0 < taken == found.head().seq
        assert found.head().seq == len(found.events(limit=10_000))
    with SqliteGraph(path, ManualClock(START)) as found:
        before = dump(path)
        found.rebuild()
        assert dump(path) == before
        assert found.append([run_event(recorder, 99_999)]).seq == taken + 1


def test_a_file_that_is_no_database_is_refused(tmp_path) -> None:
    path = tmp_path / "graph.sqlite3"
    path.write_bytes(b"not a database at all" * 400)
    with pytest.raises(BackendError, match="not a database") as caught:
        SqliteGraph(path, ManualClock(START))
    assert "damaged" in caught.value.hint
    assert path.read_bytes() == b"not a database at all" * 400


def test_a_folder_that_is_not_there_is_a_backend_error(tmp_path) -> None:
    with pytest.raises(BackendError, match="unable to open"):
        SqliteGraph(tmp_path / "nowhere" / "graph.sqlite3", ManualClock(START))


def test_a_graph_of_a_newer_mlg_is_left_alone(tmp_path) -> None:
    path = tmp_path / "graph.sqlite3"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BackendError, match="schema version 99"):
        SqliteGraph(path, ManualClock(START))


# what versions 1 and 2 held, made of what the newest holds
OLDER = (
    "INSERT INTO event (seq, data, prev_hash, hash)"
    " SELECT seq, data, prev_hash, hash FROM new.event ORDER BY seq",
    "UPDATE log_head SET (seq, hash) = (SELECT seq, hash FROM new.log_head)",
    "INSERT INTO role SELECT * FROM new.role",
    "INSERT INTO node SELECT id, uri, kind, name, digest, attrs, valid_from, valid_to, last_at,"
    " last_key, last_place FROM new.node",
    "INSERT INTO node_fact SELECT * FROM new.node_fact UNION ALL SELECT id, last_at, last_key,"
    " last_place, last_seq, iif(only_fact = 1, name, ''), digest, attrs, valid_to IS NOT NULL"
    " FROM new.node WHERE only_fact > 0",
    "INSERT INTO edge SELECT row_number() OVER (ORDER BY seq, place), src_id, dst_id,"
    " role, 0, at, seq, place, provenance, ended, valid_from, valid_to FROM new.edge",
    "INSERT INTO search (rowid, name, uri, attrs)"
    " SELECT rowid, name, uri, attrs FROM new.search",
)
# and what version 3 held
VERSION_3 = (
    "INSERT INTO event SELECT * FROM new.event ORDER BY seq",
    *OLDER[1:3],
    "INSERT INTO node SELECT * FROM new.node",
    "INSERT INTO node_fact SELECT * FROM new.node_fact",
    OLDER[5].replace("role, 0, at", "role, at"),
    OLDER[6],
    "UPDATE search_state SET upto = (SELECT upto FROM new.search_state)",
)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_of_an_older_schema_is_brought_up_to_date(recorder, tmp_path, version) -> None:
    newest, path = tmp_path / "newest.sqlite3", tmp_path / "graph.sqlite3"
    with SqliteGraph(newest, ManualClock(START)) as found:
        found.append([run_event(recorder, n) for n in range(5)])
        found.append([run_event(recorder, 2, minute=9, late=True)])
    before = dump(newest)
    with sqlite3.connect(path, isolation_level=None) as db:
        for statement in itertools.chain(*MIGRATIONS[:version]):
            db.execute(statement)
        db.execute("ATTACH ? AS new", (str(newest),))
        for statement in OLDER if version < 3 else VERSION_3:
            db.execute(statement)
        if version == 2:
            db.execute("INSERT INTO event_name SELECT seq, id, key FROM new.event")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    reader = SqliteGraphReader(path)
    with pytest.raises(BackendError, match=f"schema version {version}") as caught:
        reader.nodes(NodeQuery())
    assert "mlg up" in caught.value.hint
    run = recorder.uri("run", "ranker", "2")
    then = NodeQuery(uri=run, as_of=START + timedelta(minutes=5))
    with SqliteGraph(path, ManualClock(START)) as found:
        assert by_uri(path) == by_uri(newest)
        asked = [SqliteGraphReader(one).nodes(then) for one in (path, newest)]
        assert asked[0] == asked[1]
        assert "late" not in dict(asked[0].nodes[0].attrs)
        assert verify_chain(found, (), None)["ok"]
        assert found.rebuild() == 6
    assert dump(path) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET data = x'00' WHERE seq = 1",
        "DELETE FROM event WHERE seq = 1",
        "INSERT OR REPLACE INTO event (seq, data, prev_hash, hash)"
        " SELECT seq, data, prev_hash, hash FROM event WHERE seq = 1",
        "INSERT INTO event (seq, data, prev_hash, hash)"
        " SELECT 9, data, prev_hash, hash FROM event WHERE seq = 1",
    ],
)
def test_the_log_only_takes_what_follows(file, recorder, tmp_path, statement) -> None:
    file.append([run_event(recorder, n) for n in range(3)])
    db = sqlite3.connect(tmp_path / "graph.sqlite3")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)
    db.close()


def test_a_log_that_was_cut_short_is_not_written_on(tmp_path, recorder) -> None:
    path = tmp_path / "graph.sqlite3"
    with SqliteGraph(path, ManualClock(START)) as found:
        found.append([run_event(recorder, n) for n in range(3)])
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER event_no_delete")
        db.execute("DELETE FROM event WHERE seq = 3")
    db.close()
    with pytest.raises(BackendError, match="ends at event 2, but 3 were appended"):
        SqliteGraph(path, ManualClock(START))


def test_a_closed_store_takes_nothing(tmp_path, recorder) -> None:
    found = SqliteGraph(tmp_path / "graph.sqlite3", ManualClock(START))
    found.close()
    found.close()
    with pytest.raises(BackendError, match="closed"):
        found.append([run_event(recorder, 1)])


WRITER = """
import sys
from pathlib import Path
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.core.clock import ManualClock
from mlg.graph.record import Recorder, node

class Counter:
    n = 0
    def new_id(self):
        Counter.n += 1
        return f"id-{Counter.n}"

clock = ManualClock()
recorder = Recorder(project="p", actor="w", clock=clock, ids=Counter())
graph = SqliteGraph(Path(sys.argv[1]), clock)
for n in range(1_000_000):
    run = recorder.uri("run", "r", str(n))
    graph.append([recorder.event("mlg.x.y", key=f"k{n}", subject=run, nodes=[node(run)])])
    print(f"k{n}", flush=True)
"""


def test_a_writer_killed_in_the_middle_keeps_every_acknowledged_event(tmp_path) -> None:
    path = tmp_path / "graph.sqlite3"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        told = [process.stdout.readline().strip() for _ in range(40)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.read().split("\n")[:-1]  # whole lines only
    assert told[0] == "k0"
    with SqliteGraph(path, ManualClock(START)) as found:
        stored = found.events(limit=1_000_000)
        keys = [s.event.key for s in stored]
        assert set(told) <= set(keys)
        assert keys == [f"k{n}" for n in range(len(keys))]
        assert verify_chain(found, (), None) == {
            "ok": True, "events": len(keys), "first_bad": None
        }  # fmt: skip
        before = dump(path)
        found.rebuild()
        assert dump(path) == before


def test_two_stores_on_one_file_keep_one_chain(tmp_path, recorder) -> None:
    path = tmp_path / "graph.sqlite3"
    with (
        SqliteGraph(path, ManualClock(START)) as one,
        SqliteGraph(path, ManualClock(START)) as two,
    ):
        for n in range(10):
            (one if n % 2 else two).append([run_event(recorder, n)])
        assert one.head() == two.head()
        assert verify_chain(one, (), None)["events"] == 10


def test_event_ids_are_text_of_the_recorder(recorder) -> None:
    assert run_event(recorder, 1).id == EventId("id-000000001")


def test_a_connection_that_the_server_ends_is_made_anew(postgres_url, recorder) -> None:
    import psycopg

    name = f"ended-{uuid4().hex}"
    url = database(postgres_url, name)
    with PostgresGraph(url) as store, PostgresGraphReader(url) as reader:
        store.append([run_event(recorder, 1)])
        assert reader.nodes(NodeQuery()).total == 2
        with psycopg.connect(f"{postgres_url}/postgres", autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (name,),
            )
        with pytest.raises(BackendError):
            store.append([run_event(recorder, 2)])
        with pytest.raises(BackendError):
            reader.nodes(NodeQuery())
        store.append([run_event(recorder, 2)])
        assert reader.nodes(NodeQuery()).total == 3
        assert verify_chain(store, (), None)["events"] == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET data = '' WHERE seq = 1",
        "DELETE FROM event WHERE seq = 1",
        "TRUNCATE event",
        "INSERT INTO event (seq, data, prev_hash, hash)"
        " SELECT 9, data, prev_hash, hash FROM event WHERE seq = 1",
    ],
)
def test_the_log_in_postgres_only_takes_what_follows(postgres_url, recorder, statement) -> None:
    import psycopg

    url = database(postgres_url, f"only-{uuid4().hex}")
    with PostgresGraph(url) as store, psycopg.connect(url, autocommit=True) as connection:
        store.append([run_event(recorder, n) for n in range(3)])
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(statement)
        assert verify_chain(store, (), None)["ok"]


def test_rebuilding_in_postgres_makes_the_same_graph(postgres_url, recorder) -> None:
    url = database(postgres_url, f"rebuilt-{uuid4().hex}")
    with PostgresGraph(url) as store, PostgresGraphReader(url) as reader:
        store.append([run_event(recorder, n) for n in range(20)])
        store.append([run_event(recorder, n, minute=n - 3, late=True) for n in range(20)])
        before = rows_of(url)
        assert store.rebuild() == 40
        assert rows_of(url) == before
        assert reader.search("ranker 3")


def rows_of(url: str) -> list[list[tuple]]:
    import psycopg

    with psycopg.connect(url) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in ("node", "node_fact", "edge")
        ] + [
            connection.execute("SELECT node_id, words::text FROM search ORDER BY 1").fetchall()
        ]


def test_a_server_that_is_not_there_is_a_backend_error() -> None:
    pytest.importorskip("psycopg", reason="mlg[postgres] is not installed")
    with pytest.raises(BackendError, match="could not be read or written"):
        PostgresGraph("postgresql://mlg@127.0.0.1:1/none")
