"""Table steps on DuckDB, in this process, through Ibis."""

import errno
import os
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import ibis
import ibis.expr.types as ir

from mlg.adapters.source_datasets import SourceFile
from mlg.adapters.sources import Sources
from mlg.core.artifacts import Column, Snapshot
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, ContractError
from mlg.core.ports import ArtifactStore, ExecutionEngine
from mlg.core.steps import StepCall
from mlg.manifest.specs_pipelines import PythonStep
from mlg.pipeline import compile as compiling
from mlg.pipeline.checks import value_breaches, value_error
from mlg.pipeline.config import SourceConfig, TableConfig, config_of
from mlg.pipeline.contracts import schema_breaches, schema_error, type_word
from mlg.pipeline.leaks import ArrowTable, Change, changed, check_leaks, latest
from mlg.pipeline.snapshot import content_digest, literal, quote, write_parquet

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM)
_UNREADABLE: Final = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.SerializationException,
    duckdb.BinderException,
)


def _unwatched(_query: str) -> None:
    pass


class DuckDBEngine:
    """Runs `source`, `sql` and `python` steps on a DuckDB of their own.

    The connection of a step sees its inputs and no other file, and works on one thread: sums
    of floats then come out the same each time, and so do the snapshot's bytes.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        sources: Sources,
        *,
        clock: Clock,
        work: Path,
        watch: Callable[[str], None] = _unwatched,
    ) -> None:
        """Take the places.

        Args:
            artifacts: Holds inputs; receives tables.
            sources: Finds the files of datasets.
            clock: Gives the time of what is read from outside.
            work: Folder for scratch files.
            watch: Receives the SQL that a `python` step's expression becomes.
        """
        self._watch = watch
        self._artifacts = artifacts
        self._sources = sources
        self._clock = clock
        self._work = work

    def run(self, call: StepCall) -> Snapshot:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._work, prefix="engine-") as scratch:
                if call.kind == "source":
                    return self._source(call, Path(scratch))
                return self._table(call, Path(scratch))
        except (duckdb.OutOfMemoryException, OSError) as error:
            full = not isinstance(error, OSError) or error.errno in _FULL
            raise BackendError(
                f"{'the engine ran out of room' if full else 'a file cannot be used'}: {error}",
                where=f"step {call.name}",
                hint="free some disk and memory where the home folder lies, then run again."
                if full
                else "check that the file exists and that this user may read and write it.",
            ) from error
        except (duckdb.Error, *compiling.ENGINE_ERRORS) as error:
            raise BackendError(
                f"the step cannot run: {_first_lines(error)}",
                where=f"step {call.name}",
                hint="correct the step's SQL or function; the message is the engine's own.",
            ) from error

    def schema(self, snapshot: Snapshot) -> tuple[Column, ...]:
        path = self._artifacts.open(snapshot.digest)
        with _connection({snapshot.dataset: path}, path.parent) as con:
            return _columns(con.table(snapshot.dataset))

    def _source(self, call: StepCall, scratch: Path) -> Snapshot:
        config = config_of(call, SourceConfig)
        spec = config.spec
        folder = self._artifacts.open(call.folder)
        file = self._sources.file(spec.source.uri, folder, dict(spec.source.options))
        others = self._paths(call)
        with _connection(others, scratch, file.path) as con:
            con.con.execute("SET preserve_insertion_order = true")
            found = _described(con, file, config)
            breaches = schema_breaches(
                config.dataset,
                spec.columns,
                found,
                consumers=config.consumers,
                guessed=file.guessed,
            )
            if breaches:
                raise schema_error(config.dataset, breaches)
            _load(con, file, config)
            rows = con.table("mlg_source")
            wrong = value_breaches(
                rows,
                spec,
                others={name: con.table(name) for name in others},
                now=self._clock.now(),
            )
            if wrong:
                raise value_error(config.dataset, wrong)
            ordered = compiling.in_total_order(rows)
            return self._store(call, ordered, scratch, as_of=self._clock.now())

    def _table(self, call: StepCall, scratch: Path) -> Snapshot:
        step = config_of(call, TableConfig).step
        folder = self._artifacts.open(call.folder)
        paths = self._paths(call)
        point = step.point_in_time

        def made(change: Change | None) -> ArrowTable:
            with _connection(paths, scratch) as con:
                if change is not None and point is not None:
                    for name in paths:
                        con.create_view(
                            name, changed(con.table(_raw(name)), point, change), overwrite=True
                        )
                return compiling.table_of(con, step, folder).to_pyarrow()

        if point is not None:
            with _connection(paths, scratch) as con:
                tables = [con.table(name) for name in paths]
                check_leaks(call.name, point, made, lambda cut: latest(tables, point, cut))
        with _connection(paths, scratch) as con:
            table = compiling.table_of(con, step, folder)
            if isinstance(step, PythonStep):
                self._watch(str(ibis.to_sql(table, dialect="duckdb")))
            ordered = compiling.in_total_order(table, point.at if point else None)
            as_of = max(
                (entry.snapshot.as_of for entry in call.inputs if entry.snapshot),
                default=self._clock.now(),
            )
            return self._store(call, ordered, scratch, as_of=as_of)

    def _paths(self, call: StepCall) -> dict[str, Path]:
        return {
            entry.name: self._artifacts.open(entry.snapshot.digest)
            for entry in call.inputs
            if entry.snapshot is not None
        }

    def _store(
        self, call: StepCall, table: ir.Table, scratch: Path, *, as_of: datetime
    ) -> Snapshot:
        path = scratch / "table.parquet"
        schema = table.schema().to_pyarrow()
        rows = write_parquet(table.to_pyarrow_batches(), schema, path)
        if rows == 0 and not _may_be_empty(call):
            made_from = ", ".join(
                f"{entry.name} ({entry.snapshot.rows:,} rows)"
                for entry in call.inputs
                if entry.snapshot
            )
            raise ContractError(
                f"the step made no rows from {made_from or 'no inputs'}",
                where=f"step {call.name}",
                hint="check the step's filters and joins against the inputs.",
            )
        content = content_digest(path)
        digest = self._artifacts.put(path)
        with _connection({call.out: path}, scratch) as con:
            columns = _columns(con.table(call.out))
        return Snapshot(
            dataset=call.out,
            digest=digest,
            content_digest=content,
            schema=columns,
            rows=rows,
            as_of=as_of,
            location=digest,
        )


def _may_be_empty(call: StepCall) -> bool:
    if call.kind != "source":
        return False
    checks = config_of(call, SourceConfig).spec.checks
    return any(check.rows is not None and check.rows.min == 0 for check in checks)


def _raw(name: str) -> str:
    return f"mlg_raw_{name}"


@contextmanager
def _connection(inputs: Mapping[str, Path], scratch: Path, *readable: Path) -> Generator[Any]:
    """Open a DuckDB that sees the inputs by name and can reach no other file."""
    con: Any = ibis.duckdb.connect(threads=1, temp_directory=str(scratch))
    try:
        paths = [str(path) for path in (*inputs.values(), *readable)]
        allowed = ", ".join(literal(path) for path in paths)
        con.con.execute(f"SET allowed_paths = [{allowed}]")
        con.con.execute(f"SET allowed_directories = [{literal(str(scratch) + os.sep)}]")
        con.con.execute("SET enable_external_access = false")
        with suppress(duckdb.Error):  # only where the calendar extension is built in
            con.con.execute("SET TimeZone = 'UTC'")
        for name, path in inputs.items():
            raw, source = quote(_raw(name)), f"read_parquet({literal(str(path))})"
            con.con.execute(f"CREATE VIEW {raw} AS SELECT * FROM {source}")  # noqa: S608
            con.con.execute(f"CREATE VIEW {quote(name)} AS SELECT * FROM {raw}")  # noqa: S608
        yield con
    finally:
        con.disconnect()


def _columns(table: ir.Table) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=str(name),
            type=type_word(str(kind.copy(nullable=True))),
            nullable=bool(kind.nullable),
        )
        for name, kind in table.schema().items()
    )


def _reader(file: SourceFile, types: Mapping[str, str] | None = None) -> str:
    """Return the SQL that reads the file; `types` override what a text file's guess is."""
    path = literal(str(file.path))
    if file.format == "parquet":
        return f"read_parquet({path})"
    options = dict(file.options)
    if file.types:
        options["header"] = "true"
        options["columns"] = _struct(file.types)
    elif types:
        options["types"] = _struct(tuple(types.items()))
    return f"read_csv({path}{''.join(f', {k} = {v}' for k, v in options.items())})"


def _struct(types: Sequence[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in types) + "}"


def _described(con: Any, file: SourceFile, config: SourceConfig) -> tuple[Column, ...]:
    """Return the file's columns from its metadata, or from the head of a text file.

    Raises:
        BackendError: The file is not readable as what it should be.
        ContractError: The file is empty.
    """
    where = f"dataset {config.dataset}, {config.spec.source.uri}"
    if file.path.stat().st_size == 0:
        raise ContractError(
            "the file is empty", where=where, hint="write the file again, with its header."
        )
    try:
        con.con.execute(f"CREATE VIEW mlg_file AS SELECT * FROM {_reader(file)}")  # noqa: S608
        return _columns(con.table("mlg_file"))
    except _UNREADABLE as error:
        raise BackendError(
            f"expected a readable {file.format} file: {_first_lines(error)}",
            where=where,
            hint="check that the file is whole and of this format; a CSV may need "
            "source.options such as {delim: ';'}.",
        ) from error


def _load(con: Any, file: SourceFile, config: SourceConfig) -> None:
    """Make table `mlg_source` of the declared columns, in the declared types.

    Raises:
        ContractError: A value is not of the declared type.
        BackendError: The file is damaged behind its head.
    """
    where = f"dataset {config.dataset}, {config.spec.source.uri}"
    columns = config.spec.columns
    sql_types = {
        column.name: _duckdb_type(type_word(columns[column.name].type))
        for column in _columns(con.table("mlg_file"))
        if column.name in columns
    }
    names = ", ".join(
        f"{quote(name)}::{kind} AS {quote(name)}" for name, kind in sql_types.items()
    )
    read_as = {  # an offset in the text counts; without one it is UTC
        name: "TIMESTAMPTZ" if kind == "TIMESTAMP" else kind for name, kind in sql_types.items()
    }
    source = _reader(file, read_as if file.guessed else None)
    try:
        con.con.execute(f"CREATE TABLE mlg_source AS SELECT {names} FROM {source}")  # noqa: S608
    except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise ContractError(
            f"a value is not of its column's type: {_first_lines(error)}",
            where=where,
            hint=f"correct the value, or the type under datasets.{config.dataset}.columns.",
        ) from error
    except _UNREADABLE as error:
        raise BackendError(
            f"the file is damaged: {_first_lines(error)}",
            where=where,
            hint="fetch or write the file again.",
        ) from error


def _duckdb_type(kind: str) -> str:
    from ibis.backends.sql.datatypes import DuckDBType

    return str(DuckDBType.from_ibis(ibis.dtype(kind)).sql(dialect="duckdb"))


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500]


if TYPE_CHECKING:
    _: Callable[..., ExecutionEngine] = DuckDBEngine
