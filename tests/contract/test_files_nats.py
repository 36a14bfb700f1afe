"""What files in a bucket keep beside the contract: of two holders one is told."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from mlg.adapters.files_nats import PART_BYTES, NatsFiles
from mlg.adapters.nats_connection import NatsConnection
from mlg.core.errors import BackendError, ConflictError


@pytest.fixture
def pair(nats_url: str) -> Iterator[tuple[NatsFiles, NatsFiles]]:
    connection, namespace = NatsConnection(nats_url), f"n{uuid4().hex}"
    yield NatsFiles(connection, namespace=namespace), NatsFiles(connection, namespace=namespace)
    connection.close()


def test_who_has_not_seen_the_newest_content_cannot_replace_it(
    pair: tuple[NatsFiles, NatsFiles],
) -> None:
    one, two = pair
    one.write("monitors/m.json", b"1")
    with pytest.raises(ConflictError, match=r"monitors/m\.json"):
        two.write("monitors/m.json", b"2")
    assert two.read("monitors/m.json") == b"1"
    two.write("monitors/m.json", b"2")
    with pytest.raises(ConflictError):
        one.write("monitors/m.json", b"3")
    with pytest.raises(ConflictError):
        one.write("monitors/m.json", b"3")  # being told is not having seen
    assert one.read("monitors/m.json") == b"2"
    one.remove("monitors/m.json")
    with pytest.raises(ConflictError):
        two.write("monitors/m.json", b"4")
    assert two.read("monitors/m.json") is None
    two.write("monitors/m.json", b"5")
    assert one.read("monitors/m.json") == b"5"


def test_what_another_wrote_is_not_removed_unseen(pair: tuple[NatsFiles, NatsFiles]) -> None:
    one, two = pair
    one.write("m", b"1")
    assert two.read("m") == b"1"
    one.write("m", b"2")
    with pytest.raises(ConflictError):
        two.remove("m")
    assert one.read("m") == b"2"


def test_content_longer_than_a_message_is_whole_and_leaves_no_old_parts(
    pair: tuple[NatsFiles, NatsFiles],
) -> None:
    one, two = pair
    contents = [os.urandom(3 * PART_BYTES + n) for n in range(3)]
    for content in contents:
        one.write("a/b", content)
        assert two.read("a/b") == content
    bucket = one._bucket
    kept = one._connection.run(
        lambda client: client.jetstream().stream_info(f"KV_{bucket}", subjects_filter=">")
    )
    values = [name for name in kept.state.subjects or {} if "=parts" in name]
    assert len(values) == 4
    assert one.list("a") == ("a/b",)
    assert kept.state.bytes < 5 * PART_BYTES


def test_damaged_content_is_told(pair: tuple[NatsFiles, NatsFiles]) -> None:
    one, _ = pair
    one.write("m", b"1")

    async def spoil(client):
        bucket = await client.jetstream().key_value(one._bucket)
        await bucket.put("m", b"\x93\xa1x\x00\xc4\x01z")

    one._connection.run(spoil)
    with pytest.raises(BackendError, match="damaged"):
        one.read("m")
