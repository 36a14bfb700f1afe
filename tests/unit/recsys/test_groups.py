"""Groups of viewers, by hand."""

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.recsys.conftest import film_roles

from mlg.recsys.artifact import Fitted, dumps
from mlg.recsys.golden import answer_lines, query_of
from mlg.recsys.groups import by_group
from mlg.recsys.loading import recommender
from mlg.recsys.results import Scored
from mlg.recsys.roles import roles_from
from mlg.serving.requests import parse_recommend

ROLES = roles_from(
    {
        "interactions": {"table": "e", "viewer": "v", "item": "i", "at": "t", "value": "r"},
        "viewers": {"table": "u", "key": "v", "features": ["sex", "age"]},
        "items": {"table": "f", "key": "i", "features": []},
    }
)
TABLES = {
    "e": pa.table({"v": [1, 2, 3, 9], "i": [1, 1, 1, 1], "t": [0, 0, 0, 0], "r": [1.0] * 4}),
    "u": pa.table({"v": [3, 2, 1], "sex": ["M", "F", "F"], "age": [1, 2, 3]}),
    "f": pa.table({"i": [1]}),
}


def test_a_viewer_counts_once_however_many_events_he_has() -> None:
    # codes of viewers 1, 2, 3, 9 are 0, 1, 2, 3; 9 is in no table of viewers
    cluster = np.array([0, 0, 0, 0, 1, 2, 3])
    ranks = np.array([1, 10, 11, 0, 5, 0, 1])
    scored = Scored(
        cluster=cluster, length=np.zeros(7, dtype=np.int64), confidence=np.zeros(7), ranks=ranks
    )
    # viewer 1 hits 2 of 4, viewer 2 hits 1 of 1: mean 0.75, sd sqrt(0.125)
    assert by_group(scored, TABLES, ROLES) == {
        "sex": [
            {"level": "F", "n": 2, "mean": 0.75, "sd": pytest.approx(0.125**0.5)},
            {"level": "M", "n": 1, "mean": 0.0, "sd": None},
        ]
    }


def test_without_viewers_there_are_no_groups() -> None:
    empty = Scored(
        cluster=np.arange(2), length=np.zeros(2, dtype=np.int64), confidence=np.zeros(2)
    )
    assert by_group(empty, TABLES, ROLES) == {}
    assert film_roles().viewers is not None


def test_a_recorded_request_is_asked_as_a_replica_reads_it(fitted: Fitted) -> None:
    model = recommender(fitted)
    for request in model.golden:
        at = query_of(request).at
        read = parse_recommend(dumps(request).encode(), now=at, clock="request")
        assert query_of(request) == read
    lines = answer_lines(model, model.golden)
    assert lines == answer_lines(recommender(fitted), model.golden)
    assert lines.count("\n") == len(model.golden)
