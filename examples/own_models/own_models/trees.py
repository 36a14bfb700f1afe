"""LightGBM's ranker over three features of an item, saved as LightGBM's own text."""

import json
from pathlib import Path
from typing import Self

import lightgbm as lgb
import numpy as np

import mlg
from own_models.counts import events, popularity, seen, together

_RECENT = 5


class Trees:
    """Ranks every item that was not met by boosted trees.

    Args:
        items: The catalogue.
        near: Cosine of each two items.
        popular: Popularity of each item, 0..1.
        booster: The trees.
    """

    def __init__(
        self, items: list[int], near: np.ndarray, popular: np.ndarray, booster: lgb.Booster
    ) -> None:
        self.items, self.near, self.popular, self.booster = items, near, popular, booster
        self._place = {item: n for n, item in enumerate(items)}

    @classmethod
    def fit(cls, training: mlg.Training) -> Self:
        """Learn to put the item that came next before those that did not."""
        near, popular = together(training), popularity(training)
        viewer, item, order = events(training)
        rows, labels, groups = [], [], []
        before: dict[int, list[int]] = {}
        for event in order:
            history = before.setdefault(int(viewer[event]), [])
            left = np.setdiff1d(np.arange(len(training.items)), history)
            rows.append(_features(near, popular, history, left))
            labels.append((left == item[event]).astype(int))
            groups.append(left.size)
            history.append(int(item[event]))
        data = lgb.Dataset(np.concatenate(rows), np.concatenate(labels), group=groups)
        params = {
            "objective": "lambdarank", "num_leaves": 15, "verbosity": -1, "num_threads": 1,
            "seed": training.seed, "deterministic": True, "force_row_wise": True,
        }  # fmt: skip
        rounds = int(training.params.get("rounds", 50))
        return cls(list(training.items), near, popular, lgb.train(params, data, rounds))

    def recommend(self, query: mlg.Query) -> mlg.Ranked:
        """Return the best items for the request's history."""
        return self.recommend_many([query])[0]

    def recommend_many(self, queries: list[mlg.Query]) -> list[mlg.Ranked]:
        """Return an answer a query; the trees are asked once for all of them."""
        asked = []
        for query in queries:
            history = seen(query, self._place)
            left = np.setdiff1d(np.arange(len(self.items)), history)
            asked.append((left, _features(self.near, self.popular, history, left)))
        rows = np.concatenate([rows for _, rows in asked])
        scores = np.asarray(self.booster.predict(rows, num_threads=1)) if len(rows) else rows
        answers, begin = [], 0
        for query, (left, part) in zip(queries, asked, strict=True):
            own = scores[begin : begin + len(part)]
            begin += len(part)
            best = np.argsort(-own, kind="stable")[: query.k]
            answers.append(
                mlg.Ranked(
                    items=tuple(self.items[left[n]] for n in best),
                    scores=tuple(float(own[n]) for n in best),
                )
            )
        return answers

    def save(self, folder: Path) -> None:
        """Write the trees as text and the arrays as .npy, without pickled objects."""
        text = self.booster.model_to_string()
        (folder / "trees.txt").write_text(text, encoding="utf-8")
        (folder / "items.json").write_text(json.dumps(self.items), encoding="utf-8")
        np.save(folder / "near.npy", self.near, allow_pickle=False)
        np.save(folder / "popular.npy", self.popular, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them."""
        return cls(
            json.loads((folder / "items.json").read_text(encoding="utf-8")),
            np.load(folder / "near.npy", allow_pickle=False),
            np.load(folder / "popular.npy", allow_pickle=False),
            lgb.Booster(model_str=(folder / "trees.txt").read_text(encoding="utf-8")),
        )


def _features(
    near: np.ndarray, popular: np.ndarray, history: list[int], left: np.ndarray
) -> np.ndarray:
    """Return popularity, closeness to the whole history and to the newest items."""
    if not history:
        return np.column_stack([popular[left], np.zeros(left.size), np.zeros(left.size)])
    rows = near[history][:, left]
    return np.column_stack([popular[left], rows.mean(axis=0), rows[-_RECENT:].mean(axis=0)])
