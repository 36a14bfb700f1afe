"""What viewers get under each fault: `mlg bench chaos` in small, all of it in `make chaos`.

One instance meets the faults one after the other. `make test` takes one of them.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
FULL = os.environ.get("MLG_FULL") == "1"
SHORT = ("kill-one",)
ALL = (
    "calm", "kill-one", "nan", "short", "slow", "slow-300ms", "canary-100", "kill-all",
    "half-written", "gateway-kill", "restart", "canary-20", "stop-one", "disk-full",
    "control-dead", "memory", "canary-5", "crash-loop", "swap", "corrupt", "gateway-hot",
    "gateway-end",
)  # fmt: skip
NAMES = ALL if FULL else SHORT


@pytest.fixture(scope="module")
def chaos() -> Iterator[ModuleType]:
    sys.path.insert(0, BENCHMARKS)
    yield importlib.import_module("chaos")
    sys.path.remove(BENCHMARKS)


@pytest.fixture(scope="module")
def rows(
    chaos: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    cases = [case for case in chaos.CASES if case.name in NAMES]
    with chaos.lab(tmp_path_factory.mktemp("chaos"), 100.0) as made:
        return {row["fault"]: row for row in chaos.measure(made, cases)}


def test_no_fault_is_left_out(chaos: ModuleType) -> None:
    assert tuple(case.name for case in chaos.CASES) == ALL


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", NAMES)
def test_viewers_get_good_answers(rows: dict[str, dict[str, Any]], name: str) -> None:
    row = rows[name]
    if "not_run" in row:
        pytest.skip(row["not_run"])
    assert "failed" not in row, row["failed"]
    assert row["requests"] >= 1_000
    assert row["held"], row
    assert row["back_s"] is not None, row
    assert row["model"] + row["fallback"] == pytest.approx(row["good"])
    if name in {"nan", "kill-all"}:
        assert row["fallback"] > 0.05, "the fault was not there"
