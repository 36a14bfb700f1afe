"""Words of nodes: an index that follows the log, and searches that miss nothing meanwhile.

Indexing a node costs as much as writing it, so the writer does some of it with each
transaction and the rest when it has nothing else to do. Until then a search reads the
nodes that wait, one by one.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import unquote

from mlg.adapters.graph_sql_rows import insert_rows, matching
from mlg.adapters.graph_sql_walk import COLUMNS, node_of
from mlg.adapters.graph_words import kind_word, row_words, tokens
from mlg.core.nodes import KINDS, Node

_PART: Final = 256
_RANKED: Final = 200
"""Of very common words so many of the oldest and the newest nodes are ranked."""


class SearchIndex:
    """The writer's side: which nodes wait to be indexed, and indexing them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._upto = self._newest = 0
        self._due: set[int] = set()
        self.forget()

    def forget(self) -> None:
        """Read anew how far the index is; needed after each rollback."""
        self._upto = _one(self._connection, "SELECT upto FROM search_state")
        self._newest = _one(self._connection, "SELECT coalesce(max(id), 0) FROM node")
        rows = self._connection.execute("SELECT node_id FROM search_due").fetchall()
        self._due = {row[0] for row in rows}

    @property
    def behind(self) -> int:
        """How many nodes wait."""
        return self._newest - self._upto + len(self._due)

    def grew(self, newest: int) -> None:
        """Nodes were made, up to this id."""
        self._newest = max(self._newest, newest)

    def changed(self, ids: Iterable[int]) -> None:
        """What is said of these nodes changed; those not indexed yet wait anyway."""
        due = sorted({id_ for id_ in ids if id_ <= self._upto} - self._due)
        insert_rows(self._connection, "search_due", [(id_,) for id_ in due])
        self._due.update(due)

    def catch_up(self, most: int = _PART) -> None:
        """Index nodes that wait, at most so many, inside the caller's transaction."""
        again = sorted(self._due)[:most]
        if again:
            text = json.dumps(again)
            for table, column in (("search", "rowid"), ("search_due", "node_id")):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE {column}"  # noqa: S608 - our own names
                    " IN (SELECT value FROM json_each(?))",
                    (text,),
                )
            self._due.difference_update(again)
        until = min(self._upto + most - len(again), self._newest)
        rows = matching(
            self._connection,
            f"SELECT {COLUMNS} FROM node"  # noqa: S608 - our own names
            " WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            [*again, *range(self._upto + 1, until + 1)],
        )
        self._connection.executemany(
            "INSERT INTO search (rowid, name, uri, attrs) VALUES (?, ?, ?, ?)",
            [(row[0], *row_words(row)) for row in rows],
        )
        if until != self._upto:
            self._connection.execute("UPDATE search_state SET upto = ?", (until,))
            self._upto = until


def search(
    connection: sqlite3.Connection, text: str, kinds: tuple[str, ...], limit: int
) -> tuple[Node, ...]:
    """Return nodes that have every word, then those with words that begin so, best first.

    Names come before URIs and attributes, shorter names before longer, newer nodes before
    older. bm25 is not asked: it counts each word in the whole index first.
    """
    words = [word for word in unquote(text).split() if any(c.isalnum() for c in word)]
    if not words:
        return ()
    rows = {row[0]: row for row in _waiting(connection, words, kinds)}
    exact, begun = _phrases(words, ""), _phrases(words, "*")
    # what begins so is asked for once: reading the beginnings is what takes the time
    for match, ways in (
        (f"{{name}} : ({exact})", ("ASC", "DESC")), (exact, ("DESC",)), (begun, ("DESC",)),
    ):  # fmt: skip
        if len(rows) < limit:
            found = _matching(connection, match, kinds, ways)
            parts = [tokens(word) for word in words] if match is begun else []
            found.sort(key=lambda row, parts=parts: (
                not all(_begins(tokens(row[3]), part) for part in parts), len(row[3]), -row[0],
            ))  # fmt: skip
            for row in found:
                rows.setdefault(row[0], row)
    return tuple(node_of(row) for row in list(rows.values())[:limit])


def _phrases(words: Sequence[str], star: str) -> str:
    return " ".join('"' + word.replace('"', '""') + '"' + star for word in words)


def _matching(
    connection: sqlite3.Connection, match: str, kinds: tuple[str, ...], ways: tuple[str, ...]
) -> list[Any]:
    """Return rows of the index, of each way at most `_RANKED`: the oldest, the newest."""
    if kinds:
        of_kind = " OR ".join(f'"{kind_word(kind)}"' for kind in kinds if kind in KINDS)
        if not of_kind:
            return []
        match = f"({match}) AND ({of_kind})"
    columns = ", ".join(f"n.{name}" for name in COLUMNS.split(", "))
    found: dict[int, Any] = {}
    for way in ways:
        for row in connection.execute(
            f"SELECT {columns} FROM (SELECT rowid AS found FROM search"  # noqa: S608 - our names
            f" WHERE search MATCH ? ORDER BY rowid {way} LIMIT {_RANKED})"
            " JOIN node n ON n.id = found"
            " WHERE n.id NOT IN (SELECT node_id FROM search_due)",
            (match,),
        ):
            found[row[0]] = row
    return [row for row in found.values() if not kinds or row[2] in kinds]


def _waiting(
    connection: sqlite3.Connection, words: Sequence[str], kinds: tuple[str, ...]
) -> list[Any]:
    """Return the rows of nodes that match and are not in the index yet; names first."""
    upto = _one(connection, "SELECT upto FROM search_state")
    phrases = [tokens(word) for word in words]
    found: list[tuple[bool, str, Any]] = []
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM node WHERE id > ?"  # noqa: S608 - our own names
        f" UNION ALL SELECT {COLUMNS} FROM node"
        " WHERE id IN (SELECT node_id FROM search_due WHERE node_id <= ?)",
        (upto, upto),
    ):
        if kinds and row[2] not in kinds:
            continue
        parts = [tokens(part) for part in row_words(row)]
        if all(any(_begins(part, phrase) for part in parts) for phrase in phrases):
            named = all(_begins(parts[0], phrase) for phrase in phrases)
            found.append((not named, row[1], row))
    return [row for _, _, row in sorted(found, key=lambda one: one[:2])]


def _begins(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Return whether the phrase stands in the words, its last word perhaps cut off."""
    size = len(phrase)
    return any(
        words[at : at + size - 1] == phrase[:-1] and words[at + size - 1].startswith(phrase[-1])
        for at in range(len(words) - size + 1)
    )


def _one(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
