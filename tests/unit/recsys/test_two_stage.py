"""The two-stage model: no skew, no leak, no surprise for the one who asks."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.recsys.conftest import SMALL, START, film_roles, film_tables, fit_films

from mlg.core.clock import parse_time
from mlg.core.errors import ContractError, ManifestError
from mlg.core.predict import Interaction, Query
from mlg.recsys import kinds
from mlg.recsys.artifact import Fitted
from mlg.recsys.columns import from_us
from mlg.recsys.features import candidates, feature_names, matrix, scene_of
from mlg.recsys.folds import situations
from mlg.recsys.prepare import prepare
from mlg.recsys.two_stage import TwoStage

LATE = START + timedelta(days=400)


def ask(model: object, **given: object) -> object:
    return model.recommend(Query(**{"user_id": None, "k": 5, "at": LATE, **given}))  # type: ignore[attr-defined, arg-type]


@pytest.fixture(scope="module")
def model(fitted: Fitted) -> TwoStage:
    return TwoStage(fitted)


def seen(*items: object) -> tuple[Interaction, ...]:
    return tuple(
        Interaction(item_id=item, at=START + timedelta(days=200, minutes=number))  # type: ignore[arg-type]
        for number, item in enumerate(items)
    )


def test_training_rows_equal_what_serving_computes(
    films: dict[str, pa.Table], model: TwoStage
) -> None:
    ready = prepare(films, film_roles(), SMALL, "films")
    people = films["people"].to_pylist()
    world = model._world
    checked = 0
    for situation, _ in situations(ready, 300, 340):
        scene = scene_of(world, situation)
        codes = candidates(world, scene)
        trained = matrix(world, situation, scene, codes)
        viewer = next(
            row
            for row in people
            if row["age"] == situation.viewer[0]
            and sorted({"smith", "baker", "miller"})[int(situation.viewer[1])] == row["job"]
        )
        served = model.situation(
            Query(
                user_id="nobody",
                k=5,
                at=from_us(situation.at_us),
                history=tuple(
                    Interaction(item_id=ready.items.ids[item], at=from_us(at), value=value)
                    for item, at, value in zip(
                        situation.past.items.tolist(),
                        situation.past.at.tolist(),
                        situation.past.value.tolist(),
                        strict=True,
                    )
                ),
                viewer=(("age", viewer["age"]), ("job", viewer["job"])),
            )
        )
        other = scene_of(world, served)
        np.testing.assert_array_equal(candidates(world, other), codes)
        np.testing.assert_array_equal(matrix(world, served, other, codes), trained)
        assert trained.shape == (codes.size, len(feature_names(world)))
        checked += codes.size
    assert checked > 100


def test_nothing_after_the_cut_reaches_the_artifact(
    films: dict[str, pa.Table], fitted: Fitted, tmp_path: Path
) -> None:
    cut = parse_time(str(fitted.facts["cut"]))
    stars = [
        1 if at >= cut else value
        for at, value in zip(
            films["plays"]["seen_at"].to_pylist(),
            films["plays"]["stars"].to_pylist(),
            strict=True,
        )
    ]
    items = [
        1000 if at >= cut else value
        for at, value in zip(
            films["plays"]["seen_at"].to_pylist(),
            films["plays"]["film"].to_pylist(),
            strict=True,
        )
    ]
    plays = films["plays"].set_column(3, "stars", pa.array(stars))
    plays = plays.set_column(1, "film", pa.array(items))
    plays_late = [
        -5.0 if at >= cut else value
        for at, value in zip(
            films["daily"]["known_at"].to_pylist(),
            films["daily"]["plays"].to_pylist(),
            strict=True,
        )
    ]
    daily = films["daily"].set_column(2, "plays", pa.array(plays_late))
    assert (np.array(items) != films["plays"]["film"].to_numpy()).any()
    changed = fit_films({**films, "plays": plays, "daily": daily})
    for folder, made in (("a", fitted), ("b", changed)):
        (tmp_path / folder).mkdir()
        made.save(tmp_path / folder)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_two_fits_give_equal_bytes(
    films: dict[str, pa.Table], fitted: Fitted, tmp_path: Path
) -> None:
    again = fit_films(films)
    for folder, made in (("a", fitted), ("b", again)):
        (tmp_path / folder).mkdir()
        made.save(tmp_path / folder)
    documents = [(tmp_path / folder / "model.json").read_bytes() for folder in "ab"]
    assert documents[0] == documents[1]  # it holds the digest of every other file


def test_the_ranker_is_used_and_beats_chance(fitted: Fitted) -> None:
    assert fitted.metrics["validation_ndcg@10"] > 0.4  # 10 of 40 at random: about 0.11
    assert fitted.facts["items"] == 40


def test_what_the_viewer_met_is_not_shown(model: TwoStage) -> None:
    answer = ask(model, k=100, history=seen(1000, 1001, 1002))
    assert not {1000, 1001, 1002} & set(answer.items)
    assert len(answer.items) == len(set(answer.items)) == 37
    assert list(answer.scores) == sorted(answer.scores, reverse=True)


def test_the_next_film_of_the_walk_comes_early(model: TwoStage) -> None:
    answer = ask(model, history=seen(1004, 1005, 1006, 1007))
    assert 1008 in answer.items


def test_history_at_or_after_the_request_is_not_history(model: TwoStage) -> None:
    history = seen(1004, 1005)
    at = history[1].at
    assert at is not None
    with_both = ask(model, history=history, at=at)
    with_one = ask(model, history=history[:1], at=at)
    assert repr(with_both) == repr(with_one)


def test_the_artifacts_own_history_answers_when_none_is_given(
    films: dict[str, pa.Table], model: TwoStage, fitted: Fitted
) -> None:
    cut = parse_time(str(fitted.facts["cut"]))
    mine = [
        row
        for row in films["plays"].sort_by([("seen_at", "ascending")]).to_pylist()
        if row["viewer"] == 3 and row["seen_at"] < cut
    ]
    history = tuple(
        Interaction(item_id=row["film"], at=row["seen_at"], value=row["stars"]) for row in mine
    )
    known = ask(model, user_id=3)
    assert set(known.items) == set(ask(model, user_id=3, history=history).items)
    assert repr(known) == repr(
        ask(model, user_id="3")
    )  # JSON callers may send the number as text


@pytest.mark.parametrize("history", [None, ()])
def test_an_unknown_viewer_gets_an_answer(
    model: TwoStage, history: tuple[Interaction, ...] | None
) -> None:
    answer = ask(model, user_id=10**9, history=history)
    assert len(answer.items) == 5
    assert 0.0 < answer.raw_confidence < 1.0
    assert len(answer.features) == len(model.logged_features)
    assert answer.features[0] == 0.0  # history_length


def test_strange_features_and_items_are_passed_over(model: TwoStage) -> None:
    plain = ask(model, history=seen(1004))
    strange = ask(
        model,
        history=(*seen(1004), Interaction(item_id="no such film", at=START)),
        viewer=(("shoe_size", 44), ("age", None), ("job", None)),
    )
    assert repr(strange) == repr(plain)


@pytest.mark.parametrize("k", [0, -1])
def test_asking_for_nothing_gives_nothing(model: TwoStage, k: int) -> None:
    assert ask(model, k=k).items == ()


def test_impressions_are_no_history(model: TwoStage) -> None:
    shown = (Interaction(item_id=1004, at=START, event="impression"),)
    assert repr(ask(model, history=shown)) == repr(ask(model, history=()))


def test_a_viewer_who_met_everything_gets_an_empty_answer(model: TwoStage) -> None:
    answer = ask(model, history=seen(*model.item_ids))
    assert answer.items == ()
    assert 0.0 < answer.raw_confidence < 1.0


def test_text_identifiers_work_as_well() -> None:
    fitted = fit_films(film_tables(text_ids=True))
    model = kinds.recommender(fitted)
    assert fitted.model["item_type"] == "str"
    assert all(isinstance(item, str) for item in ask(model).items)
    assert model.is_known_item("f003")
    assert not model.is_known_item("f999")


def test_recorded_requests_are_enough_and_valid(model: TwoStage) -> None:
    assert len(model.golden) >= 50
    cold = [line for line in model.golden if not line["context"]["history"]]
    assert cold
    for line in model.golden:
        assert set(line) == {"user_id", "k", "context"}
        parse_time(line["context"]["at"])


def test_repeats_are_allowed_where_the_manifest_says_so(films: dict[str, pa.Table]) -> None:
    model = kinds.recommender(fit_films(films, {**SMALL, "repeat": True}))
    assert len(ask(model, k=100, history=seen(1000, 1001)).items) == 40


def test_no_ranker_leaves_stage_one(films: dict[str, pa.Table]) -> None:
    fitted = fit_films(films, {**SMALL, "ranker": False})
    assert "ranker.txt" not in fitted.texts
    assert len(ask(kinds.recommender(fitted)).items) == 5


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"train_until": 1.5}, "train_until"),
        ({"train_until": "tomorrow"}, "train_until"),
        ({"candidate": 3}, "unknown parameter 'candidate'"),
    ],
)
def test_a_wrong_parameter_is_named(
    films: dict[str, pa.Table], params: dict[str, object], part: str
) -> None:
    with pytest.raises(ManifestError, match=part):
        fit_films(films, params)


def test_a_missing_column_is_named_with_its_table(films: dict[str, pa.Table]) -> None:
    with pytest.raises(ContractError, match="'film'") as caught:
        fit_films({**films, "plays": films["plays"].drop(["film"])})
    assert caught.value.where == "plays"


def test_an_empty_table_is_refused(films: dict[str, pa.Table]) -> None:
    with pytest.raises(ContractError, match="at least 20 events"):
        fit_films({**films, "plays": films["plays"].slice(0, 0)})


def test_a_cut_by_time_and_one_by_share_agree(films: dict[str, pa.Table]) -> None:
    share = fit_films(films, {"train_until": 0.5}, "popularity")
    by_time = fit_films(films, {"train_until": str(share.facts["cut"])}, "popularity")
    assert share.facts == by_time.facts


def test_the_longest_kept_history_is_known(fitted: Fitted, model: TwoStage) -> None:
    kept = fitted.tables["users"].column("items").to_pylist()
    assert model.longest_history == max(map(len, kept)) > 0
