"""Which things were asked for, in a SQLite file of its own; durable when a call returns."""

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mlg.core.errors import BackendError
from mlg.core.providers import Enrichment, EnrichmentCounts, EnrichmentState, Thing

if TYPE_CHECKING:
    from mlg.core.ports import EnrichmentQueue

VERSION: Final = 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_SCHEMA: Final = (
    """CREATE TABLE thing (
        provider TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL,
        asked INTEGER NOT NULL, tries INTEGER NOT NULL, next_us INTEGER, enriched_us INTEGER,
        error TEXT NOT NULL, PRIMARY KEY (provider, type, id)
    ) WITHOUT ROWID""",
    "CREATE INDEX thing_due ON thing (provider, next_us) WHERE next_us IS NOT NULL",
    f"PRAGMA user_version = {VERSION}",
)
_COLUMNS: Final = "provider, type, id, state, asked, tries, next_us, enriched_us, error"
_ASK: Final = """INSERT INTO thing VALUES (?, ?, ?, 'waiting', 1, 0, ?, NULL, '')
    ON CONFLICT DO UPDATE SET state = 'waiting', asked = asked + 1,
    next_us = min(coalesce(next_us, excluded.next_us), excluded.next_us)"""
_SETTLE: Final = """INSERT INTO thing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
    state = CASE WHEN asked = excluded.asked THEN excluded.state ELSE state END,
    tries = CASE WHEN asked = excluded.asked THEN excluded.tries ELSE tries END,
    next_us = CASE WHEN asked = excluded.asked THEN excluded.next_us ELSE next_us END,
    error = CASE WHEN asked = excluded.asked THEN excluded.error ELSE error END,
    enriched_us = coalesce(excluded.enriched_us, enriched_us)"""


class SqliteEnrichment:
    """One row a thing, so a thousand events about one thing are one look at it.

    Args:
        path: The file; made when it is not there.

    Raises:
        BackendError: It cannot be opened, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._where = path.name
        self._lock = threading.Lock()
        with self._reported():
            self._database = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=30
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._write([(sql, ((),)) for sql in _SCHEMA])
            elif version > VERSION:
                raise BackendError(
                    f"written by a newer mlg (schema {version}, this one knows {VERSION})",
                    where=self._where,
                    hint="use that version, or move the file away: it is filled again.",
                )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def ask(self, provider: str, things: Sequence[Thing], at: datetime) -> None:
        rows = [(provider, thing.type, thing.id, _us(at)) for thing in things]
        with self._reported():
            self._write([(_ASK, rows)])

    def due(self, provider: str, at: datetime, limit: int) -> tuple[Enrichment, ...]:
        return self._rows(
            "WHERE provider = ? AND next_us <= ? ORDER BY next_us, type, id LIMIT ?",
            provider,
            _us(at),
            limit,
        )

    def settle(self, outcomes: Sequence[Enrichment]) -> None:
        rows = [
            (
                one.provider,
                one.thing.type,
                one.thing.id,
                one.state,
                one.asked,
                one.tries,
                _us(one.next_at),
                _us(one.enriched_at),
                one.error,
            )
            for one in outcomes
        ]
        with self._reported():
            self._write([(_SETTLE, rows)])

    def standings(
        self, provider: str = "", state: str = "", limit: int = 100
    ) -> tuple[tuple[EnrichmentCounts, ...], tuple[Enrichment, ...]]:
        with self._reported(), self._lock:
            counted = self._database.execute(
                "SELECT provider, sum(state = 'waiting'), sum(state = 'enriched'), "
                "sum(state = 'failing'), max(enriched_us) FROM thing "
                "WHERE ? IN ('', provider) GROUP BY provider ORDER BY provider",
                (provider,),
            ).fetchall()
        counts = tuple(
            EnrichmentCounts(
                provider=row[0],
                waiting=row[1],
                enriched=row[2],
                failing=row[3],
                enriched_at=_time(row[4]),
            )
            for row in counted
        )
        rows = self._rows(
            "WHERE ? IN ('', provider) AND ? IN ('', state) "
            "ORDER BY provider, type, id LIMIT ?",
            provider,
            state,
            limit,
        )
        return counts, rows

    def _rows(self, clause: str, *given: object) -> tuple[Enrichment, ...]:
        with self._reported(), self._lock:
            found = self._database.execute(
                f"SELECT {_COLUMNS} FROM thing {clause}",  # noqa: S608 - our own clauses
                given,
            ).fetchall()
        return tuple(_enrichment(row) for row in found)

    def _write(self, work: Sequence[tuple[str, Sequence[Sequence[object]]]]) -> None:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for sql, rows in work:
                    self._database.executemany(sql, rows) if rows != ((),) else (
                        self._database.execute(sql)
                    )
            except sqlite3.Error:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _reported(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as wrong:
            raise BackendError(
                f"what was asked for cannot be kept: {wrong}",
                where=self._where,
                hint="check the disk; the graph is not touched.",
            ) from wrong


def _enrichment(row: tuple[Any, ...]) -> Enrichment:
    return Enrichment(
        provider=row[0],
        thing=Thing(type=row[1], id=row[2]),
        state=cast("EnrichmentState", row[3]),
        asked=row[4],
        tries=row[5],
        next_at=_time(row[6]),
        enriched_at=_time(row[7]),
        error=row[8],
    )


def _us(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _US


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + microseconds * _US


if TYPE_CHECKING:
    _: EnrichmentQueue = SqliteEnrichment(Path())
