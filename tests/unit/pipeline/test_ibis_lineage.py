"""Columns of Ibis expressions: those of the example's features, and of a running step."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.sources import Sources
from mlg.core.artifacts import Column, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.columns import ColumnLineage
from mlg.core.steps import StepCall, StepInput
from mlg.core.uris import Digest
from mlg.manifest.specs_pipelines import PythonStep
from mlg.pipeline.columns import column_lineage, lineage_of
from mlg.pipeline.config import TableConfig, canonical

EXAMPLE = Path(__file__).parents[3] / "examples" / "movies"
SCHEMAS = {
    "clean_ratings": {
        "user_id": "int64", "item_id": "int64", "rating": "int64", "rated_at": "timestamp",
    },
    "users": {"user_id": "int64", "age": "int64", "gender": "string", "occupation": "string"},
    "movies": {"movie_id": "int64", "movie_title": "string", "release_date": "string"},
    "item_stats": {
        "item_id": "int64", "available_at": "timestamp", "plays_7d": "int64",
        "mean_value": "float64",
    },
}  # fmt: skip


@pytest.fixture
def features() -> Iterator[Any]:
    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLE))
    try:
        from movies import features as module

        yield module
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in {
            name for name in sys.modules if name.partition(".")[0] == "movies"
        } - before:
            del sys.modules[name]


def told_of(function: Any, *inputs: str) -> tuple[ColumnLineage, dict[str, dict[str, str]]]:
    made = function({n: ibis.table(SCHEMAS[n], name=n) for n in inputs}, {})
    query = str(ibis.to_sql(made, dialect="duckdb"))
    told = column_lineage(query, {n: list(SCHEMAS[n]) for n in inputs}, list(made.columns))
    return told, {
        name: {f"{one.table}.{one.column}": one.subtype for one in sources}
        for name, sources in told.columns
    }


def test_the_examples_training_rows_come_from_where_its_code_says(features: Any) -> None:
    told, found = told_of(features.build, *SCHEMAS)
    assert told.state == "exact"
    assert found["age"] == {"users.age": "IDENTITY"}
    assert found["mean_value"] == {"item_stats.mean_value": "IDENTITY"}
    assert found["release_year"] == {"movies.release_date": "TRANSFORMATION"}
    assert found["watch_through"] == {"clean_ratings.rating": "TRANSFORMATION"}
    joined = {f"{one.table}.{one.column}" for one in told.rows if one.subtype == "JOIN"}
    assert {"users.user_id", "movies.movie_id", "item_stats.available_at"} <= joined
    assert "movies.movie_title" not in str(told)


def test_the_examples_statistics_of_a_film_come_from_its_ratings(features: Any) -> None:
    told, found = told_of(features.item_stats, "clean_ratings")
    assert told.state == "exact"
    assert found["item_id"] == {"clean_ratings.item_id": "IDENTITY"}
    assert found["mean_value"]["clean_ratings.rating"] == "AGGREGATION"
    assert "clean_ratings.rating" not in found["plays_7d"]
    assert all("user_id" not in one for sources in found.values() for one in sources)


def ran(tmp_path: Path, body: str) -> ColumnLineage:
    """Return the lineage of a `python` step of one line that DuckDB really ran."""
    folder, artifacts = tmp_path / "project", LocalArtifacts(tmp_path / "store")
    folder.mkdir()
    (folder / "feat.py").write_text(f"import ibis\n\ndef build(inputs, config):\n    {body}\n")
    pq.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), tmp_path / "t.parquet")
    digest = artifacts.put(tmp_path / "t.parquet")
    clock = ManualClock()
    table = Snapshot(
        dataset="t", digest=digest, content_digest=digest, rows=2, as_of=clock.now(),
        schema=(Column(name="a", type="int64"), Column(name="b", type="int64")),
        location=digest,
    )  # fmt: skip
    step = msgspec.convert({"python": "feat:build", "in": ["t"], "kind": "python"}, PythonStep)
    call = StepCall(
        project="shop", pipeline="p", name="made", kind="python", out="made",
        config=canonical(TableConfig(step=step)), inputs=(StepInput(name="t", snapshot=table),),
        code=Digest("0" * 64), folder=artifacts.put(folder),
    )  # fmt: skip
    queries: list[str] = []
    engine = DuckDBEngine(
        artifacts, Sources(tmp_path / "cache", MemoryNetwork()), clock=clock,
        work=tmp_path / "work", watch=queries.append,
    )  # fmt: skip
    made = engine.run(call)
    return lineage_of(call, made, folder, queries[-1])


def test_a_step_that_ran_tells_its_columns(tmp_path: Path) -> None:
    told = ran(tmp_path, "return inputs['t'].select(x=ibis._.a + 1, b=ibis._.b)")
    assert told.state == "exact"
    assert [(name, [one.column for one in found]) for name, found in told.columns] == [
        ("x", ["a"]),
        ("b", ["b"]),
    ]


def test_a_step_that_leaves_ibis_is_opaque_not_invented(tmp_path: Path) -> None:
    told = ran(
        tmp_path, "return ibis.memtable(inputs['t'].to_pandas().rename(columns=str.upper))"
    )
    assert (told.state, told.opaque) == ("opaque", ("A", "B"))
    assert all(not sources for _, sources in told.columns)
    assert {one.column for one in told.rows} == {"", "a", "b"}


def test_what_a_step_joins_from_outside_leaves_the_rest_exact(tmp_path: Path) -> None:
    told = ran(
        tmp_path,
        "return inputs['t'].join(ibis.memtable({'a': [1, 2], 'name': ['x', 'y']}), 'a')",
    )
    assert (told.state, told.opaque) == ("opaque", ("name",))
    assert [one.column for one in dict(told.columns)["b"]] == ["b"]
