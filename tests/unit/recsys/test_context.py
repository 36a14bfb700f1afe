"""The context ranker and its off-policy evaluation on impressions with a known truth."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.recsys.conftest import START, banner_roles, banner_tables

from mlg.core.clock import parse_time
from mlg.core.errors import ContractError
from mlg.core.predict import Query
from mlg.recsys import kinds
from mlg.recsys.artifact import Fitted
from mlg.recsys.evaluate import judge, prequential


@pytest.fixture(scope="module")
def banners() -> dict[str, pa.Table]:
    return banner_tables()


@pytest.fixture(scope="module")
def fitted(banners: dict[str, pa.Table]) -> Fitted:
    return kinds.fit(
        "context_ranker", banners, banner_roles(), {"k": 2}, 7, "banners", lambda _: None
    )


def query(k: int = 6, **viewer: object) -> Query:
    return Query(user_id=None, k=k, at=START + timedelta(days=9), viewer=tuple(viewer.items()))  # type: ignore[arg-type]


def test_the_planted_taste_is_found(fitted: Fitted) -> None:
    model = kinds.recommender(fitted)
    blue = model.recommend(query(taste="blue", hour=3.0))
    red = model.recommend(query(taste="red", hour=3.0))
    assert set(blue.items[:3]) == {"b0", "b2", "b4"}
    assert set(red.items[:3]) == {"b1", "b3", "b5"}
    assert blue.scores[0] == pytest.approx(0.35, abs=0.08)
    assert blue.scores[-1] == pytest.approx(0.05, abs=0.04)


def test_confidence_is_the_chance_of_a_click_among_the_first_k(fitted: Fitted) -> None:
    answer = kinds.recommender(fitted).recommend(query(taste="blue", hour=3.0))
    assert answer.raw_confidence == pytest.approx(1 - 0.65**2, abs=0.1)
    assert len(answer.features) == len(kinds.recommender(fitted).logged_features)


def test_unknown_context_still_gets_the_whole_catalogue(fitted: Fitted) -> None:
    model = kinds.recommender(fitted)
    for given in ({}, {"taste": "green"}, {"taste": None, "hour": "noon"}):
        answer = model.recommend(query(k=99, **given))
        assert set(answer.items) == set(model.item_ids)
    assert answer.features[-1] == 2.0  # both features unknown


def test_the_saved_model_answers_alike(fitted: Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = kinds.load(tmp_path)
    fresh = kinds.recommender(fitted).recommend(query(taste="red"))
    assert repr(loaded.recommend(query(taste="red"))) == repr(fresh)
    assert len(loaded.golden) >= 50
    assert loaded.popularity.items[0] in loaded.item_ids


def test_off_policy_estimates_cover_the_truth(
    banners: dict[str, pa.Table], fitted: Fitted
) -> None:
    cut = parse_time(str(fitted.facts["cut"]))
    models = {"ranker": kinds.recommender(fitted)}
    found = prequential(models, banners, banner_roles(), cut, seed=1)
    figures = found.results["ranker"]["all"]
    assert found.kind == "impressions"
    for metric in ("ips", "snips"):
        assert figures[metric].low < 0.35 < figures[metric].high
    assert figures["logged_rate"].value == pytest.approx(0.2, abs=0.04)
    # a pair of a good and a bad show is ordered right unless both are of one kind
    assert figures["auc"].value == pytest.approx(0.72, abs=0.06)
    verdict = judge(found, "ranker", "popularity_ctr", "snips", rule="better_than")
    assert verdict.difference.value > 0


def test_without_items_table_the_evaluation_runs(
    banners: dict[str, pa.Table], fitted: Fitted
) -> None:
    cut = parse_time(str(fitted.facts["cut"]))
    models = {"ranker": kinds.recommender(fitted)}
    only = {"impressions": banners["impressions"]}
    assert prequential(models, only, banner_roles(), cut).events == 800


@pytest.mark.parametrize("labels", [0, 3])
def test_a_label_that_is_no_click_is_refused(banners: dict[str, pa.Table], labels: int) -> None:
    table = banners["impressions"]
    place = table.column_names.index("click")
    wrong = table.set_column(place, "click", pa.array(np.full(table.num_rows, labels)))
    with pytest.raises(ContractError, match="0 and 1"):
        kinds.fit(
            "context_ranker",
            {**banners, "impressions": wrong},
            banner_roles(),
            {},
            7,
            "banners",
            lambda _: None,
        )
