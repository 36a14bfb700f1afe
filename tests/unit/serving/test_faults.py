"""Faults on purpose: what the file says is what the answers have."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

import pytest
from tests.unit.serving.stubs import StubRecommender

from mlg.core.predict import Query, Ranked
from mlg.serving.faults import Fault, FaultyRecommender, read_fault

QUERY = Query(user_id="somebody", k=4, at=datetime(2025, 1, 1, tzinfo=UTC))


@dataclass
class Draws:
    """Numbers in turn."""

    numbers: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.numbers.pop(0)


def faulty(folder: Path, fault: dict[str, object], *draws: float) -> FaultyRecommender:
    path = folder / "faults.json"
    path.write_text(json.dumps({"v1": fault}))
    return FaultyRecommender(StubRecommender(), path, ("", "v1"), Draws([*draws]))


def test_without_a_file_or_with_another_version_nothing_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    assert read_fault(path, ("v1",)) == Fault()
    path.write_text('{"v2": {"nan": 1.0}}')
    assert read_fault(path, ("v1",)) == Fault()
    path.write_text('{"v2": {"nan')
    assert read_fault(path, ("v2",)) == Fault()
    path.write_text('{"*": {"nan": 1.0}}')
    assert read_fault(path, ("v2",)).nan == 1.0


def test_a_short_answer_has_one_item_in_its_share_of_requests(tmp_path: Path) -> None:
    model = faulty(tmp_path, {"short": 0.5}, 0.49, 0.51)
    lengths = [(len(a.items), len(a.scores)) for a in (model.recommend(QUERY) for _ in "ab")]
    assert lengths == [(1, 1), (4, 4)]


def test_nan_and_errors_come_in_their_share(tmp_path: Path) -> None:
    model = faulty(tmp_path, {"errors": 0.2, "nan": 1.0}, 0.3, 0.0, 0.1)
    assert all(map(isnan, model.recommend(QUERY).scores))
    with pytest.raises(RuntimeError, match="on purpose"):
        model.recommend(QUERY)


def test_a_delay_takes_at_least_that_long(tmp_path: Path) -> None:
    model = faulty(tmp_path, {"delay_ms": 20.0})
    began_s = time.monotonic()
    answer: Ranked = model.recommend(QUERY)
    assert time.monotonic() - began_s >= 0.02
    assert len(answer.items) == 4


def test_what_an_answer_keeps_stays_until_there_is_no_memory_left(tmp_path: Path) -> None:
    model = faulty(tmp_path, {"keeps_bytes": 1 << 60})
    with pytest.raises(MemoryError):
        model.recommend(QUERY)


def test_the_longest_history_of_the_model_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    inner = StubRecommender(longest_history=7)
    assert FaultyRecommender(inner, path, ("v1",), Draws()).longest_history == 7
