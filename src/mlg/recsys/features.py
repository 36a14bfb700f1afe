"""The one feature function: training rows and live requests both come from here.

A `Situation` is what is known of one request. `candidates` picks the items worth
ranking, `matrix` describes each of them; training and serving call the same two.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlg.recsys import ease
from mlg.recsys.columns import DAY_US, Codes, Floats, Floats32
from mlg.recsys.events import Past
from mlg.recsys.world import World

BRIEF = 1.5
"""Events after which an earlier one weighs 1/e in the briefest profile."""
SESSION_US = 3_600_000_000
"""Events less than an hour before the request belong to its session."""

SCORE_FEATURES = (
    "base_z", "base", "base_rank", "next", "next_rank", "brief", "long", "flat", "to_best",
    "to_moment", "liked", "trail_1", "trail_4", "trail_8", "recent_rank", "entry", "count",
    "count_gap", "place", "place_gap", "worth", "worth_gap", "lift", "age_days",
    "trait_recent", "trait_all", "kind_share",
)  # fmt: skip
"""`base_z` is stage 1's score, centred and scaled over the candidates of one request."""

SITUATION_FEATURES = (
    "history_length", "hours_since_last", "session_length", "history_days",
    "history_popularity", "recent_popularity", "value_mean", "value_last",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of one request."""

    past: Past
    at_us: int
    viewer: Floats
    """Viewer features as `levels.Feature.read` reads them, shape ``(V,)``; missing is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Scores of every item in one situation; arrays of shape ``(I,)``."""

    base: Floats32
    """Stage 1's own ranking; minus infinity where the item may not be shown."""
    next: Floats32
    lift: Floats32
    near: Floats32
    """Similarities of the events that are read, oldest first, shape ``(h, I)``."""
    age: Floats
    """How many events came after each of them, shape ``(h,)``."""
    facts: Floats
    """Values of `SITUATION_FEATURES`, NaN where unknown."""


def feature_names(world: World) -> tuple[str, ...]:
    """Return the names of the columns of `matrix`, in order."""
    return (
        *SCORE_FEATURES,
        *(f"stat:{name}" for name in world.stats.names),
        *logged_names(world),
    )


def logged_names(world: World) -> tuple[str, ...]:
    """Return the names of the features of the situation alone, in order."""
    return (*SITUATION_FEATURES, *(f"viewer:{item.name}" for item in world.viewer_features))


def _facts(world: World, situation: Situation) -> Floats:
    past, now = situation.past, situation.at_us
    length = past.items.size
    if not length:
        return np.array([0.0, np.nan, 0.0, np.nan, np.nan, np.nan, np.nan, np.nan])
    share = np.log1p(world.count[past.items])
    values = past.value
    known = values[~np.isnan(values)]
    return np.array(
        [
            float(length),
            (now - int(past.at[-1])) / 3.6e9,
            float(length - np.searchsorted(past.at, now - SESSION_US, side="left")),
            (now - int(past.at[0])) / DAY_US,
            float(share.sum()) / length,
            float(share[-10:].sum()) / min(length, 10),
            float(known.sum()) / known.size if known.size else np.nan,
            float(values[-1]),
        ]
    )


def scene_of(world: World, situation: Situation) -> Scene:
    """Return every item's scores in a situation; cost grows with `settings.last` x I.

    Without a history, stage 1 goes by what other viewers met first lately, and by what is
    usual among viewers with the same features.
    """
    settings = world.settings
    past = situation.past
    rows = world.viewer_rows(situation.viewer)
    lift = world.lift[rows].sum(axis=0) if rows else np.zeros(world.items, dtype=np.float32)
    items = past.items[-settings.last :]
    near = world.similarity[items]
    age = ease.ages(past.at[-settings.last :])
    if items.size:
        weights = ease.recency(age, settings.recent)
        base = weights @ near
        follow = weights @ world.follow[items]
    else:
        base = (world.entry + lift).astype(np.float32)
        follow = np.zeros(world.items, dtype=np.float32)
    if not settings.repeat:
        base[past.items] = -np.inf
    return Scene(
        base=base,
        next=follow,
        lift=lift,
        near=near,
        age=age,
        facts=_facts(world, situation),
    )


def _top(scores: Floats32, count: int) -> Codes:
    if count >= scores.size:
        return np.arange(scores.size, dtype=np.int32)
    return np.argpartition(scores, scores.size - count)[-count:].astype(np.int32)


def candidates(world: World, scene: Scene) -> Codes:
    """Return the codes of the items worth ranking, ascending; none that may not be shown.

    The best of stage 1, with the best followers of the last items and the most popular
    of the last days, at most about one and a half times `settings.candidates`.
    """
    count = world.settings.candidates
    chosen = np.zeros(world.items, dtype=bool)
    chosen[_top(scene.base, count)] = True
    allowed = np.isfinite(scene.base)
    chosen[_top(np.where(allowed, scene.next, -np.inf), max(count // 5, 1))] = True
    chosen[_top(np.where(allowed, world.recent_count, -np.inf), max(count // 5, 1))] = True
    return np.flatnonzero(chosen & allowed).astype(np.int32)


def _ranks(scores: Floats32) -> Floats32:
    """Return each score's place among the candidates, 0 is best."""
    result = np.empty(scores.size, dtype=np.float32)
    result[np.argsort(-scores, kind="stable")] = np.arange(scores.size, dtype=np.float32)
    return result


def matrix(world: World, situation: Situation, scene: Scene, codes: Codes) -> Floats:
    """Return the features of each candidate, shape ``(n, len(feature_names(world)))``.

    Args:
        world: Frozen knowledge.
        situation: The request.
        scene: `scene_of` of the two.
        codes: Candidates, shape ``(n,)``.
    """
    own, middle = len(SCORE_FEATURES), len(SCORE_FEATURES) + len(world.stats.names)
    result = np.empty((codes.size, middle + len(logged_names(world))))
    columns = {
        **_scores(world, scene, codes),
        **_likeness(world, situation.past, scene, codes),
    }
    age = (situation.at_us - world.first_us[codes]) / DAY_US
    columns["age_days"] = age
    for place, name in enumerate(SCORE_FEATURES):
        result[:, place] = columns[name]
    result[:, own:middle] = world.stats.at(codes, situation.at_us)
    result[:, middle : middle + len(SITUATION_FEATURES)] = scene.facts
    result[:, middle + len(SITUATION_FEATURES) :] = situation.viewer
    return result


def normalised(scores: Floats | Floats32) -> Floats:
    """Return scores centred and scaled to unit spread; all equal gives zeros.

    Examples:
        >>> normalised(np.array([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    if not scores.size:
        return np.zeros(0)
    centred = scores.astype(np.float64) - float(scores.mean())
    spread = float(np.sqrt(np.mean(centred**2)))
    return centred / spread if spread > 1e-9 else np.zeros(scores.size)


def _scores(world: World, scene: Scene, codes: Codes) -> dict[str, Any]:
    """Return what stage 1 and the freeze know of each candidate."""
    base, follow = scene.base[codes], scene.next[codes]
    trails = world.trails[:, codes]
    return {
        "base_z": normalised(base),
        "base": base,
        "base_rank": _ranks(base),
        "next": follow,
        "next_rank": _ranks(follow),
        "trail_1": trails[0],
        "trail_4": trails[1],
        "trail_8": trails[2],
        "recent_rank": _ranks(trails[0]),
        "entry": world.entry[codes],
        "count": np.log1p(world.count[codes]),
        "place": world.place[codes],
        "place_gap": world.place[codes] - np.log1p(scene.facts[0]),
        "worth": world.worth[codes],
        "lift": scene.lift[codes],
    }


_LIKENESS = (
    "brief", "long", "flat", "to_best", "to_moment", "liked", "count_gap", "worth_gap",
    "trait_recent", "trait_all", "kind_share",
)  # fmt: skip


def _likeness(world: World, past: Past, scene: Scene, codes: Codes) -> dict[str, Any]:
    """Return how each candidate compares with the viewer's history; NaN without one."""
    if not past.items.size:
        return dict.fromkeys(_LIKENESS, np.nan)
    settings = world.settings
    items, at = past.items[-settings.last :], past.at[-settings.last :]
    near = scene.near[:, codes]
    recent = ease.recency(scene.age, settings.recent)
    steady = ease.recency(scene.age, settings.steady)
    weight = recent / recent.sum()
    values = past.value[-settings.last :]
    known = ~np.isnan(values)
    liking = np.zeros(items.size, dtype=np.float32)
    if known.any():
        liking[known] = (values[known] - values[known].mean()) * steady[known]
    moment = int(np.searchsorted(at, at[-1], side="left"))
    usual = world.traits[past.items].sum(axis=0) / past.items.size
    traits = world.traits[codes]
    same = world.kinds[codes][:, None, :] == world.kinds[items[-30:]][None, :, :]
    met = np.log1p(world.count[items])
    return {
        "brief": ease.recency(scene.age, BRIEF) @ near,
        "long": steady @ near,
        "flat": near.sum(axis=0),
        "to_best": near[-5:].max(axis=0),
        "to_moment": near[moment:].mean(axis=0),
        "liked": liking @ near,
        "count_gap": np.log1p(world.count[codes]) - weight @ met,
        "worth_gap": world.worth[codes] - weight @ world.worth[items],
        "trait_recent": traits @ (weight @ world.traits[items]),
        "trait_all": traits @ usual,
        "kind_share": same.mean(axis=(1, 2)) if same.size else 0.0,
    }


def logged(situation: Situation, scene: Scene) -> tuple[float, ...]:
    """Return the values of `logged_names`."""
    return (*scene.facts.tolist(), *situation.viewer.tolist())
