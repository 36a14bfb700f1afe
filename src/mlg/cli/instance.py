"""Finding the instance that a command speaks to, and printing what it says."""

import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from mlg.client.client import Client
from mlg.core.errors import BackendError, LifecycleError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)

HomeOption = typer.Option(
    None,
    "--home",
    envvar="MLG_HOME",
    help="Folder of the instance; default .mlg beside the manifest.",
)
JsonOption = typer.Option(False, "--json", help="Print one JSON document and nothing else.")
FileOption = typer.Option(Path("mlg.yaml"), "-f", "--file", help="The manifest.")


def home_of(home: Path | None, manifest: Path = Path("mlg.yaml")) -> Path:
    """Return the instance's folder as an absolute path; it need not exist."""
    return (home or manifest.resolve().parent / ".mlg").resolve()


def control_of(home: Path) -> dict[str, Any] | None:
    """Return what `control.json` says of the control plane, or None without one."""
    try:
        return json.loads((home / "control.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def connect(home: Path, *, timeout_s: float = 60.0) -> Client:
    """Return a client of the instance's control plane.

    Raises:
        BackendError: No control plane runs for this home.
    """
    control = control_of(home)
    if control is None:
        raise BackendError(
            "no control plane runs here", where=str(home), hint="start one: mlg up --wait"
        )
    return Client(f"http://127.0.0.1:{control['port']}", timeout_s=timeout_s)


@contextmanager
def reported(as_json: bool = False) -> Generator[None]:
    """Turn an error into its message, its hint and its exit code."""
    try:
        yield
    except LifecycleError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        err.print("interrupted")
        raise typer.Exit(130) from None


def fail(error: LifecycleError, *, as_json: bool) -> NoReturn:
    """Print the error where the caller reads it, and leave with its exit code."""
    if as_json:
        emit(error.as_dict())
    err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
    if error.hint:
        err.print(f"  hint: {error.hint}", markup=False, soft_wrap=True)
    raise typer.Exit(error.exit_code)


def emit(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + os.linesep)


def show(document: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print the document as JSON, or by `render` for people."""
    if as_json:
        emit(document)
    else:
        render(document)


def table(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """Print a table; an empty one says so."""
    if not rows:
        out.print(f"{title}: none")
        return
    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    out.print(grid)
