"""Segment files are copied to JetStream once in effect, whatever dies when."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.jetstream import Server, server

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.adapters.stream_nats import NatsStream
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.events import events_of
from mlg.app.settings import EventSettings
from mlg.app.shipping import Shipper
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ConflictError
from mlg.core.ports import Cursor, Record

AT = datetime(2026, 1, 1, tzinfo=UTC)


def records(begin: int, end: int, size: int = 50) -> list[Record]:
    return [
        Record(
            kind="prediction", key=f"p{n}", at=AT + timedelta(seconds=n), payload=b"x" * size
        )
        for n in range(begin, end)
    ]


class Home:
    """A home with a log, and shippers of it that can die."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.namespace = folder, f"n{uuid4().hex}"
        self.connection = NatsConnection(url, timeout_s=2.0)
        self.log = SegmentStream(folder / "segments" / "home", "replica-home-1")

    def shipper(self, host: str = "h1") -> Shipper:
        return Shipper(
            self.folder, self.connection, host, lambda: ("home",), namespace=self.namespace
        )

    def there(self) -> list[str]:
        stream = NatsStream(self.connection, "home", namespace=self.namespace)
        batch = stream.read(Cursor(consumer="c"), 100_000)
        assert batch.gaps == 0
        return [record.key for record in batch.records]

    def close(self) -> None:
        self.log.close()
        self.connection.close()


def keys(end: int) -> list[str]:
    return [f"p{n}" for n in range(end)]


def drain(shipper: Shipper) -> None:
    while shipper.round():
        pass


@pytest.fixture
def home(nats_url: str, tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path, nats_url)
    yield made
    made.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    with server() as one:
        yield one


def test_what_is_logged_is_there_once_and_in_order(home: Home) -> None:
    shipper = home.shipper()
    home.log.append(records(0, 2_500))
    drain(shipper)
    home.log.append(records(2_500, 2_600))
    drain(shipper)
    assert home.there() == keys(2_600)


def test_a_shipper_that_died_anywhere_is_followed_by_one_that_goes_on(home: Home) -> None:
    home.log.append(records(0, 3_000))
    for _ in range(3):  # each ships a message and dies with what it knew
        assert home.shipper().round() == 1_000
    drain(home.shipper())
    assert home.there() == keys(3_000)


def test_long_records_make_shorter_messages(home: Home) -> None:
    home.log.append(records(0, 40, size=100_000))
    drain(home.shipper())
    assert home.there() == keys(40)


def test_an_answer_that_was_lost_is_found_out(home: Home) -> None:
    shipper = home.shipper()
    home.log.append(records(0, 10))
    drain(shipper)
    before = shipper._places["home"]
    home.log.append(records(10, 20))
    drain(shipper)
    shipper._places["home"] = before  # as if the answer to the last message had not come
    drain(shipper)
    assert home.there() == keys(20)


def test_two_homes_of_one_name_are_told(home: Home) -> None:
    home.log.append(records(0, 10))
    one, two = home.shipper(), home.shipper()
    one.round()
    two.round()  # takes over: it found the mark of the first
    home.log.append(records(10, 11))
    two.round()
    home.log.append(records(11, 12))
    with pytest.raises(ConflictError, match="newest"):
        one.round()
    drain(one)
    assert home.there() == keys(12)


def test_a_mark_outlives_the_messages_that_grew_too_old(home: Home) -> None:
    home.log.append(records(0, 10))
    drain(home.shipper())
    name = f"{home.namespace}_home"
    home.connection.run(lambda client: client.jetstream().purge_stream(name))
    later = home.shipper()
    assert later.round() == 0
    home.log.append(records(10, 12))
    drain(later)
    assert home.there() == ["p10", "p11"]


def test_messages_that_grow_too_old_under_a_shipper_do_not_stop_it(home: Home) -> None:
    home.log.append(records(0, 10))
    shipper = home.shipper()
    drain(shipper)
    name = f"{home.namespace}_home"
    home.connection.run(lambda client: client.jetstream().purge_stream(name))
    home.log.append(records(10, 12))
    drain(shipper)
    assert home.there() == ["p10", "p11"]


def test_a_stream_that_was_removed_is_filled_again_from_the_log(home: Home) -> None:
    home.log.append(records(0, 10))
    shipper = home.shipper()
    drain(shipper)
    name = f"{home.namespace}_home"
    home.connection.run(lambda client: client.jetstream().delete_stream(name))
    home.log.append(records(10, 12))
    with pytest.raises(BackendError):
        shipper.round()
    drain(shipper)
    assert home.there() == keys(12)


def test_a_server_that_is_killed_between_messages_gets_each_once(
    own_server: Server, tmp_path: Path
) -> None:
    home = Home(tmp_path, own_server.url)
    try:
        home.log.append(records(0, 2_500))
        shipper = home.shipper()
        shipper.round()
        own_server.kill()
        with pytest.raises(BackendError):
            shipper.round()
        own_server.start()
        drain(shipper)
        assert home.there() == keys(2_500)
    finally:
        home.close()


def test_a_home_keeps_its_name_and_its_segments_until_they_are_shipped(
    home: Home, nats_url: str
) -> None:
    files, clock = MemoryFiles(), ManualClock()
    settings = EventSettings(url=nats_url, namespace=home.namespace)

    def made(settings: EventSettings | None = settings):
        return events_of(
            settings, home=home.folder, files=files, clock=clock, ids=Uuid7Ids(clock),
            secrets=MemorySecrets({}), services=lambda: ("home",),
        )  # fmt: skip

    assert made(None) is None
    one = made()
    assert one is not None
    host = files.read("events-host")
    home.log.append(records(0, 10))
    assert one.group.readers("home", []) == [Cursor(consumer="ship")]
    drain(one.shipper)
    own = SegmentStream(home.folder / "segments" / "home")
    (reader,) = one.group.readers("home", [])
    assert own.read(replace(reader, consumer="x")).records == ()
    again = made()
    assert again is not None
    assert files.read("events-host") == host
    drain(again.shipper)
    assert home.there() == keys(10)
    for events in (one, again):
        events.close()
