"""What every event stream keeps; and what segment files keep beside it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.stream_memory import MemoryStream
from mlg.adapters.stream_nats import NatsStream
from mlg.adapters.stream_segments import SegmentStream, segment_header
from mlg.core.errors import BackendError
from mlg.core.ports import Cursor, EventStream, Record

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(n: int, size: int = 5) -> Record:
    return Record(
        kind="prediction",
        key=f"p{n}",
        at=AT + timedelta(microseconds=n),
        payload=bytes([n % 256]) * size,
    )


@pytest.fixture(params=["memory", "segments", "nats"])
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStream]:
    if request.param == "memory":
        yield MemoryStream()
        return
    if request.param == "nats":
        connection = NatsConnection(request.getfixturevalue("nats_url"))
        yield NatsStream(connection, "home", "here", namespace=f"n{uuid4().hex}")
        connection.close()
        return
    segments = SegmentStream(tmp_path / "home", "replica-home-1", header={"schema": "s/1"})
    yield segments
    segments.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[..., SegmentStream]]:
    made: list[SegmentStream] = []

    def make(writer_id: str = "replica-home-1", **how: Any) -> SegmentStream:
        made.append(SegmentStream(tmp_path / "home", writer_id, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home").glob("*.seg"), key=lambda path: path.stat().st_mtime_ns)


def test_an_empty_stream_has_no_records(stream: EventStream) -> None:
    batch = stream.read(stream.committed("seal"))
    assert (batch.records, batch.gaps) == ((), 0)


def test_records_come_back_equal_and_in_order(stream: EventStream) -> None:
    written = [record(n) for n in range(7)]
    stream.append(written[:3])
    stream.append(written[3:])
    assert stream.read(Cursor(consumer="seal")).records == tuple(written)


def test_reading_goes_on_after_the_cursor_and_keeps_the_limit(stream: EventStream) -> None:
    written = [record(n) for n in range(5)]
    stream.append(written)
    first = stream.read(Cursor(consumer="seal"), limit=2)
    assert first.records == tuple(written[:2])
    rest = stream.read(first.cursor)
    assert rest.records == tuple(written[2:])
    assert stream.read(rest.cursor).records == ()
    stream.append([record(9)])
    assert stream.read(rest.cursor).records == (record(9),)


def test_less_than_the_limit_is_all_there_is_however_long_the_records(
    stream: EventStream,
) -> None:
    written = [record(n, size=500_000) for n in range(30)]  # 15 MB
    for one in written:
        stream.append([one])
    assert stream.read(Cursor(consumer="seal"), limit=100).records == tuple(written)
    few = stream.read(Cursor(consumer="seal"), limit=20)
    assert [one.key for one in few.records] == [one.key for one in written[:20]]


def test_only_a_committed_cursor_is_remembered_one_a_consumer(stream: EventStream) -> None:
    stream.append([record(n) for n in range(4)])
    batch = stream.read(stream.committed("seal"), limit=3)
    assert stream.read(stream.committed("seal")).records[0] == record(0)
    stream.commit(batch.cursor)
    stream.commit(batch.cursor)
    assert stream.read(stream.committed("seal")).records == (record(3),)
    assert len(stream.read(stream.committed("monitors")).records) == 4


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.builds(
            Record,
            kind=st.sampled_from(["prediction", "feedback"]),
            key=st.text(max_size=30),
            at=st.datetimes(timezones=st.just(UTC)),
            payload=st.binary(max_size=200),
        ),
        max_size=20,
    ),
    limit=st.integers(1, 7),
)
def test_any_record_survives_in_pages_of_any_size(
    rows: list[Record], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    segments = SegmentStream(tmp_path_factory.mktemp("any"), "w")
    try:
        segments.append(rows)
        for one in (segments, _filled(MemoryStream(), rows)):
            cursor, got = Cursor(consumer="c"), []
            while batch := one.read(cursor, limit).records:
                got += batch
                assert len(batch) <= limit
                cursor = one.read(cursor, limit).cursor
            assert got == rows
    finally:
        segments.close()


def _filled(stream: MemoryStream, rows: list[Record]) -> MemoryStream:
    stream.append(rows)
    return stream


def test_a_reader_sees_all_writers_and_their_headers(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    writer("replica-home-1", header={"schema": "s/1"}).append([record(1)])
    writer("fallback-home").append([record(2)])
    reader = SegmentStream(tmp_path / "home")
    assert {r.key for r in reader.read(Cursor(consumer="c")).records} == {"p1", "p2"}
    header = segment_header(next((tmp_path / "home").glob("replica-home-1-*.seg")))
    assert header == {"format": 1, "schema": "s/1", "writer": "replica-home-1", "part": 0}
    with pytest.raises(BackendError, match="reading"):
        reader.append([record(3)])


def test_a_busy_writer_does_not_starve_the_others(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    writer("busy").append([record(n) for n in range(1000)])
    writer("quiet").append([record(2000)])
    batch = SegmentStream(tmp_path / "home").read(Cursor(consumer="c"), limit=10)
    assert len(batch.records) == 10
    assert record(2000) in batch.records


def test_a_file_is_followed_by_another_at_its_size_and_age(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    now_s = [0.0]
    one = writer(max_bytes=400, max_age_s=60.0, monotonic_s=lambda: now_s[0])
    for n in range(10):
        one.append([record(n, size=100)])
    by_size = len(files(tmp_path))
    assert by_size > 1
    now_s[0] = 61.0
    one.append([record(10)])
    assert len(files(tmp_path)) == by_size + 1
    batch = SegmentStream(tmp_path / "home").read(Cursor(consumer="c"))
    assert {r.key for r in batch.records} == {f"p{n}" for n in range(11)}


def test_a_torn_tail_waits_while_its_writer_may_finish_it(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    one = writer()
    one.append([record(1)])
    path = files(tmp_path)[0]
    whole_size = path.stat().st_size
    one.append([record(2)])
    whole = path.read_bytes()
    os.truncate(path, whole_size + 11)
    reader = SegmentStream(tmp_path / "home")
    batch = reader.read(Cursor(consumer="c"))
    assert (batch.records, batch.gaps) == ((record(1),), 0)
    path.write_bytes(whole)
    assert reader.read(batch.cursor).records == (record(2),)


def test_a_torn_tail_is_cut_once_its_writer_has_a_younger_file(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    writer().append([record(1), record(2)])
    (old,) = files(tmp_path)
    os.truncate(old, old.stat().st_size - 3)
    os.utime(old, ns=(1, 1))
    writer().append([record(3)])
    reader = SegmentStream(tmp_path / "home")
    batch = reader.read(Cursor(consumer="c"))
    assert (batch.records, batch.gaps) == ((record(1), record(3)), 1)
    again = reader.read(batch.cursor)
    assert (again.records, again.gaps) == ((), 0)


@pytest.mark.parametrize("byte", [0, 2, 5, 9, 30])
def test_a_damaged_frame_is_skipped_and_counted(
    tmp_path: Path, writer: Callable[..., SegmentStream], byte: int
) -> None:
    one = writer()
    one.append([record(1)])
    start = files(tmp_path)[0].stat().st_size
    one.append([record(2, size=40)])
    one.append([record(3)])
    data = bytearray(files(tmp_path)[0].read_bytes())
    data[start + byte] ^= 0xFF
    files(tmp_path)[0].write_bytes(data)
    batch = SegmentStream(tmp_path / "home").read(Cursor(consumer="c"))
    assert (batch.records, batch.gaps) == ((record(1), record(3)), 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_backend_error_and_the_log_goes_on_after_it(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    one = writer()
    one.append([record(1)])
    inner: Any = one._writer
    full = os.open("/dev/full", os.O_WRONLY)
    own = os.dup(inner._fd)
    os.dup2(full, inner._fd)
    try:
        with pytest.raises(BackendError) as caught:
            one.append([record(2)])
        assert caught.value.where == "segments/home"
    finally:
        os.dup2(own, inner._fd)
        os.close(own)
        os.close(full)
    one.append([record(3)])
    batch = SegmentStream(tmp_path / "home").read(Cursor(consumer="c"))
    assert (batch.records, batch.gaps) == ((record(1), record(3)), 0)


def test_a_part_written_frame_is_taken_back(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    import resource
    import signal

    one = writer()
    one.append([record(1)])
    size = files(tmp_path)[0].stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    try:
        with pytest.raises(BackendError):
            one.append([record(2, size=100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert files(tmp_path)[0].stat().st_size == size
    one.append([record(3)])
    assert SegmentStream(tmp_path / "home").read(Cursor(consumer="c")).records == (
        record(1),
        record(3),
    )


def test_a_damaged_cursor_and_bad_names_are_refused(
    tmp_path: Path, writer: Callable[..., SegmentStream]
) -> None:
    one = writer()
    one.commit(Cursor(consumer="seal", positions=(("a", 1),)))
    assert one.committed("seal").positions == (("a", 1),)
    (tmp_path / "home" / "cursors" / "seal.json").write_text("{")
    with pytest.raises(BackendError, match="cursor"):
        one.committed("seal")
    with pytest.raises(ValueError, match="consumer"):
        one.committed("../seal")
    with pytest.raises(ValueError, match="writer id"):
        SegmentStream(tmp_path / "home", "a/b")


def test_kill_9_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from datetime import datetime, UTC\n"
        "from pathlib import Path\n"
        "from mlg.adapters.stream_segments import SegmentStream\n"
        "from mlg.core.ports import Record\n"
        "stream = SegmentStream(Path(sys.argv[1]), 'w')\n"
        "at = datetime(2026, 1, 1, tzinfo=UTC)\n"
        "for n in range(500):\n"
        "    stream.append([Record(kind='k', key=str(n), at=at, payload=b'x')])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "home")], check=False)
    assert done.returncode == -9
    batch = SegmentStream(tmp_path / "home").read(Cursor(consumer="c"))
    assert [r.key for r in batch.records] == [str(n) for n in range(500)]
