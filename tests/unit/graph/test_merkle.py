"""Merkle trees against the recursive definition of RFC 6962."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.graph import bundle_verify, merkle

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)

# RFC 6962's published test tree: leaves and roots of Google's certificate-transparency.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
             "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
CT_ROOT_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def recursive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    inner = b"\x01" + recursive_root(leaves[:k]) + recursive_root(leaves[k:])
    return hashlib.sha256(inner).digest()


def test_the_root_of_the_published_tree() -> None:
    assert merkle.root(bytes.fromhex(leaf) for leaf in CT_LEAVES).hex() == CT_ROOT_8


def test_no_leaves_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest()


@given(LEAVES)
def test_the_root_is_the_recursive_one(leaves) -> None:
    assert merkle.root(leaves) == recursive_root(leaves)
    assert merkle.levels(leaves)[-1] == (recursive_root(leaves),)


@given(LEAVES, st.data())
def test_every_proof_holds_and_no_other_leaf_or_place_does(leaves, data) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, root = merkle.proof(merkle.levels(leaves), index), merkle.root(leaves)
    size = len(leaves)
    assert merkle.verify(leaves[index], index, size, path, root)
    assert not merkle.verify(leaves[index] + b"x", index, size, path, root)
    assert not merkle.verify(leaves[index], size, size, path, root)
    hexes = [sibling.hex() for sibling in path]
    assert bundle_verify.included(leaves[index], index, size, hexes, root.hex())
    if path:
        assert not merkle.verify(leaves[index], index, size, path[:-1], root)


def test_a_proof_for_a_leaf_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="leaf 2"):
        merkle.proof(merkle.levels([b"a", b"b"]), 2)
