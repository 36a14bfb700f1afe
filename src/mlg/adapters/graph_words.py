"""Words of a node, as both databases index them."""

import unicodedata
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from mlg.adapters.graph_sql_rows import attrs_pairs


def row_words(row: Sequence[Any]) -> tuple[str, str, str]:
    """Return name, URI and attributes of a row of `graph_sql_walk.COLUMNS` as text.

    The last ends with the word of its kind, by which searches are narrowed.
    """
    words = " ".join(f"{name} {value}" for name, value in attrs_pairs(row[5]))
    return row[3], unquote(row[1]), f"{words} {row[4] or ''} {kind_word(row[2])}".strip()


def kind_word(kind: str) -> str:
    """Return the one word that every node of a kind has.

    Examples:
        >>> kind_word("model_version")
        'kindmodelversion'
    """
    return "kind" + kind.replace("_", "")


def tokens(text: str) -> list[str]:
    """Return the words of a text as FTS5's `unicode61 remove_diacritics 2` cuts them.

    Examples:
        >>> tokens("Café-Räte@3f2a")
        ['cafe', 'rate', '3f2a']
    """
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", text).lower() if not unicodedata.combining(c)
    )
    return "".join(c if c.isalnum() else " " for c in plain).split()
