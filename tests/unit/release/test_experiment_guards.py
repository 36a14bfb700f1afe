"""What guards an experiment's cells, and how their alpha is shared."""

import pytest

from mlg.release.experiment_guards import GUARD_ALPHA, errors_guard, latency_gates
from mlg.release.rollout_types import GatePlan, RolloutPlan


@pytest.mark.parametrize(
    ("cell", "control", "verdict"),
    [(0, 0, "PASS"), (200, 0, "FAIL"), (40, 0, "FAIL"), (2, 2, "PASS")],
)
def test_a_cell_fails_only_where_more_of_its_units_do(
    cell: int, control: int, verdict: str
) -> None:
    found = errors_guard((cell, 200), (control, 200))
    assert found.verdict == verdict, found
    if verdict == "FAIL":
        assert found.reason == f"{cell} of 200 units failed, {control} of 200"


def test_a_control_that_fails_is_no_harm_of_the_cell() -> None:
    assert errors_guard((0, 200), (100, 200)).verdict == "PASS"
    assert errors_guard((50, 60), (0, 200)).verdict == "INCONCLUSIVE"


def test_all_guards_of_all_cells_share_one_alpha() -> None:
    own = RolloutPlan(
        gates=(
            GatePlan(name="errors", alpha=0.005, margin=0.01),
            GatePlan(name="latency_p50", alpha=0.001, margin=0.3, from_bp=500),
            GatePlan(name="latency_p95", alpha=0.001, margin=0.1),
        )
    )
    gates = latency_gates(own, 3)
    assert [(g.name, g.margin, g.from_bp) for g in gates] == [
        ("latency_p50", 0.3, 0),
        ("latency_p95", 0.1, 0),
    ]
    # the other half is the errors guard's
    assert 3 * sum(g.alpha for g in gates) == pytest.approx(GUARD_ALPHA / 2)
