"""Answers of the model that were given before, for requests that ask the same again.

What is kept is the model's own answer, after its checks. Whether it is shown, under which
prediction id and with which confidence is decided for each request anew, and logged.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlg.core.predict import Query, Ranked


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """How much a cache keeps, and for how long."""

    entries: int
    """Most answers, >= 1; the one that was asked for longest ago goes first."""
    ttl_s: float
    """Seconds of event time for which an answer may stand for a later one, > 0."""


class ResultCache:
    """Keeps the newest answers of one model version, by what they depend on.

    An answer depends on the time of its request. It stands for requests from that time on,
    for `ttl_s` of event time: never for an earlier one, whose answer may not know of it.

    Args:
        size: How much it keeps.
    """

    def __init__(self, size: CacheSize) -> None:
        self._entries, self._ttl = size.entries, timedelta(seconds=size.ttl_s)
        self._kept: OrderedDict[Hashable, tuple[datetime, Ranked]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, query: Query, policy: str) -> Ranked | None:
        """Return the answer to an equal request under the same policy, or None."""
        key = key_of(query, policy)
        found = self._kept.get(key)
        if found is None:
            return None
        at, ranked = found
        if not timedelta(0) <= query.at - at < self._ttl:
            return None
        self._kept.move_to_end(key)
        return ranked

    def put(self, query: Query, policy: str, ranked: Ranked) -> None:
        """Keep an answer, in place of an older one to the same request."""
        key = key_of(query, policy)
        self._kept[key] = (query.at, ranked)
        self._kept.move_to_end(key)
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)


def key_of(query: Query, policy: str) -> Hashable:
    """Return everything of a request that its answer depends on, but the time.

    Features are kept with their types: 1, 1.0 and True are equal and may be read apart.

    Args:
        query: The request.
        policy: Version of the policy in force. The model's version is the process's own.
    """
    viewer = tuple((name, type(value), value) for name, value in query.viewer)
    return (policy, query.user_id, query.k, query.history, viewer)
