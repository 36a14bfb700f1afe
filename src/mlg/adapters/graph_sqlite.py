"""The graph's log and projections in one SQLite file, with one writer and group commit."""

import queue
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from mlg.adapters.graph_sqlite_project import Projector
from mlg.adapters.graph_sqlite_read import read_chain
from mlg.adapters.graph_sqlite_schema import (
    PROJECTIONS,
    ReadPool,
    backend_error,
    connect,
    fail,
    transaction,
)
from mlg.core.clock import Clock, ManualClock
from mlg.core.errors import BackendError, ConflictError, LifecycleError
from mlg.core.events import Event, Revision, StoredEvent
from mlg.core.ports import GraphStore
from mlg.core.uris import EventId
from mlg.graph.audit import RawEvent
from mlg.graph.encode import GENESIS, chain_hash, content, decode, encode
from mlg.graph.project import project_event

_WINDOW_S: Final = 0.005
_GROUP_EVENTS: Final = 2_000
_PAGE: Final = 1_000


@dataclass(slots=True, kw_only=True)
class _Request:
    """Something for the writer thread to do, and where its caller waits."""

    events: tuple[Event, ...] = ()
    expect: Revision | None = None
    rebuild: bool = False
    done: "Future[Revision | int]" = field(default_factory=Future["Revision | int"])


class SqliteGraph:
    """Appends events and keeps their projections; readers never wait for it.

    Callers block until the transaction that holds their events is on disk. Callers
    that come while one transaction is being synced share the next one. When the disk
    is full or the file is damaged, every caller of the transaction gets a
    BackendError and the log stays as it was.

    Content under one key is compared without `id`, `at`, `recorded_at` and `cause`:
    a step that runs again after a crash records nothing twice. A later `cause` that
    names the id of such a skipped event is stored as the id of the one in the log.

    Args:
        path: The database file; made when it is not there (its folder must be).
        clock: Gives the seconds of the group-commit window.
        max_pages: Most pages of 4 KiB that the file may take; None is no limit.

    Raises:
        BackendError: The file cannot be opened, is damaged, or was cut short.
    """

    def __init__(self, path: Path, clock: Clock, *, max_pages: int | None = None) -> None:
        self._path, self._clock = path, clock
        self._connection = connect(path, write=True)
        try:
            if max_pages is not None:
                self._connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
            self._check_head()
            self._projector = Projector(self._connection)
        except sqlite3.Error as error:
            self._connection.close()
            fail(error, path)
        except BackendError:
            self._connection.close()
            raise
        self._pool = ReadPool(path)
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="graph-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is queued, then close the file; a second call does nothing."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._requests.put(None)
        self._thread.join()
        self._pool.close()
        self._connection.close()

    # --- the port

    def append(self, events: Sequence[Event], *, expect: Revision | None = None) -> Revision:
        for event in events:
            project_event(event)  # refuses unknown kinds and edges before anything is written
        request = _Request(events=tuple(events), expect=expect)
        found = self._submit(request)
        assert isinstance(found, Revision)  # noqa: S101 - narrows; the writer answers in kind
        return found

    def events(self, after: int = 0, limit: int = 1_000) -> tuple[StoredEvent, ...]:
        return tuple(_stored(raw, self._path) for raw in self.chain(after, limit))

    def head(self) -> Revision:
        with self._pool.snapshot() as connection:
            return _head(connection)

    def rebuild(self) -> int:
        found = self._submit(_Request(rebuild=True))
        assert isinstance(found, int)  # noqa: S101 - narrows; the writer answers in kind
        return found

    # --- beside the port: what `verify_chain` and the bundle read

    def chain(self, after: int = 0, limit: int = 1_000) -> tuple[RawEvent, ...]:
        """Return the stored bytes and columns of events with seq > `after`, unchecked."""
        with self._pool.snapshot() as connection:
            return read_chain(connection, after, limit)

    def last_seq(self) -> int:
        """Return the seq of the newest event that was ever appended."""
        with self._pool.snapshot() as connection:
            return int(connection.execute("SELECT seq FROM log_head").fetchone()[0])

    # --- the writer thread

    def _submit(self, request: _Request) -> Revision | int:
        with self._gate:
            if self._closed:
                raise BackendError(
                    "the graph is closed",
                    where=self._path.name,
                    hint="open it again, or repeat once `mlg up` runs",
                )
            self._requests.put(request)
        return request.done.result()

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            group = [request]
            try:
                if request.rebuild:
                    answers: list[Revision | int | LifecycleError | ValueError] = [
                        self._rebuild()
                    ]
                else:
                    answers = self._commit_group(group)
            except sqlite3.Error as error:
                answers = [backend_error(error, self._path)] * len(group)
            except (LifecycleError, ValueError) as error:
                answers = [error] * len(group)
            except BaseException as error:
                self._give_up(group, error)
                raise
            for asked, answer in zip(group, answers, strict=True):
                if isinstance(answer, Exception):
                    asked.done.set_exception(answer)
                else:
                    asked.done.set_result(answer)

    def _give_up(self, group: list[_Request], error: BaseException) -> None:
        """Tell everyone who waits that the writer ends; later callers find it closed."""
        with self._gate:
            self._closed = True
        waiting = list(group)
        while not self._requests.empty():
            request = self._requests.get_nowait()
            waiting += [request] if request else []
        for asked in waiting:
            asked.done.set_exception(error)

    def _commit_group(
        self, group: list[_Request]
    ) -> list[Revision | int | LifecycleError | ValueError]:
        """Append the request and whatever else is queued in one transaction."""
        answers: list[Revision | int | LifecycleError | ValueError] = []
        started_s = self._clock.monotonic_s()
        events = 0
        try:
            with transaction(self._connection):
                answers.append(self._append(group[0]))
                events += len(group[0].events)
                while (
                    events < _GROUP_EVENTS
                    and self._clock.monotonic_s() - started_s < _WINDOW_S
                    and (request := self._next_append()) is not None
                ):
                    group.append(request)
                    answers.append(self._append(request))
                    events += len(request.events)
        except BaseException:
            self._projector.forget()
            raise
        return answers

    def _next_append(self) -> _Request | None:
        """Return the next queued append; a rebuild or the end waits for its own turn."""
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            return None
        if request is None or request.rebuild:
            self._requests.put(request)
            return None
        return request

    def _append(self, request: _Request) -> Revision | LifecycleError | ValueError:
        """Append one request's events or none of them; a refusal leaves the others alone."""
        self._connection.execute("SAVEPOINT request")
        try:
            found = self._append_events(request)
        except (LifecycleError, ValueError) as error:
            self._connection.execute("ROLLBACK TO request")
            self._connection.execute("RELEASE request")
            self._projector.forget()
            return error
        self._connection.execute("RELEASE request")
        return found

    def _append_events(self, request: _Request) -> Revision:
        head = before = _head(self._connection)
        for event in request.events:
            data = encode(event)
            if self._is_retold(event, data):
                continue
            cause = self._stored_cause(event.cause)
            if cause != event.cause:
                event = replace(event, cause=cause)  # noqa: PLW2901 - the corrected event
                data = encode(event)
            head = Revision(seq=head.seq + 1, hash=chain_hash(head.hash, data))
            try:
                self._connection.execute(
                    "INSERT INTO event (seq, data, prev_hash, hash) SELECT ?, ?, hash, ?"
                    " FROM log_head",
                    (head.seq, data, bytes.fromhex(head.hash)),
                )
            except sqlite3.IntegrityError as error:
                raise ConflictError(
                    f"the event id {event.id} is already there under another key",
                    where=event.key,
                    hint="make a new id for every event",
                ) from error
            self._connection.execute(
                "UPDATE log_head SET seq = ?, hash = ?", (head.seq, bytes.fromhex(head.hash))
            )
            self._projector.apply(event, head.seq)
        appended = head != before
        if request.expect is not None and appended and before != request.expect:
            raise ConflictError(
                f"the log stands at {before.seq}, not at {request.expect.seq} as expected",
                where=self._path.name,
                hint="read again what you decided on, then repeat",
            )
        return head

    def _is_retold(self, event: Event, data: bytes) -> bool:
        """Return whether the key is there with this content, and remember the skipped id.

        Raises:
            ConflictError: The key is there with other content.
        """
        row = self._connection.execute(
            "SELECT data, id, seq FROM event WHERE key = ?", (event.key,)
        ).fetchone()
        if row is None:
            return False
        if content(row[0]) != content(data):
            raise ConflictError(
                f"the key {event.key!r} is event {row[2]} already, with other content",
                where=self._path.name,
                hint="a key names one act: use another key for another act",
            )
        if row[1] != event.id:
            self._connection.execute(
                "INSERT OR IGNORE INTO retold VALUES (?, ?)", (event.id, row[1])
            )
        return True

    def _stored_cause(self, cause: EventId | None) -> EventId | None:
        if cause is None:
            return None
        row = self._connection.execute(
            "SELECT stored FROM retold WHERE id = ?", (cause,)
        ).fetchone()
        return EventId(row[0]) if row else cause

    def _rebuild(self) -> int:
        try:
            with transaction(self._connection):
                for table in PROJECTIONS:
                    self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our names
                self._projector.forget()
                seq = 0
                while page := read_chain(self._connection, seq, _PAGE):
                    for raw in page:
                        self._projector.apply(_stored(raw, self._path).event, raw.seq)
                        seq = raw.seq
                return int(self._connection.execute("SELECT count(*) FROM event").fetchone()[0])
        finally:
            self._projector.forget()

    def _check_head(self) -> None:
        row = self._connection.execute("SELECT seq, hash FROM log_head").fetchone()
        last = _head_of_log(self._connection)
        if row is None or Revision(seq=row[0], hash=bytes(row[1]).hex()) != last:
            raise BackendError(
                f"the log ends at event {last.seq}, but {row and row[0]} were appended",
                where=self._path.name,
                hint="run mlg audit verify, then restore a backup",
            )


def _head(connection: sqlite3.Connection) -> Revision:
    seq, found = connection.execute("SELECT seq, hash FROM log_head").fetchone()
    return Revision(seq=seq, hash=bytes(found).hex())


def _head_of_log(connection: sqlite3.Connection) -> Revision:
    row = connection.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    return (
        Revision(seq=row[0], hash=bytes(row[1]).hex()) if row else Revision(seq=0, hash=GENESIS)
    )


def _stored(raw: RawEvent, path: Path) -> StoredEvent:
    try:
        event = decode(raw.data)
    except ValueError as error:
        raise BackendError(
            f"event {raw.seq} is damaged: {error}",
            where=path.name,
            hint="run mlg audit verify, then restore a backup",
        ) from error
    return StoredEvent(seq=raw.seq, event=event, prev_hash=raw.prev_hash, hash=raw.hash)


if TYPE_CHECKING:
    _: GraphStore = SqliteGraph(Path(), ManualClock())
