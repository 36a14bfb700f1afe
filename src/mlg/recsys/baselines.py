"""The held-out events in order, and the plain models that every other is compared with."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlg.recsys.columns import DAY_US, Floats, Floats32, Vocabulary
from mlg.recsys.ease import ease, trailing_counts
from mlg.recsys.events import Histories, Log
from mlg.recsys.results import Scored

NAMES = ("popularity_7d", "popularity_all", "ease")
WARM = 5
"""Earlier events from which a viewer counts as warm."""
LIST = 10
"""Length of the lists whose coverage and hits (for calibration) are counted."""
EASE_RIDGE = 300.0
"""Of the plain EASE; the same on all data, not tuned."""
EASE_ITEMS = 6000
"""Most items for which the plain EASE, whose matrix is items x items, is fitted."""


class Stream:
    """The held-out events, with each one's history."""

    def __init__(self, log: Log, viewers: Vocabulary, items: Vocabulary, start: int) -> None:
        self.log, self.start = log, start
        self.viewers, self.items = viewers, items
        self.histories = Histories(log, len(viewers.ids))
        self.cluster = log.viewer[start:].astype(np.int64)
        self.target = log.item[start:]
        self.length = np.array(
            [
                self.histories.before(int(log.viewer[place]), int(log.at[place])).items.size
                for place in range(start, len(log))
            ]
        )
        self.segments: dict[str, NDArray[np.bool_]] = {
            "all": np.ones(self.length.size, dtype=bool),
            "warm": self.length >= WARM,
            "cold": self.length < WARM,
        }


def popular(stream: Stream, days: float | None) -> Scored:
    """Return popularity counted up to each event; ties rank the next item first.

    The optimistic tie rule can only flatter the baseline.
    """
    log, count = stream.log, len(stream.items.ids)
    size = len(log) - stream.start
    ranks = np.zeros(size, dtype=np.int64)
    shown = np.full((size, LIST), -1, dtype=np.int32)
    counts = np.zeros(count)
    low = high = 0
    for number in range(size):
        place = stream.start + number
        now = int(log.at[place])
        while log.at[high] < now:
            counts[log.item[high]] += 1
            high += 1
        if days is not None:
            while log.at[low] < now - int(days * DAY_US):
                counts[log.item[low]] -= 1
                low += 1
        met = stream.histories.before(int(log.viewer[place]), now).items
        scores = counts.copy()
        _ask(stream, number, scores, met, ranks, shown)
    return _scored(stream, ranks, shown)


def plain_ease(stream: Stream) -> Scored | None:
    """Return EASE fitted once on the events before the cut; None above `EASE_ITEMS` items.

    A viewer's scores are the sum of his items' rows: every event counts once, however old,
    whatever its value. Without a history it is the popularity of the last 7 days.

    Source:
        H. Steck (2019), Embarrassingly Shallow Autoencoders, WWW '19, eq. 8.
    """
    items, viewers = len(stream.items.ids), len(stream.viewers.ids)
    if items > EASE_ITEMS:
        return None
    log = stream.log
    met = np.zeros((viewers, items), dtype=np.float32)
    train = log.span(0, stream.start)
    met[train.viewer, train.item] = 1.0
    return linear(stream, ease((met.T @ met).astype(np.float64), EASE_RIDGE))


def linear(stream: Stream, weights: Floats32) -> Scored:
    """Return a model whose scores are the sum of the weights' rows of what a viewer met.

    Args:
        stream: The held-out events.
        weights: Shape ``(I, I)``; row i is what having met item i adds to every score.
    """
    return by_history(stream, lambda met: weights[np.unique(met)].sum(axis=0))


def by_history(
    stream: Stream, scores: Callable[[NDArray[np.int32]], Floats | Floats32]
) -> Scored:
    """Return a model that scores every item from the set that a viewer met.

    Without a history it is the popularity of the last 7 days.

    Args:
        stream: The held-out events.
        scores: From items, shape ``(h,)``, h > 0, to scores of every item, shape ``(I,)``.
    """
    log, items = stream.log, len(stream.items.ids)
    size = len(log) - stream.start
    ranks = np.zeros(size, dtype=np.int64)
    shown = np.full((size, LIST), -1, dtype=np.int32)
    for number in range(size):
        place = stream.start + number
        now = int(log.at[place])
        met = stream.histories.before(int(log.viewer[place]), now).items
        if met.size:
            found = np.array(scores(met), dtype=np.float64)
        else:
            found = trailing_counts(log.item, log.at, now, int(7 * DAY_US), items)
        _ask(stream, number, found, met, ranks, shown)
    return _scored(stream, ranks, shown)


def _ask(
    stream: Stream,
    number: int,
    scores: Floats,
    met: NDArray[np.int32],
    ranks: NDArray[np.int64],
    shown: NDArray[np.int32],
) -> None:
    """Write the rank of the next item, and the list, of one event; changes `scores`."""
    scores[met] = -np.inf
    own = scores[stream.target[number]]
    ranks[number] = 1 + int((scores > own).sum()) if np.isfinite(own) else 0
    top = np.argpartition(-scores, min(LIST, scores.size) - 1)[:LIST]
    top = top[np.isfinite(scores[top])]
    shown[number, : top.size] = top


def _scored(stream: Stream, ranks: NDArray[np.int64], shown: NDArray[np.int32]) -> Scored:
    return Scored(
        ranks=ranks,
        shown=shown,
        confidence=np.full(ranks.size, np.nan),
        cluster=stream.cluster,
        length=stream.length,
    )
