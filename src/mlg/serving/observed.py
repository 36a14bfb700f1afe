"""Confidence of answers that nobody calibrated: what share of alike answers was a hit.

A recommender that mlg did not train says a score, on a scale of its own. Answers whose time
for feedback is over are put into five levels of equal size by their highest score; the
share of hits of a level is the confidence of the next answer that falls into it. Until
there are enough of both sorts there is no confidence, and none is made up.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mlg.core.clock import parse_time

LEVELS: Final = 5
LEAST_ANSWERS: Final = 200
LEAST_HITS: Final = 20
SETTLES_S: Final = 300.0
"""How long after an answer its feedback is waited for, in event time."""
KEPT: Final = 10_000
"""Newest answers that are looked at."""
_ENGAGED: Final = frozenset(("play", "complete"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Shares of hits by score, as observed."""

    edges: tuple[float, ...]
    """Lowest score of each level but the first, ascending."""
    shares: tuple[float, ...]
    """Share of answers with a hit, one more than edges, 0..1."""

    def confidence(self, score: float) -> float:
        """Return the share of hits of the level that a score falls into."""
        return self.shares[bisect_right(self.edges, score)]


def levels_of(answers: Sequence[tuple[float, bool]]) -> Levels | None:
    """Return the levels of settled answers; None while there is too little to say.

    Equal scores are never parted, so a recommender that always says the same score has one
    level, and its overall share of hits.

    Args:
        answers: Highest score of an answer, and whether one of its items was engaged with.

    Examples:
        >>> levels_of([(1.0, False)] * 100) is None
        True
        >>> found = levels_of([(0.1, False)] * 200 + [(0.9, True)] * 200)
        >>> found.confidence(0.0), found.confidence(0.95)
        (0.0, 1.0)
    """
    hits = sum(hit for _, hit in answers)
    if len(answers) < LEAST_ANSWERS or hits < LEAST_HITS:
        return None
    scores = sorted(score for score, _ in answers)
    marks = {scores[len(scores) * n // LEVELS] for n in range(1, LEVELS)}
    edges = tuple(sorted(mark for mark in marks if mark > scores[0]))
    total, hit = [0] * (len(edges) + 1), [0] * (len(edges) + 1)
    for score, engaged in answers:
        level = bisect_right(edges, score)
        total[level] += 1
        hit[level] += engaged
    return Levels(edges=edges, shares=tuple(h / n for h, n in zip(hit, total, strict=True)))


class Observations:
    """Answers of one version with their feedback, as the log tells them.

    Args:
        version: Whose answers count.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._answers: OrderedDict[str, tuple[datetime, float, frozenset[str]]] = OrderedDict()
        self._hits: set[str] = set()
        self._newest: datetime | None = None

    def answer(self, record: Mapping[str, Any]) -> None:
        """Take a logged answer; one that the list gave, or another version, does not count."""
        at = parse_time(str(record["at"]))
        self._newest = max(at, self._newest or at)
        if record["model_version"] != self._version or record["served_by"] != "model":
            return
        items = frozenset(map(str, record["items"]))
        if not items:
            return
        self._answers[str(record["prediction_id"])] = (at, max(record["scores"]), items)
        while len(self._answers) > KEPT:
            gone, _ = self._answers.popitem(last=False)
            self._hits.discard(gone)

    def feedback(self, record: Mapping[str, Any]) -> None:
        """Take logged feedback; of an answer that is not known it is nothing."""
        known = self._answers.get(str(record["prediction_id"]))
        hit = known is not None and str(record["item_id"]) in known[2]
        if hit and record["event"] in _ENGAGED:
            self._hits.add(str(record["prediction_id"]))

    def settled(self) -> tuple[tuple[float, bool], ...]:
        """Return score and hit of every answer whose time for feedback is over."""
        if self._newest is None:
            return ()
        until = self._newest - timedelta(seconds=SETTLES_S)
        return tuple(
            (score, name in self._hits)
            for name, (at, score, _) in self._answers.items()
            if at <= until
        )
