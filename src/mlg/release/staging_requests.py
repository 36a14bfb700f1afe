"""Requests of the live traffic, made again from what the prediction log keeps of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mlg.core.nodes import Attr
from mlg.core.predict import Key

LEAST: Final = 20
"""Fewer are no traffic: the recorded requests are asked instead."""
MOST: Final = 2_000
"""Of more, the newest."""
_MOST_ITEMS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRequests:
    """What viewers asked of late, or why that is not known."""

    bodies: tuple[bytes, ...] = ()
    """Oldest first."""
    known: int = 0
    """Of viewers that a version knows, so that it ranks by their history and features."""
    left_out: int = 0
    """Answers whose request cannot be made again."""
    why: str = ""
    """Why there is none."""

    @property
    def told(self) -> str:
        """Return which requests are asked, in words."""
        if not self.bodies:
            return f"recorded requests: {self.why}" if self.why else "recorded requests"
        words = f"{len(self.bodies)} requests of the log (viewer, time, number of items)"
        nobody = len(self.bodies) - self.known
        words += f", {nobody} of them of viewers whom no version knows" if nobody else ""
        more = f"; {self.left_out} more cannot be made again" if self.left_out else ""
        return words + more

    def facts(self, recorded: int) -> tuple[tuple[str, Attr], ...]:
        """Return how many requests are of the log, and how many are recorded ones."""
        if not self.bodies:
            return (("from_log", 0), ("from_recorded", recorded))
        return (
            ("from_log", len(self.bodies)),
            ("from_recorded", 0),
            ("from_log_known", self.known),
            ("left_out", self.left_out),
        )


def live_requests(
    rows: Iterable[Mapping[str, Any]], known: Mapping[str, Key], *, knows: bool
) -> LiveRequests:
    """Return the requests behind some answers.

    The log has the viewer under a key, the time, and the items. So the viewer's id is one of
    those that a version knows; his history and features are what it has of him, not what the
    request brought. A viewer whom nobody knows asks as nobody. Where no version knows any, a
    viewer's request cannot be made again: it was answered by what it brought. Nor can one
    that brought features of such a viewer.

    Args:
        rows: Answers as the log has them, oldest first.
        known: Id of a viewer by the key that the log has of him.
        knows: Whether a version keeps viewers at all.

    Examples:
        >>> row = {"viewer": "h7", "at": "2026-01-01T00:00:00Z", "items": [1, 2]}
        >>> live_requests([row] * 20, {"h7": 7}, knows=True).bodies[0]
        b'{"user_id":7,"k":2,"context":{"at":"2026-01-01T00:00:00Z"}}'
        >>> live_requests([row], {"h7": 7}, knows=True).told
        'recorded requests: the log has 1 that can be made again, 20 are the least'
    """
    bodies: list[bytes] = []
    left_out = of_known = 0
    for row in rows:
        hashed = row.get("viewer")
        user = known.get(str(hashed)) if hashed is not None else None
        if user is None and (row.get("given") or (hashed is not None and not knows)):
            left_out += 1
            continue
        of_known += user is not None
        k = min(_MOST_ITEMS, max(1, len(row["items"])))
        body = {"user_id": user, "k": k, "context": {"at": row["at"]}}
        bodies.append(msgspec.json.encode(body))
    if len(bodies) < LEAST:
        few = f"the log has {len(bodies)} that can be made again, {LEAST} are the least"
        return LiveRequests(left_out=left_out, why=few)
    return LiveRequests(bodies=tuple(bodies), known=of_known, left_out=left_out)


def spread(bodies: tuple[bytes, ...], most: int) -> tuple[bytes, ...]:
    """Return at most so many of the requests, evenly over all of them.

    Examples:
        >>> spread((b"a", b"b", b"c", b"d"), 2), spread((b"a",), 2)
        ((b'a', b'c'), (b'a',))
    """
    if len(bodies) <= most:
        return bodies
    return tuple(bodies[n * len(bodies) // most] for n in range(most))
