"""Searches for what was probably meant, by the vocabulary of the search index."""

import sqlite3
from typing import Final
from urllib.parse import unquote

from mlg.adapters.graph_sqlite_search import search
from mlg.adapters.graph_words import tokens
from mlg.core.nodes import Node
from mlg.core.uris import Uri
from mlg.graph.fuzzy import Term, beginnings, corrected

_MOST_TERMS: Final = 5_000
"""Words of the vocabulary that are compared, of each beginning."""
_LAST: Final = "\U0010ffff"


def search_misspelt(
    connection: sqlite3.Connection, text: str, kinds: tuple[str, ...], limit: int
) -> tuple[Node, ...]:
    """Return nodes that have what the misspelt words were probably meant as, best first.

    For a search that finds nothing: where every word is known, nothing is changed.
    """
    phrases = [pieces for word in unquote(text).split() if (pieces := tokens(word))]
    connection.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.search_vocabulary"
        " USING fts5vocab(main, search, row)"
    )
    found: dict[Uri, Node] = {}
    tried = corrected(
        phrases, lambda piece: _known(connection, piece), lambda piece: _near(connection, piece)
    )
    for meant in tried:
        if len(found) < limit:
            again = " ".join(piece for phrase in meant for piece in phrase)
            found |= {node.uri: node for node in search(connection, again, kinds, limit)}
    return tuple(found.values())[:limit]


def _known(connection: sqlite3.Connection, piece: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM temp.search_vocabulary WHERE term >= ? AND term < ? LIMIT 1",
        (piece, piece + _LAST),
    ).fetchone()
    return row is not None


def _near(connection: sqlite3.Connection, piece: str) -> list[Term]:
    """Return words that begin as the piece may be meant, of about its length."""
    terms: list[Term] = []
    for begin in beginnings(piece):
        terms += connection.execute(
            "SELECT term, doc FROM (SELECT term, doc FROM temp.search_vocabulary"
            " WHERE term >= ? AND term < ? LIMIT ?)"
            " WHERE length(term) BETWEEN ? AND ?",
            (begin, begin + _LAST, _MOST_TERMS, len(piece) - 2, len(piece) + 2),
        ).fetchall()
    return terms
