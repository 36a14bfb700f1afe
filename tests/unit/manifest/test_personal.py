"""What a manifest says of people: purposes of personal columns, and where viewers are named."""

import json
from pathlib import Path

import pytest

from mlg.core.errors import ManifestError
from mlg.manifest.load import load_manifest, parse_manifest
from mlg.manifest.personal import personal_fields, viewer_columns

EXAMPLE = Path(__file__).parents[3] / "examples" / "movies" / "mlg.yaml"

TEXT = """
version: 1
project: films
datasets:
  people:
    source: {uri: people.csv}
    columns:
      id: {type: int64, viewer: true}
      age: {type: int64, personal: "age bands of the ranker"}
  films:
    source: {uri: films.csv}
    columns: {id: {type: int64}, title: {type: string}}
  plays:
    source: {uri: plays.csv}
    columns: {who: {type: int64}, film: {type: int64}}
    checks:
      - references: {columns: who, dataset: people, keys: id}
      - references: {columns: film, dataset: films, keys: id}
pipelines:
  ranker:
    steps:
      late: {sql: late.sql, in: [early]}
      early: {sql: early.sql, in: [plays]}
      both: {sql: both.sql, in: [people, films]}
"""


def test_each_personal_column_is_told_with_its_purpose() -> None:
    found = personal_fields(parse_manifest(TEXT).spec)
    assert found.keys() == {"people"}
    assert json.loads(found["people"]) == [
        {"column": "age", "purpose": "age bands of the ranker"}
    ]


def test_a_purpose_must_say_something() -> None:
    with pytest.raises(ManifestError, match="personal"):
        parse_manifest(TEXT.replace('"age bands of the ranker"', '""'))


def test_columns_that_refer_to_a_viewer_name_one_and_others_do_not() -> None:
    found = viewer_columns(parse_manifest(TEXT).spec)
    assert found["people"] == ("id",)
    assert found["plays"] == ("who",)
    assert "films" not in found


def test_made_tables_have_their_inputs_columns_whatever_the_order_of_the_steps() -> None:
    found = viewer_columns(parse_manifest(TEXT).spec)
    assert found["early"] == found["late"] == ("who",)


def test_a_name_that_another_input_uses_for_something_else_is_not_trusted() -> None:
    assert "both" not in viewer_columns(parse_manifest(TEXT).spec)


def test_the_example_says_what_age_gender_and_occupation_are_for() -> None:
    spec = load_manifest(EXAMPLE).spec
    told = json.loads(personal_fields(spec)["users"])
    assert [entry["column"] for entry in told] == ["age", "gender", "occupation"]
    assert {entry["purpose"] for entry in told} == {"recommendation features"}
    assert viewer_columns(spec)["train_set"] == ("user_id",)


def test_answers_are_kept_half_a_year_unless_the_manifest_says_otherwise() -> None:
    service = 'services:\n  home: {adopt: "http://elsewhere:8000"%s}\n'
    head = "version: 1\nproject: p\n"
    kept = parse_manifest(head + service % "").spec.services["home"].retention
    assert kept.predictions_s >= 183 * 86_400
    asked = service % ", retention: {predictions: 2d, log: 1d}"
    kept = parse_manifest(head + asked).spec.services["home"].retention
    assert (kept.predictions_s, kept.log_s) == (172_800.0, 86_400.0)
