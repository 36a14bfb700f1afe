"""The two-stage recommender as it serves: candidates, ranker, confidence."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from mlg.core.predict import Interaction, Key, Query, Ranked
from mlg.recsys.artifact import Fitted, loads, loads_lines
from mlg.recsys.columns import Codes, Floats, Vocabulary, from_ids, to_us
from mlg.recsys.confidence import Confidence, confidence_from, observe
from mlg.recsys.events import NO_PAST, Past
from mlg.recsys.features import (
    SCORE_FEATURES,
    Scene,
    Situation,
    candidates,
    logged,
    logged_names,
    matrix,
    scene_of,
)
from mlg.recsys.popularity import list_from
from mlg.recsys.recommender import PopularityList
from mlg.recsys.trees import Ranker
from mlg.recsys.viewers import Viewers, viewers_from
from mlg.recsys.world import World, world_from

ANSWER_FEATURES = ("score_margin", "score_entropy", "popularity_share")


def past_of(history: Sequence[Interaction], items: Vocabulary, at_us: int) -> Past:
    """Return a request's history as arrays, oldest first.

    Items that are not in the catalogue, impressions, and events at or after the
    request's own time are left out; an event without a time counts as just before it.
    """
    found: list[tuple[int, int, float]] = []
    for entry in history:
        code = items.code(entry.item_id)
        if code < 0 or entry.event == "impression":
            continue
        at = at_us - 1 if entry.at is None else to_us(entry.at)
        if at < at_us:
            value = float("nan") if entry.value is None else entry.value
            found.append((at, code, value))
    if not found:
        return NO_PAST
    found.sort(key=lambda event: event[0])
    return Past(
        items=np.array([event[1] for event in found], dtype=np.int32),
        at=np.array([event[0] for event in found], dtype=np.int64),
        value=np.array([event[2] for event in found]),
    )


def rank(
    world: World, ranker: Ranker | None, situation: Situation
) -> tuple[Scene, Codes, Floats]:
    """Return the scene, the candidates' codes best first, and their scores.

    Without a ranker the order is stage 1's own. Equal scores keep the order of codes.
    """
    scene = scene_of(world, situation)
    codes = candidates(world, scene)
    if ranker is None:
        scores = scene.base[codes].astype(np.float64)
    else:
        rows = matrix(world, situation, scene, codes)
        scores = ranker.score(rows) + ranker.blend * rows[:, SCORE_FEATURES.index("base_z")]
    order = np.argsort(-scores, kind="stable")
    return scene, codes[order], scores[order]


class TwoStage:
    """Candidates by similarity to recent history, ranked by boosted trees."""

    kind = "two_stage"

    def __init__(self, fitted: Fitted) -> None:
        model = fitted.model
        self._items = from_ids(model["item_ids"], whole=model["item_type"] == "int")
        self._viewers: Viewers = viewers_from(fitted.tables["users"], model["viewer_type"])
        self.longest_history = int(np.diff(self._viewers.histories.offsets).max(initial=0))
        self._world: World = world_from(model["world"], dict(fitted.arrays))
        text = fitted.texts.get("ranker.txt")
        self.repeats = self._world.settings.repeat
        self._ranker = Ranker(text, blend=float(model["blend"])) if text else None
        self._confidence: Confidence = confidence_from(loads(fitted.texts["confidence.json"]))
        self._k = int(model["k"])
        self.popularity: PopularityList = list_from(loads(fitted.texts["popularity.json"]))
        self.golden: list[dict[str, Any]] = loads_lines(fitted.texts["golden.jsonl"])
        self.item_ids: tuple[Key, ...] = self._items.ids
        self.logged_features: tuple[str, ...] = (*logged_names(self._world), *ANSWER_FEATURES)
        self._popular = popular_mask(self.popularity, self._items, self._k)

    def is_known_item(self, item: Key) -> bool:
        """Return whether the item is in the catalogue."""
        return self._items.code(item) >= 0

    def code(self, item: Key) -> int:
        """Return the model's own code of an item, or -1."""
        return self._items.code(item)

    def situation(self, query: Query) -> Situation:
        """Return what is known of a request, from it or else from the artifact's table."""
        at_us = to_us(query.at)
        row = -1 if query.user_id is None else self._viewers.ids.code(query.user_id)
        if query.history is None:
            past = self._viewers.histories.before(row, at_us)
        else:
            past = past_of(query.history, self._items, at_us)
        features = self._world.viewer_features
        viewer = self._viewers.features[row] if row >= 0 else np.full(len(features), np.nan)
        if query.viewer:
            given = dict(query.viewer)
            viewer = viewer.copy()
            for place, feature in enumerate(features):
                if feature.name in given:
                    viewer[place] = feature.read(given[feature.name])
        return Situation(past=past, at_us=at_us, viewer=viewer)

    def recommend(self, query: Query) -> Ranked:
        """Return at most `query.k` items, best first; fewer when there are no more.

        Confidence speaks of the artifact's own k, whatever the query asks for.
        """
        return self.answer(self.situation(query), query.k)

    def answer(self, situation: Situation, most: int) -> Ranked:
        """Return at most so many items for a situation of this model's own codes."""
        scene, codes, scores = rank(self._world, self._ranker, situation)
        share = float(self._popular[codes[: self._k]].mean()) if codes.size else 0.0
        seen = observe(scores, self._k, situation.past.items.size, share)
        if most > codes.size:
            codes, scores = _extended(scene, codes, scores, most)
        k = max(most, 0)
        ids = self.item_ids
        return Ranked(
            items=tuple(ids[code] for code in codes[:k].tolist()),
            scores=tuple(cast("list[float]", scores[:k].tolist())),
            raw_confidence=self._confidence.of(seen),
            features=(*logged(situation, scene), float(seen[1]), float(seen[2]), share),
        )


def popular_mask(popular: PopularityList, items: Vocabulary, k: int) -> Floats:
    """Return 1.0 for each item among the first 5 k of the popularity list, shape ``(I,)``."""
    mask = np.zeros(len(items.ids))
    mask[[items.code(key) for key in popular.items[: 5 * k]]] = 1.0
    return mask


def _extended(scene: Scene, codes: Codes, scores: Floats, k: int) -> tuple[Codes, Floats]:
    """Return the list followed by further allowed items in stage 1's order, scores falling."""
    left = np.isfinite(scene.base)
    left[codes] = False
    more = np.flatnonzero(left).astype(np.int32)
    more = more[np.argsort(-scene.base[more], kind="stable")][: k - codes.size]
    last = float(scores[-1]) if scores.size else 0.0
    tail = last - 1e-3 * np.arange(1.0, more.size + 1.0, dtype=np.float64)
    return np.concatenate((codes, more)), np.concatenate((scores, tail))
