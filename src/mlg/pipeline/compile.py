"""A `sql` or `python` step as one Ibis table over its inputs, in a total order."""

import importlib
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir
from ibis.common.exceptions import IbisError

from mlg.core.errors import ManifestError
from mlg.manifest.specs_pipelines import PythonStep, SqlStep
from mlg.pipeline.code import inside

_MADE: Final = "mlg_made"

FeatureFunction = Callable[[Mapping[str, ir.Table], dict[str, Any]], ir.Table]
"""What `python: "module:function"` names: Ibis tables and `params` in, one Ibis table out."""


def table_of(con: Any, step: SqlStep | PythonStep, folder: Path) -> ir.Table:
    """Return the step's table as an expression on the connection that holds its inputs.

    Args:
        con: Ibis connection; the inputs are tables or views by their names.
        step: What to run.
        folder: The manifest's folder, where SQL files and modules lie.

    Raises:
        ManifestError: The file or function is not there, or is not what it must be.
    """
    if isinstance(step, SqlStep):
        return _sql_table(con, inside(step.sql, folder).read_text("utf-8"), step.sql)
    with project_path(folder, step.python):
        function = feature_function(step.python)
        made: Any = function({name: con.table(name) for name in step.inputs}, step.params)
    if not isinstance(made, ir.Table):
        raise ManifestError(
            f"expected the function to return an Ibis table, got {type(made).__name__}",
            where=step.python,
            hint="return the table expression itself, without executing it.",
        )
    return made


def in_total_order(table: ir.Table, first: str | None = None) -> ir.Table:
    """Return the rows ordered by `first`, then by every column: ties are equal rows."""
    names = list(table.columns)
    if first in names:
        names = [first, *(name for name in names if name != first)]
    return table.order_by([ibis.asc(name, nulls_first=True) for name in names])


def _sql_table(con: Any, text: str, where: str) -> ir.Table:
    statements = con.con.extract_statements(text)
    if not statements or statements[-1].type.name != "SELECT":
        raise ManifestError(
            "expected a SELECT as the last statement",
            where=where,
            hint="end the file with the SELECT that makes the step's table.",
        )
    for statement in statements[:-1]:
        con.con.execute(statement)
    query = re.sub(r";\s*$", "", statements[-1].query.strip())
    con.con.execute(f"CREATE OR REPLACE TABLE {_MADE} AS {query}")
    return con.table(_MADE)


def feature_function(target: str) -> FeatureFunction:
    """Import and return the function of `module:function`; the folder is on the path.

    Raises:
        ManifestError: There is no such module or function.
    """
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ManifestError(
            f"no module named {error.name!r}",
            where=target,
            hint="put the module beside the manifest, or install the library that it needs.",
        ) from error
    function: Any = getattr(module, name, None)
    if not isinstance(function, Callable):
        there = [key for key, value in vars(module).items() if callable(value)]
        raise ManifestError(
            f"expected a function {name!r} in {module_name}, "
            f"found {', '.join(there) or 'none'}",
            where=target,
            hint="correct the name after the colon.",
        )
    return function


@contextmanager
def project_path(folder: Path, target: str) -> Generator[None]:
    """Make the folder's modules importable, without leaving caches in it or in this process."""
    top = target.partition(":")[0].partition(".")[0]
    entry = str(folder)
    former = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the folder may be an artifact, which is read-only
    sys.path.insert(0, entry)
    before = set(sys.modules)
    try:
        _forget(top, keep=frozenset(), folder=folder)
        importlib.invalidate_caches()
        yield
    finally:
        sys.path.remove(entry)
        sys.dont_write_bytecode = former
        _forget(None, keep=frozenset(before), folder=folder)


def _forget(top: str | None, *, keep: frozenset[str], folder: Path) -> None:
    """Drop project modules from the interpreter, so that another copy can be imported."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        ours = file is not None and Path(file).is_relative_to(folder)
        same_name = top is not None and name.partition(".")[0] == top
        if name not in keep and (ours or same_name):
            del sys.modules[name]


ENGINE_ERRORS: Final = (IbisError,)
"""What building or running an expression may raise, beside the driver's own errors."""
