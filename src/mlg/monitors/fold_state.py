"""What the folding of records remembers between two calls: plain values, all bounded."""

from dataclasses import dataclass, field

from mlg.monitors.groups import Grouped
from mlg.monitors.windows import Feature, Row, Summary, no_confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """How traffic is cut into windows; one of `events` and `seconds`."""

    service: str
    events: int | None = 1_000
    seconds: float | None = None
    """Length in event time."""
    late_s: float = 3.0
    """Event time for which a window of seconds stays open after its end."""
    label_wait_s: float = 600.0
    """Event time after a window's end until its labels count as complete."""
    label_lag: int = 64
    """Answers that must have been read since, too: event time may jump."""
    groups: tuple[str, ...] = ()
    """Text features by whose levels quality is told apart."""

    def __post_init__(self) -> None:
        given = [size for size in (self.events, self.seconds) if size is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ValueError(f"expected events or seconds > 0, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A window that still takes answers."""

    bucket: int
    number: int
    start: str
    end: str
    n: int = 0
    features: tuple[Summary, ...] = ()
    shares: dict[str, int] = field(default_factory=dict[str, int])
    confidence: Summary = field(default_factory=no_confidence)
    rows: tuple[Row, ...] = ()
    actors: dict[str, int] = field(default_factory=dict[str, int])
    groups: tuple[Grouped, ...] = ()
    unbinned: bool = False
    """Whether it began before the edges were known: its bins will be its sample's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream between two calls."""

    columns: tuple[Feature, ...]
    charted: tuple[int, ...]
    """Columns whose summaries are kept."""
    grouped: tuple[str, ...] = ()
    """Features of several columns whose summaries are kept."""
    edges: tuple[tuple[float, ...], ...]
    """Of each charted column; empty until the first window closed."""
    closed: int = 0
    """Windows numbered so far."""
    done_before: int = -(2**62)
    """Buckets before this one are closed for good."""
    open: tuple[Open, ...] = ()
    last: int | None = None
    """Newest bucket that was closed, of windows of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer whose labels may still come, as it was stored before there were columns."""

    version: str
    number: int
    items: str
    """Item ids, each between line feeds."""
    raw: float | None
    by_model: bool
    labelled: bool = False
    hit: bool = False
    watch: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupColumn:
    """The level of one feature that each remembered answer has."""

    feature: str
    texts: tuple[str, ...] = ()
    codes: bytes = b""
    """Place in `texts`, int32; -1: not known. One a remembered answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """Answers whose labels may still come, as little-endian columns; oldest first."""

    ids: tuple[str, ...] = ()
    items: tuple[bytes, ...] = ()
    """Items shown, each answer's as a msgpack array."""
    versions: tuple[str, ...] = ()
    version: bytes = b""
    """Place in `versions`, int32."""
    number: bytes = b""
    """Window in the version's stream, int64; -1: none."""
    raw: bytes = b""
    """Raw confidence, float64; NaN: none within 0..1."""
    by_model: bytes = b""
    labelled: bytes = b""
    hit: bytes = b""
    watch: bytes = b""
    """Greatest watch-through, float64; NaN: none."""
    groups: tuple[GroupColumn, ...] = ()
    levels: dict[str, dict[str, tuple[str, ...]]] = field(
        default_factory=dict[str, dict[str, tuple[str, ...]]]
    )
    """Levels that are charted, by version and feature, in the order in which they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A closed window whose labels are awaited."""

    version: str
    number: int
    start: str
    end: str
    read: int
    """Answers read when it closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldState:
    """Everything between two calls; goes through msgspec both ways, and is bounded."""

    streams: dict[str, Stream] = field(default_factory=dict[str, Stream])
    remembered: Remembered = field(default_factory=Remembered)
    answered: dict[str, Answered] = field(default_factory=dict[str, Answered])
    """As it was stored before there were columns; empty after the next call."""
    waiting: tuple[Waiting, ...] = ()
    pending: dict[str, tuple[tuple[str, str, float | None], ...]] = field(
        default_factory=dict[str, tuple[tuple[str, str, float | None], ...]]
    )
    """Feedback that came before its answer: (item, event, watch-through)."""
    newest: tuple[str, ...] = ()
    """The three latest event times."""
    read: int = 0
    duplicates: int = 0
    late: int = 0
    """Answers whose window of seconds was closed already."""
    orphans: int = 0
    """Feedback without an answer, or too late to count."""
    malformed: int = 0
    unknown_layout: int = 0
    """Answers with features of a version whose layout was not given, or of another length."""
    late_run: int = 0
    """Answers in a row that came too late: so many, and it is the clock that went back."""
    odd: dict[str, int] = field(default_factory=dict[str, int])
    """What else was met and not charted, and how often: each is told once."""
