"""Prequential evaluation against brute force and closed forms."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.unit.recsys.conftest import START, film_roles

from mlg.core.clock import parse_time
from mlg.core.errors import ContractError, ManifestError
from mlg.core.predict import Key, Query, Ranked
from mlg.recsys import kinds
from mlg.recsys.artifact import Fitted
from mlg.recsys.bootstrap import ratio_interval
from mlg.recsys.evaluate import compare, judge, prequential
from mlg.recsys.recommender import PopularityList, Recommender
from mlg.recsys.results import Scored

CUT = START + timedelta(days=40)


class Oracle:
    """Knows each viewer's next film, and gives it the asked place."""

    kind = "oracle"
    logged_features = ()
    longest_history = 0
    golden: ClassVar[list[dict[str, Any]]] = []
    popularity = PopularityList(items=(), scores=(), hit_rate=0.0)

    def __init__(self, table: pa.Table, place: int) -> None:
        self.golden: list[dict[str, Any]] = []
        self._next: dict[tuple[Key | None, datetime], list[int]] = {}
        for row in sorted(table.to_pylist(), key=lambda row: row["film"]):
            self._next.setdefault((row["viewer"], row["seen_at"]), []).append(row["film"])
        self.item_ids: tuple[Key, ...] = tuple(range(1000, 1040))
        self._place = place
        self.queries: list[Query] = []

    def is_known_item(self, item: Key) -> bool:
        return item in self.item_ids

    def recommend(self, query: Query) -> Ranked:
        self.queries.append(query)
        target = self._next[query.user_id, query.at].pop(0)
        others = [item for item in self.item_ids if item != target]
        items = [*others[: self._place - 1], target, *others[self._place - 1 :]][: query.k]
        return Ranked(
            items=tuple(items),
            scores=tuple(-float(n) for n in range(len(items))),
            raw_confidence=0.9,
        )


def brute_popularity(rows: Sequence[dict[str, Any]], cut: datetime, days: float) -> list[int]:
    """Rank of the next film by counts of the trailing days, written as plainly as can be."""
    ordered = sorted(rows, key=lambda row: (row["seen_at"], row["viewer"], row["film"]))
    ranks = []
    for row in ordered:
        now = row["seen_at"]
        if now < cut:
            continue
        met = {
            r["film"] for r in ordered if r["viewer"] == row["viewer"] and r["seen_at"] < now
        }
        counts = dict.fromkeys(range(1000, 1040), 0)
        for r in ordered:
            if now - timedelta(days=days) <= r["seen_at"] < now:
                counts[r["film"]] += 1
        better = [
            film
            for film, count in counts.items()
            if film not in met and count > counts[row["film"]]
        ]
        ranks.append(1 + len(better))
    return ranks


@pytest.mark.parametrize(("name", "days"), [("popularity_7d", 7.0), ("popularity_all", 9999.0)])
def test_baselines_equal_brute_force(
    films: dict[str, pa.Table], name: str, days: float
) -> None:
    found = prequential({}, films, film_roles(), CUT)
    assert found.scored[name].ranks.tolist() == brute_popularity(
        films["plays"].to_pylist(), CUT, days
    )


@pytest.mark.parametrize(("place", "ndcg"), [(1, 1.0), (3, 0.5), (11, 0.0)])
def test_an_oracle_gets_the_closed_form(
    films: dict[str, pa.Table], place: int, ndcg: float
) -> None:
    # one film a viewer and moment: of two at once no ranking can have both in one place
    plays = films["plays"]
    firsts: dict[Any, int] = {}
    for row, play in enumerate(plays.to_pylist()):
        firsts.setdefault((play["viewer"], play["seen_at"]), row)
    films = {**films, "plays": plays.take(sorted(firsts.values()))}
    oracle = Oracle(films["plays"], place)
    found = prequential({"oracle": oracle}, films, film_roles(), CUT)
    figures = found.results["oracle"]["all"]
    assert figures["ndcg@10"].value == pytest.approx(ndcg)
    assert figures["ndcg@10"].low == pytest.approx(ndcg)
    assert figures["recall@50"].value == 1.0
    hit = 1.0 if place <= 10 else 0.0
    assert figures["ece"].value == pytest.approx(abs(0.9 - hit))
    assert figures["brier"].value == pytest.approx((0.9 - hit) ** 2)
    assert figures["aurc"].value == pytest.approx(1 - hit)


def test_history_is_strictly_earlier_and_includes_held_out_events(
    films: dict[str, pa.Table],
) -> None:
    oracle = Oracle(films["plays"], 1)
    prequential({"oracle": oracle}, films, film_roles(), CUT)
    held_out = 0
    rows = films["plays"].to_pylist()
    for query in oracle.queries:
        assert query.history is not None
        mine = [
            row for row in rows if row["viewer"] == query.user_id and row["seen_at"] < query.at
        ]
        assert len(query.history) == len(mine)
        assert all(event.at is not None and event.at < query.at for event in query.history)
        held_out += sum(event.at is not None and event.at >= CUT for event in query.history)
    assert held_out > 0


def test_warm_and_cold_split_at_five_events(films: dict[str, pa.Table]) -> None:
    found = prequential({}, films, film_roles(), CUT)
    figures = found.results["popularity_7d"]
    warm, cold = figures["warm"]["ndcg@10"], figures["cold"]["ndcg@10"]
    assert warm.n + cold.n == found.events
    assert cold.n == int((found.scored["popularity_7d"].length < 5).sum())


def test_a_fitted_model_beats_popularity_and_the_gate_says_so(
    films: dict[str, pa.Table], fitted: Fitted
) -> None:
    cut = parse_time(str(fitted.facts["cut"]))
    models = {"ranker": kinds.recommender(fitted)}
    found = prequential(models, {"plays": films["plays"]}, film_roles(), cut)
    verdict = judge(found, "ranker", "popularity_7d", "ndcg@10", rule="better_than")
    assert verdict.passed
    assert not judge(found, "popularity_7d", "ranker", "ndcg@10", rule="better_than").passed
    same = judge(found, "ranker", "ranker", "ndcg@10", rule="not_worse_than", margin=0.02)
    assert same.passed
    assert same.difference.value == 0.0
    assert b'"models"' in msgspec.json.encode(found.as_dict())
    assert b'"passed"' in msgspec.json.encode(verdict.as_dict())


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"metric": "coverage@10"}, "cannot be compared"),
        ({"rule": "as_good_as"}, "unknown rule"),
        ({"reference": "production"}, "was not evaluated"),
    ],
)
def test_a_wrong_gate_is_named(
    films: dict[str, pa.Table], given: dict[str, str], part: str
) -> None:
    found = prequential({}, films, film_roles(), CUT)
    arguments = {
        "model": "popularity_7d",
        "reference": "popularity_all",
        "metric": "ndcg@10",
        "rule": "better_than",
        **given,
    }
    with pytest.raises(ManifestError, match=part):
        judge(found, **arguments)  # type: ignore[arg-type]


def test_no_event_after_the_cut_is_an_error(films: dict[str, pa.Table]) -> None:
    with pytest.raises(ContractError, match="found none"):
        prequential({}, films, film_roles(), START + timedelta(days=4000))


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, 4000)
    found = ratio_interval(x, np.ones(4000), np.arange(4000), seed=1)
    half = 1.96 * x.std() / np.sqrt(4000)
    assert found.value == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(x.mean() + half, abs=0.15 * half)


def test_clusters_that_repeat_their_value_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    of_viewer = rng.normal(size=200)
    x, cluster = np.repeat(of_viewer, 25), np.repeat(np.arange(200), 25)
    found = ratio_interval(x, np.ones(x.size), cluster, seed=1)
    naive = ratio_interval(x, np.ones(x.size), np.arange(x.size), seed=1)
    ratio = (found.high - found.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(5.0, rel=0.15)  # sqrt of the cluster's size


def scored(ranks: list[int], cluster: list[int]) -> Scored:
    return Scored(
        ranks=np.array(ranks),
        cluster=np.array(cluster),
        length=np.zeros(len(ranks), dtype=np.int64),
        confidence=np.full(len(ranks), np.nan),
    )


def test_a_paired_difference_cancels_what_both_share() -> None:
    a = scored([1, 11, 1, 11] * 20, list(range(80)))
    b = scored([2, 12, 2, 12] * 20, list(range(80)))
    found = compare(a, b, "ndcg@1")
    assert found.value == pytest.approx(0.5)
    constant = compare(scored([1] * 9, [0] * 9), scored([0] * 9, [0] * 9), "recall@1")
    assert (constant.low, constant.value, constant.high) == (1.0, 1.0, 1.0)


def test_models_of_different_events_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same events"):
        compare(scored([1], [0]), scored([1, 1], [0, 1]), "ndcg@10")


def test_plain_ease_equals_brute_force(films: dict[str, pa.Table]) -> None:
    found = prequential({}, films, film_roles(), CUT).scored["ease"]
    recent = prequential({}, films, film_roles(), CUT).scored["popularity_7d"]
    rows = sorted(
        films["plays"].to_pylist(), key=lambda row: (row["seen_at"], row["viewer"], row["film"])
    )
    met = np.zeros((60, 40))
    for row in rows:
        if row["seen_at"] < CUT:
            met[row["viewer"], row["film"] - 1000] = 1.0
    inverse = np.linalg.inv(met.T @ met + 300.0 * np.eye(40))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    ranks = []
    for row in [row for row in rows if row["seen_at"] >= CUT]:
        mine = {
            other["film"] - 1000
            for other in rows
            if other["viewer"] == row["viewer"] and other["seen_at"] < row["seen_at"]
        }
        scores = weights[sorted(mine)].sum(axis=0)
        own = scores[row["film"] - 1000]
        better = [i for i in range(40) if i not in mine and scores[i] > own + 1e-7]
        ranks.append(1 + len(better) if mine else -1)
    expected = np.where(np.array(ranks) < 0, recent.ranks, ranks)
    np.testing.assert_array_equal(found.ranks, expected)


def test_a_models_name_may_not_be_a_baselines(films: dict[str, pa.Table]) -> None:
    with pytest.raises(ManifestError, match="'ease' is the name of a baseline"):
        prequential({"ease": Oracle(films["plays"], 1)}, films, film_roles(), CUT)


class Behind:
    """A fitted model behind its public face: it can only be asked as a viewer would."""

    def __init__(self, model: Recommender) -> None:
        self._model = model
        self.kind, self.item_ids = model.kind, model.item_ids
        self.popularity, self.golden = model.popularity, model.golden
        self.logged_features = model.logged_features
        self.longest_history = model.longest_history

    def is_known_item(self, item: Key) -> bool:
        return self._model.is_known_item(item)

    def recommend(self, query: Query) -> Ranked:
        return self._model.recommend(query)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_model_asked_outright_answers_as_a_viewer_is_answered(
    films: dict[str, pa.Table], fitted: Fitted, tmp_path: Path, threads: int
) -> None:
    fitted.save(tmp_path)
    model = kinds.load(tmp_path)
    new = films["plays"].slice(0, 1).to_pylist()[0] | {"film": 99_999}
    grown = {**films, "plays": pa.concat_tables([films["plays"], one_row(films["plays"], new)])}
    models: dict[str, Recommender] = {"outright": model, "asked": Behind(model)}
    found = prequential(models, grown, film_roles(), CUT, threads=threads).scored
    for name in ("ranks", "shown", "confidence"):
        first, second = (getattr(found[one], name) for one in models)
        assert np.array_equal(first, second)
    assert found["outright"].ranks.max() > 0


def one_row(table: pa.Table, row: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([row], schema=table.schema)
