"""Merkle roots and proofs of the event log without reading all of it.

The roots of its full blocks of 1,024 events never change, so they are kept: 32 bytes a
block, 32 KB for a million events. A root then takes one page of the log, and a proof one
more. What is kept can be made again from the log at any time.
"""

from collections.abc import Sequence
from typing import Final

from mlg.graph import merkle
from mlg.graph.audit import Anchor, ChainLog

BLOCK: Final = 1_024
"""Events of a block; a power of two, so that a block is a subtree."""
_WIDTH: Final = 32


class LogTree:
    """The Merkle tree (RFC 6962) over the chain hashes of events 1 to any size.

    Args:
        log: The event log.
        roots: Roots of its first full blocks, as `kept` gave them; none is as good, slower.
    """

    def __init__(self, log: ChainLog, roots: Sequence[bytes] = ()) -> None:
        self._log, self._roots = log, list(roots)
        self._trees: dict[tuple[int, int], merkle.Levels] = {}
        self._tops: dict[int, merkle.Levels] = {}

    @property
    def kept(self) -> bytes:
        """The roots of the full blocks that were read so far: what to keep."""
        return b"".join(self._roots)

    def root(self, size: int) -> bytes:
        """Return the root over the first `size` events.

        Raises:
            ValueError: The log has fewer.
        """
        return self._top(size)[-1][0] if size else merkle.EMPTY_ROOT

    def proof(self, seq: int, size: int) -> tuple[bytes, ...]:
        """Return the sibling hashes from event `seq` up to the root over `size` events.

        Raises:
            ValueError: There is no such event among them.
        """
        if not 1 <= seq <= size:
            raise ValueError(f"event {seq} of a log of {size}")
        block, place = divmod(seq - 1, BLOCK)
        below = merkle.proof(self._block(block, size), place)
        return (*below, *merkle.proof(self._top(size), block))

    def _top(self, size: int) -> merkle.Levels:
        """Return the levels above the blocks."""
        if size not in self._tops:
            full, rest = divmod(size, BLOCK)
            while len(self._roots) < full:
                number = len(self._roots)
                self._roots.append(merkle.levels(self._leaves(number, BLOCK))[-1][0])
            ends = self._roots[:full]
            tail = [self._block(full, size)[-1][0]] if rest else []
            self._tops[size] = merkle.levels_over([*ends, *tail])
        return self._tops[size]

    def _block(self, number: int, size: int) -> merkle.Levels:
        count = min(BLOCK, size - number * BLOCK)
        if (number, count) not in self._trees:
            self._trees[number, count] = merkle.levels(self._leaves(number, count))
        return self._trees[number, count]

    def _leaves(self, number: int, count: int) -> list[bytes]:
        links = self._log.links(number * BLOCK, count)
        if len(links) != count or links[-1].seq != number * BLOCK + count:
            raise ValueError(f"the log has no {count} events after event {number * BLOCK}")
        return [link.digest for link in links]


def tree_from(log: ChainLog, kept: bytes | None, newest: Anchor | None) -> LogTree:
    """Return the tree over the log, by what was kept as far as it agrees with a signed head.

    Args:
        log: The event log.
        kept: What `LogTree.kept` gave before; None when nothing is kept.
        newest: The newest signed head; without one nothing kept is believed.
    """
    if not kept or newest is None or len(kept) % _WIDTH:
        return LogTree(log)
    roots = [kept[at : at + _WIDTH] for at in range(0, len(kept), _WIDTH)]
    tree = LogTree(log, roots[: newest.seq // BLOCK])
    try:
        agrees = tree.root(newest.seq).hex() == newest.root
    except ValueError:
        agrees = False
    return tree if agrees else LogTree(log)
