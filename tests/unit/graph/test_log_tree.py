"""The tree of the log from kept blocks, against the whole tree and the wrong kept bytes."""

import hashlib

import pytest

from mlg.graph import merkle
from mlg.graph.audit import Anchor, Link
from mlg.graph.log_tree import BLOCK, LogTree, tree_from

HASHES = [hashlib.sha256(str(n).encode()).digest() for n in range(3 * BLOCK + 77)]


class Log:
    """A log of hashes that counts what is read of it."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.hashes, self.reads = hashes, 0

    def chain(self, *_: int) -> tuple:
        raise AssertionError("a tree needs no content")

    def links(self, after: int = 0, limit: int = 1_000) -> tuple[Link, ...]:
        found = self.hashes[after : after + limit]
        self.reads += len(found)
        return tuple(Link(after + n + 1, digest, "", "") for n, digest in enumerate(found))

    def last_seq(self) -> int:
        return len(self.hashes)

    def told(self, *_) -> tuple[int, ...]:
        return ()


def head(size: int, root: bytes) -> Anchor:
    return Anchor(seq=size, hash="", root=root.hex(), at="", public_key="", signature="")


SIZES = (1, 2, 1023, 1024, 1025, 2048, 2049, 3072, 3073, len(HASHES))


@pytest.mark.parametrize("size", SIZES)
def test_the_root_from_blocks_is_the_root_of_the_whole_tree(size) -> None:
    assert LogTree(Log(HASHES)).root(size) == merkle.root(HASHES[:size])


@pytest.mark.parametrize("size", SIZES)
def test_every_proof_from_blocks_is_that_of_the_whole_tree(size) -> None:
    tree, whole = LogTree(Log(HASHES)), merkle.levels(HASHES[:size])
    for seq in {1, size // 2 or 1, size, min(1024, size), min(1025, size)}:
        assert tree.proof(seq, size) == merkle.proof(whole, seq - 1)
        root = merkle.root(HASHES[:size])
        assert merkle.verify(HASHES[seq - 1], seq - 1, size, tree.proof(seq, size), root)


def test_a_tree_with_its_blocks_kept_reads_two_pages_not_the_log() -> None:
    kept = LogTree(Log(HASHES))
    root = kept.root(len(HASHES))
    log = Log(HASHES)
    tree = tree_from(log, kept.kept, head(len(HASHES), root))
    assert tree.root(len(HASHES)) == root
    tree.proof(5, len(HASHES))
    assert log.reads == 77 + BLOCK
    assert tree.kept == kept.kept


def test_what_is_kept_is_not_believed_against_a_signed_head() -> None:
    whole = LogTree(Log(HASHES))
    root = whole.root(len(HASHES))
    altered = bytearray(whole.kept)
    altered[40] ^= 1
    for kept in (bytes(altered), whole.kept[:-1], whole.kept[:32], None, b""):
        tree = tree_from(Log(HASHES), kept, head(len(HASHES), root))
        assert tree.root(len(HASHES)) == root
    assert tree_from(Log(HASHES), bytes(altered), None).kept == b""
    short = tree_from(Log(HASHES[:10]), whole.kept, head(len(HASHES), root))
    assert short.root(10) == merkle.root(HASHES[:10])


def test_events_that_are_not_there_have_no_proof() -> None:
    tree = LogTree(Log(HASHES[:5]))
    for seq, size in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="of a log of 5"):
            tree.proof(seq, size)
    with pytest.raises(ValueError, match="no 6 events"):
        tree.root(6)
    assert tree.root(0) == merkle.EMPTY_ROOT
