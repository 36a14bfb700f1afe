"""A model of one's own as it serves: the class behind the room's interface."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, isnan
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np

from mlg.core.errors import BackendError, LifecycleError
from mlg.core.predict import Key, Query, Ranked
from mlg.recsys.artifact import OWN, Fitted, loads, loads_lines
from mlg.recsys.columns import Floats, Vocabulary, from_ids
from mlg.recsys.confidence import Confidence, confidence_from, observe
from mlg.recsys.own_code import own_class
from mlg.recsys.popularity import list_from
from mlg.recsys.recommender import PopularityList

CODE: Final = f"{OWN}code/"
"""Folder of the artifact with the class and the project modules that it imports."""
FILES: Final = f"{OWN}files"
"""Folder of the artifact with what `save` wrote."""
DEFAULT_FEATURES: Final = ("history_length",)


class Answers(Protocol):
    """The part of `mlg.Model` that answers."""

    def recommend(self, query: Query) -> Ranked:
        """Return at most `query.k` items, best first."""
        ...


class Asked:
    """Asks a model of one's own, and completes its answers.

    Args:
        model: An instance of the class.
        items: The catalogue.
        popular: The popularity list.
        k: Length of the list that the confidence speaks of.
        confidence: Stands in for a model that has none.
    """

    def __init__(
        self,
        model: Answers,
        items: Vocabulary,
        popular: PopularityList,
        k: int,
        confidence: Confidence | None,
    ) -> None:
        self.model, self._items, self._k, self.confidence = model, items, k, confidence
        self._popular = frozenset(popular.items[: 5 * k])
        named = tuple(getattr(model, "logged_features", ()))
        self._own_features = bool(named)
        self.logged_features: tuple[str, ...] = named or DEFAULT_FEATURES

    def recommend(self, query: Query) -> Ranked:
        """Return the model's answer in plain Python values.

        With a confidence of mlg's the model is asked for at least k items, so that what is
        seen of them does not depend on how many were wanted.
        """
        asked = query
        if self.confidence is not None and query.k < self._k:
            asked = replace(query, k=self._k)
        return self._completed(query, self.model.recommend(asked))

    def recommend_many(self, queries: Sequence[Query]) -> list[Ranked]:
        """Return an answer a query, in order; asks the model once if it can rank many."""
        many: Any = getattr(self.model, "recommend_many", None)
        if many is None:
            return [self.recommend(query) for query in queries]
        least = self._k if self.confidence is not None else 0
        answers = many([replace(query, k=max(query.k, least)) for query in queries])
        return [
            self._completed(query, answer)
            for query, answer in zip(queries, answers, strict=True)
        ]

    def _completed(self, query: Query, answer: Ranked) -> Ranked:
        items = tuple(_plain(item) for item in answer.items)
        scores = tuple(float(score) for score in answer.scores)
        raw = float(answer.raw_confidence)
        if isnan(raw) and self.confidence is not None:
            raw = self.confidence.of(self.seen(query, items, scores))
        if self.confidence is not None:
            items, scores = items[: query.k], scores[: query.k]
        features = tuple(float(value) for value in answer.features)
        if not self._own_features:
            features = (float(len(query.history or ())),)
        return Ranked(items=items, scores=scores, raw_confidence=raw, features=features)

    def seen(self, query: Query, items: Sequence[Key], scores: Sequence[float]) -> Floats:
        """Return what the confidence model sees of an answer; it takes finite scores only."""
        k = self._k
        first = np.asarray(scores[:k], dtype=np.float64)
        if not np.isfinite(first).all():  # the answer will be withheld
            first = np.zeros(0)
        share = sum(item in self._popular for item in items[:k]) / max(len(items[:k]), 1)
        return observe(first, k, len(query.history or ()), share)


class OwnModel:
    """A class of the user's, loaded from its artifact with the code that it was trained by."""

    kind = "own"

    def __init__(self, fitted: Fitted) -> None:
        about = fitted.model
        if fitted.folder is None:
            raise BackendError(
                "a model of one's own is loaded from a folder only",
                where="model.json",
                hint="save the artifact first.",
            )
        self._items = from_ids(about["item_ids"], whole=about["item_type"] == "int")
        self.popularity: PopularityList = list_from(loads(fitted.texts["popularity.json"]))
        self.golden: list[dict[str, Any]] = loads_lines(fitted.texts["golden.jsonl"])
        self.item_ids: tuple[Key, ...] = self._items.ids
        text = fitted.texts.get("confidence.json")
        confidence = confidence_from(loads(text)) if text else None
        model = loaded(str(about["class"]), fitted, fitted.folder / FILES)
        self._asked = Asked(model, self._items, self.popularity, int(about["k"]), confidence)
        self.logged_features: tuple[str, ...] = tuple(about["features"])
        if self._asked.logged_features != self.logged_features:
            raise BackendError(
                f"expected logged features {', '.join(self.logged_features)}, got "
                f"{', '.join(self._asked.logged_features)}",
                where=str(about["class"]),
                hint="train again.",
            )
        self.repeats = bool(about.get("repeat", False))
        self.longest_history = 0 if self.repeats else len(self.item_ids)
        """What the class keeps of a viewer is its own affair: it may bar every item."""
        """Whether it may give what the viewer has had; if not, the replica withholds it."""

    def is_known_item(self, item: Key) -> bool:
        """Return whether the item is in the catalogue."""
        return self._items.code(item) >= 0

    def recommend(self, query: Query) -> Ranked:
        """Return what the class answers, with a confidence where it gives none."""
        return self._asked.recommend(query)

    def recommend_many(self, queries: Sequence[Query]) -> list[Ranked]:
        """Return an answer a query, in order."""
        return self._asked.recommend_many(queries)


def loaded(target: str, fitted: Fitted, folder: Path) -> Answers:
    """Return the class's instance, its code taken from the artifact's checked bytes.

    Raises:
        BackendError: The class cannot be imported, or does not load what it saved.
    """
    files = {
        name.removeprefix(CODE): content
        for name, content in fitted.blobs.items()
        if name.startswith(CODE)
    }
    try:
        cls = own_class(target, files)
        model: Any = cls.load(folder)
    except BackendError:
        raise
    except LifecycleError as error:
        raise BackendError(error.what, where=error.where, hint=error.hint) from error
    except Exception as error:  # whatever a class of the user's raises: it does not load
        raise BackendError(
            f"{target} does not load what it saved: {type(error).__name__}: {error}",
            where=FILES,
            hint="train again, or correct `load`.",
        ) from error
    if not callable(getattr(model, "recommend", None)):
        raise BackendError(
            f"expected `load` to return a model, got {type(model).__name__}", where=target
        )
    return cast("Answers", model)


def fault_in(answer: Ranked, query: Query, items: Vocabulary, features: int) -> str:
    """Return what is wrong with an answer, in words; empty: nothing.

    The replica withholds such answers; training says it before there is a replica.
    """
    if len(answer.items) != len(answer.scores):
        return f"{len(answer.items)} items and {len(answer.scores)} scores"
    if len(answer.items) > query.k:
        return f"{len(answer.items)} items where {query.k} were asked for"
    if not all(map(isfinite, answer.scores)):
        return "a score that is not a finite number"
    if len(set(answer.items)) != len(answer.items):
        return "an item twice"
    strange = [item for item in answer.items if items.code(item) < 0]
    if strange:
        return f"an item that is not in the catalogue, {strange[0]!r}"
    if not (isnan(answer.raw_confidence) or 0.0 <= answer.raw_confidence <= 1.0):
        return f"a confidence outside 0..1, {answer.raw_confidence:g}"
    if len(answer.features) != features:
        return f"{len(answer.features)} features where {features} are named"
    return ""


def _plain(item: Any) -> Key:
    """Return an identifier as int or str, whatever array it was taken from."""
    return cast("Key", item.item()) if isinstance(item, np.generic) else cast("Key", item)
