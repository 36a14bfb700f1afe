"""Columns of frames hold what decoding each frame gives, whatever the frames are."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.adapters.segment_frames import FrameBlock, bounds, framed, scan
from mlg.adapters.stream_segments import SegmentStream, segment_header
from mlg.app.log_columns import decoded
from mlg.core.ports import Cursor, Record
from mlg.core.predict import Prediction
from mlg.monitors.answers import Answers, answers_of, joined
from mlg.serving.log import Circumstances, decode_prediction, prediction_record

START = datetime(2026, 3, 1, tzinfo=UTC)
ITEMS = st.lists(st.integers(-5, 2**33) | st.text(max_size=40), max_size=20)
FLOATS = st.floats(width=32)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Return an answer as a replica logs it."""
    items = tuple(draw(ITEMS))
    at = START + timedelta(microseconds=draw(st.integers(0, 10**12)))
    teams = {"beside": "v2", "teams": "ab"} if draw(st.booleans()) else None
    names = st.text(max_size=300) | st.sampled_from(["v1", "v2"])
    prediction = Prediction(
        prediction_id=draw(st.text(min_size=1, max_size=300) | st.uuids().map(str)),
        service="home", version=draw(names), policy=draw(names), items=items,
        scores=tuple(1.0 for _ in items), raw_confidence=draw(st.none() | FLOATS),
        confidence=draw(FLOATS), served_by=draw(st.sampled_from(["model", "fallback"])),
        reason=draw(st.sampled_from(["ranked", "rescue"])), at=at, latency_ms=draw(FLOATS),
    )  # fmt: skip
    around = Circumstances(
        viewer=draw(st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)),
        session=draw(st.none() | names), salt="s" * 32, received_at=at,
        features=draw(st.lists(FLOATS, max_size=70)), arm=draw(names),
        propensity=draw(FLOATS), given=draw(st.booleans()), interleaved=teams,
    )  # fmt: skip
    return prediction_record(prediction, around)


def block(frames: list[bytes]) -> FrameBlock:
    found = bounds(data := b"".join(frames), len(frames) + 1, final=True)
    return FrameBlock(data, found.starts)


def plain(answers: Answers) -> list[tuple[Any, ...]]:
    ends = np.cumsum(answers.width)
    return [
        (
            answers.ids[n], int(answers.rank[n]), int(answers.at_us[n]),
            answers.service.text(n), answers.version.text(n), answers.served_by.text(n),
            answers.viewer.text(n), repr(float(answers.raw[n])), bool(answers.given[n]),
            msgspec.msgpack.decode(answers.items[n]),
            answers.values[ends[n] - answers.width[n] : ends[n]].tobytes(),
        )
        for n in range(len(answers))
    ]  # fmt: skip


@given(st.lists(records(), min_size=1, max_size=12))
@settings(max_examples=150 if os.environ.get("MLG_FULL") else 40, deadline=None)
def test_columns_hold_what_decoding_each_frame_gives(given_records: list[Record]) -> None:
    found = decoded((block([framed(one) for one in given_records]),), "home")
    rows = [decode_prediction(one.payload) for one in given_records]
    assert plain(joined(found.answers)) == plain(answers_of(rows, "home"))
    assert found.damaged == 0


def usual(n: int, items: tuple[Any, ...] = (7, 70_000, 300)) -> Record:
    prediction = Prediction(
        prediction_id=f"0199e0b0-0000-7000-8000-{n:012d}", service="home", version="v1",
        policy="1", items=items, scores=(0.5,) * len(items), raw_confidence=0.25,
        confidence=0.5, served_by="model", reason="ranked", at=START, latency_ms=1.0,
    )  # fmt: skip
    around = Circumstances(
        viewer=f"{n // 2:064x}", session=None, salt="ab" * 16, received_at=START,
        features=[float(n)] * 50, arm="", propensity=1.0,
    )  # fmt: skip
    return prediction_record(prediction, around)


def test_what_replicas_write_is_walked_and_not_decoded_one_by_one() -> None:
    made = [usual(n) for n in range(50)]
    assert decoded((block([framed(one) for one in made]),), "home").walked == 50


def test_an_odd_frame_among_others_keeps_its_place() -> None:
    other = Record(kind="note", key="k", at=START, payload=b"x")
    feedback = Record(
        kind="feedback", key="f", at=START,
        payload=msgspec.msgpack.encode({"prediction_id": "p", "item_id": 1, "event": "play"}),
    )  # fmt: skip
    broken = Record(kind="prediction", key="b", at=START, payload=b"\xc1")
    odd = [usual(n, ("x" * 300,)) for n in (2, 6, 8, 11)]
    given_frames = [usual(0), other, odd[0], usual(3), feedback, odd[1], odd[2], broken]
    given_frames += [usual(9), odd[3]]
    found = decoded((block([framed(one) for one in given_frames]),), "home")
    ids = [identifier[-2:] for part in found.answers for identifier in part.ids]
    assert ids == ["00", "02", "03", "06", "08", "09", "11"]
    assert (found.walked, found.damaged, len(found.feedback)) == (3, 1, 1)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_bounds_are_where_a_scan_finds_records(data: st.DataObject) -> None:
    frames = [framed(usual(n)) for n in range(5)]
    raw = bytearray(b"".join(frames))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=3)):
        raw[place] ^= 0x55
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    limit, final = data.draw(st.integers(1, 6)), data.draw(st.booleans())
    found = bounds(bytes(raw), limit, final=final)
    plainly = scan(bytes(raw), limit, final=final)
    assert (len(found.starts), found.end, found.gaps) == (
        len(plainly.records), plainly.end, plainly.gaps,
    )  # fmt: skip


def test_a_backlog_of_one_writer_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    stream = SegmentStream(tmp_path, writer_id="replica-1", max_bytes=2_000)
    for n in range(12):
        stream.append([usual(n)])
    stream.close()
    for path in tmp_path.glob("*.seg"):  # as if hours lay between them, not a clock's tick
        os.utime(path, times=(0, 1_000 * (1 + segment_header(path)["part"])))
    assert len(list(tmp_path.glob("*.seg"))) > 3
    reader, cursor, ids = SegmentStream(tmp_path), Cursor(consumer="m"), []
    while (batch := reader.read_frames(cursor, 4)).cursor != cursor:
        cursor = batch.cursor
        parts = decoded(batch.blocks, "home").answers
        ids += [int(identifier[-2:]) for part in parts for identifier in part.ids]
    assert ids == list(range(12))


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_frames_and_records_are_read_alike(tmp_path: Path, limit: int) -> None:
    for writer in ("a", "b"):
        stream = SegmentStream(tmp_path, writer_id=writer)
        stream.append([usual(n) for n in range(20)])
        stream.close()
    reader, start = SegmentStream(tmp_path), Cursor(consumer="m")
    frames, plainly = reader.read_frames(start, limit), reader.read(start, limit)
    assert frames.cursor == plainly.cursor
    assert frames.size == len(plainly.records)
