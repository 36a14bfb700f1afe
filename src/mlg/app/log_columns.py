"""Frames of the log -> answers as columns and feedback as rows.

Frames of answers are not decoded one by one: all of them are walked at once, field by field,
with one operation of numpy for all. A frame that is not laid out as `prediction_record` lays
it out (another writer, a text that is not ASCII, damage) leaves the walk and is decoded alone.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlg.adapters.segment_frames import HEAD_BYTES, FrameBlock, opened
from mlg.app.frame_walk import Walk
from mlg.core.errors import LifecycleError
from mlg.monitors.answers import (
    Answers,
    AsciiTexts,
    Coded,
    Ints,
    answers_of,
    coded,
    joined,
    ranks,
    time_text,
)
from mlg.serving.log import decode_feedback, decode_prediction

_PREDICTION: Final = b"\x94\xaaprediction"
_FEW: Final = 16
"""Different texts up to which a column is coded by comparing with each."""

_COMPARED: Final = 200
_PARTS: Final = 4
"""Parts of a block that are not worth joining."""

Bools = NDArray[np.bool_]


class Decoded(NamedTuple):
    """What some frames hold."""

    answers: tuple[Answers, ...]
    """In parts, one after another."""
    feedback: list[dict[str, Any]]
    damaged: int
    """Records that could not be read."""
    walked: int
    """Answers that were not decoded alone."""

    def middle(self) -> str:
        """Return the median event time, RFC 3339; empty without answers."""
        at_us = np.concatenate([np.zeros(0, np.int64), *(one.at_us for one in self.answers)])
        if not at_us.size:
            return ""
        return time_text(int(np.partition(at_us, at_us.size // 2)[at_us.size // 2]))

    def newest_rows(self) -> list[dict[str, Any]]:
        """Return the newest answers as rows, as many as are compared for skew."""
        rows: list[dict[str, Any]] = []
        for part in reversed(self.answers):
            rows = [*part.rows(_COMPARED - len(rows)), *rows]
            if len(rows) >= _COMPARED:
                break
        return rows


def decoded(blocks: tuple[FrameBlock, ...], service: str) -> Decoded:
    """Return the records of frames of one service's log, each sort in the log's order.

    Args:
        blocks: As `SegmentStream.read_frames` returns them.
        service: Whose log it is.
    """
    parts: list[Answers] = []
    feedback: list[dict[str, Any]] = []
    damaged, walked = 0, 0
    for block in blocks:
        fast, left = _walked(block)
        walked += len(fast)
        rows: list[tuple[int, Mapping[str, Any]]] = []
        for place in left:
            found = opened(block.data, block.starts[place])
            if found is None:
                damaged += 1
                continue
            kind, payload = found
            try:
                if kind == "prediction":
                    rows.append((place, decode_prediction(payload)))
                elif kind == "feedback":
                    feedback.append(decode_feedback(payload))
            except (LifecycleError, ValueError, TypeError):
                damaged += 1
        parts += _in_order(fast, rows, left, service)
    return Decoded(tuple(parts), feedback, damaged, walked)


def _in_order(
    fast: Answers, rows: list[tuple[int, Mapping[str, Any]]], left: list[int], service: str
) -> list[Answers]:
    """Return the answers of a block in the order of its frames, in as few parts as can be."""
    if not rows:
        return [fast] if len(fast) else []
    parts: list[Answers] = []
    done = 0
    run: list[Mapping[str, Any]] = []
    for order, (place, row) in enumerate(rows):
        # walked frames before this one: those before it, less those that left the walk
        before = place - int(np.searchsorted(left, place))
        if before > done:
            parts += [answers_of(run, service)] if run else []
            parts.append(fast.take(np.arange(done, before)))
            done, run = before, []
        run.append(row)
        if order == len(rows) - 1:
            parts.append(answers_of(run, service))
    if done < len(fast):
        parts.append(fast.take(np.arange(done, len(fast))))
    return parts if len(parts) <= _PARTS else [joined(parts)]


def _walked(block: FrameBlock) -> tuple[Answers, list[int]]:
    """Return the answers that could be walked, and the places of the frames left."""
    walk = Walk(block.data, np.array(block.starts, dtype=np.int64) + HEAD_BYTES)
    walk.literal(_PREDICTION)
    walk.value()  # the key is the id
    at_us = walk.micros()
    walk.into_bytes()
    walk.fields((20, 21))
    ids = walk.text(b"prediction_id")
    service = walk.text(b"service")
    version = walk.text(b"model_version")
    walk.skip(b"policy")
    viewer = walk.text(b"viewer")
    walk.skip(b"salt")
    walk.skip(b"session")
    items = walk.array(b"items")
    walk.floats(b"scores")
    raw = walk.float(b"raw_confidence")
    walk.skip(b"confidence")
    served_by = walk.text(b"served_by")
    reason = walk.text(b"reason")
    for name in (b"at", b"received_at", b"latency_ms"):
        walk.skip(name)
    features = walk.packed_bytes(b"features")
    walk.skip(b"arm")
    walk.skip(b"propensity")
    given = walk.flag(b"given")
    walk.require(ids[1] > 0)
    walk.require(features[1] % 4 == 0)
    walk.require(walk.ascii(*ids))
    rows = np.flatnonzero(walk.ok)
    left = np.flatnonzero(~walk.ok).tolist()
    data = block.data
    answers = _answers(
        _Texts(walk, rows),
        ids=ids, service=service, version=version, served_by=served_by, reason=reason,
        viewer=viewer, raw=raw[rows], given=given[rows], at_us=at_us[rows],
        items=[data[a:b] for a, b in zip(items[0][rows].tolist(), items[1][rows].tolist(),
                                         strict=True)],
        features=(features[0][rows], features[1][rows]),
    )  # fmt: skip
    return answers, left


Span = tuple[Ints, Ints]
"""Where each text begins, and its bytes; -1: there is none."""


def _answers(
    texts: "_Texts", *, ids: Span, service: Span, version: Span, served_by: Span, reason: Span,
    viewer: Span, raw: "NDArray[np.float64]", given: Bools, at_us: Ints, items: list[bytes],
    features: Span,
) -> Answers:  # fmt: skip
    id_texts, rank = texts.ids(ids)
    by, why = texts.few(served_by), texts.few(reason)
    rescue = np.array([text == "rescue" for text in why.texts] + [False])[why.codes]
    if rescue.any():
        places = (*by.texts, "rescue")
        by = Coded(codes=np.where(rescue, len(by.texts), by.codes), texts=places)
    return Answers(
        ids=id_texts,
        rank=rank,
        at_us=at_us,
        service=texts.few(service),
        version=texts.few(version),
        served_by=by,
        viewer=texts.many(viewer),
        raw=raw,
        given=given,
        items=items,
        width=features[1] // 4,
        values=texts.walk.packed(*features),
    )


class _Texts:
    """Texts of walked frames.

    Args:
        walk: The walk.
        rows: Of the frames that could be walked.
    """

    def __init__(self, walk: Walk, rows: Ints) -> None:
        self.walk, self._rows = walk, rows

    def ids(self, span: Span) -> tuple[list[str], "NDArray[np.uint64]"]:
        """Return ASCII texts, and the rank of each."""
        start, length = span[0][self._rows], span[1][self._rows]
        if length.size and (length == length[0]).all():
            size = int(length[0])
            table = self.walk.table(start, size)
            wide = table.view(np.uint8).astype("<u4").view(f"<U{size}")
            return wide.ravel().tolist(), ranks(table, length)
        texts = self.walk.slices(start, length)
        table = np.array(texts, dtype="S")
        return [text.decode("ascii") for text in texts], ranks(table, length)

    def few(self, span: Span) -> Coded:
        """Return a column that has few different texts."""
        start, length = span[0][self._rows], span[1][self._rows]
        codes: Ints = np.full(len(start), -1, dtype=np.int64)
        texts: list[str] = []
        rest = np.flatnonzero(length > 0)
        while rest.size:
            if len(texts) == _FEW:
                return self.many(span)
            at, size = int(start[rest[0]]), int(length[rest[0]])
            text = self.walk.data[at : at + size]
            same = length[rest] == size
            same &= self.walk.same(start[rest], text)
            codes[rest[same]] = len(texts)
            texts.append(text.decode("utf-8", "replace"))
            rest = rest[~same]
        return Coded(codes=codes, texts=tuple(texts))

    def many(self, span: Span) -> Coded:
        """Return a column that may have as many different texts as rows."""
        start, length = span[0][self._rows], span[1][self._rows]
        if length.size and length[0] > 0 and (length == length[0]).all():
            size = int(length[0])
            buffer = pa.py_buffer(self.walk.table(start, size))
            column = pa.Array.from_buffers(pa.binary(size), len(start), [None, buffer])
            found = column.dictionary_encode()
            flat = found.dictionary.buffers()[1]
            texts = AsciiTexts(np.frombuffer(flat, f"S{size}", count=len(found.dictionary)))
            return Coded(codes=found.indices.to_numpy().astype(np.int64), texts=texts)
        return coded(
            [
                text.decode("utf-8", "replace")
                for text in self.walk.slices(start, np.maximum(length, 0))
            ]
        )
