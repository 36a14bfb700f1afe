"""The one feature function: training rows and live requests both come from here.

A `Situation` is what is known of one request. `candidates` picks the items worth
ranking, `matrix` describes each of them; training and serving call the same two.
"""

from dataclasses import dataclass

import numpy as np

from mlg.recsys import ease
from mlg.recsys.columns import DAY_US, Codes, Floats, Floats32
from mlg.recsys.events import Past
from mlg.recsys.world import World

SESSION_US = 3_600_000_000
"""Events less than an hour before the request belong to its session."""

SCORE_FEATURES = (
    "short", "short_share", "short_rank", "long", "flat", "next", "next_rank", "to_last",
    "to_best", "recent_count", "recent_rank", "count", "lift", "age_days", "trait_recent",
    "trait_all", "kind_share",
)  # fmt: skip

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

    short: Floats32
    long: Floats32
    flat: Floats32
    next: Floats32
    to_last: Floats32
    to_best: Floats32
    lift: Floats32
    base: Floats32
    """Stage 1's own ranking; minus infinity where the item may not be shown."""
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
    """Return every item's scores in a situation; cost grows with `settings.last` x I."""
    settings = world.settings
    past = situation.past
    rows = world.viewer_rows(situation.viewer)
    lift = world.lift[rows].sum(axis=0) if rows else np.zeros(world.items, dtype=np.float32)
    if past.items.size:
        items, at = past.items[-settings.last :], past.at[-settings.last :]
        weights = np.stack(
            (
                ease.recency(at, settings.recent),
                ease.recency(at, settings.steady),
                np.ones(items.size, dtype=np.float32),
            )
        )
        near = world.similarity[items]
        short, long, flat = weights @ near
        to_last, to_best = near[-1], near[-5:].max(axis=0)
        follow = weights[0, -20:] @ world.follow[items[-20:]]
        base = short.copy()
    else:
        zero = np.zeros(world.items, dtype=np.float32)
        short = long = flat = to_last = to_best = follow = zero
        recent = np.log1p(world.recent_count)
        base = (recent + 0.1 * np.log1p(world.count) + lift).astype(np.float32)
    if not settings.repeat:
        base[past.items] = -np.inf
    return Scene(
        short=short,
        long=long,
        flat=flat,
        next=follow,
        to_last=to_last,
        to_best=to_best,
        lift=lift,
        base=base,
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
    past = situation.past
    n = codes.size
    short = scene.short[codes]
    follow = scene.next[codes]
    recent = world.recent_count[codes]
    top = float(short.max()) if n else 0.0
    own = len(SCORE_FEATURES)
    result = np.empty((n, own + len(world.stats.names) + len(logged_names(world))))
    result[:, 0] = short
    result[:, 1] = short / top if top > 0 else 0.0
    result[:, 2] = _ranks(short)
    result[:, 3] = scene.long[codes]
    result[:, 4] = scene.flat[codes]
    result[:, 5] = follow
    result[:, 6] = _ranks(follow)
    result[:, 7] = scene.to_last[codes]
    result[:, 8] = scene.to_best[codes]
    result[:, 9] = recent
    result[:, 10] = _ranks(recent)
    result[:, 11] = world.count[codes]
    result[:, 12] = scene.lift[codes]
    result[:, 13] = (situation.at_us - world.first_us[codes]) / DAY_US
    if past.items.size:
        weights = ease.recency(past.at[-30:], 10.0)
        mean = weights @ world.traits[past.items[-30:]] / weights.sum()
        usual = world.traits[past.items].sum(axis=0) / past.items.size
        own_traits = world.traits[codes]
        result[:, 14] = own_traits @ mean
        result[:, 15] = own_traits @ usual
        same = world.kinds[codes][:, None, :] == world.kinds[past.items[-30:]][None, :, :]
        result[:, 16] = same.mean(axis=(1, 2)) if same.size else 0.0
    else:
        result[:, 14:17] = np.nan
    middle = own + len(world.stats.names)
    result[:, own:middle] = world.stats.at(codes, situation.at_us)
    result[:, middle : middle + len(SITUATION_FEATURES)] = scene.facts
    result[:, middle + len(SITUATION_FEATURES) :] = situation.viewer
    return result


def logged(situation: Situation, scene: Scene) -> tuple[float, ...]:
    """Return the values of `logged_names`."""
    return (*scene.facts.tolist(), *situation.viewer.tolist())
