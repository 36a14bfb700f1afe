import time

import pytest

from mlg.core.artifacts import Column
from mlg.manifest.specs_data import ColumnSpec
from mlg.pipeline.contracts import schema_breaches, schema_error, type_word

FOUND = (
    Column(name="user_id", type="int64"),
    Column(name="movieID", type="int64"),
    Column(name="rating", type="string"),
    Column(name="at", type="timestamp(6)"),
)


def spec(kind: str) -> ColumnSpec:
    return ColumnSpec(type=kind)


def test_a_table_that_keeps_its_contract_has_no_breaches() -> None:
    assert (
        schema_breaches("t", {"user_id": spec("int64"), "at": spec("timestamp")}, FOUND) == ()
    )


def test_a_missing_column_is_named_with_dataset_type_nearest_and_what_breaks() -> None:
    breaches = schema_breaches(
        "ratings", {"movie_id": spec("int64")}, FOUND, consumers=("clean", "train")
    )
    error = schema_error("ratings", breaches)
    assert str(error) == (
        "dataset ratings: column 'movie_id': expected int64, found no such column "
        "(nearest: 'movieID' int64); steps that cannot run: clean, train"
    )
    assert "datasets.ratings.columns" in error.hint


def test_a_wrong_type_is_named_with_what_was_found() -> None:
    (breach,) = schema_breaches("ratings", {"rating": spec("int64")}, FOUND)
    assert breach.message() == "column 'rating': expected int64, found string"


def test_every_breach_is_named_at_once() -> None:
    breaches = schema_breaches("t", {"rating": spec("int64"), "zzz": spec("string")}, FOUND)
    message = str(schema_error("t", breaches))
    assert message.startswith("dataset t: 2 breaches of the contract:\n  - column 'rating'")
    assert "column 'zzz': expected string, found no such column" in message


def test_a_guess_from_text_may_be_read_wider_but_not_narrower() -> None:
    found = (Column(name="n", type="int64"), Column(name="s", type="string"))
    wide = {"n": spec("float64")}
    assert schema_breaches("t", wide, found, guessed=True) == ()
    assert len(schema_breaches("t", wide, found)) == 1
    assert len(schema_breaches("t", {"s": spec("int64")}, found, guessed=True)) == 1
    assert schema_breaches("t", {"n": spec("string")}, found, guessed=True) == ()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("timestamp('UTC')", "timestamp"),
        ("timestamp(3)", "timestamp"),
        ("!string", "string"),
        ("decimal(10, 2)", "decimal(10, 2)"),
    ],
)
def test_engine_types_become_contract_words(text: str, word: str) -> None:
    assert type_word(text) == word


def test_a_breach_in_a_wide_table_is_found_within_five_milliseconds_of_work() -> None:
    found = tuple(Column(name=f"column_{i}", type="int64") for i in range(50))
    expected = {f"column_{i}": spec("int64") for i in range(49)} | {"colum_49": spec("int64")}
    took: list[float] = []
    for _ in range(20):
        began = time.process_time()
        assert len(schema_breaches("t", expected, found)) == 1
        took.append(time.process_time() - began)
    assert min(took) < 0.005
