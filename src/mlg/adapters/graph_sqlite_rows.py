"""Many rows in one statement: the driver then gives up the interpreter once, not once a row."""

import functools
import itertools
import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

_BLOCKS: Final = (500, 50, 5, 1)


@functools.cache
def _statement(table: str, columns: int, rows: int) -> str:
    marks = "(" + ", ".join("?" * columns) + ")"
    return f"INSERT INTO {table} VALUES " + ", ".join([marks] * rows)  # noqa: S608 - our names


def insert_rows(
    connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[object]]
) -> None:
    """Insert whole rows, in their order, as few statements."""
    done = 0
    for block in _BLOCKS:
        while len(rows) - done >= block:
            connection.execute(
                _statement(table, len(rows[done]), block),
                list(itertools.chain.from_iterable(rows[done : done + block])),
            )
            done += block


def matching(
    connection: sqlite3.Connection, statement: str, values: Iterable[object]
) -> list[Any]:
    """Return the rows of a statement whose one parameter is a JSON array of the values."""
    return connection.execute(statement, (json.dumps(list(values)),)).fetchall()
