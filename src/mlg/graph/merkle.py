"""Merkle trees as in RFC 6962: one root over many leaves, short proofs that one is in it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Levels = tuple[tuple[bytes, ...], ...]
"""Every level of a tree, the lowest first."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of a tree without leaves."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf, kept apart from node hashes by its prefix."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The full subtrees of a growing tree, largest first: enough for the root at any size.

    Examples:
        >>> Frontier().add(b"a").root == leaf_hash(b"a")
        True
    """

    peaks: tuple[tuple[int, bytes], ...] = ()
    """(number of leaves, hash) of each full subtree."""

    def add(self, leaf: bytes) -> "Frontier":
        """Return the tree with one more leaf."""
        peaks, size, found = self.peaks, 1, leaf_hash(leaf)
        while peaks and peaks[-1][0] == size:
            size, found, peaks = size * 2, node_hash(peaks[-1][1], found), peaks[:-1]
        return Frontier((*peaks, (size, found)))

    def extend(self, leaves: Iterable[bytes]) -> "Frontier":
        """Return the tree with more leaves, in order.

        Examples:
            >>> Frontier().extend([b"a", b"b"]) == Frontier().add(b"a").add(b"b")
            True
        """
        peaks, sha256 = list(self.peaks), hashlib.sha256
        for leaf in leaves:
            size, found = 1, sha256(b"\x00" + leaf).digest()
            while peaks and peaks[-1][0] == size:
                size, found = size * 2, sha256(b"\x01" + peaks.pop()[1] + found).digest()
            peaks.append((size, found))
        return Frontier(tuple(peaks))

    @property
    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        found = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            found = node_hash(left, found)
        return found


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over the leaves; of none, sha256 of nothing."""
    return Frontier().extend(leaves).root


def levels(leaves: Sequence[bytes]) -> Levels:
    """Return every level of the tree, leaf hashes first; made once, it gives every proof."""
    return levels_over([leaf_hash(leaf) for leaf in leaves])


def levels_over(hashes: Sequence[bytes]) -> Levels:
    """Return every level above hashes of leaves, or of subtrees all but the last full."""
    found = [tuple(hashes)]
    while len(found[-1]) > 1:
        level = found[-1]
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        found.append((*paired, level[-1]) if len(level) % 2 else tuple(paired))
    return tuple(found)


def proof(tree: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """Return the sibling hashes from a leaf up to the root.

    Args:
        tree: What `levels` returned.
        index: Place of the leaf, from 0.

    Raises:
        ValueError: There is no such leaf.
    """
    if not 0 <= index < len(tree[0]):
        raise ValueError(f"leaf {index} of a tree of {len(tree[0])}")
    path: list[bytes] = []
    for level in tree[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return tuple(path)


def verify(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes
) -> bool:
    """Return whether the leaf is at this index of the tree with this size and root.

    Source:
        RFC 9162, section 2.1.3.2 (verifying an inclusion proof).
    """
    if not 0 <= index < size:
        return False
    found, at, last = leaf_hash(leaf), index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if at % 2 or at == last:
            found = node_hash(sibling, found)
            while at % 2 == 0 and at != 0:
                at, last = at // 2, last // 2
        else:
            found = node_hash(found, sibling)
        at, last = at // 2, last // 2
    return last == 0 and found == expected_root
