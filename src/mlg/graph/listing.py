"""Nodes of some kinds, page by page, up to a bound."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from mlg.core.errors import ManifestError
from mlg.core.nodes import KINDS, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import NodeQuery

_PAGE = 10_000


def standing(
    reader: GraphReader, kind: str, most: int, as_of: datetime | None = None
) -> Iterator[Node]:
    """Yield the nodes of a kind that have not ended, in URI order; looks at `most` nodes."""
    cursor: str | None = None
    while most > 0:
        page = reader.nodes(
            NodeQuery(kinds=(kind,), as_of=as_of, limit=min(_PAGE, most), cursor=cursor)
        )
        most -= len(page.nodes)
        yield from (node for node in page.nodes if node.valid_to is None)
        if page.cursor is None or page.cursor == cursor:
            return
        cursor = page.cursor


def checked_kinds(kinds: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds asked for, or all that are known; each may hold several, by commas.

    Raises:
        ManifestError: One is unknown.

    Examples:
        >>> checked_kinds(["dataset,model"], ("dataset", "model", "run"))
        ('dataset', 'model')
    """
    wanted = tuple(dict.fromkeys(name for text in kinds for name in text.split(",") if name))
    for name in wanted:
        if name not in known:
            strange = "no such kind" if name not in KINDS else "cannot be asked for here"
            raise ManifestError(
                f"kind {name!r}: {strange}", where="kind", hint=f"one of {', '.join(known)}."
            )
    return wanted or tuple(known)
