"""What the event stream in JetStream keeps beside the contract: against a real server."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.jetstream import Server, server

from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.stream_nats import NatsStream
from mlg.core.errors import BackendError, ConflictError
from mlg.core.ports import Cursor, Record

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(n: int, size: int = 5) -> Record:
    at = AT + timedelta(microseconds=n)
    return Record(kind="prediction", key=f"p{n}", at=at, payload=bytes([n % 256]) * size)


def opened(connection: NatsConnection, writer: str | None = "here") -> NatsStream:
    return NatsStream(connection, "home", writer, namespace=f"n{uuid4().hex}")


@pytest.fixture
def own_server() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.fixture
def connection(nats_url: str) -> Iterator[NatsConnection]:
    one = NatsConnection(nats_url)
    yield one
    one.close()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=st.lists(st.integers(0, 2_500), min_size=1, max_size=4), limit=st.integers(1, 900))
def test_messages_of_any_size_are_read_in_pages_of_any_size(
    connection: NatsConnection, sizes: list[int], limit: int
) -> None:
    stream, written = opened(connection), list[Record]()
    for size in sizes:
        more = [record(len(written) + n) for n in range(size)]
        stream.append(more)
        written += more
    cursor, got = Cursor(consumer="c"), list[Record]()
    while (batch := stream.read(cursor, limit)).records:
        assert len(batch.records) <= limit
        assert batch.gaps == 0
        got += batch.records
        cursor = batch.cursor
    assert got == written


def test_the_same_append_twice_is_written_once(connection: NatsConnection) -> None:
    stream, written = opened(connection), [record(n) for n in range(2_500)]
    stream.append(written)
    stream.append(written)
    assert stream.read(Cursor(consumer="c")).records == tuple(written)


def test_kill_9_of_the_server_loses_nothing_acknowledged(own_server: Server) -> None:
    connection = NatsConnection(own_server.url, timeout_s=2.0)
    try:
        stream = opened(connection)
        taken = [record(n) for n in range(3_000)]
        stream.append(taken)
        own_server.kill()
        with pytest.raises(BackendError, match="NATS server failed") as caught:
            stream.append([record(9_000)])
        assert "JetStream" in caught.value.hint
        own_server.start()
        stream.append([record(9_000)])  # the same connection, made anew by itself
        assert stream.read(Cursor(consumer="c")).records == (*taken, record(9_000))
    finally:
        connection.close()


def test_a_server_that_is_not_there_is_said_in_time() -> None:
    connection = NatsConnection("nats://127.0.0.1:9", timeout_s=0.5)
    try:
        with pytest.raises(BackendError) as caught:
            opened(connection).read(Cursor(consumer="c"))
        assert caught.value.where == "nats://127.0.0.1:9"
    finally:
        connection.close()


def test_a_damaged_message_is_counted_and_passed_over(connection: NatsConnection) -> None:
    stream = opened(connection)
    stream.append([record(1)])
    subject = stream._subject
    connection.run(lambda client: client.jetstream().publish(subject, b"no frames"))
    stream.append([record(2)])
    batch = stream.read(Cursor(consumer="c"))
    assert (batch.records, batch.gaps) == ((record(1), record(2)), 1)


def test_messages_that_were_removed_are_counted_as_lost(connection: NatsConnection) -> None:
    stream = opened(connection)
    for n in range(4):
        stream.append([record(n)])
    first = stream.read(Cursor(consumer="c"), limit=1)
    name = stream._name
    connection.run(lambda client: client.jetstream().delete_msg(name, 2))
    rest = stream.read(first.cursor)
    assert (rest.records, rest.gaps) == ((record(2), record(3)), 1)
    assert stream.read(Cursor(consumer="new")).records[0] == record(0)


def test_a_stream_made_anew_is_read_from_its_beginning(connection: NatsConnection) -> None:
    stream = opened(connection)
    stream.append([record(n) for n in range(3)])
    cursor = stream.read(Cursor(consumer="c")).cursor
    name = stream._name
    connection.run(lambda client: client.jetstream().delete_stream(name))
    with pytest.raises(BackendError):
        stream.append([record(7)])
    stream.append([record(7)])
    assert stream.read(cursor).records == (record(7),)


def test_a_mark_is_written_with_its_records_and_only_by_the_newest(
    connection: NatsConnection,
) -> None:
    stream = opened(connection)
    assert stream.shipped() == (None, 0)
    mark = Cursor(consumer="ship", positions=(("replica-1.seg", 77),))
    newest = stream.ship([record(1), record(2)], mark, 0)
    assert stream.shipped() == (mark, newest)
    with pytest.raises(ConflictError, match="newest"):
        stream.ship([record(1), record(2)], mark, 0)  # its answer was lost: it is there
    later = Cursor(consumer="ship", positions=(("replica-1.seg", 99),))
    assert stream.ship([record(3)], later, newest) > newest
    assert stream.read(Cursor(consumer="c")).records == (record(1), record(2), record(3))
    with pytest.raises(ValueError, match="one message"):
        stream.ship([record(n) for n in range(1_001)], later, newest)


def test_names_that_are_no_subjects_are_refused(connection: NatsConnection) -> None:
    with pytest.raises(ValueError, match="letters"):
        NatsStream(connection, "a.b")
    with pytest.raises(BackendError, match="reading"):
        opened(connection, None).append([record(1)])
    with pytest.raises(ValueError, match="consumer"):
        opened(connection).committed("../c")


def test_many_threads_share_one_connection(connection: NatsConnection) -> None:
    async def ten() -> list[None]:
        streams = [opened(connection) for _ in range(10)]
        return await asyncio.gather(
            *(asyncio.to_thread(one.append, [record(n)]) for n, one in enumerate(streams))
        )

    assert len(asyncio.run(ten())) == 10
