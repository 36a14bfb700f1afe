"""Folds: what the ranker learns from was never known to the stage 1 that it is asked of."""

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.recsys.conftest import SMALL, film_roles

from mlg.core.errors import ContractError, ManifestError
from mlg.recsys import folds
from mlg.recsys.events import cut_us
from mlg.recsys.metrics import ndcg_at
from mlg.recsys.prepare import Prepared, prepare
from mlg.recsys.world import World, settings_from


@pytest.fixture(scope="module")
def ready(films: dict[str, pa.Table]) -> Prepared:
    return prepare(films, film_roles(), SMALL, "films")


@pytest.fixture(scope="module")
def world(ready: Prepared, films: dict[str, pa.Table]) -> World:
    return frozen(ready, films, 300)


def frozen(ready: Prepared, films: dict[str, pa.Table], place: int) -> World:
    at = int(ready.log.at[place])
    return folds.world_at(ready, films, film_roles(), settings_from(dict(SMALL)), at)


def test_a_frozen_stage_one_counts_only_what_came_before(ready: Prepared, world: World) -> None:
    earlier = ready.log.at < ready.log.at[300]
    expected = np.bincount(ready.log.item[earlier], minlength=40)
    np.testing.assert_array_equal(world.count, expected)
    assert world.first_us.max() <= ready.log.at[300]


def test_how_items_came_first_and_when_equals_counting_by_hand(
    ready: Prepared, world: World
) -> None:
    log = ready.log.span(0, 300)
    since = world.frozen_us - int(4 * 7 * 86_400e6)
    firsts, logs = np.zeros(40), [[] for _ in range(40)]
    for viewer in np.unique(log.viewer):
        mine = log.viewer == viewer
        at, item = log.at[mine], log.item[mine]
        for one, when in zip(item, at, strict=True):
            same = np.flatnonzero(at == when)
            logs[one].append(np.log1p(same.mean()))
            firsts[one] += when == at.min() and when >= since
    usual = np.mean([value for one in logs for value in one])
    place = [(sum(one) + 5 * usual) / (len(one) + 5) for one in logs]
    np.testing.assert_allclose(world.place, place, rtol=1e-5)
    np.testing.assert_allclose(
        world.entry, np.log(firsts + 0.02 * world.count + 0.01), rtol=1e-5
    )


def test_a_lesson_has_one_positive_among_at_most_so_many(ready: Prepared, world: World) -> None:
    rng = np.random.default_rng(0)
    found = folds.lessons(world, ready, np.arange(300, 340), keep=5, rng=rng)
    assert found.rows.shape == (found.groups.sum(), len(folds.feature_names(world)))
    assert set(found.groups.tolist()) <= {5, 6}
    starts = np.concatenate(([0], np.cumsum(found.groups)[:-1]))
    assert np.add.reduceat(found.labels, starts).tolist() == [1] * found.groups.size


def test_held_out_ranks_equal_sorting_each_request(ready: Prepared, world: World) -> None:
    held = folds.held_out(world, ready, np.arange(300, 340), np.full(40, 2.0))
    scores = np.random.default_rng(1).normal(size=held.codes.size)
    expected = []
    for number, target in enumerate(held.target.tolist()):
        part = slice(held.begin[number], held.begin[number + 1])
        ordered = held.codes[part][np.argsort(-scores[part])].tolist()
        expected.append(ordered.index(target) + 1 if target in ordered else 0)
    np.testing.assert_array_equal(held.ranks(scores), expected)
    assert held.ndcg(scores) == pytest.approx(ndcg_at(np.array(expected), 10).mean())


def test_a_sample_stands_for_the_whole_span_and_keeps_every_cold_viewer(
    ready: Prepared,
) -> None:
    span = (200, 500)
    places, weight = folds.drawn(ready, span, 120, np.random.default_rng(2))
    assert weight.sum() == pytest.approx(300)
    assert np.all(np.diff(places) > 0)
    cold = {
        place
        for place, (situation, _) in zip(
            range(*span), folds.situations(ready, *span), strict=True
        )
        if situation.past.items.size < folds.COLD
    }
    assert cold <= set(places.tolist())
    assert set(weight[np.isin(places, list(cold))].tolist()) == {1.0}


def test_a_small_span_is_asked_whole(ready: Prepared) -> None:
    places, weight = folds.drawn(ready, (200, 230), 120, np.random.default_rng(2))
    assert places.tolist() == list(range(200, 230))
    assert set(weight.tolist()) == {1.0}


def test_a_healing_cut_parts_what_came_since_the_serving_models_cut() -> None:
    hours = np.arange(100, dtype=np.int64) * 3_600_000_000  # one event an hour from 1970 on
    rng = np.random.default_rng(3)
    given = {"after": "1970-01-03T12:00:00Z", "share": 0.5}  # 60 events lie before it
    assert cut_us(rng.permutation(hours), given, "m") == 80 * 3_600_000_000
    with pytest.raises(ContractError, match="found 19"):
        cut_us(hours, {**given, "after": "1970-01-04T09:00:00Z"}, "m")
    for wrong in ({"after": "soon", "share": 0.5}, {"after": given["after"]}, {"share": 0.5}):
        with pytest.raises(ManifestError):
            cut_us(hours, wrong, "m")
    with pytest.raises(ManifestError, match="share"):
        cut_us(hours, {**given, "share": 1.5}, "m")
