"""Many answers of the log as columns: what the folding reads, without an object an answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlg.core.clock import parse_time, rfc3339
from mlg.monitors.windows import numbers

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
Ranks = NDArray[np.uint64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MIX: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


class AsciiTexts(Sequence[str]):
    """Texts that become text when they are asked for: of most viewers only the number counts.

    Args:
        table: Texts of one length.
    """

    def __init__(self, table: "NDArray[np.bytes_]") -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [str(text, "latin-1") for text in self._table[index].tolist()]
        return str(self._table[index], "latin-1")

    def pick(self, codes: Ints) -> list[str]:
        """Return many at once."""
        size = self._table.dtype.itemsize
        bytes_of = np.ascontiguousarray(self._table[codes]).view(np.uint8)
        return bytes_of.astype("<u4").view(f"<U{size}").ravel().tolist()

    def heads(self, codes: Ints) -> Ranks:
        """Return the first eight bytes of each as one number, in the order of the texts."""
        return self._table[codes].astype("S8").view(">u8").astype(np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A column of texts: the different ones, and which of them each row has."""

    codes: Ints
    """Place in `texts`; -1: none."""
    texts: Sequence[str]

    def text(self, row: int) -> str:
        """Return a row's text; empty without one."""
        code = int(self.codes[row])
        return self.texts[code] if code >= 0 else ""

    def pick(self, codes: Ints) -> list[str]:
        """Return the texts of codes that are not negative."""
        if isinstance(self.texts, AsciiTexts):
            return self.texts.pick(codes)
        return [self.texts[int(code)] for code in codes]

    def smallest(self, codes: Ints, most: int) -> Ints:
        """Return at least so many of the codes, those whose texts come first among them."""
        if isinstance(self.texts, AsciiTexts) and codes.size > most > 0:
            heads = self.texts.heads(codes)
            return codes[heads <= np.partition(heads, most - 1)[most - 1]]
        return codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Answers in the order of the log, one row each."""

    ids: list[str]
    rank: Ranks
    """`ranks` of the ids."""
    at_us: Ints
    """Event time, microseconds since 1970."""
    service: Coded
    version: Coded
    served_by: Coded
    """`model`, `fallback`, or `rescue` for the list that answers when nothing else can."""
    viewer: Coded
    """Hash under which the log knows the viewer."""
    raw: NDArray[np.float64]
    """Raw confidence; NaN: none."""
    given: NDArray[np.bool_]
    """Whether the request brought features of the viewer."""
    items: list[bytes]
    """The items shown, as a msgpack array."""
    width: Ints
    """Features of each row; 0: it has none."""
    values: Singles
    """All features, row after row, shape ``(width.sum(),)``."""
    malformed: int = 0
    """Records that had no id or no time, and are not here."""

    def __len__(self) -> int:
        return len(self.ids)

    def matrix(self, rows: Ints, width: int) -> Singles:
        """Return the features of rows that all have so many, shape ``(len(rows), width)``."""
        if (self.width == width).all():  # no search for them
            table = self.values.reshape(-1, width)
            if rows.size and rows[-1] - rows[0] + 1 == rows.size:
                return table[int(rows[0]) : int(rows[-1]) + 1]
            return table[rows]
        starts = np.cumsum(self.width) - self.width
        return self.values[starts[rows][:, np.newaxis] + np.arange(width)]

    def take(self, rows: Ints) -> "Answers":
        """Return these rows, rising, in this order."""
        every = np.zeros(len(self.ids), dtype=np.bool_)
        every[rows] = True
        picked = rows.tolist()
        return replace(
            self,
            ids=[self.ids[row] for row in picked],
            items=[self.items[row] for row in picked],
            rank=self.rank[rows],
            at_us=self.at_us[rows],
            raw=self.raw[rows],
            given=self.given[rows],
            width=self.width[rows],
            values=self.values[np.repeat(every, self.width)],
            **{
                name: replace(getattr(self, name), codes=getattr(self, name).codes[rows])
                for name in ("service", "version", "served_by", "viewer")
            },
        )

    def rows(self, last: int) -> list[dict[str, Any]]:
        """Return the last rows as plain values, as far as they are kept here."""
        first = max(0, len(self.ids) - last)
        ends = np.cumsum(self.width)
        return [
            {
                "prediction_id": self.ids[row],
                "model_version": self.version.text(row),
                "viewer": self.viewer.text(row) or None,
                "given": bool(self.given[row]),
                "features": self.values[ends[row] - self.width[row] : ends[row]].tolist(),
            }
            for row in range(first, len(self.ids))
        ]


def micros(text: str) -> int:
    """Return microseconds since 1970 of an RFC 3339 text.

    Raises:
        ValueError: It is no time.

    Examples:
        >>> micros("1970-01-01T00:00:01Z")
        1000000
    """
    return (parse_time(text) - _EPOCH) // _MICROSECOND


def time_text(at_us: int) -> str:
    """Return a time in microseconds since 1970 as RFC 3339.

    Examples:
        >>> time_text(1_500_000)
        '1970-01-01T00:00:01.500000Z'
    """
    return rfc3339(_EPOCH + int(at_us) * _MICROSECOND)


def coded(texts: Sequence[str]) -> Coded:
    """Return texts as codes; an empty one is none.

    Examples:
        >>> coded(["a", "", "b", "a"]).codes.tolist()
        [0, -1, 1, 0]
    """
    places = {text: place for place, text in enumerate(dict.fromkeys(filter(None, texts)))}
    codes = np.fromiter((places.get(text, -1) for text in texts), np.int64, len(texts))
    return Coded(codes=codes, texts=tuple(places))


def ranks(ids: "NDArray[np.bytes_]", lengths: Ints) -> Ranks:
    """Return a hash of each id that depends on nothing else: a sample is the smallest ones.

    Args:
        ids: Padded with zero bytes, shape ``(n,)``.
        lengths: Bytes of each, shape ``(n,)``.

    Source:
        S. Vigna (2015), splitmix64: the finalizer of D. Stafford's "Mix13".

    Examples:
        >>> one = ranks(np.array([b"p1"]), np.array([2]))
        >>> two = ranks(np.array([b"p1", b"a-longer-one"]), np.array([2, 12]))
        >>> bool(one[0] == two[0])
        True
    """
    size = -(-max(ids.dtype.itemsize, 1) // 8)
    words = np.ascontiguousarray(ids.astype(f"S{8 * size}")).view("<u8").reshape(len(ids), size)
    hashes = lengths.astype(np.uint64)
    for place in range(size):
        mixed = hashes ^ words[:, place]
        mixed += _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        mixed ^= mixed >> np.uint64(31)
        inside = lengths > 8 * place
        hashes = mixed if inside.all() else np.where(inside, mixed, hashes)
    return hashes


def answers_of(rows: Iterable[Mapping[str, Any]], service: str) -> Answers:
    """Return decoded rows of the prediction log as columns.

    Args:
        rows: As `decode_prediction` gives them.
        service: A row that names none is of this one; others' broken rows are nobody's here.
    """
    good: list[tuple[Mapping[str, Any], str, int]] = []
    malformed = 0
    for row in rows:
        identifier = str(row.get("prediction_id") or "")
        try:
            at_us = micros(str(row.get("at") or ""))
        except ValueError:
            at_us = None
        if identifier and at_us is not None:
            good.append((row, identifier, at_us))
        elif row.get("service", service) == service:
            malformed += 1
    plain = [row for row, _, _ in good]
    ids = [identifier for _, identifier, _ in good]
    texts = [identifier.encode() for identifier in ids]
    features = [np.asarray(row.get("features") or (), np.float64) for row in plain]
    with np.errstate(over="ignore"):  # beyond its range is infinite
        values = np.concatenate([*features, np.zeros(0)]).astype(np.float32)
    return Answers(
        ids=ids,
        rank=ranks(np.array(texts, dtype="S"), np.array([*map(len, texts)], dtype=np.int64)),
        at_us=np.array([at_us for _, _, at_us in good], dtype=np.int64),
        service=coded([str(row.get("service", service)) for row in plain]),
        version=coded([str(row.get("model_version") or "") for row in plain]),
        served_by=coded([_served(row) for row in plain]),
        viewer=coded([str(row.get("viewer") or "") for row in plain]),
        raw=np.array([numbers(row, "raw_confidence") for row in plain], dtype=np.float64),
        given=np.array([row.get("given") is not False for row in plain], dtype=np.bool_),
        items=[msgspec.msgpack.encode(list(row.get("items") or ())) for row in plain],
        width=np.array([each.size for each in features], dtype=np.int64),
        values=values,
        malformed=malformed,
    )


def _served(row: Mapping[str, Any]) -> str:
    return "rescue" if row.get("reason") == "rescue" else str(row.get("served_by") or "model")


def joined(parts: Sequence[Answers]) -> Answers:
    """Return the answers of all parts, one after another.

    Raises:
        ValueError: There is no part.
    """
    if not parts:
        raise ValueError("expected at least one part")
    if len(parts) == 1:
        return parts[0]
    return Answers(
        ids=[identifier for part in parts for identifier in part.ids],
        items=[items for part in parts for items in part.items],
        rank=np.concatenate([part.rank for part in parts]),
        at_us=np.concatenate([part.at_us for part in parts]),
        service=_one([part.service for part in parts]),
        version=_one([part.version for part in parts]),
        served_by=_one([part.served_by for part in parts]),
        viewer=_one([part.viewer for part in parts]),
        raw=np.concatenate([part.raw for part in parts]),
        given=np.concatenate([part.given for part in parts]),
        width=np.concatenate([part.width for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        malformed=sum(part.malformed for part in parts),
    )


def _one(parts: Sequence[Coded]) -> Coded:
    places: dict[str, int] = {}
    codes: list[Ints] = []
    for part in parts:
        own = [places.setdefault(text, len(places)) for text in part.texts]
        codes.append(np.array([*own, -1], dtype=np.int64)[part.codes])
    return Coded(codes=np.concatenate(codes), texts=tuple(places))
