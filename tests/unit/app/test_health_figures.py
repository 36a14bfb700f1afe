"""The error budget by its closed form, and null with a reason where nothing is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.api.health import availability_of


@given(
    requests=st.integers(1, 10**9),
    part=st.floats(0, 1),
    objective=st.floats(0.5, 0.9999),
)
def test_the_budget_left_is_one_minus_errors_over_what_may_fail(
    requests: int, part: float, objective: float
) -> None:
    errors = int(part * requests)
    told = availability_of(requests, errors, objective)
    assert told.budget_left_ratio == pytest.approx(1 - errors / ((1 - objective) * requests))
    assert told.availability_ratio == pytest.approx(1 - errors / requests)
    assert not told.unknown


@pytest.mark.parametrize(
    ("requests", "objective", "null"),
    [
        (0, 0.999, {"availability_ratio", "burned_ratio", "budget_left_ratio"}),
        (9, None, {"objective_ratio", "budget_ratio", "burned_ratio", "budget_left_ratio"}),
        (9, 1.0, {"burned_ratio", "budget_left_ratio"}),
    ],
)
def test_what_is_not_known_is_null_with_a_reason(
    requests: int, objective: float | None, null: set[str]
) -> None:
    told = availability_of(requests, 0, objective)
    assert {name for name in null if getattr(told, name) is None} == null
    assert set(told.unknown) == null
    assert all(told.unknown.values())
