"""What the graph's two databases share: rows, times, attributes.

SQL is written once, in the words that SQLite and PostgreSQL have in common; a statement's
list of values is one JSON array, read by `json_each(?)`.
"""

import functools
import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from mlg.core.nodes import Attr

PROVENANCES: Final = ("declared", "observed", "inferred")
"""What the column `provenance` of an edge counts."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ATTRS: Final = msgspec.json.Encoder(order="deterministic")
_PAIRS: Final = msgspec.json.Decoder(dict[str, Any])


class Connection(Protocol):
    """A connection to either database, with `?` for parameters."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run a statement; the answer has `fetchone` and `fetchall`."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run a statement once for each row of parameters."""
        ...


_BLOCKS: Final = (500, 50, 5, 1)


@functools.cache
def _statement(table: str, columns: int, rows: int) -> str:
    marks = "(" + ", ".join("?" * columns) + ")"
    return f"INSERT INTO {table} VALUES " + ", ".join([marks] * rows)  # noqa: S608 - our names


def insert_rows(connection: Connection, table: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert whole rows, in their order, by few statements.

    Each statement gives up the interpreter once, `executemany` would once a row.
    """
    done = 0
    for block in _BLOCKS:
        while len(rows) - done >= block:
            connection.execute(
                _statement(table, len(rows[done]), block),
                list(itertools.chain.from_iterable(rows[done : done + block])),
            )
            done += block


def matching(connection: Connection, statement: str, values: Iterable[object]) -> list[Any]:
    """Return the rows of a statement whose one parameter is a JSON array of the values."""
    return connection.execute(statement, (json.dumps(list(values)),)).fetchall()


@functools.lru_cache(maxsize=4_096)
def micros(at: datetime) -> int:
    """Return microseconds since 1970, exact."""
    return (at - EPOCH) // timedelta(microseconds=1)


@functools.lru_cache(maxsize=65_536)
def moment(at_us: int) -> datetime:
    """Return the time of so many microseconds since 1970."""
    return EPOCH + timedelta(microseconds=at_us)


def attrs_text(attrs: tuple[tuple[str, Attr], ...]) -> str:
    """Return attributes as JSON text."""
    return _ATTRS.encode(dict(attrs)).decode()


def attrs_pairs(text: str) -> tuple[tuple[str, Attr], ...]:
    """Return the attributes that `attrs_text` wrote."""
    return tuple(_PAIRS.decode(text).items())
