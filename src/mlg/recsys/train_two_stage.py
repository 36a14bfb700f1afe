"""Fitting the two-stage model without looking ahead.

Folds of the events before the cut, in time order. The ranker learns from requests between
40 and 80 % of them, each asked of a stage 1 that was frozen at the beginning of its fold
(40 and 60 %): stage 1 never met an answer that the ranker learns from. How many trees, how
much of stage 1's score beside them, and the confidence come from the last 20 %, asked of a
stage 1 frozen at 80 %: as old, on average, as the shipped one when a fifth of all events is
still to come. Then stage 1 is fitted on everything before the cut, and frozen there.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlg.core.errors import ManifestError
from mlg.recsys.artifact import Array, Fitted, dumps
from mlg.recsys.columns import Floats, Tables
from mlg.recsys.confidence import Confidence, fit_confidence, observe
from mlg.recsys.events import Histories, require_viewer
from mlg.recsys.features import SCORE_FEATURES, feature_names, logged_names
from mlg.recsys.folds import Held, Lessons, drawn, held_out, joined, lessons, world_at
from mlg.recsys.golden import golden_lines
from mlg.recsys.metrics import ndcg_at, recall_at
from mlg.recsys.popularity import list_document, popularity_list, popularity_scores
from mlg.recsys.prepare import Prepared, describe, items_table, moment, prepare
from mlg.recsys.recommender import PopularityList
from mlg.recsys.roles import Roles
from mlg.recsys.trees import Ranker, train_ranker
from mlg.recsys.two_stage import ANSWER_FEATURES
from mlg.recsys.viewers import viewers_table
from mlg.recsys.world import Settings, World, settings_from, world_arrays, world_document

FREEZES = (0.4, 0.6)
"""Shares of the training events at which stage 1 is frozen for the ranker's lessons."""
HELD = 0.8
"""Share at which the held-out fold begins."""
HELD_MOST = 4500
"""About how many held-out requests are asked."""
QUERIES = 12_000
"""Requests that the ranker learns from, unless `queries` says otherwise."""
BLENDS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Weights of stage 1's normalised score beside the trees that are tried."""
BASE, RAW = SCORE_FEATURES.index("base_z"), SCORE_FEATURES.index("base")
MIN_QUERIES = 50
"""Fewer usable requests than this and stage 1 ranks alone."""
_OWN = {"train_until", "k", "ranker", "negatives", "queries", "trees"}


def _settings(params: Mapping[str, Any], name: str) -> Settings:
    known = _OWN | set(Settings.__dataclass_fields__)
    unknown = sorted(set(params) - known)
    if unknown:
        raise ManifestError(
            f"unknown parameter {unknown[0]!r}",
            where=name,
            hint=f"known: {', '.join(sorted(known))}.",
        )
    return settings_from(dict(params))


def _held(ready: Prepared, worlds: Callable[[int], World], *, rng: np.random.Generator) -> Held:
    """Return the held-out fold, asked of stage 1 as it was at the fold's beginning."""
    total = len(ready.log)
    start = int(total * HELD)
    world = worlds(int(ready.log.at[start]))
    places, weight = drawn(ready, (start, total), HELD_MOST, rng)
    return held_out(world, ready, places, weight)


def _ranker(
    ready: Prepared,
    worlds: Callable[[int], World],
    held: Held,
    *,
    params: Mapping[str, Any],
    seed: int,
    progress: Callable[[str], None],
) -> Ranker | None:
    if not params.get("ranker", True):
        return None
    rng = np.random.default_rng(seed)
    total = len(ready.log)
    edges = [int(total * share) for share in (*FREEZES, HELD)]
    queries = int(params.get("queries", QUERIES))
    parts: list[Lessons] = []
    names: tuple[str, ...] = ()
    for start, end in itertools.pairwise(edges):
        share = (end - start) / max(edges[-1] - edges[0], 1)
        most = min(int(queries * share), end - start)
        places = np.sort(rng.permutation(np.arange(start, end))[:most])
        world = worlds(int(ready.log.at[start]))
        names = feature_names(world)
        parts.append(
            lessons(world, ready, places, keep=int(params.get("negatives", 30)), rng=rng)
        )
    learn = joined(parts)
    if learn.groups.size < MIN_QUERIES or not len(held):
        progress(f"ranker: only {learn.groups.size} usable requests, stage 1 ranks alone")
        return None
    progress(f"ranker: {learn.groups.size} requests, {learn.labels.size} rows")
    full = train_ranker(
        learn.rows,
        learn.labels,
        learn.groups,
        names=names,
        seed=seed,
        params=dict(params.get("trees") or {}),
    )
    return _stopped(full, held, progress)


def _stopped(full: Ranker, held: Held, progress: Callable[[str], None]) -> Ranker | None:
    """Return the ranker with the trees and blend that rank the held-out requests best.

    None where stage 1 alone ranks them at least as well.
    """
    alone = held.rows[:, BASE].astype(np.float64)
    best, chosen = held.ndcg(alone), None
    progress(f"ranker: stage 1 alone has ndcg@10 {best:.4f}")
    step = max(full.rounds // 4, 1)
    scores = np.zeros(alone.size)
    for rounds in range(step, full.rounds + 1, step):
        scores += full.score(held.rows, step, start=rounds - step)
        for blend in BLENDS:
            found = held.ndcg(scores + blend * alone)
            if found > best:
                best, chosen = found, (rounds, blend)
    if chosen is None:
        progress("ranker: no better than stage 1, left out")
        return None
    progress(f"ranker: {chosen[0]} trees, blend {chosen[1]:g}, ndcg@10 {best:.4f}")
    return full.kept(*chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """What the model would have answered to the held-out requests, one entry each."""

    ranks: NDArray[np.int64]
    seen: Floats
    features: Floats


def _answers(held: Held, ranker: Ranker | None, popular: Floats, k: int) -> _Answers:
    scores = held.rows[:, RAW if ranker is None else BASE].astype(np.float64)
    if ranker is not None:
        scores = ranker.score(held.rows) + ranker.blend * scores
    seen: list[Floats] = []
    features: list[tuple[float, ...]] = []
    for number in range(len(held)):
        part = slice(int(held.begin[number]), int(held.begin[number + 1]))
        order = np.argsort(-scores[part], kind="stable")
        top = held.codes[part][order[:k]]
        share = float(popular[top].mean()) if top.size else 0.0
        saw = observe(scores[part][order], k, int(held.length[number]), share)
        seen.append(saw)
        features.append((*held.logged[number].tolist(), float(saw[1]), float(saw[2]), share))
    return _Answers(
        ranks=held.ranks(scores), seen=np.asarray(seen), features=np.asarray(features)
    )


def fit_two_stage(
    tables: Tables,
    roles: Roles,
    params: Mapping[str, Any],
    *,
    seed: int,
    name: str,
    progress: Callable[[str], None],
) -> Fitted:
    """Return the fitted model; equal inputs, seed and thread count give equal bytes.

    Args:
        tables: Tables by name.
        roles: Their parts.
        params: `train_until` (share or time, 0.8), `k` (10), `ranker` (true), `negatives`
            (30 other candidates a training request), `queries` (12,000 requests to learn
            from), `trees` (LightGBM overrides), and every field of `world.Settings`.
        seed: Seed of sampling.
        name: The model's name.
        progress: Told a line at each phase.

    Raises:
        ContractError: A table or column is missing, there is no viewer, or there are too
            few events.
        ManifestError: A parameter is unknown or malformed.
    """
    require_viewer(roles, "two_stage")
    settings = _settings(params, name)
    ready = prepare(tables, roles, params, name)
    k = int(params.get("k", 10))
    total = len(ready.log)
    progress(
        f"{total} events of {len(ready.viewers.ids)} viewers and {len(ready.items.ids)} items"
    )
    worlds = partial(world_at, ready, tables, roles, settings)
    held = _held(ready, worlds, rng=np.random.default_rng(seed))
    progress(f"held-out fold: {len(held)} requests")
    ranker = _ranker(ready, worlds, held, params=params, seed=seed, progress=progress)
    popular, mask = _popular(ready, settings, k)
    answers = _answers(held, ranker, mask, k)
    hit = recall_at(answers.ranks, k)
    confidence = fit_confidence(answers.seen, hit, held.weight)
    metrics = _metrics(held, answers, confidence, popular.hit_rate, k)
    progress(f"validation ndcg@{k} {metrics[f'validation_ndcg@{k}']:.4f}")
    world = worlds(ready.cut)
    progress("stage 1 fitted on everything before the cut")
    texts = {
        "confidence.json": dumps(confidence.as_dict()),
        "popularity.json": dumps(list_document(popular)),
        "golden.jsonl": golden_lines(ready, roles, k=k, seed=seed),
        "baseline.json": describe(
            (*logged_names(world), *ANSWER_FEATURES), answers.features, _levels(world)
        ),
    }
    if ranker is not None:
        texts["ranker.txt"] = ranker.text
    histories = Histories(ready.log, len(ready.viewers.ids))
    arrays: dict[str, Array] = world_arrays(world)
    return Fitted(
        model=_document(ready, world, ranker, name=name, k=k),
        arrays=arrays,
        texts=texts,
        tables={
            "users": viewers_table(ready.viewers, ready.viewer_matrix, histories),
            "items": items_table(tables, roles, ready.items),
        },
        metrics=metrics,
        facts={
            "cut": moment(ready.cut),
            "events": total,
            "viewers": len(ready.viewers.ids),
            "items": len(ready.items.ids),
            "rounds": ranker.rounds if ranker else 0,
            "blend": ranker.blend if ranker else 0.0,
            "features": len(feature_names(world)),
        },
    )


def _popular(ready: Prepared, settings: Settings, k: int) -> tuple[PopularityList, Floats]:
    """Return the popularity list, and 1.0 for each item that was popular for the fold."""
    total = len(ready.log)
    start = int(total * HELD)
    popular = popularity_list(
        ready.log.span(0, start),
        ready.log.span(start, total),
        ready.items,
        cut_us=ready.cut,
        days=settings.popularity_days,
        k=k,
    )
    scores = popularity_scores(
        ready.log, len(ready.items.ids), int(ready.log.at[start]), settings.popularity_days
    )
    mask = np.zeros(scores.size)
    mask[np.argsort(-scores, kind="stable")[: 5 * k]] = 1.0
    return popular, mask


def _levels(world: World) -> dict[str, list[str]]:
    return {
        f"viewer:{feature.name}": list(feature.levels)
        for feature in world.viewer_features
        if feature.levels is not None
    }


def _document(
    ready: Prepared, world: World, ranker: Ranker | None, *, name: str, k: int
) -> dict[str, Any]:
    return {
        "kind": "two_stage",
        "name": name,
        "item_type": "int" if ready.items.whole else "str",
        "viewer_type": "int" if ready.viewers.whole else "str",
        "features": [*logged_names(world), *ANSWER_FEATURES],
        "levels": _levels(world),
        "ranker_features": list(feature_names(world)),
        "importance": ranker.importance() if ranker else {},
        "cut": moment(ready.cut),
        "k": k,
        "blend": ranker.blend if ranker else 0.0,
        "item_ids": list(ready.items.ids),
        "world": world_document(world),
    }


def _metrics(
    held: Held, answers: _Answers, confidence: Confidence, hit_rate: float, k: int
) -> dict[str, float]:
    calibrated = confidence.calibrated(answers.seen)

    def mean(values: Floats) -> float:
        return float(np.average(values, weights=held.weight))

    return {
        f"validation_ndcg@{k}": mean(ndcg_at(answers.ranks, k)),
        f"validation_recall@{k}": mean(recall_at(answers.ranks, k)),
        "validation_recall@50": mean(recall_at(answers.ranks, 50)),
        f"validation_stage1_ndcg@{k}": mean(ndcg_at(held.stage_one, k)),
        f"validation_stage1_recall@{k}": mean(recall_at(held.stage_one, k)),
        "validation_confidence_mean": mean(calibrated),
        "popularity_hit_rate": hit_rate,
    }
