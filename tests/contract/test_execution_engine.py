"""What every execution engine must keep: contracts, determinism, leak test, clear errors."""

import datetime as dt
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.sources import Sources
from mlg.core.artifacts import Snapshot
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ContractError, LifecycleError, ManifestError
from mlg.core.ports import ExecutionEngine
from mlg.core.steps import StepCall, StepInput
from mlg.core.uris import Digest
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import PythonStep, SqlStep
from mlg.pipeline.config import SourceConfig, TableConfig, canonical

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)
CSV = "user,item,stars,at\n1,10,5,2026-01-01 00:00:00\n2,10,3,2026-01-02 00:00:00\n"
COLUMNS = {"user": {"type": "int64"}, "stars": {"type": "int64", "range": [1, 5]}}


@dataclass
class Bench:
    """An engine with a project folder."""

    engine: ExecutionEngine
    artifacts: LocalArtifacts
    folder: Path

    def file(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def source(self, uri: str, columns: dict[str, Any] | None = None, **more: Any) -> Snapshot:
        inputs = tuple(StepInput(name=s.dataset, snapshot=s) for s in more.pop("inputs", ()))
        options = more.pop("options", {})
        spec = {
            "source": {"uri": uri, "options": options},
            "columns": columns or COLUMNS,
        } | more
        config = SourceConfig(
            dataset="ratings", spec=msgspec.convert(spec, DatasetSpec), consumers=("clean",)
        )
        return self._run("source", "ratings", config, inputs)

    def sql(self, text: str, *inputs: Snapshot, **more: Any) -> Snapshot:
        self.file("step.sql", text)
        spec = {"sql": "step.sql", "in": [one.dataset for one in inputs], "kind": "sql"} | more
        return self._table(msgspec.convert(spec, SqlStep), inputs)

    def python(self, body: str, *inputs: Snapshot, **more: Any) -> Snapshot:
        self.file("feat.py", f"import ibis\n\ndef build(inputs, config):\n    {body}\n")
        names = [one.dataset for one in inputs]
        spec = {"python": "feat:build", "in": names, "kind": "python"} | more
        return self._table(msgspec.convert(spec, PythonStep), inputs)

    def rows(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        return pq.read_table(self.artifacts.open(snapshot.digest)).to_pylist()

    def _table(self, step: SqlStep | PythonStep, inputs: tuple[Snapshot, ...]) -> Snapshot:
        named = tuple(StepInput(name=one.dataset, snapshot=one) for one in inputs)
        return self._run("sql", "made", TableConfig(step=step), named)

    def _run(self, kind: Any, out: str, config: Any, inputs: tuple[StepInput, ...]) -> Snapshot:
        return self.engine.run(
            StepCall(
                project="shop",
                pipeline="ranker",
                name=out,
                kind=kind,
                config=canonical(config),
                inputs=inputs,
                code=Digest("0" * 64),
                folder=self.artifacts.put(self.folder),
                out=out,
            )
        )


@pytest.fixture(params=["duckdb"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    folder = tmp_path / "project"
    folder.mkdir()
    artifacts = LocalArtifacts(tmp_path / "store")
    sources = Sources(tmp_path / "cache", MemoryNetwork())
    clock = ManualClock(NOW)
    engine = DuckDBEngine(artifacts, sources, clock=clock, work=tmp_path / "work")
    made = Bench(engine, artifacts, folder)
    made.file("ratings.csv", CSV)
    return made


def failure(
    kind: type[LifecycleError], act: Callable[[], object], *words: str
) -> LifecycleError:
    with pytest.raises(kind) as caught:
        act()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert caught.value.hint
    return caught.value


def test_a_source_keeps_the_declared_columns_and_drops_others(bench: Bench) -> None:
    snapshot = bench.source("file:ratings.csv")
    assert bench.rows(snapshot) == [{"user": 1, "stars": 5}, {"user": 2, "stars": 3}]
    assert [(c.name, c.type) for c in snapshot.schema] == [
        ("user", "int64"),
        ("stars", "int64"),
    ]
    assert (snapshot.rows, snapshot.as_of, snapshot.dataset) == (2, NOW, "ratings")


def test_parquet_and_csv_of_the_same_rows_are_the_same_content(bench: Bench) -> None:
    table = pa.table({"stars": [3, 5], "user": [2, 1]}).select(["user", "stars"])
    pq.write_table(table, bench.folder / "r.parquet")
    one, two = bench.source("ratings.csv"), bench.source("parquet:r.parquet")
    assert one.content_digest == two.content_digest
    assert one.digest == two.digest


def test_the_same_call_gives_the_same_bytes(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    text = "SELECT user, sum(stars / 3.0) AS x FROM ratings GROUP BY user"
    assert bench.sql(text, ratings) == bench.sql(text, ratings)


def test_the_schema_of_a_snapshot_comes_from_its_metadata(bench: Bench) -> None:
    snapshot = bench.source("ratings.csv", {"at": {"type": "timestamp"}})
    assert bench.engine.schema(snapshot) == snapshot.schema
    assert snapshot.schema[0].type == "timestamp"


def test_times_with_an_offset_become_utc(bench: Bench) -> None:
    bench.file("t.csv", "at\n2026-01-01 12:00:00+02:00\n")
    snapshot = bench.source("t.csv", {"at": {"type": "timestamp"}})
    assert bench.rows(snapshot) == [{"at": dt.datetime(2026, 1, 1, 10)}]  # noqa: DTZ001


def test_a_missing_column_is_reported_with_the_nearest_and_what_breaks(bench: Bench) -> None:
    error = failure(
        ContractError,
        lambda: bench.source("ratings.csv", {"users": {"type": "int64"}}),
        "dataset ratings: column 'users': expected int64, found no such column",
        "(nearest: 'user' int64); steps that cannot run: clean",
    )
    assert error.where == "dataset ratings"


def test_a_wrong_type_is_reported(bench: Bench) -> None:
    bench.file("w.csv", "user,stars\n1,five\n")
    failure(
        ContractError, lambda: bench.source("w.csv"), "'stars': expected int64, found string"
    )


def test_a_schema_breach_is_found_before_any_row_is_read(bench: Bench) -> None:
    pq.write_table(pa.table({"user": [1]}), bench.folder / "x.parquet")
    content = bytearray((bench.folder / "x.parquet").read_bytes())
    content[4:12] = b"\xff" * 8  # the data page is garbage, the footer is whole
    bench.file("x.parquet", bytes(content))
    failure(
        ContractError,
        lambda: bench.source("x.parquet", {"name": {"type": "string"}}),
        "column 'name'",
    )


def test_a_value_behind_the_sample_that_does_not_fit_is_one_error_with_the_line(
    bench: Bench,
) -> None:
    rows = "".join(f"{i},{i % 5 + 1}\n" for i in range(60_000))
    bench.file("late.csv", f"user,stars\n{rows}7,many\n")
    failure(ContractError, lambda: bench.source("late.csv"), "many", "60002")


def test_every_breach_of_values_has_a_count_and_samples(bench: Bench) -> None:
    rows = "".join(f"{user},{stars},{kind}\n" for user, stars, kind in
                   [(1, 9, "a"), (1, 0, "b"), ("", 3, "z"), (2, 3, "a")])  # fmt: skip
    bench.file("v.csv", "user,stars,kind\n" + rows)
    columns = {
        "user": {"type": "int64", "nullable": False},
        "stars": {"type": "int64", "range": [1, 5]},
        "kind": {"type": "string", "values": ["a", "b"]},
    }
    checks = [{"unique": ["user"]}, {"rows": {"min": 10}}]
    failure(
        ContractError,
        lambda: bench.source("v.csv", columns, checks=checks),
        "5 breaches",
        "column 'user': expected a value in each row, 1 row is not: for example None",
        "column 'stars': expected 1 to 5, 2 rows are not: for example 0, 9",
        "column 'kind': expected one of 'a', 'b', 1 row is not: for example 'z'",
        "expected unique 'user', 1 value occurs more than once: for example 1",
        "expected at least 10 rows, found 4",
    )


def test_a_reference_must_be_there(bench: Bench) -> None:
    bench.file("users.csv", "user\n1\n")
    users = replace(bench.source("users.csv", {"user": {"type": "int64"}}), dataset="users")
    check = {"references": {"columns": ["user"], "dataset": "users", "keys": ["user"]}}
    failure(
        ContractError,
        lambda: bench.source("ratings.csv", inputs=(users,), checks=[check]),
        "expected 'user' in users.user, 1 row is not: for example 2",
    )


def test_stale_data_is_reported_by_the_clock_of_the_run(bench: Bench) -> None:
    columns = {"at": {"type": "timestamp"}}
    fresh = {"freshness": {"column": "at", "max_age": 9 * 86_400}}
    assert bench.source("ratings.csv", columns, checks=[fresh]).rows == 2
    stale = {"freshness": {"column": "at", "max_age": 86_400}}
    failure(
        ContractError,
        lambda: bench.source("ratings.csv", columns, checks=[stale]),
        "'at': expected a row of the last 1 day",
        "8 days, 0:00:00 old",
    )


def test_an_empty_dataset_is_a_breach_unless_allowed(bench: Bench) -> None:
    pq.write_table(
        pa.table({"user": pa.array([], pa.int64()), "stars": pa.array([], pa.int64())}),
        bench.folder / "e.parquet",
    )
    failure(ContractError, lambda: bench.source("e.parquet"), "dataset ratings", "no rows")
    allowed = [{"rows": {"min": 0}}]
    assert bench.source("e.parquet", checks=allowed).rows == 0


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("z.csv", b"", ContractError),
        ("z.parquet", b"not parquet at all", BackendError),
        ("z.parquet", b"PAR1" + b"\x00" * 64 + b"PAR1", BackendError),
    ],
)
def test_an_unreadable_file_is_one_clear_error(
    bench: Bench, name: str, content: bytes, kind: type[LifecycleError]
) -> None:
    bench.file(name, content)
    failure(kind, lambda: bench.source(name), "dataset ratings", name)


def test_a_missing_file_and_an_unknown_scheme_say_what_is_allowed(bench: Bench) -> None:
    failure(BackendError, lambda: bench.source("file:nope.csv"), "nope.csv")
    failure(ManifestError, lambda: bench.source("ftp://x/y"), "ftp://x/y")
    failure(
        ManifestError,
        lambda: bench.source("ratings.csv", options={"delimeter": ";"}),
        "delimeter",
    )


def test_reader_options_reach_the_reader(bench: Bench) -> None:
    bench.file("semi.csv", "user;stars\n1;5\n")
    assert bench.source("semi.csv", options={"delim": ";"}).rows == 1


def test_sql_may_prepare_and_ends_with_a_select(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    made = bench.sql(
        "CREATE TEMP TABLE few AS SELECT * FROM ratings WHERE stars > 3; SELECT user FROM few;",
        ratings,
    )
    assert bench.rows(made) == [{"user": 1}]
    failure(ManifestError, lambda: bench.sql("CREATE TABLE x AS SELECT 1", ratings), "SELECT")


def test_a_wrong_name_in_sql_is_the_engines_message_with_the_step(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    failure(
        BackendError,
        lambda: bench.sql("SELECT star FROM ratings", ratings),
        "step made",
        "star",
    )


def test_a_step_cannot_read_what_is_not_its_input(bench: Bench, tmp_path: Path) -> None:
    ratings = bench.source("ratings.csv")
    (tmp_path / "secret.csv").write_text("a\n1\n", encoding="utf-8")
    query = f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')"
    failure(BackendError, lambda: bench.sql(query, ratings), "step made")


def test_a_function_gets_its_inputs_and_params(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    body = "t = inputs['ratings']; return t.mutate(more=t.stars + config['plus'])"
    made = bench.python(body, ratings, params={"plus": 10})
    assert [row["more"] for row in bench.rows(made)] == [15, 13]


def test_a_changed_module_is_imported_anew(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    one = bench.python("return inputs['ratings'].mutate(v=1)", ratings)
    two = bench.python("return inputs['ratings'].mutate(v=2)", ratings)
    assert [bench.rows(made)[0]["v"] for made in (one, two)] == [1, 2]


def test_a_function_that_returns_no_table_is_refused(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    failure(ManifestError, lambda: bench.python("return 1", ratings), "Ibis table", "int")


def test_a_step_that_makes_no_rows_says_from_what(bench: Bench) -> None:
    ratings = bench.source("ratings.csv")
    failure(
        ContractError,
        lambda: bench.sql("SELECT * FROM ratings WHERE false", ratings),
        "no rows from ratings (2 rows)",
    )


EVENTS = "item,user,stars,at\n" + "".join(
    f"{i % 7},{i % 11},{(i * 3) % 5 + 1},2026-01-{1 + i // 20:02} 0{(i % 20) // 5}:00:00\n"
    for i in range(400)
)
POINT = {"at": "at", "label": ["stars"], "source_at": "at"}
MEAN = """
SELECT a.item, a.user, a.stars, a.at, avg(b.stars) AS item_mean, count(b.stars) AS n
FROM events a LEFT JOIN events b ON a.item = b.item AND b.at {} a.at
GROUP BY ALL
"""


@pytest.fixture
def events(bench: Bench) -> Snapshot:
    bench.file("events.csv", EVENTS)
    kinds = {"item": "int64", "user": "int64", "stars": "int64", "at": "timestamp"}
    found = bench.source("events.csv", {name: {"type": kind} for name, kind in kinds.items()})
    return replace(found, dataset="events")


def test_a_feature_of_the_strict_past_passes_the_leak_test(
    bench: Bench, events: Snapshot
) -> None:
    made = bench.sql(MEAN.format("<"), events, point_in_time=POINT)
    assert made.rows > 300


def test_a_feature_that_sees_its_own_label_is_caught_by_name_with_a_row(
    bench: Bench, events: Snapshot
) -> None:
    error = failure(
        ContractError,
        lambda: bench.sql(MEAN.format("<="), events, point_in_time=POINT),
        "step made: column 'item_mean' of rows up to 2026-01",
        "changes when labels at or after",
        "Example row: item=",
        "item_mean=",
    )
    assert "strictly before" in error.hint


def test_a_canary_made_from_the_label_is_caught(bench: Bench, events: Snapshot) -> None:
    body = (
        "t = inputs['events']; w = ibis.window(group_by='item'); "
        "return t.mutate(canary=t.stars.mean().over(w))"
    )
    failure(
        ContractError,
        lambda: bench.python(body, events, point_in_time=POINT),
        "column 'canary'",
    )


def test_counting_the_future_is_caught_though_no_label_is_used(
    bench: Bench, events: Snapshot
) -> None:
    body = (
        "t = inputs['events']; w = ibis.window(group_by='item'); "
        "return t.mutate(popularity=t.count().over(w))"
    )
    failure(
        ContractError,
        lambda: bench.python(body, events, point_in_time=POINT),
        "column 'popularity'",
        "are taken away",
    )


def test_selecting_rows_by_their_future_is_caught(bench: Bench, events: Snapshot) -> None:
    query = (
        'SELECT * FROM events QUALIFY max("at") OVER (PARTITION BY user, item) '
        "> TIMESTAMP '2026-01-15'"
    )
    failure(
        ContractError,
        lambda: bench.sql(query, events, point_in_time=POINT),
        "which rows there are depends on the future",
    )


def test_a_second_label_is_excepted_when_it_is_declared(bench: Bench, events: Snapshot) -> None:
    query = "SELECT *, (stars - 1) / 4.0 AS through FROM events"
    failure(
        ContractError, lambda: bench.sql(query, events, point_in_time=POINT), "column 'through'"
    )
    declared = POINT | {"label": ["stars", "through"]}
    assert bench.sql(query, events, point_in_time=declared).rows == 400


def test_a_missing_time_column_in_the_output_is_named(bench: Bench, events: Snapshot) -> None:
    failure(
        ContractError,
        lambda: bench.sql("SELECT item FROM events", events, point_in_time=POINT),
        "expected a time column 'at'",
    )


def test_a_full_disk_is_one_clear_error_and_stores_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    rows = "".join(f"{i},{i % 5 + 1}\n" for i in range(150_000))
    bench.file("big.csv", "user,stars\n" + rows)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        sources = Sources(tmp_path / "cache", MemoryNetwork())
        clock = ManualClock(NOW)
        small = DuckDBEngine(bench.artifacts, sources, clock=clock, work=disk / "work")
        on_small_disk = replace(bench, engine=small)
        folder = bench.artifacts.put(bench.folder)
        error = failure(
            BackendError, lambda: on_small_disk.source("big.csv"), "out of room", "ratings"
        )
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert "free some disk" in error.hint
    stored = [path.name for path in (tmp_path / "store").glob("??/*")]
    assert stored == [folder]
