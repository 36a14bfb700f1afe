"""Requests of the past, asked again: what the ranker and the confidence learn from.

A fold is a span of events and stage 1 as it was frozen at the span's first event, so that
it never met what it is asked for, and is as old, on average, as it will be in service.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlg.recsys.columns import Codes, Floats, Floats32, Tables, table_of
from mlg.recsys.events import Histories
from mlg.recsys.features import (
    Situation,
    candidates,
    feature_names,
    logged,
    logged_names,
    matrix,
    scene_of,
)
from mlg.recsys.item_stats import NO_STATS, stats_of
from mlg.recsys.metrics import ndcg_at
from mlg.recsys.prepare import Prepared
from mlg.recsys.roles import Roles
from mlg.recsys.world import Settings, World, build_world

COLD = 5
"""Viewers with fewer earlier events are all asked; of the others a sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """The ranker's training rows; groups of candidates, one positive in each."""

    rows: Floats32
    labels: Codes
    groups: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Held-out requests with all their candidates; q requests, n candidates in all."""

    rows: Floats32
    codes: Codes
    """Item of each candidate, shape ``(n,)``."""
    begin: NDArray[np.int64]
    """Where the candidates of each request begin, and the end, shape ``(q + 1,)``."""
    target: Codes
    """Item that came next, shape ``(q,)``."""
    stage_one: NDArray[np.int64]
    """Its place among all items by stage 1 alone; 0 where it may not be shown."""
    length: NDArray[np.int64]
    """Earlier events of the viewer."""
    weight: Floats
    """How many events the request stands for."""
    logged: Floats
    """Values of `logged_names`."""

    def __len__(self) -> int:
        return int(self.target.size)

    def ranks(self, scores: Floats) -> NDArray[np.int64]:
        """Return the place of each target among its candidates; 0 where it is none.

        Args:
            scores: Scores of the candidates, shape ``(n,)``; the better of equals counts.
        """
        request = np.repeat(np.arange(len(self)), np.diff(self.begin))
        hit = self.codes == self.target[request]
        own = np.full(len(self), np.inf)
        own[request[hit]] = scores[hit]
        above = np.bincount(request, weights=scores > own[request], minlength=len(self))
        return np.where(np.isfinite(own), above.astype(np.int64) + 1, 0)

    def ndcg(self, scores: Floats, k: int = 10) -> float:
        """Return mean NDCG@k over the events that the requests stand for."""
        return float(np.average(ndcg_at(self.ranks(scores), k), weights=self.weight))


def situations(
    ready: Prepared, start: int, end: int, histories: Histories | None = None
) -> Iterator[tuple[Situation, int]]:
    """Yield (situation, code of the item that came next) of the events start..end-1."""
    own = histories or Histories(ready.log, len(ready.viewers.ids))
    for place in range(start, end):
        viewer = int(ready.log.viewer[place])
        at_us = int(ready.log.at[place])
        yield (
            Situation(
                past=own.before(viewer, at_us),
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


def lessons(
    world: World,
    ready: Prepared,
    places: NDArray[np.int64],
    *,
    keep: int,
    rng: np.random.Generator,
) -> Lessons:
    """Return the ranker's rows; requests whose item is no candidate teach nothing.

    At most `keep` other candidates a request, drawn evenly (drawing more of the best ones
    taught the ranker a wrong distribution). Their features are those of the whole list.
    """
    histories = Histories(ready.log, len(ready.viewers.ids))
    parts: list[Floats32] = [np.zeros((0, len(feature_names(world))), dtype=np.float32)]
    labels: list[Codes] = [np.zeros(0, dtype=np.int32)]
    for place in places.tolist():
        situation, target = next(situations(ready, place, place + 1, histories))
        scene = scene_of(world, situation)
        codes = candidates(world, scene)
        hit = codes == target
        if not hit.any():
            continue
        chosen = np.arange(codes.size)
        if codes.size > keep:
            chosen = np.union1d(rng.permutation(codes.size)[:keep], np.flatnonzero(hit))
        parts.append(matrix(world, situation, scene, codes)[chosen].astype(np.float32))
        labels.append(hit[chosen].astype(np.int32))
    return Lessons(
        rows=np.concatenate(parts),
        labels=np.concatenate(labels),
        groups=np.array([part.size for part in labels[1:]], dtype=np.int32),
    )


def joined(parts: list[Lessons]) -> Lessons:
    """Return the lessons of several folds as one; at least one is given."""
    return Lessons(
        rows=np.concatenate([part.rows for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
    )


def drawn(
    ready: Prepared, span: tuple[int, int], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Return places of a span to ask about, ascending, and how many events each stands for.

    Every event of a viewer with fewer than `COLD` earlier ones, and of the others as many,
    drawn evenly, as `most` leaves room for, but at least half of it.
    """
    histories = Histories(ready.log, len(ready.viewers.ids))
    places = np.arange(*span, dtype=np.int64)
    length = np.array(
        [situation.past.items.size for situation, _ in situations(ready, *span, histories)]
    )
    cold, warm = places[length < COLD], places[length >= COLD]
    room = max(most - cold.size, most // 2)
    if warm.size <= room:
        return places, np.ones(places.size)
    kept = rng.permutation(warm)[:room]
    weight = np.concatenate((np.ones(cold.size), np.full(room, warm.size / room)))
    chosen = np.concatenate((cold, kept))
    order = np.argsort(chosen)
    return chosen[order], weight[order]


def held_out(world: World, ready: Prepared, places: NDArray[np.int64], weight: Floats) -> Held:
    """Return held-out requests, each with all its candidates."""
    histories = Histories(ready.log, len(ready.viewers.ids))
    rows: list[Floats32] = [np.zeros((0, len(feature_names(world))), dtype=np.float32)]
    codes: list[Codes] = [np.zeros(0, dtype=np.int32)]
    targets: list[int] = []
    alone: list[int] = []
    length: list[int] = []
    facts: list[tuple[float, ...]] = []
    for place in places.tolist():
        situation, target = next(situations(ready, place, place + 1, histories))
        scene = scene_of(world, situation)
        codes.append(candidates(world, scene))
        rows.append(matrix(world, situation, scene, codes[-1]).astype(np.float32))
        own = float(scene.base[target])
        alone.append(int(np.sum(scene.base > own)) + 1 if np.isfinite(own) else 0)
        targets.append(target)
        length.append(situation.past.items.size)
        facts.append(logged(situation, scene))
    return Held(
        rows=np.concatenate(rows),
        codes=np.concatenate(codes),
        begin=np.cumsum([part.size for part in codes]),
        target=np.asarray(targets, dtype=np.int32),
        stage_one=np.asarray(alone, dtype=np.int64),
        length=np.asarray(length, dtype=np.int64),
        weight=weight,
        logged=np.asarray(facts).reshape(len(facts), len(logged_names(world))),
    )
