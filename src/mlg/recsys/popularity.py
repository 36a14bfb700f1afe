"""The popularity list: the fallback's answer, and a recommender of its own."""

from dataclasses import asdict
from typing import Any

import numpy as np

from mlg.core.predict import Key, Query, Ranked
from mlg.recsys.artifact import Fitted, loads, loads_lines
from mlg.recsys.columns import DAY_US, Floats, Vocabulary, from_ids
from mlg.recsys.ease import trailing_counts
from mlg.recsys.events import Log
from mlg.recsys.recommender import PopularityList


def popularity_scores(log: Log, items: int, end_us: int, days: float) -> Floats:
    """Return each item's count over the last days before a time, shape ``(I,)``.

    All earlier events break ties: they add less than one event in sum.

    Source:
        Y. Ji, A. Sun, J. Zhang, C. Li (2020), SIGIR '20, pp. 1749-1752 (recent popularity).
    """
    recent = trailing_counts(log.item, log.at, end_us, int(days * DAY_US), items)
    every = trailing_counts(
        log.item, log.at, end_us, end_us - int(log.at.min(initial=0)), items
    )
    return recent + every / (every.max(initial=0.0) + 1.0)


def popularity_list(
    train: Log, held: Log, items: Vocabulary, *, cut_us: int, days: float, k: int
) -> PopularityList:
    """Return the list at the cut, with its hit rate over held-out events before the cut.

    Args:
        train: Events before the held-out ones.
        held: Events that the rate is measured on; the list for them is of their beginning.
        items: Codes of the items.
        cut_us: Time of the shipped list.
        days: Trailing days that are counted.
        k: Length of the list that the rate speaks of.
    """
    both = Log(
        viewer=np.concatenate((train.viewer, held.viewer)),
        item=np.concatenate((train.item, held.item)),
        at=np.concatenate((train.at, held.at)),
        value=np.concatenate((train.value, held.value)),
        row=np.concatenate((train.row, held.row)),
    )
    count = len(items.ids)
    begin = int(held.at[0]) if len(held) else cut_us
    early = popularity_scores(train, count, begin, days)
    top = np.argsort(-early, kind="stable")[:k]
    hit = float(np.isin(held.item, top).mean()) if len(held) else 0.0
    scores = popularity_scores(both, count, cut_us, days)
    order = np.argsort(-scores, kind="stable")
    return PopularityList(
        items=tuple(items.ids[code] for code in order.tolist()),
        scores=tuple(round(float(scores[code]), 6) for code in order),
        hit_rate=round(hit, 6),
    )


def list_document(popular: PopularityList) -> dict[str, Any]:
    """Return the list as the JSON object of `popularity.json`."""
    return asdict(popular)


def list_from(raw: dict[str, Any]) -> PopularityList:
    """Return the list from its JSON object."""
    return PopularityList(
        items=tuple(raw["items"]),
        scores=tuple(raw["scores"]),
        hit_rate=float(raw["hit_rate"]),
    )


class Popularity:
    """Answers everyone with the list, without what the viewer has met already."""

    kind = "popularity"
    logged_features: tuple[str, ...] = ("history_length",)
    longest_history = 0

    def __init__(self, fitted: Fitted) -> None:
        model = fitted.model
        self._items = from_ids(model["item_ids"], whole=model["item_type"] == "int")
        self.popularity: PopularityList = list_from(loads(fitted.texts["popularity.json"]))
        self.golden: list[dict[str, Any]] = loads_lines(fitted.texts["golden.jsonl"])
        self.item_ids: tuple[Key, ...] = self._items.ids
        self.repeats = bool(model.get("repeat", False))

    def is_known_item(self, item: Key) -> bool:
        """Return whether the item is in the catalogue."""
        return self._items.code(item) >= 0

    def recommend(self, query: Query) -> Ranked:
        """Return the best `query.k` of the list; confidence is its measured hit rate.

        Only a history in the request bars items: the artifact keeps no viewers.
        """
        history = query.history or ()
        barred = set[int]() if self.repeats else {self._items.code(e.item_id) for e in history}
        items: list[Key] = []
        scores: list[float] = []
        for item, score in zip(self.popularity.items, self.popularity.scores, strict=True):
            if len(items) >= query.k:
                break
            if self._items.code(item) not in barred:
                items.append(item)
                scores.append(score)
        return Ranked(
            items=tuple(items),
            scores=tuple(scores),
            raw_confidence=self.popularity.hit_rate,
            features=(float(len(history)),),
        )
