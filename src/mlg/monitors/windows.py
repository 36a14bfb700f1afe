"""What one window of live traffic says: counts that merge by addition, and a small sample.

A stream is what one set of charts watches: `requests` is all traffic of a service with what
came in the request; each model version has a stream of its own with what the model made of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.groups import Grouped, parts_of
from mlg.monitors.levels import MOST_LEVELS, LongText

REQUESTS: Final = "requests"
"""Name of the stream of all traffic of a service."""

BINS: Final = 20
"""Bins of a numeric feature: 19 inner edges at the quantiles of the reference."""

SAMPLE: Final = 200
"""Rows that a window keeps: those with the smallest hash of their `prediction_id`."""

TOP_ACTORS: Final = 5
"""Busiest viewers that a closed window names, by the hash under which the log knows them."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One logged feature, as the segment's packed row holds it."""

    name: str
    levels: tuple[str, ...] | None = None
    """Levels of a text feature in code order; None for a number. Code -1 is another text."""
    of: Literal["request", "model"] = "model"
    """`request`: the same whatever model answers, so its baseline outlives a swap."""
    per_viewer: bool = False
    """Counted once a viewer and window: what does not change from request to request."""
    edges: tuple[float, ...] = ()
    """Inner bin edges, rising; empty: taken from the stream's first window."""
    group: str = ""
    """The feature of several columns that it is a part of, charted as one."""
    beyond: int = 0
    """Levels that its text had beyond those kept: the last kept ones stand for many each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the packed features of one model version are, in order."""

    version: str
    features: tuple[Feature, ...]
    long: dict[str, LongText] = field(default_factory=dict[str, LongText])
    """Texts of which not every level is kept, by feature."""


def layout_of(
    version: str,
    names: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    *,
    request: Sequence[str] = (),
) -> Layout:
    """Return a version's layout from `features` and `levels` of its artifact's `model.json`.

    Args:
        version: The model version, as records name it.
        names: Logged features in the order of the packed row.
        levels: Levels of the text features among them; of more than a thousand, the first are
            kept, so the most frequent should be.
        request: Features that do not depend on the model, beside those named `viewer:…`,
            which are counted once a viewer and window: requests of one viewer are one
            observation of his age, not many.

    Examples:
        >>> [f.of for f in layout_of("v1", ["viewer:age", "score_margin"], {}).features]
        ['request', 'model']
    """
    own = frozenset(request)
    groups = parts_of(names)
    of_group = {at: group.name for group in groups.values() for at in group.columns}
    long = {
        name: LongText(texts)
        for name, texts in levels.items()
        if name in names and len(texts) > MOST_LEVELS
    }
    features = [
        Feature(
            name=name,
            levels=long[name].kept if name in long
            else tuple(levels[name]) if name in levels else None,
            of="request" if name.startswith("viewer:") or name in own else "model",
            per_viewer=name.startswith("viewer:"),
            group=of_group.get(at, ""),
            beyond=long[name].beyond if name in long else 0,
        )
        for at, name in enumerate(names)
    ]  # fmt: skip
    return Layout(version=version, features=tuple(features), long=long)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One feature over one window; two merge into that of both."""

    name: str
    n: int = 0
    """Rows in which the feature was due, missing ones included."""
    missing: int = 0
    """Rows without a finite value: NaN and infinities."""
    infinite: int = 0
    """Of them the infinite ones."""
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared deviations from the mean, over finite values."""
    counts: tuple[int, ...] = ()
    """Per bin of a number, or per level of a text with other texts last; empty: no bins yet."""

    @property
    def modal(self) -> float:
        """Share of the fullest bin or level; 0 without any."""
        total = sum(self.counts)
        return max(self.counts) / total if total else 0.0

    @property
    def sd(self) -> float:
        """Standard deviation of the finite values; 0 for fewer than two."""
        known = self.n - self.missing
        return sqrt(self.m2 / (known - 1)) if known > 1 else 0.0


def no_confidence() -> Summary:
    """Return the empty summary of raw confidence."""
    return Summary(name="raw_confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sampled answer: its id and its packed features."""

    rank: str
    """Hash of the id as hex: the sample is the rows of smallest rank, whatever the order."""
    prediction_id: str
    values: bytes
    """Little-endian float32, one a column of the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One closed window of one stream."""

    service: str
    stream: str
    number: int
    """Counts up from 0 within the stream."""
    start: str
    """Smallest event time, RFC 3339."""
    end: str
    n: int = 0
    features: tuple[Summary, ...] = ()
    """The charted features."""
    shares: dict[str, int] = field(default_factory=dict[str, int])
    """Answers by `served_by=…`."""
    confidence: Summary = field(default_factory=no_confidence)
    groups: tuple[Grouped, ...] = ()
    """Features of several columns."""
    columns: tuple[Feature, ...] = ()
    """What the sampled rows hold."""
    rows: tuple[Row, ...] = ()
    actors: int = 0
    """Different viewers; answers without a viewer are not counted."""
    top_actors: tuple[tuple[str, int], ...] = ()
    """(hashed viewer, answers), busiest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupQuality:
    """What became of the answers to one group of viewers; two add up to that of both."""

    feature: str
    level: str
    """Level of the text feature; `(others)`, `(unseen)` and `(missing)` are no levels."""
    n: int = 0
    """As those of `Quality`, and so the others."""
    labelled: int = 0
    hits: int = 0
    expected: float = 0.0
    watch_n: int = 0
    watch_sum: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What became of a window's answers, once their labels had time to come."""

    service: str
    version: str
    number: int
    """Number of the window in the version's stream."""
    start: str
    end: str
    n: int
    """Answers given by the model itself."""
    labelled: int
    """Of them those with any feedback; the others were perhaps never shown."""
    hits: int
    expected: float
    """Sum of raw confidence over the labelled ones: hits to expect if it is calibrated."""
    watch_n: int = 0
    watch_sum: float = 0.0
    groups: tuple[GroupQuality, ...] = ()
    """Each group that any of the answers are of, by the monitor's `groups:`."""

    @property
    def label_completeness(self) -> float:
        """Share of the answers whose label is known; 1 without any answer."""
        return self.labelled / self.n if self.n else 1.0


def sample_matrix(columns: Sequence[Feature], rows: Sequence[Row]) -> Floats:
    """Return sampled rows as numbers, shape ``(len(rows), len(columns))``; NaN is missing."""
    if not rows:
        return np.zeros((0, len(columns)))
    flat = np.frombuffer(b"".join(row.values for row in rows), dtype="<f4")
    return flat.reshape(len(rows), len(columns)).astype(np.float64)


def quantile_edges(values: Floats, bins: int = BINS) -> tuple[float, ...]:
    """Return different inner edges at the quantiles of the finite values; (0.0,) without any.

    Args:
        values: Values in any order, shape ``(n,)``; NaN and infinities are passed over.
        bins: Bins wanted, >= 2; fewer where values repeat.

    Examples:
        >>> quantile_edges(np.arange(5.0), bins=4)
        (1.0, 2.0, 3.0)
        >>> len(quantile_edges(np.full(5, 7.0))), quantile_edges(np.full(5, 7.0))[0]
        (2, 7.0)
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return (0.0,)
    found = np.unique(np.quantile(known, np.arange(1, bins) / bins))
    if found.size < bins - 1:  # values repeat: what is above them all is another bin
        found = np.append(found, np.nextafter(np.float32(found[-1]), np.float32(np.inf)))
    return tuple(found.tolist())


def summarise(feature: Feature, values: Floats, edges: Sequence[float]) -> Summary:
    """Return one feature's summary.

    Args:
        feature: What the values are.
        values: Shape ``(n,)``; NaN and infinities count as missing.
        edges: Inner bin edges of a number (a value equal to an edge lies above it); empty:
            it is not binned.
    """
    finite = np.isfinite(values)
    known = values[finite]
    counts: tuple[int, ...] = ()
    if feature.levels is not None:
        size = len(feature.levels)
        codes = np.where((known < 0) | (known >= size), size, known).astype(np.int64)
        counts = tuple(np.bincount(codes, minlength=size + 1).tolist())
    elif edges:
        places = np.searchsorted(np.asarray(edges), known, side="right")
        counts = tuple(np.bincount(places, minlength=len(edges) + 1).tolist())
    mean = float(known.mean()) if known.size else 0.0
    return Summary(
        name=feature.name,
        n=int(values.size),
        missing=int(values.size - known.size),
        infinite=int(np.isinf(values).sum()),
        mean=mean,
        m2=float(((known - mean) ** 2).sum()),
        counts=counts,
    )


def merge(a: Summary, b: Summary) -> Summary:
    """Return the summary of both windows' rows together.

    Raises:
        ValueError: The two are not of one feature, or have different bins.

    Source:
        T. Chan, G. Golub, R. LeVeque (1983), The American Statistician 37(3):242-247.

    Examples:
        >>> number = Feature(name="age")
        >>> one, two = (summarise(number, np.array(x), ()) for x in ([1.0, 3.0], [8.0]))
        >>> merge(one, two).mean, merge(one, two).m2
        (4.0, 26.0)
    """
    if a.name != b.name or (a.counts and b.counts and len(a.counts) != len(b.counts)):
        raise ValueError(f"summaries of {a.name!r} and {b.name!r} do not merge")
    known_a, known_b = a.n - a.missing, b.n - b.missing
    known = known_a + known_b
    gap = b.mean - a.mean
    pairs = zip(a.counts or (0,) * len(b.counts), b.counts or (0,) * len(a.counts), strict=True)
    return replace(
        a,
        n=a.n + b.n,
        missing=a.missing + b.missing,
        infinite=a.infinite + b.infinite,
        mean=a.mean + gap * known_b / known if known else 0.0,
        m2=a.m2 + b.m2 + (gap * gap * known_a * known_b / known if known else 0.0),
        counts=tuple(x + y for x, y in pairs),
    )


def numbers(record: Mapping[str, Any], name: str) -> float:
    """Return a record's number; NaN when it is missing or no number."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    return float(value)
