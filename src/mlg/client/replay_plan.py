"""Held-out events -> the requests that their viewers would have made; pure.

A table with viewers gives sessions (one a viewer, pass and day) of a few requests, each
with the viewer's strictly earlier events as history. A table without viewers gives one
request, and one session, an impression.
"""

from bisect import bisect_left
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from math import isfinite, nan, sqrt
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from mlg.core.clock import rfc3339

Array = NDArray[Any]

DAY_US: Final = 86_400_000_000
WEEK_US: Final = 7 * DAY_US
_Asked = tuple[int, int, Any]
"""When a request is made, when its viewer really was there, and the viewer."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interactions:
    """Events of a table as columns of equal length, in any order.

    Raises:
        ValueError: The columns differ in length.
    """

    item: Array
    at_us: NDArray[np.int64]
    """Event time, microseconds since 1970 UTC."""
    value: NDArray[np.float64]
    """What the viewer gave the item: a rating, a click."""
    viewer: Array | None = None
    context: tuple[tuple[str, Array], ...] = ()
    """Viewer features of each event, by column name."""

    def __post_init__(self) -> None:
        columns = [self.item, self.at_us, self.value, *(column for _, column in self.context)]
        if self.viewer is not None:
            columns.append(self.viewer)
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise ValueError(f"expected columns of one length, got lengths {sorted(lengths)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emphasis:
    """Some viewers ask more often than they did; nobody is invented, and no event is.

    Of each pass's requests the others keep an even sample, at its own times. All remaining
    times are taken by the emphasised viewers' own requests, drawn in turn from a shuffled
    list; each is shifted in time as a whole, history included, as a pass is.
    """

    viewers: frozenset[Any]
    share: float
    """Of all requests of a pass, 0 < share <= 1."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"a share lies in (0, 1], got {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How held-out events are turned into requests."""

    passes: int = 1
    first_pass: int = 0
    """Number of the first pass; a second replay goes on where the first one ended."""
    per_session: int = 4
    """At most so many requests a session."""
    history: int = 50
    """At most so many newest earlier events a request."""
    k: int = 10
    value_range: tuple[float, float] = (0.0, 1.0)
    """Values that mean watched not at all, and to the end."""
    hit_at_least: float | None = None
    """Least value of a hit; None counts any later event with the item."""
    emphasis: Emphasis | None = None
    """Viewers whose share of the requests grows; only for a table with viewers."""
    bootstrap: int | None = None
    """Seed with which each pass draws its viewers anew, with replacement; None: all, once."""

    def __post_init__(self) -> None:
        if (
            min(self.passes, self.per_session, self.k) < 1
            or min(self.history, self.first_pass) < 0
        ):
            raise ValueError(
                "passes, per_session and k must be >= 1, history and first_pass >= 0"
            )
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range must rise, got {self.value_range}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One request to make, and what would be a hit."""

    session: str
    viewer: Any
    """The viewer's id, or None."""
    pass_no: int
    at: str
    """Event time, RFC 3339."""
    body: dict[str, Any]
    """JSON body of the recommend request."""
    wanted: dict[Any, float]
    """Items really taken at or after `at`, with watch-through 0..1 (NaN: unknown)."""


def _time(us: int) -> str:
    return rfc3339(_EPOCH + timedelta(microseconds=us))


@dataclass(slots=True, kw_only=True)
class _Events:
    """One viewer's events in time order."""

    items: list[Any]
    times: list[int]
    values: list[float]
    held: list[bool]
    _texts: list[str] = field(default_factory=list[str])
    _pass_no: int = -1

    def texts(self, pass_no: int, shift: int) -> list[str]:
        """Return the times as text in a pass; made once a pass."""
        if self._pass_no != pass_no:
            self._texts = [_time(us + shift) for us in self.times]
            self._pass_no = pass_no
        return self._texts


class ReplayPlan:
    """The requests of all passes in event-time order, made one by one.

    In pass p all events are p spans later; the span is the held-out period rounded up to
    whole weeks, so event time never runs back and hours of the week stay what they were.
    A viewer's earlier events are shifted with him, so each pass looks alike to a model.

    Args:
        heldout: Events to replay.
        earlier: Events before them; the viewers' history.
        replay: How.
    """

    def __init__(
        self, heldout: Interactions, earlier: Interactions | None, replay: Replay
    ) -> None:
        self.replay = replay
        self._heldout = heldout
        self._low, high = replay.value_range
        self._width = high - self._low
        times = heldout.at_us
        period = int(times.max() - times.min()) + 1 if len(times) else 0
        self.start_us = int(times.min()) if len(times) else 0
        self.span_us = -(-period // WEEK_US) * WEEK_US
        if heldout.viewer is None:
            self._order = np.argsort(times, kind="stable")
            self._viewers: dict[Any, _Events] = {}
            self._rows: list[_Asked] = []
            if replay.emphasis or replay.bootstrap is not None:
                raise ValueError("a table without viewers has none to emphasise or to draw")
        else:
            self._viewers = _by_viewer(heldout, earlier)
            starts = _session_starts(heldout, replay.per_session)
            self._rows = _emphasised(starts, replay.emphasis)
            self._order = np.arange(len(self._rows))

    def after(self, at_us: int) -> "ReplayPlan":
        """Return the same replay in later passes: none of its requests lies before a time."""
        spans = -(-(at_us - self.start_us) // self.span_us) if self.span_us else 0
        first = max(self.replay.first_pass, spans)
        plan = copy(self)
        plan.replay = replace(self.replay, first_pass=first)
        return plan

    def __len__(self) -> int:
        if self.replay.bootstrap is None:
            return self.replay.passes * len(self._order)
        first = self.replay.first_pass
        return sum(len(self._drawn(n)) for n in range(first, first + self.replay.passes))

    def __iter__(self) -> Iterator[Planned]:
        first = self.replay.first_pass
        for pass_no in range(first, first + self.replay.passes):
            shift = pass_no * self.span_us
            if self._heldout.viewer is None:
                yield from (self._impression(int(row), pass_no, shift) for row in self._order)
            else:
                rows = self._drawn(pass_no)
                yield from (self._request(row, pass_no, shift) for row in rows)

    def _drawn(self, pass_no: int) -> list[_Asked]:
        """Return the requests of a pass; a viewer who is drawn twice asks twice."""
        seed = self.replay.bootstrap
        if seed is None:
            return self._rows
        names = list(self._viewers)
        drawn = np.random.default_rng((seed, pass_no)).integers(0, len(names), len(names))
        times = dict(zip(names, np.bincount(drawn, minlength=len(names)).tolist(), strict=True))
        return [row for row in self._rows for _ in range(times[row[2]])]

    def _watched(self, value: float) -> float:
        if not isfinite(value):
            return nan
        return min(1.0, max(0.0, (value - self._low) / self._width))

    def _is_hit(self, value: float) -> bool:
        least = self.replay.hit_at_least
        return least is None or value >= least

    def _request(self, asked: _Asked, pass_no: int, shift: int) -> Planned:
        at_us, own_us, viewer = asked
        events = self._viewers[viewer]
        start = bisect_left(events.times, own_us)
        rows = range(max(0, start - self.replay.history), start)
        if at_us == own_us:
            whole = events.texts(pass_no, shift)
            texts = [whole[row] for row in rows]
        else:
            texts = [_time(events.times[row] + shift + at_us - own_us) for row in rows]
        history = [
            {"item_id": events.items[row], "at": text, "value": events.values[row]}
            if isfinite(events.values[row])
            else {"item_id": events.items[row], "at": text}
            for row, text in zip(rows, texts, strict=True)
        ]
        wanted: dict[Any, float] = {}
        for row in range(start, len(events.items)):
            if events.held[row] and self._is_hit(events.values[row]):
                wanted.setdefault(events.items[row], self._watched(events.values[row]))
        session = f"{quote(str(viewer), safe='')}.{pass_no}.{at_us // DAY_US}"
        at = _time(at_us + shift)
        body = {
            "user_id": viewer,
            "k": self.replay.k,
            "session_id": session,
            "context": {"at": at, "history": history},
        }
        return Planned(
            session=session, viewer=viewer, pass_no=pass_no, at=at, body=body, wanted=wanted
        )

    def _impression(self, row: int, pass_no: int, shift: int) -> Planned:
        heldout = self._heldout
        at = _time(int(heldout.at_us[row]) + shift)
        value = float(heldout.value[row])
        session = f"{row}.{pass_no}"
        body = {
            "k": self.replay.k,
            "session_id": session,
            "context": {
                "at": at,
                "viewer": {name: _plain(column[row]) for name, column in heldout.context},
            },
        }
        wanted = (
            {_plain(heldout.item[row]): self._watched(value)} if self._is_hit(value) else {}
        )
        return Planned(
            session=session, viewer=None, pass_no=pass_no, at=at, body=body, wanted=wanted
        )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _by_viewer(heldout: Interactions, earlier: Interactions | None) -> dict[Any, _Events]:
    """Return each held-out viewer's events, the earlier ones included, in time order.

    Raises:
        ValueError: `earlier` has no viewers.
    """
    parts = [heldout] if earlier is None else [earlier, heldout]
    if any(part.viewer is None for part in parts):
        raise ValueError("the earlier events have no viewers, the held-out ones do")
    viewer = np.concatenate([np.asarray(part.viewer) for part in parts])
    item = np.concatenate([np.asarray(part.item) for part in parts])
    at_us = np.concatenate([part.at_us for part in parts])
    value = np.concatenate([part.value for part in parts])
    held = np.concatenate([np.full(len(part.item), part is heldout) for part in parts])
    codes = np.unique(viewer, return_inverse=True)[1]
    order = np.lexsort((at_us, codes))  # stable: ties keep the table's order
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    groups: dict[Any, _Events] = {}
    for rows in np.split(order, bounds):
        if held[rows].any():
            groups[_plain(viewer[rows[0]])] = _Events(
                items=item[rows].tolist(),
                times=at_us[rows].tolist(),
                values=value[rows].tolist(),
                held=held[rows].tolist(),
            )
    return groups


def _session_starts(heldout: Interactions, per_session: int) -> list[tuple[int, Any]]:
    """Return (time, viewer) of each request of one pass, in time order.

    A session's requests are spread evenly over its distinct event times.
    """
    times: dict[tuple[int, Any], set[int]] = {}
    viewers = np.asarray(heldout.viewer)
    for row in range(len(heldout.item)):
        us = int(heldout.at_us[row])
        times.setdefault((us // DAY_US, _plain(viewers[row])), set()).add(us)
    starts: list[tuple[int, int, Any]] = []
    for number, ((_, viewer), moments) in enumerate(times.items()):
        ordered = sorted(moments)
        picked = np.linspace(0, len(ordered) - 1, min(per_session, len(ordered)))
        starts += [(ordered[int(index)], number, viewer) for index in picked]
    starts.sort(key=lambda start: start[:2])
    return [(us, viewer) for us, _, viewer in starts]


def _emphasised(starts: list[tuple[int, Any]], emphasis: Emphasis | None) -> list[_Asked]:
    """Return the requests of one pass in time order, as many as `starts`.

    Raises:
        ValueError: None of the viewers is there, or their share is as great already.
    """
    if emphasis is None:
        return [(us, us, who) for us, who in starts]
    inside = [number for number, (_, who) in enumerate(starts) if who in emphasis.viewers]
    others = [number for number, (_, who) in enumerate(starts) if who not in emphasis.viewers]
    keep = round(len(starts) * (1.0 - emphasis.share))
    if not inside or keep > len(others):
        raise ValueError(
            f"{len(inside)} of {len(starts)} requests are of the emphasised viewers: "
            f"their share cannot become {emphasis.share:g}"
        )
    rng = np.random.default_rng(emphasis.seed)
    kept = set(rng.permutation(others)[:keep].tolist())
    turn = cycle(rng.permutation(inside).tolist())
    asked: list[_Asked] = []
    for number, (us, who) in enumerate(starts):
        if number in kept:
            asked.append((us, us, who))
        else:
            own_us, viewer = starts[next(turn)]
            asked.append((us, own_us, viewer))
    return asked


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share; (0, 1) without any observation.

    Requests of one viewer are not independent, so over few viewers it is too narrow.

    Args:
        hits: Successes, 0..n.
        n: Trials, >= 0.
        z: Normal quantile; 1.96 is 95 %.

    Source:
        E. B. Wilson (1927), JASA 22(158):209-212.

    Examples:
        >>> tuple(round(x, 4) for x in wilson(10, 100))
        (0.0552, 0.1744)
    """
    if n == 0:
        return 0.0, 1.0
    share, extra = hits / n, z * z / n
    centre = (share + extra / 2) / (1 + extra)
    half = z * sqrt(share * (1 - share) / n + extra / (4 * n)) / (1 + extra)
    return max(0.0, centre - half), min(1.0, centre + half)
