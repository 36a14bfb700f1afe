"""Item statistics are looked up strictly before the request."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from mlg.recsys.columns import from_ids, to_us
from mlg.recsys.item_stats import stats_of
from mlg.recsys.levels import Feature, feature_matrix, features_of
from mlg.recsys.roles import ItemStatsRole

ROLE = ItemStatsRole(table="s", key="item", available_at="at")


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def table() -> pa.Table:
    return pa.table(
        {
            "item": [1, 1, 1, 2, 9],
            "at": [day(1), day(3), day(5), day(3), day(1)],
            "plays": [1.0, 3.0, 5.0, None, 9.0],
            "note": ["a", "b", "c", "d", "e"],
        }
    )


def test_the_newest_row_strictly_before_counts() -> None:
    stats = stats_of(table(), ROLE, from_ids((1, 2), whole=True), to_us(day(9)))
    items = np.array([0, 1])
    assert stats.names == ("plays",)
    for at, expected in ((1, np.nan), (2, 1.0), (3, 1.0), (4, 3.0), (5, 3.0), (20, 5.0)):
        found = stats.at(items, to_us(day(at)))
        np.testing.assert_array_equal(found, np.array([[expected], [np.nan]], dtype=np.float32))


def test_rows_from_the_freeze_on_are_not_kept() -> None:
    stats = stats_of(table(), ROLE, from_ids((1, 2), whole=True), to_us(day(5)))
    assert stats.at(np.array([0]), to_us(day(20))).tolist() == [[3.0]]


def test_before_everything_there_is_nothing() -> None:
    stats = stats_of(table(), ROLE, from_ids((1, 2), whole=True), to_us(day(1)))
    assert stats.at(np.array([0, 1]), to_us(day(20))).shape == (2, 0)


def test_text_columns_are_levels_and_numbers_numbers() -> None:
    people = pa.table({"job": ["b", None, "a", "b"], "age": [3, None, 5, 6]})
    features = features_of(people, ("job", "age"), "people")
    assert features == (Feature(name="job", levels=("a", "b")), Feature(name="age"))
    expected = [[1.0, 3.0], [np.nan, np.nan], [0.0, 5.0], [1.0, 6.0]]
    np.testing.assert_array_equal(feature_matrix(people, features, "people"), expected)


def test_a_request_reads_features_as_the_table_does() -> None:
    job, age = Feature(name="job", levels=("a", "b")), Feature(name="age")
    assert job.read("b") == 1.0
    assert job.read("z") == -1.0
    assert np.isnan(job.read(None))
    assert age.read(7) == age.read("7") == 7.0
    assert np.isnan(age.read("old"))
