"""A ranker without viewers: every item scored from what is known of the request.

The model is a logistic regression, so an item's logit is its own part plus one number
for each level of each context feature: serving is a sum of a few rows of a table.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mlg.core.predict import Key, Query, Ranked
from mlg.recsys.artifact import Fitted, loads, loads_lines
from mlg.recsys.columns import Floats, Vocabulary, from_ids
from mlg.recsys.confidence import LEAST, MOST
from mlg.recsys.levels import Feature
from mlg.recsys.popularity import list_from
from mlg.recsys.recommender import PopularityList
from mlg.recsys.world import features_from

ANSWER_FEATURES = ("top_probability", "probability_margin", "unknown_context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binned:
    """Context features as levels: text by its level, numbers by fifths of training."""

    features: tuple[Feature, ...]
    start: tuple[int, ...]
    """First level of each feature, and the number of all levels at the end."""
    edges: Floats
    """Inner bin edges of numbers, shape ``(features, 4)``; NaN for text."""

    def rows(self, values: Floats) -> list[int]:
        """Return the levels that one request selects; missing and unknown ones none."""
        found: list[int] = []
        for place, feature in enumerate(self.features):
            value = float(values[place])
            if np.isnan(value) or (feature.levels is not None and value < 0):
                continue
            if feature.levels is None:
                level = int(np.searchsorted(self.edges[place], value, side="right"))
            else:
                level = int(value)
            found.append(self.start[place] + level)
        return found


def binned(features: tuple[Feature, ...], matrix: Floats) -> Binned:
    """Return how context becomes levels, from training rows of shape ``(n, features)``."""
    edges = np.full((len(features), 4), np.nan)
    start = [0]
    for place, feature in enumerate(features):
        if feature.levels is None:
            known = matrix[~np.isnan(matrix[:, place]), place]
            edges[place] = np.quantile(known, [0.2, 0.4, 0.6, 0.8]) if known.size else np.inf
            start.append(start[-1] + 5)
        else:
            start.append(start[-1] + len(feature.levels))
    return Binned(features=features, start=tuple(start), edges=edges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The whole catalogue's logits in one context, and what goes with them."""

    logit: Floats
    order: NDArray[np.int64]
    """Codes, best first."""
    confidence: float
    features: tuple[float, ...]


class ContextRanker:
    """Scores the whole catalogue for each request."""

    kind = "context_ranker"
    longest_history = 0

    def __init__(self, fitted: Fitted) -> None:
        model = fitted.model
        self._items: Vocabulary = from_ids(model["item_ids"], whole=model["item_type"] == "int")
        self._base: Floats = fitted.arrays["base"]
        self._table: Floats = fitted.arrays["by_level"]
        self._context = Binned(
            features=features_from(model["context"]),
            start=tuple(model["context_start"]),
            edges=fitted.arrays["edges"],
        )
        confidence = loads(fitted.texts["confidence.json"])
        self._knots = np.asarray(confidence["knots"], dtype=np.float64)
        self._levels = np.asarray(confidence["levels"], dtype=np.float64)
        self._k = int(model["k"])
        self.popularity: PopularityList = list_from(loads(fitted.texts["popularity.json"]))
        self.golden: list[dict[str, Any]] = loads_lines(fitted.texts["golden.jsonl"])
        self.item_ids: tuple[Key, ...] = self._items.ids
        self.logged_features: tuple[str, ...] = tuple(model["features"])

    def is_known_item(self, item: Key) -> bool:
        """Return whether the item is in the catalogue."""
        return self._items.code(item) >= 0

    def recommend(self, query: Query) -> Ranked:
        """Return the best `query.k` items by P(click); scores are those probabilities.

        `raw_confidence` is P(at least one click among the artifact's k), taking clicks on
        different items of one answer as independent given the context.
        """
        given = dict(query.viewer)
        values = np.array(
            [feature.read(given.get(feature.name)) for feature in self._context.features]
        )
        answer = self.answer(values)
        k = max(query.k, 0)
        scores = expit(answer.logit[answer.order[:k]])
        return Ranked(
            items=tuple(self.item_ids[code] for code in answer.order[:k].tolist()),
            scores=tuple(cast("list[float]", scores.tolist())),
            raw_confidence=answer.confidence,
            features=answer.features,
        )

    def answer(self, values: Floats) -> "Answer":
        """Return everything about the answer to one context, shape ``(features,)``."""
        rows = self._context.rows(values)
        logit = self._base + self._table[rows].sum(axis=0)
        order = np.argsort(-logit, kind="stable")
        p = np.interp(logit[order], self._knots, self._levels)
        top = p[: self._k]
        confidence = 1.0 - float(np.prod(1.0 - top))
        margin = float(p[0] - p[min(self._k, p.size) - 1])
        unknown = float(len(self._context.features) - len(rows))
        return Answer(
            logit=logit,
            order=order,
            confidence=min(max(confidence, LEAST), MOST),
            features=(*values.tolist(), float(p[0]), margin, unknown),
        )
