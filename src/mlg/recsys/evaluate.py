"""Prequential evaluation: each held-out event is predicted from what came before it.

Events at or after the cut are taken in order of (time, viewer, item). The viewer's events
with a strictly smaller time are his history, held-out ones included; candidates are the
items that he has not met. Models stay as they were fitted, the plain EASE too; the two
popularity baselines count on as time passes. What the figures say nothing about: items never
shown.
"""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlg.core.errors import ContractError, ManifestError
from mlg.core.nodes import Attr
from mlg.core.predict import Interaction, Key, Query, Ranked
from mlg.recsys.baselines import LIST, NAMES, Stream, plain_ease, popular
from mlg.recsys.bootstrap import Interval, ratio_interval, resamples, spread
from mlg.recsys.columns import (
    Floats,
    Tables,
    column,
    from_us,
    table_of,
    to_us,
)
from mlg.recsys.events import Past, log_of, vocabularies
from mlg.recsys.features import Situation
from mlg.recsys.impressions import evaluate_impressions
from mlg.recsys.metrics import aurc, brier, calibration_error, ndcg_at, recall_at
from mlg.recsys.prepare import moment
from mlg.recsys.recommender import Recommender
from mlg.recsys.results import Evaluation, Scored, compare, judge
from mlg.recsys.roles import Roles, present
from mlg.recsys.two_stage import TwoStage

__all__ = ["Evaluation", "Scored", "compare", "judge", "prequential"]

_Features = Mapping[Key, tuple[tuple[str, Attr], ...]]
_Ask = Callable[[int], Ranked]
"""Gives a model's answer to the held-out event of a number."""
_SWITCH_S = 2e-4

RESAMPLES_CURVE = 300
"""Resamples for statistics that are no ratio of sums."""


def prequential(
    recommenders: Mapping[str, Recommender],
    tables: Tables,
    roles: Roles,
    cut: datetime,
    ks: Sequence[int] = (10, 50),
    seed: int = 0,
    threads: int = 1,
) -> Evaluation:
    """Return every model's figures beside recent and all-time popularity and plain EASE.

    Args:
        recommenders: Fitted models by name.
        tables: Arrow tables by the name that the roles use.
        roles: Which column plays which part. Without a viewer the rows are impressions:
            see `impressions.evaluate_impressions`. Only the interactions' table must be
            there; without the viewers' a model uses what its artifact knows of them.
        cut: Events at or after it are predicted; models must not have seen them.
        ks: List lengths of recall and NDCG.
        seed: Seed of the resamples.
        threads: Threads that ask the models; the figures are the same with any number.

    Raises:
        ContractError: A table or column is missing, or no event lies after the cut.
        ManifestError: A list length is not positive, or a model's name is a baseline's.
    """
    if not ks or min(ks) < 1:
        raise ManifestError(f"list lengths must be at least 1, got {tuple(ks)}", where="ks")
    roles = present(roles, tables)
    if not roles.interactions.viewer:
        return evaluate_impressions(recommenders, tables, roles, cut, seed)
    taken = sorted(set(recommenders) & set(NAMES))
    if taken:
        raise ManifestError(f"{taken[0]!r} is the name of a baseline", where="evaluate")
    known = [key for model in recommenders.values() for key in model.item_ids]
    viewers, items = vocabularies(tables, roles, known)
    log = log_of(table_of(tables, roles.interactions.table), roles, viewers, items)
    start = log.first_at_or_after(to_us(cut))
    if start >= len(log):
        raise ContractError(
            f"expected events at or after the cut {moment(to_us(cut))}, found none",
            where=roles.interactions.table,
            hint="train_until below 1 leaves events to evaluate on.",
        )
    stream = Stream(log, viewers, items, start)
    features = _viewer_rows(tables, roles)
    scored: dict[str, Scored] = {}
    for name, days in (("popularity_7d", 7.0), ("popularity_all", None)):
        scored[name] = popular(stream, days)
    plain = plain_ease(stream)
    if plain is not None:
        scored["ease"] = plain
    for name, model in recommenders.items():
        depth = max(*ks, LIST)
        if isinstance(model, TwoStage):
            ask = _asked_outright(stream, model, features, depth)
        else:
            ask = _asked(stream, model, features, depth)
        # a class of the user's need not bear several threads
        scored[name] = _model(stream, ask, 1 if model.kind == "own" else threads)
    return Evaluation(
        kind="ranking",
        cut=moment(to_us(cut)),
        events=len(log) - start,
        viewers=int(np.unique(log.viewer[start:]).size),
        ks=tuple(ks),
        seed=seed,
        scored=scored,
        results={
            name: {
                segment: figures(entry, stream, mask, ks, seed)
                for segment, mask in stream.segments.items()
            }
            for name, entry in scored.items()
        },
    )


def _viewer_rows(tables: Tables, roles: Roles) -> dict[Key, tuple[tuple[str, Attr], ...]]:
    """Return each viewer's declared features, as a request carries them."""
    if not roles.viewers:
        return {}
    role = roles.viewers
    table = table_of(tables, role.table)
    keys = column(table, role.key, role.table).to_pylist()
    columns = [column(table, name, role.table).to_pylist() for name in role.features]
    return {
        key: tuple(zip(role.features, values, strict=True))
        for key, *values in zip(keys, *columns, strict=True)
    }


def _model(stream: Stream, ask: _Ask, threads: int) -> Scored:
    """Return what a model answered to each held-out event, asked as a viewer would."""
    size = len(stream.log) - stream.start
    ranks = np.zeros(size, dtype=np.int64)
    shown = np.full((size, LIST), -1, dtype=np.int32)
    confidence = np.zeros(size)
    code = stream.items.codes

    def part(first: int) -> None:
        for number in range(first, size, threads):
            answer = ask(number)
            codes = [code.get(item, -1) for item in answer.items]
            target = int(stream.target[number])
            ranks[number] = codes.index(target) + 1 if target in codes else 0
            shown[number, : min(LIST, len(codes))] = codes[:LIST]
            confidence[number] = answer.raw_confidence

    with _eager_threads(), ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, range(threads)))
    return Scored(
        ranks=ranks,
        shown=shown,
        confidence=confidence,
        cluster=stream.cluster,
        length=stream.length,
    )


@contextmanager
def _eager_threads() -> Generator[None]:
    """Let a thread that comes back from native code wait for others 0.2 ms, not 5."""
    former = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(former)


def _asked_outright(stream: Stream, model: TwoStage, features: _Features, depth: int) -> _Ask:
    """Return how to ask a model whose arrays these are, without making objects of events.

    A test holds it to what `_asked` gives.
    """
    log, whole = stream.log, stream.histories
    own = np.array([model.code(item) for item in stream.items.ids], dtype=np.int32)
    items = own[whole.items]
    viewers: dict[int, Any] = {}

    def ask(number: int) -> Ranked:
        viewer = int(log.viewer[stream.start + number])
        at_us = int(log.at[stream.start + number])
        if viewer not in viewers:
            key = stream.viewers.ids[viewer]
            query = Query(
                user_id=key,
                k=depth,
                at=from_us(at_us),
                history=(),
                viewer=features.get(key, ()),
            )
            viewers[viewer] = model.situation(query).viewer
        begin = int(whole.offsets[viewer])
        part = np.arange(begin, begin + int(stream.length[number]))
        part = part[items[part] >= 0]
        past = Past(items=items[part], at=whole.at[part], value=whole.value[part])
        return model.answer(Situation(past=past, at_us=at_us, viewer=viewers[viewer]), depth)

    return ask


def _asked(stream: Stream, model: Recommender, features: _Features, depth: int) -> _Ask:
    """Return how to ask a model of any kind."""
    log, whole = stream.log, stream.histories
    ids = stream.items.ids
    events = [
        Interaction(
            item_id=ids[item],
            at=from_us(at),
            value=None if np.isnan(value) else value,
        )
        for item, at, value in zip(
            whole.items.tolist(), whole.at.tolist(), whole.value.tolist(), strict=True
        )
    ]

    def ask(number: int) -> Ranked:
        viewer = int(log.viewer[stream.start + number])
        begin = int(whole.offsets[viewer])
        key = stream.viewers.ids[viewer]
        query = Query(
            user_id=key,
            k=depth,
            at=from_us(int(log.at[stream.start + number])),
            history=tuple(events[begin : begin + int(stream.length[number])]),
            viewer=features.get(key, ()),
        )
        return model.recommend(query)

    return ask


def figures(
    scored: Scored,
    stream: Stream,
    mask: NDArray[np.bool_],
    ks: Sequence[int],
    seed: int,
) -> dict[str, Interval]:
    """Return every figure of one model over some events."""
    ranks, cluster = scored.ranks[mask], scored.cluster[mask]
    ones = np.ones(ranks.size)
    found: dict[str, Interval] = {}
    for k in ks:
        found[f"ndcg@{k}"] = ratio_interval(ndcg_at(ranks, k), ones, cluster, seed=seed)
        found[f"recall@{k}"] = ratio_interval(recall_at(ranks, k), ones, cluster, seed=seed)
    if not ranks.size:
        return found
    found[f"coverage@{LIST}"] = _coverage(
        scored.shown[mask], cluster, len(stream.items.ids), seed
    )
    p = scored.confidence[mask]
    if not np.isnan(p).any():
        found |= _calibration(p, recall_at(ranks, LIST), cluster, seed)
    return found


def _coverage(
    shown: NDArray[np.int32], cluster: NDArray[np.int64], items: int, seed: int
) -> Interval:
    """Return the share of the catalogue that was shown.

    A resample holds fewer distinct viewers, who are shown less: the interval lies low.
    """
    _, place = np.unique(cluster, return_inverse=True)
    clusters = int(place.max()) + 1
    met = np.zeros((clusters, items), dtype=np.float32)
    rows = np.repeat(place, shown.shape[1])
    flat = shown.reshape(-1)
    met[rows[flat >= 0], flat[flat >= 0]] = 1.0
    drawn = (resamples(clusters, seed=seed, repeats=RESAMPLES_CURVE) > 0).astype(np.float32)
    draws = ((drawn @ met) > 0).mean(axis=1).astype(np.float64)
    return spread(
        float((met.max(axis=0) > 0).mean()), draws, n=shown.shape[0], clusters=clusters
    )


def _calibration(
    p: Floats, hit: Floats, cluster: NDArray[np.int64], seed: int
) -> dict[str, Interval]:
    """Return calibration of the confidence against a hit in the first `LIST`."""
    _, place = np.unique(cluster, return_inverse=True)
    clusters = int(place.max()) + 1
    drawn = resamples(clusters, seed=seed, repeats=RESAMPLES_CURVE)
    weights = [row[place].astype(np.float64) for row in drawn]
    found: dict[str, Interval] = {}
    measures: dict[str, Any] = {"ece": calibration_error, "brier": brier, "aurc": aurc}
    for name, measure in measures.items():
        draws = np.array([measure(p, hit, weight) for weight in weights])
        found[name] = spread(float(measure(p, hit)), draws, n=p.size, clusters=clusters)
    found["confidence"] = ratio_interval(p, np.ones(p.size), cluster, seed=seed)
    return found
