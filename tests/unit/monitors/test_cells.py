"""Viewers of each arm since the split changed, and slow moments of arms of unlike size."""

from typing import Any

import pytest

from mlg.monitors.cells import SplitTally
from mlg.monitors.slow import Limit
from mlg.monitors.units import Firsts

CELL, CONTROL = "v2~rows.A", "v1"
LIMIT = Limit(gate="latency_p99", candidate_ms=12.0, control_ms=10.0)


def row(arm: str, session: str, ms: float = 50.0, **more: Any) -> dict[str, Any]:
    at = "2026-01-01T00:00:00.000000Z"
    whole = {"prediction_id": f"{arm}{session}", "arm": arm, "model_version": arm[:2]}
    return {**whole, "session": session, "latency_ms": ms, "received_at": at, **more}


@pytest.mark.parametrize(("cell_bp", "control_bp"), [(1_000, 9_000), (8_000, 2_000)])
def test_of_the_larger_arm_as_many_units_are_compared(cell_bp: int, control_bp: int) -> None:
    tally = SplitTally(CONTROL, control_bp, {CELL: cell_bp}, (LIMIT,), {})
    tally.add([row(CELL, f"a{n}") for n in range(cell_bp)])
    tally.add([row(CONTROL, f"c{n}") for n in range(control_bp)])
    ((block,),) = (tally.slower[CELL].blocks["latency_p99"].values(),)
    # a binomial of the larger arm's units, each with the chance of the smaller one's size
    less, more = sorted((cell_bp, control_bp))
    spread = (less * (1 - less / more)) ** 0.5
    assert abs(block[0] - block[1]) < 6 * spread
    assert min(block) > less / 2


def test_a_unit_is_slow_once_also_over_two_splits() -> None:
    firsts: dict[str, dict[str, Firsts]] = {}
    for expected in (1, 0):
        tally = SplitTally(CONTROL, 5_000, {CELL: 5_000}, (LIMIT,), firsts)
        tally.add([row(CELL, "s"), row(CELL, "s")])
        assert tally.slower[CELL].counts("latency_p99") == (expected, 0)


def test_what_another_answered_is_not_the_cells_latency() -> None:
    tally = SplitTally(CONTROL, 5_000, {CELL: 5_000}, (LIMIT,), {})
    tally.add([row(CELL, "r", model_version="v1"), row(CELL, "f", served_by="fallback")])
    tally.add([row(CELL, "l", served_by="fallback", reason="error", latency_ms=None)])
    tally.add([row("v3~other.B", "x"), row(CELL, "n", latency_ms=float("nan"))])
    assert tally.slower[CELL].counts("latency_p99") == (0, 0)
    assert tally.viewers == {CELL: {"r", "f", "l", "n"}}
    assert tally.units[CELL].having("latency_p99") == 0
