"""The graph's log and projections over SQL: one writer with group commit."""

import queue
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

from mlg.adapters.graph_sql_log import Encoded, LogTail
from mlg.adapters.graph_sql_project import Projector, Search
from mlg.adapters.graph_sql_rows import Connection, matching
from mlg.core.errors import BackendError, ConflictError, LifecycleError
from mlg.core.events import Event, Revision, StoredEvent
from mlg.graph.audit import Link, RawEvent
from mlg.graph.encode import GENESIS, decode, encode
from mlg.graph.project import check_event

PROJECTIONS: Final = ("node", "node_fact", "edge", "search", "search_due")
"""Tables that `rebuild` makes again; `role` only ever grows."""

_UNKNOWN: Final = -1
"""What was remembered of rows may be wrong: it is read anew before the next append."""
_GROUP_EVENTS: Final = 2_000
_PAGE: Final = 1_000


class Database(Protocol):
    """What one of the databases does in its own way."""

    name: str
    """Of the file or database, for errors."""
    errors: tuple[type[Exception], ...]
    """What its driver raises."""

    @property
    def connection(self) -> Connection:
        """The writer's connection, in autocommit mode."""
        ...

    @property
    def search(self) -> Search:
        """The index of words, on the writer's connection."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Hold the lock that makes this the only writer; commit at the end."""
        ...

    def snapshot(self) -> AbstractContextManager[Any]:
        """Lend a connection that reads one state of the graph."""
        ...

    def page(self, connection: Any, after: int, limit: int) -> tuple[RawEvent, ...]:
        """Return events with seq > `after` as they lie there."""
        ...

    def clear(self) -> None:
        """Empty the projections, inside a transaction."""
        ...

    def error(self, error: Exception) -> BackendError:
        """Return a driver's error in the house's words."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


@dataclass(slots=True, kw_only=True)
class _Append:
    """Events for the writer thread, checked and encoded, and where their caller waits."""

    events: list[Encoded]
    expect: Revision | None
    done: "Future[Revision]" = field(default_factory=Future["Revision"])


@dataclass(slots=True, kw_only=True)
class _Rebuild:
    """Asks the writer thread to make the projections again."""

    done: "Future[int]" = field(default_factory=Future["int"])


class SqlGraph:
    """Appends events and keeps their projections; readers never wait for it.

    Callers block until the transaction that holds their events is on disk. Callers
    that come while one transaction is being synced share the next one. When the
    database cannot write, every caller of the transaction gets a BackendError and the
    log stays as it was.

    Content under one key is compared without `id`, `at`, `recorded_at` and `cause`:
    a step that runs again after a crash records nothing twice. A later `cause` that
    names the id of such a skipped event is stored as the id of the one in the log.

    Args:
        database: Open, with its tables made.

    Raises:
        BackendError: The log was cut short; the database is closed then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.connection
        try:
            self._check_head()
            self._projector = Projector(self._connection, database.search)
            self._seq = _head(self._connection).seq
        except database.errors as error:
            database.close()
            raise database.error(error) from error
        except BackendError:
            database.close()
            raise
        self._requests: queue.SimpleQueue[_Append | _Rebuild | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="graph-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is queued, then close the database; a second call does nothing."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._requests.put(None)
        self._thread.join()
        self._database.close()

    # --- the port

    def append(self, events: Sequence[Event], *, expect: Revision | None = None) -> Revision:
        return self.submit(events, expect=expect).result()

    def submit(
        self, events: Sequence[Event], *, expect: Revision | None = None
    ) -> "Future[Revision]":
        # unknown kinds and edges are refused before anything is written
        checked = [(event, check_event(event)) for event in events]
        request = _Append(
            events=[(event, encode(event), named) for event, named in checked], expect=expect
        )
        self._ask(request)
        return request.done

    def events(self, after: int = 0, limit: int = 1_000) -> tuple[StoredEvent, ...]:
        return tuple(self._stored(raw) for raw in self.chain(after, limit))

    def head(self) -> Revision:
        with self._database.snapshot() as connection:
            return _head(connection)

    def rebuild(self) -> int:
        request = _Rebuild()
        self._ask(request)
        return request.done.result()

    # --- beside the port: what `verify_chain` and the bundle read

    def chain(self, after: int = 0, limit: int = 1_000) -> tuple[RawEvent, ...]:
        """Return the stored bytes and columns of events with seq > `after`, unchecked."""
        with self._database.snapshot() as connection:
            return self._database.page(connection, after, limit)

    def links(self, after: int = 0, limit: int = 1_000) -> tuple[Link, ...]:
        """Return the same without content."""
        with self._database.snapshot() as connection:
            return read_links(connection, after, limit)

    def last_seq(self) -> int:
        """Return the seq of the newest event that was ever appended."""
        with self._database.snapshot() as connection:
            return read_last_seq(connection)

    def seqs_of(self, ids: Collection[str], subjects: Collection[str]) -> tuple[int, ...]:
        """Return the seq of each event with one of the ids or subjects, in order."""
        with self._database.snapshot() as connection:
            return read_seqs(connection, ids, subjects)

    # --- the writer thread

    def _ask(self, request: "_Append | _Rebuild") -> None:
        with self._gate:
            if self._closed:
                raise BackendError(
                    "the graph is closed",
                    where=self._database.name,
                    hint="open it again, or repeat once `mlg up` runs",
                )
            self._requests.put(request)

    def _run(self) -> None:
        request = None
        try:
            self._index()  # what the last process left, or a migration
            while (request := self._requests.get()) is not None:
                if isinstance(request, _Rebuild):
                    self._answer(request)
                else:
                    request = self._commit(self._group(request))
                self._index()
        except BaseException as error:
            self._give_up(request, error)
            raise

    def _give_up(self, request: "_Append | _Rebuild | None", error: BaseException) -> None:
        """Tell everyone who waits that the writer ends; later callers find it closed."""
        with self._gate:
            self._closed = True
        waiting = [request] if request else []
        while not self._requests.empty():
            queued = self._requests.get_nowait()
            waiting += [queued] if queued else []
        for asked in waiting:
            if not asked.done.done():
                asked.done.set_exception(error)

    def _answer(self, request: _Rebuild) -> None:
        try:
            request.done.set_result(self._rebuild())
        except self._database.errors as error:
            request.done.set_exception(self._database.error(error))
        except (LifecycleError, ValueError) as error:
            request.done.set_exception(error)

    def _group(self, first: _Append) -> list[_Append]:
        """Return the append and those that came while the last transaction was synced."""
        group = [first]
        size = len(first.events)
        while size < _GROUP_EVENTS:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            if not isinstance(request, _Append):
                self._requests.put(request)  # a rebuild or the end waits for its own turn
                break
            group.append(request)
            size += len(request.events)
        return group

    def _commit(self, group: list[_Append]) -> None:
        """Append a group in one transaction, then tell each caller how it went."""
        try:
            with self._database.transaction():
                answers = self._append(group)
                if self._projector.search.behind:
                    self._projector.search.catch_up()
        except self._database.errors as error:
            self._seq = _UNKNOWN
            answers = [self._database.error(error)] * len(group)
        except (LifecycleError, ValueError) as error:
            self._seq = _UNKNOWN
            answers = [error] * len(group)
        except BaseException as error:
            for asked in group:
                asked.done.set_exception(error)
            raise
        for asked, answer in zip(group, answers, strict=True):
            if isinstance(answer, Revision):
                asked.done.set_result(answer)
            else:
                asked.done.set_exception(answer)

    def _append(self, group: list[_Append]) -> list[Revision | LifecycleError | ValueError]:
        """Append each request's events or none of them; a refusal leaves the others alone."""
        head = _head(self._connection)
        if head.seq != self._seq:
            self._projector.forget()  # another process wrote, or a transaction failed
        log = LogTail(self._connection, self._database.name, head)
        log.look_up([event for asked in group for event, _, _ in asked.events])
        answers: list[Revision | LifecycleError | ValueError] = []
        for asked in group:
            try:
                answers.append(log.take(asked.events, asked.expect))
            except ConflictError as error:
                answers.append(error)
        log.write()
        self._projector.apply(log.taken)
        self._seq = log.head.seq
        return answers

    def _index(self) -> None:
        """Index nodes for searches while nothing else waits."""
        search = self._projector.search
        try:
            while search.behind and self._requests.empty():
                with self._database.transaction():
                    search.catch_up()
        except self._database.errors:
            # searches read what waits themselves; the next append says what is wrong
            self._seq = _UNKNOWN

    def _rebuild(self) -> int:
        try:
            with self._database.transaction():
                self._database.clear()
                self._projector.forget()
                seq = count = 0
                while page := self._database.page(self._connection, seq, _PAGE):
                    stored = [self._stored(raw) for raw in page]
                    self._projector.apply(
                        [(one.seq, one.event, check_event(one.event)) for one in stored]
                    )
                    seq, count = page[-1].seq, count + len(page)
                while self._projector.search.behind:
                    self._projector.search.catch_up()
                return count
        finally:
            self._seq = _UNKNOWN

    def _check_head(self) -> None:
        row = self._connection.execute("SELECT seq, hash FROM log_head").fetchone()
        last = self._connection.execute(
            "SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        ends = (last[0], bytes(last[1])) if last else (0, bytes.fromhex(GENESIS))
        if row is None or (row[0], bytes(row[1])) != ends:
            raise BackendError(
                f"the log ends at event {ends[0]}, but {row and row[0]} were appended",
                where=self._database.name,
                hint="run mlg audit verify, then restore a backup",
            )

    def _stored(self, raw: RawEvent) -> StoredEvent:
        try:
            event = decode(raw.data)
        except ValueError as error:
            raise BackendError(
                f"event {raw.seq} is damaged: {error}",
                where=self._database.name,
                hint="run mlg audit verify, then restore a backup",
            ) from error
        return StoredEvent(seq=raw.seq, event=event, prev_hash=raw.prev_hash, hash=raw.hash)


def read_links(connection: Connection, after: int, limit: int) -> tuple[Link, ...]:
    """Return stored events without their content."""
    rows = connection.execute(
        "SELECT seq, hash, id, subject FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()
    return tuple(Link(seq, bytes(digest), id_, subject) for seq, digest, id_, subject in rows)


def read_last_seq(connection: Connection) -> int:
    """Return the seq of the newest event that was ever appended."""
    return int(connection.execute("SELECT seq FROM log_head").fetchone()[0])


def read_seqs(
    connection: Connection, ids: Collection[str], subjects: Collection[str]
) -> tuple[int, ...]:
    """Return the seq of each event with one of the ids or subjects, in order."""
    found: set[int] = set()
    for column, values in (("id", ids), ("subject", subjects)):
        asked = f"SELECT seq FROM event WHERE {column} IN (SELECT value FROM json_each(?))"  # noqa: S608 - our names
        found.update(int(row[0]) for row in matching(connection, asked, values))
    return tuple(sorted(found))


def _head(connection: Connection) -> Revision:
    seq, found = connection.execute("SELECT seq, hash FROM log_head").fetchone()
    return Revision(seq=seq, hash=bytes(found).hex())
