"""The engine against published tables; they and their sources are in benchmarks/."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


def benchmark(name: str) -> ModuleType:
    """Load a script of `benchmarks/`, which is no package."""
    path = CHECKOUT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


published = benchmark("monitors_published")


@pytest.mark.parametrize(
    "table",
    published.PUBLISHED,
    ids=lambda table: f"{table.source}: {published.words(table.chart)}",
)
def test_the_engine_meets_what_was_published(table) -> None:
    rows = table.compared()
    assert rows
    wrong = [(row["shift"], row["published"], row["ours"]) for row in rows if not row["holds"]]
    assert wrong == []


def test_a_wrong_engine_would_be_seen() -> None:
    table = published.Published(
        "none", published.cusum(0.5, 4.05, two=True), {0.0: "168", 1.0: "8.38"}
    )
    assert [row["holds"] for row in table.compared()] == [False, False]


def test_only_what_a_publication_got_wrong_is_held_to_less() -> None:
    loose = [table for table in published.PUBLISHED if table.within > published.WITHIN]
    assert all(table.why for table in loose)
    assert len(loose) <= 4
