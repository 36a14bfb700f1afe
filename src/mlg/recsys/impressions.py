"""Evaluation on logged impressions: what the model's top choice would have earned.

The logging policy's propensities make it possible: IPS and SNIPS are estimates of the
click rate of a policy that always shows the model's first item. They assume that the
propensities are right and that every item had some chance.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from mlg.core.errors import ContractError
from mlg.core.predict import Query
from mlg.recsys.bootstrap import Interval, ratio_interval, spread
from mlg.recsys.columns import Floats, Tables, column, from_us, numbers, table_of, to_us
from mlg.recsys.events import log_of, vocabularies
from mlg.recsys.metrics import auc, log_loss
from mlg.recsys.prepare import moment
from mlg.recsys.recommender import Recommender
from mlg.recsys.results import Evaluation, Scored
from mlg.recsys.roles import Roles

BASELINE = "popularity_ctr"
"""The click rate of each item before the cut, the same list for everyone."""
RESAMPLES = 300


def evaluate_impressions(
    recommenders: Mapping[str, Recommender],
    tables: Tables,
    roles: Roles,
    cut: datetime,
    seed: int,
) -> Evaluation:
    """Return click-rate estimates, AUC and log loss of each model on held-out impressions.

    Args:
        recommenders: Fitted models by name; scores must be probabilities for log loss.
        tables: Arrow tables by the name that the roles use.
        roles: Interactions with `value` (0 / 1); without `propensity` every item is taken
            as equally likely to have been shown.
        cut: Impressions at or after it are evaluated.
        seed: Seed of the resamples.

    Raises:
        ContractError: There is no label, or no impression after the cut.
    """
    inter = roles.interactions
    if not inter.value:
        raise ContractError(
            "impressions without a label cannot be evaluated",
            where=inter.table,
            hint="name it in roles.interactions.value.",
        )
    known = [key for model in recommenders.values() for key in model.item_ids]
    viewers, items = vocabularies(tables, roles, known)
    table = table_of(tables, inter.table)
    log = log_of(table, roles, viewers, items)
    start = log.first_at_or_after(to_us(cut))
    if start in {0, len(log)}:
        raise ContractError(
            f"expected impressions on both sides of the cut {moment(to_us(cut))}",
            where=inter.table,
            hint="choose a train_until below 1.",
        )
    held = log.span(start, len(log))
    y = held.value
    propensity = np.full(y.size, 1.0 / len(items.ids))
    if inter.propensity:
        propensity = numbers(column(table, inter.propensity, inter.table))[held.row]
    context = [column(table, name, inter.table).to_pylist() for name in inter.context]
    queries = [
        Query(
            user_id=None,
            k=len(items.ids),
            at=from_us(at),
            history=(),
            viewer=tuple(
                (name, values[row]) for name, values in zip(inter.context, context, strict=True)
            ),
        )
        for at, row in zip(held.at.tolist(), held.row.tolist(), strict=True)
    ]
    scored: dict[str, Scored] = {}
    results: dict[str, dict[str, dict[str, Interval]]] = {}
    rates = _rates(log.span(0, start).item, log.span(0, start).value, len(items.ids))
    answers: dict[str, tuple[Any, Floats, Floats]] = {
        BASELINE: (
            np.full(y.size, int(np.argmax(rates))),
            rates[held.item],
            np.full(y.size, np.nan),
        )
    }
    for name, model in recommenders.items():
        answers[name] = _answers(model, queries, held.item, items.codes)
    for name, (top, p, confidence) in answers.items():
        weight = (top == held.item) / propensity
        scored[name] = Scored(
            cluster=np.arange(y.size),
            length=np.zeros(y.size, dtype=np.int64),
            confidence=confidence,
            weight=weight,
            reward=y,
        )
        results[name] = {"all": _figures(scored[name], y, p, seed)}
    return Evaluation(
        kind="impressions",
        cut=moment(to_us(cut)),
        events=int(y.size),
        viewers=0,
        ks=(1,),
        seed=seed,
        scored=scored,
        results=results,
    )


def _rates(item: np.ndarray[Any, Any], y: Floats, items: int) -> Floats:
    """Return each item's click rate, shrunk to the mean by 100 impressions."""
    shown = np.bincount(item, minlength=items)
    clicked = np.bincount(item, weights=y, minlength=items)
    return (clicked + 100.0 * float(y.mean())) / (shown + 100.0)


def _answers(
    model: Recommender,
    queries: list[Query],
    item: np.ndarray[Any, Any],
    codes: Mapping[Any, int],
) -> tuple[Any, Floats, Floats]:
    """Return the top choice, the score of the logged item and the confidence of each row."""
    top = np.full(len(queries), -1)
    p = np.zeros(len(queries))
    confidence = np.zeros(len(queries))
    for number, query in enumerate(queries):
        answer = model.recommend(query)
        if answer.items:
            top[number] = codes.get(answer.items[0], -1)
            by_code = {
                codes.get(key, -1): score
                for key, score in zip(answer.items, answer.scores, strict=True)
            }
            p[number] = by_code.get(int(item[number]), 0.0)
        confidence[number] = answer.raw_confidence
    return top, p, confidence


def _figures(scored: Scored, y: Floats, p: Floats, seed: int) -> dict[str, Interval]:
    found = {
        metric: ratio_interval(*scored.outcome(metric), scored.cluster, seed=seed)
        for metric in ("ips", "snips")
    }
    found["logged_rate"] = ratio_interval(y, np.ones(y.size), scored.cluster, seed=seed)
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, y.size, y.size) for _ in range(RESAMPLES)]
    inside = np.clip(p, 0.0, 1.0)
    for name, measure, scores in (("auc", auc, p), ("log_loss", log_loss, inside)):
        draws = np.array([measure(scores[row], y[row]) for row in rows])
        found[name] = spread(measure(scores, y), draws, n=y.size, clusters=y.size)
    return found
