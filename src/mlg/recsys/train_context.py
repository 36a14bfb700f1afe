"""Fitting the context ranker: a ridge logistic regression on logged impressions."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, logit

from mlg.core.errors import ContractError, ManifestError
from mlg.core.predict import Key
from mlg.recsys.artifact import Fitted, dumps
from mlg.recsys.columns import Codes, Floats, Tables, Vocabulary, column, numbers
from mlg.recsys.confidence import LEAST, MOST, isotonic_knots
from mlg.recsys.context_ranker import ANSWER_FEATURES, Binned, ContextRanker, binned
from mlg.recsys.golden import golden_lines
from mlg.recsys.levels import feature_matrix, features_of
from mlg.recsys.metrics import log_loss
from mlg.recsys.popularity import list_document
from mlg.recsys.prepare import Prepared, describe, items_table, moment, prepare
from mlg.recsys.recommender import PopularityList
from mlg.recsys.roles import Roles

Sparse = Any
"""A scipy sparse matrix in rows; scipy ships no types for them."""

RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Penalties tried; the one with the best log loss over forward-chained folds is kept."""
FOLDS = 5
WEIGHT_MAX = 10.0
_KNOWN = frozenset(("k", "ridge", "train_until"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    item: Codes
    y: Floats
    weight: Floats
    levels: Sparse
    """Context levels of each impression, shape ``(n, L)``."""
    position: Sparse
    traits: Floats
    """Dense item description, shape ``(I, A)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    base: Floats
    by_level: Floats


def _traits(ready: Prepared) -> Floats:
    """Return the items' features: numbers standardised, text as one-hot, shape ``(I, A)``."""
    parts: list[Floats] = []
    for place, feature in enumerate(ready.item_features):
        values = ready.item_matrix[:, place]
        if feature.levels is None:
            known = values[~np.isnan(values)]
            mean, sd = (known.mean(), known.std()) if known.size else (0.0, 1.0)
            parts.append(np.nan_to_num((values - mean) / (sd or 1.0))[:, None])
        else:
            codes = np.where(np.isnan(values), -1, values).astype(np.int64)
            parts.append((codes[:, None] == np.arange(len(feature.levels))).astype(np.float64))
    count = len(ready.items.ids)
    return np.concatenate(parts, axis=1) if parts else np.zeros((count, 0))


def _one_hot(rows: list[list[int]], width: int) -> Sparse:
    lengths = [len(row) for row in rows]
    indices = np.array([level for row in rows for level in row], dtype=np.int32)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return sparse.csr_matrix(
        (np.ones(indices.size), indices, offsets), shape=(len(rows), width)
    )


def _design(data: _Data, rows: np.ndarray[Any, Any]) -> Sparse:
    """Return [item, item traits, context, context x traits, position] of some rows."""
    item = data.item[rows]
    own = sparse.csr_matrix(
        (np.ones(item.size), (np.arange(item.size), item)),
        shape=(item.size, data.traits.shape[0]),
    )
    traits: Sparse = sparse.csr_matrix(data.traits[item])
    levels: Sparse = data.levels[rows]
    crossed = [
        levels.multiply(traits[:, place].toarray()).tocsr()
        for place in range(data.traits.shape[1])
    ]
    stacked: Sparse = sparse.hstack([own, traits, levels, *crossed, data.position[rows]])
    return stacked.tocsr()


def _solve(design: Sparse, data: _Data, rows: Any, ridge: float) -> Floats:
    """Return the coefficients, the intercept last."""
    y, w = data.y[rows], data.weight[rows]
    base = float(np.clip(np.average(y, weights=w), 1e-6, 1 - 1e-6))

    def loss(theta: Floats) -> tuple[float, Floats]:
        eta = design @ theta[:-1] + theta[-1]
        p = expit(eta)
        value = float((w * (np.logaddexp(0.0, eta) - y * eta)).sum())
        value += 0.5 * ridge * float(theta[:-1] @ theta[:-1])
        slope = w * (p - y)
        return value, np.append(design.T @ slope + ridge * theta[:-1], slope.sum())

    start = np.zeros(design.shape[1] + 1)
    start[-1] = logit(base)
    found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x, dtype=np.float64)


def _collapsed(theta: Floats, data: _Data) -> _Model:
    """Return the coefficients as one number an item and one a context level and item."""
    items, traits = data.traits.shape
    levels = data.levels.shape[1]
    parts = np.split(theta[:-1], np.cumsum([items, traits, levels, levels * traits]))
    crossed = parts[3].reshape(traits, levels)
    return _Model(
        base=theta[-1] + parts[0] + data.traits @ parts[1],
        by_level=parts[2][:, None] + (data.traits @ crossed).T,
    )


def _predicted(design: Sparse, theta: Floats) -> Floats:
    return np.asarray(design @ theta[:-1] + theta[-1], dtype=np.float64)


def _data(ready: Prepared, roles: Roles) -> tuple[_Data, Binned, Floats]:
    """Return the impressions in time order, how context is read, and the context's values.

    Raises:
        ContractError: There is no label, or it is not 0 / 1, or one outcome is missing.
    """
    inter = roles.interactions
    if not inter.value:
        raise ContractError(
            "a context ranker needs a 0 / 1 label, the interactions have none",
            where=inter.table,
            hint="name it in roles.interactions.value.",
        )
    y = ready.log.value
    if not np.isin(y, (0.0, 1.0)).all() or y.min() == y.max():
        raise ContractError(
            "expected a label of 0 and 1 with both present before the cut",
            where=f"{inter.table}.{inter.value}",
            hint="derive it in a clean step, for example (click > 0).",
        )
    row = ready.log.row
    features = features_of(ready.events, inter.context, inter.table)
    values = feature_matrix(ready.events, features, inter.table)[row]
    context = binned(features, values)
    weight = np.ones(y.size)
    if inter.propensity:
        shown = numbers(column(ready.events, inter.propensity, inter.table))[row]
        weight = 1.0 / np.maximum(np.nan_to_num(shown, nan=1.0), 1e-6)
        weight = np.minimum(weight / weight.mean(), WEIGHT_MAX)
    spots = np.zeros(y.size)
    if inter.position:
        spots = numbers(column(ready.events, inter.position, inter.table))[row]
    _, spot = np.unique(spots, return_inverse=True)
    data = _Data(
        item=ready.log.item,
        y=y,
        weight=weight,
        levels=_one_hot([context.rows(line) for line in values], context.start[-1]),
        position=_one_hot([[int(place)] for place in spot], int(spot.max()) + 1),
        traits=_traits(ready),
    )
    return data, context, values


def _folds(
    data: _Data, ridges: tuple[float, ...]
) -> tuple[float, dict[float, float], Floats, Floats]:
    """Return the ridge with the least forward-chained log loss, all losses, and its logits.

    Fold f is predicted by a model of everything before it, f = 1..FOLDS-1.
    """
    bounds = np.linspace(0, data.y.size, FOLDS + 1).astype(np.int64)
    held = np.arange(bounds[1], data.y.size)
    every = _design(data, np.arange(data.y.size))
    logits = {ridge: np.zeros(held.size) for ridge in ridges}
    for fold in range(1, FOLDS):
        rows = np.arange(bounds[fold])
        test = slice(int(bounds[fold]), int(bounds[fold + 1]))
        for ridge in ridges:
            theta = _solve(every[rows], data, rows, ridge)
            place = slice(test.start - int(bounds[1]), test.stop - int(bounds[1]))
            logits[ridge][place] = _predicted(every[test], theta)
    losses = {ridge: log_loss(expit(found), data.y[held]) for ridge, found in logits.items()}
    best = min(ridges, key=lambda ridge: (losses[ridge], -ridge))
    return best, losses, logits[best], data.y[held]


def _popular(data: _Data, items: Vocabulary, k: int) -> PopularityList:
    """Return items by smoothed click rate, with the chance of a click among the first k.

    The rate of each item is shrunk to the mean by 100 impressions. `hit_rate` is measured
    on the last fold, by the list made before it.
    """

    def rates(rows: slice) -> Floats:
        count = len(items.ids)
        w = data.weight[rows]
        shown = np.bincount(data.item[rows], weights=w, minlength=count)
        clicked = np.bincount(data.item[rows], weights=w * data.y[rows], minlength=count)
        mean = float(np.average(data.y[rows], weights=w))
        return (clicked + 100.0 * mean) / (shown + 100.0)

    edge = int(data.y.size * (1 - 1 / FOLDS))
    top = np.argsort(-rates(slice(0, edge)), kind="stable")[:k]
    later = slice(edge, data.y.size)
    of_top = np.isin(data.item[later], top)
    seen = data.y[later][of_top]
    rate = float(seen.mean()) if seen.size else float(data.y.mean())
    scores = rates(slice(0, data.y.size))
    order = np.argsort(-scores, kind="stable")
    ids: tuple[Key, ...] = tuple(items.ids[code] for code in order.tolist())
    return PopularityList(
        items=ids,
        scores=tuple(round(float(scores[code]), 9) for code in order),
        hit_rate=round(1.0 - (1.0 - rate) ** min(k, len(ids)), 6),
    )


def _calibration(found: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """Return isotonic knots, shrunk to the mean by 30 rows a block: clicks are rare."""
    knots, levels = isotonic_knots(found, y)
    mean = float(y.mean())
    place = np.searchsorted(np.asarray(knots), found, side="right") - 1
    mass = np.bincount(np.maximum(place, 0), minlength=len(knots))
    shrunk = (np.asarray(levels) * mass + 30.0 * mean) / (mass + 30.0)
    smooth = np.maximum.accumulate(np.clip(shrunk, LEAST / 10, MOST))
    return list(knots), smooth.tolist()


def fit_context_ranker(
    tables: Tables,
    roles: Roles,
    params: Mapping[str, Any],
    *,
    seed: int,
    name: str,
    progress: Callable[[str], None],
) -> Fitted:
    """Return the fitted model; equal inputs give equal bytes.

    Args:
        tables: Tables by name.
        roles: Interactions with a 0 / 1 `value`, `context` columns and, if logged,
            `position` and `propensity`; `items` with features.
        params: `train_until` (0.8), `k` (10), `ridge` (chosen over forward-chained folds).
        seed: Draws the recorded requests.
        name: The model's name.
        progress: Told a line at each phase.

    Raises:
        ManifestError: A parameter is unknown.
        ContractError: A table, column or label is missing, or there are too few events.
    """
    unknown = sorted(set(params) - _KNOWN)
    if unknown:
        raise ManifestError(
            f"unknown parameter {unknown[0]!r}",
            where=name,
            hint=f"known: {', '.join(sorted(_KNOWN))}.",
        )
    ready = prepare(tables, roles, params, name)
    data, context, values = _data(ready, roles)
    k = int(params.get("k", 10))
    progress(f"{data.y.size} impressions, {int(data.y.sum())} clicks")
    ridges = (float(params["ridge"]),) if "ridge" in params else RIDGES
    ridge, losses, found, outcome = _folds(data, ridges)
    progress(f"ridge {ridge:g} chosen, log loss {losses[ridge]:.5f}")
    rows = np.arange(data.y.size)
    model = _collapsed(_solve(_design(data, rows), data, rows, ridge), data)
    knots, levels = _calibration(found, outcome)
    popular = _popular(data, ready.items, k)
    names = (*(f"viewer:{feature.name}" for feature in context.features), *ANSWER_FEATURES)
    fitted = Fitted(
        model={
            "kind": "context_ranker",
            "name": name,
            "item_type": "int" if ready.items.whole else "str",
            "features": list(names),
            "levels": {
                f"viewer:{feature.name}": list(feature.levels)
                for feature in context.features
                if feature.levels is not None
            },
            "cut": moment(ready.cut),
            "k": k,
            "item_ids": list(ready.items.ids),
            "context": [asdict(feature) for feature in context.features],
            "context_start": list(context.start),
        },
        arrays={"base": model.base, "by_level": model.by_level, "edges": context.edges},
        texts={
            "confidence.json": dumps({"knots": knots, "levels": levels}),
            "popularity.json": dumps(list_document(popular)),
            "golden.jsonl": golden_lines(ready, roles, k=k, seed=seed),
            "baseline.json": "{}",
        },
        tables={"items": items_table(tables, roles, ready.items)},
        metrics={
            "validation_log_loss": losses[ridge],
            "validation_log_loss_mean_rate": log_loss(
                np.full(outcome.size, float(data.y.mean())), outcome
            ),
            "popularity_hit_rate": popular.hit_rate,
        },
        facts={
            "cut": moment(ready.cut),
            "impressions": int(data.y.size),
            "clicks": int(data.y.sum()),
            "items": len(ready.items.ids),
            "ridge": ridge,
        },
    )
    return _with_baseline(fitted, names, values)


def _with_baseline(fitted: Fitted, names: tuple[str, ...], values: Floats) -> Fitted:
    """Return the model with the distribution of its logged features in training."""
    model = ContextRanker(fitted)
    rows = np.array([model.answer(line).features for line in values])
    described = describe(names, rows, fitted.model["levels"])
    return Fitted(
        model=fitted.model,
        arrays=fitted.arrays,
        texts={**fitted.texts, "baseline.json": described},
        tables=fitted.tables,
        metrics=fitted.metrics,
        facts=fitted.facts,
    )
