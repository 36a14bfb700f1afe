"""Fitting the two-stage model without looking ahead.

Folds of the events before the cut, in time order: stage 1 is fitted on the first 75 %,
the ranker learns from the requests of the next 18.75 %, rounds and confidence come from
the last 6.25 % (with the cut at 80 % of all events: 60, 75 and 80 %). Then stage 1 is
fitted again on everything before the cut, and frozen there as it was frozen in training.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlg.core.errors import ManifestError
from mlg.recsys.artifact import Array, Fitted, dumps
from mlg.recsys.columns import Codes, Floats, Floats32, Tables, table_of
from mlg.recsys.confidence import Confidence, fit_confidence, observe
from mlg.recsys.events import Histories, require_viewer
from mlg.recsys.features import (
    Situation,
    candidates,
    feature_names,
    logged,
    logged_names,
    matrix,
    scene_of,
)
from mlg.recsys.golden import golden_lines
from mlg.recsys.metrics import ndcg_at, recall_at
from mlg.recsys.popularity import list_document, popularity_list, popularity_scores
from mlg.recsys.prepare import Prepared, describe, items_table, moment, prepare
from mlg.recsys.roles import Roles
from mlg.recsys.trees import Ranker, train_ranker
from mlg.recsys.two_stage import ANSWER_FEATURES, rank
from mlg.recsys.viewers import viewers_table
from mlg.recsys.world import (
    NO_STATS,
    Settings,
    World,
    build_world,
    settings_from,
    stats_of,
    world_arrays,
    world_document,
)

FIRST, SECOND = 0.75, 0.9375
"""Shares of the training events at which the ranker's and the held-out fold begin."""
BLENDS = (0.0, 2.0, 5.0, 10.0, 20.0)
"""Weights of stage 1's score beside the trees that are tried on the held-out fold."""
MIN_QUERIES = 50
"""Fewer usable requests than this and stage 1 ranks alone."""
_OWN = {"train_until", "k", "ranker", "negatives", "trees"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    rows: Floats32
    labels: Codes
    groups: Codes
    queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What the held-out fold showed, one entry a request."""

    ranks: np.ndarray[Any, np.dtype[np.int64]]
    stage_one: np.ndarray[Any, np.dtype[np.int64]]
    seen: Floats
    logged: Floats


def situations(ready: Prepared, start: int, end: int) -> Iterator[tuple[Situation, int]]:
    """Yield (situation, code of the item that came next) of the events start..end-1."""
    histories = Histories(ready.log, len(ready.viewers.ids))
    for place in range(start, end):
        viewer = int(ready.log.viewer[place])
        at_us = int(ready.log.at[place])
        yield (
            Situation(
                past=histories.before(viewer, at_us),
                at_us=at_us,
                viewer=ready.viewer_matrix[viewer],
            ),
            int(ready.log.item[place]),
        )


def world_at(
    ready: Prepared, tables: Tables, roles: Roles, settings: Settings, frozen_us: int
) -> World:
    """Return stage 1 as it was at a time: nothing at or after it is read."""
    stats = NO_STATS
    if roles.item_stats:
        own = table_of(tables, roles.item_stats.table)
        stats = stats_of(own, roles.item_stats, ready.items, frozen_us)
    return build_world(
        ready.log.span(0, ready.log.first_at_or_after(frozen_us)),
        settings=settings,
        frozen_us=frozen_us,
        item_matrix=ready.item_matrix,
        item_features=ready.item_features,
        viewer_matrix=ready.viewer_matrix,
        viewer_features=ready.viewer_features,
        stats=stats,
    )


def _training_rows(
    world: World,
    ready: Prepared,
    span: tuple[int, int],
    *,
    keep: int,
    rng: np.random.Generator,
) -> _Rows:
    """Return the ranker's rows; requests whose item is no candidate teach nothing.

    At most `keep` other candidates a request, drawn evenly (drawing more of the best ones
    taught the ranker a wrong distribution: validation NDCG@10 fell from 0.118 to 0.07).
    Their features are those of the whole candidate list.
    """
    parts: list[Floats32] = []
    labels: list[Codes] = []
    groups: list[int] = []
    for situation, target in situations(ready, *span):
        scene = scene_of(world, situation)
        codes = candidates(world, scene)
        hit = codes == target
        if not hit.any():
            continue
        chosen = np.arange(codes.size)
        if codes.size > keep:
            chosen = np.union1d(rng.permutation(codes.size)[:keep], np.flatnonzero(hit))
        rows = matrix(world, situation, scene, codes)[chosen]
        parts.append(rows.astype(np.float32))
        labels.append(hit[chosen].astype(np.int32))
        groups.append(chosen.size)
    width = len(feature_names(world))
    return _Rows(
        rows=np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.float32),
        labels=np.concatenate(labels) if labels else np.zeros(0, dtype=np.int32),
        groups=np.asarray(groups, dtype=np.int32),
        queries=span[1] - span[0],
    )


def _held_out(
    world: World,
    ranker: Ranker | None,
    ready: Prepared,
    span: tuple[int, int],
    *,
    popular: Floats,
    k: int,
) -> _Held:
    ranks: list[int] = []
    alone: list[int] = []
    seen: list[Floats] = []
    features: list[tuple[float, ...]] = []
    for situation, target in situations(ready, *span):
        scene, codes, scores = rank(world, ranker, situation)
        place = np.flatnonzero(codes == target)
        ranks.append(int(place[0]) + 1 if place.size else 0)
        own = float(scene.base[target])
        alone.append(int(np.sum(scene.base > own)) + 1 if np.isfinite(own) else 0)
        share = float(popular[codes[:k]].mean()) if codes.size else 0.0
        saw = observe(scores, k, situation.past.items.size, share)
        seen.append(saw)
        features.append((*logged(situation, scene), float(saw[1]), float(saw[2]), share))
    return _Held(
        ranks=np.asarray(ranks),
        stage_one=np.asarray(alone),
        seen=np.asarray(seen),
        logged=np.asarray(features),
    )


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


def _ranker(
    early: World,
    ready: Prepared,
    spans: tuple[tuple[int, int], tuple[int, int]],
    *,
    params: Mapping[str, Any],
    seed: int,
    progress: Callable[[str], None],
) -> Ranker | None:
    if not params.get("ranker", True):
        return None
    rng = np.random.default_rng(seed)
    keep = int(params.get("negatives", 30))
    learn = _training_rows(early, ready, spans[0], keep=keep, rng=rng)
    check = _training_rows(early, ready, spans[1], keep=10**9, rng=rng)
    if learn.groups.size < MIN_QUERIES or not check.groups.size:
        progress(f"ranker: only {learn.groups.size} usable requests, stage 1 ranks alone")
        return None
    progress(f"ranker: {learn.groups.size} requests, {learn.labels.size} rows")
    full = train_ranker(
        learn.rows,
        learn.labels,
        learn.groups,
        names=feature_names(early),
        seed=seed,
        params=dict(params.get("trees") or {}),
    )
    return _stopped(full, check, progress)


def _stopped(full: Ranker, check: _Rows, progress: Callable[[str], None]) -> Ranker | None:
    """Return the ranker with the trees and blend that rank the held-out requests best.

    None where stage 1 alone ranks them at least as well.
    """
    short = check.rows[:, 0].astype(np.float64)
    best, chosen = _mean_ndcg(short, check), None
    progress(f"ranker: stage 1 alone has ndcg@10 {best:.4f} where the item is a candidate")
    step = max(full.rounds // 4, 1)
    for rounds in range(step, full.rounds + 1, step):
        scores = full.score(check.rows, rounds)
        for blend in BLENDS:
            found = _mean_ndcg(scores + blend * short, check)
            if found > best:
                best, chosen = found, (rounds, blend)
    if chosen is None:
        progress("ranker: no better than stage 1, left out")
        return None
    progress(f"ranker: {chosen[0]} trees, blend {chosen[1]:g}, ndcg@10 {best:.4f}")
    return full.kept(*chosen)


def _mean_ndcg(scores: Floats, check: _Rows) -> float:
    """Return mean NDCG@10 over requests, each of which has one positive candidate."""
    request = np.repeat(np.arange(check.groups.size), check.groups)
    own = scores[check.labels == 1]
    above = np.bincount(request, weights=scores > own[request])
    return float(ndcg_at(above.astype(np.int64) + 1, 10).mean())


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
            (30 other candidates a training request), `trees` (LightGBM overrides), and every
            field of `world.Settings`.
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
    first, second = int(total * FIRST), int(total * SECOND)
    progress(
        f"{total} events of {len(ready.viewers.ids)} viewers and {len(ready.items.ids)} items"
    )
    early = world_at(ready, tables, roles, settings, int(ready.log.at[first]))
    progress("stage 1 fitted on the first fold")
    spans = ((first, second), (second, total))
    ranker = _ranker(early, ready, spans, params=params, seed=seed, progress=progress)
    popular = popularity_list(
        ready.log.span(0, second),
        ready.log.span(second, total),
        ready.items,
        cut_us=ready.cut,
        days=settings.popularity_days,
        k=k,
    )
    scores = popularity_scores(
        ready.log, len(ready.items.ids), early.frozen_us, settings.popularity_days
    )
    mask = np.zeros(scores.size)
    mask[np.argsort(-scores, kind="stable")[: 5 * k]] = 1.0
    held = _held_out(early, ranker, ready, spans[1], popular=mask, k=k)
    confidence = fit_confidence(held.seen, recall_at(held.ranks, k))
    progress(f"validation ndcg@{k} {float(ndcg_at(held.ranks, k).mean()):.4f}")
    world = world_at(ready, tables, roles, settings, ready.cut)
    progress("stage 1 fitted on everything before the cut")
    texts = {
        "confidence.json": dumps(confidence.as_dict()),
        "popularity.json": dumps(list_document(popular)),
        "golden.jsonl": golden_lines(ready, roles, k=k, seed=seed),
        "baseline.json": describe(
            (*logged_names(world), *ANSWER_FEATURES), held.logged, _levels(world)
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
        metrics=_metrics(held, confidence, popular.hit_rate, k),
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


def _metrics(held: _Held, confidence: Confidence, hit_rate: float, k: int) -> dict[str, float]:
    calibrated = confidence.calibrated(confidence.logit(held.seen))
    return {
        f"validation_ndcg@{k}": float(ndcg_at(held.ranks, k).mean()),
        f"validation_recall@{k}": float(recall_at(held.ranks, k).mean()),
        "validation_recall@50": float(recall_at(held.ranks, 50).mean()),
        f"validation_stage1_ndcg@{k}": float(ndcg_at(held.stage_one, k).mean()),
        f"validation_stage1_recall@{k}": float(recall_at(held.stage_one, k).mean()),
        "validation_confidence_mean": float(calibrated.mean()),
        "popularity_hit_rate": hit_rate,
    }
