"""`mlg drift check`: did a table drift from another one, or from a kept one."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from mlg.cli.instance import JsonOption, err, out, reported, show, table
from mlg.core.errors import BackendError
from mlg.monitors.check_defaults import ALPHA, LEAST_ROWS, WINDOWS


def check_tables(
    baseline: Path = typer.Option(
        ..., "--baseline", help="What is usual: Parquet, CSV, or a kept baseline."
    ),
    live: Path = typer.Option(..., "--live", help="What is compared with it."),
    time: str | None = typer.Option(
        None, "--time", help="Column that orders the rows, and is no feature."
    ),
    windows: int = typer.Option(
        WINDOWS,
        "--windows",
        min=1,
        max=10_000,
        help=f"Windows of each table; fewer where they would have less than {LEAST_ROWS} rows.",
    ),
    alpha: float = typer.Option(
        ALPHA,
        "--alpha",
        min=1e-9,
        max=0.5,
        help="Chance that tables which do not differ are said to drift.",
    ),
    html: Path | None = typer.Option(
        None, "--html", help="Write a page with control charts there too; needs mlg[report]."
    ),
    as_json: bool = JsonOption,
) -> None:
    """Tell which columns of a table drifted from another one; exit code 1 on drift.

    Needs no instance and no manifest. What is usual comes from how windows of the baseline
    vary, so that neither many rows nor ordinary wobble make an alarm.

    Example: mlg drift check --baseline last-month.parquet --live yesterday.parquet

    Example: mlg drift check --baseline a.csv --live b.csv --time created_at --json

    Example: mlg drift check --baseline a.parquet --live b.parquet --html report.html
    """
    from mlg.app.drift_check import check, document  # scipy and Ibis: seconds to import

    with reported(as_json):
        with progress() as told:
            found = check(baseline, live, time=time, windows=windows, alpha=alpha, told=told)
        if html is not None:
            from mlg.adapters.drift_page import drift_page

            page = drift_page(found, f"Drift of {live.name} from {baseline.name}")
            write_beside(html, page.encode())
        answer = document(found)
        show(answer, as_json, _print)
    if found.verdict == "drift":
        raise typer.Exit(1)


@contextmanager
def progress() -> Generator[Callable[[str, int, int], None]]:
    """Show how far tables were read, on a terminal; yield whom to tell."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as shown:
        tasks = {
            name: shown.add_task(name, total=None, visible=False)
            for name in ("baseline", "live")
        }

        def told(name: str, rows: int, total: int) -> None:
            shown.update(tasks[name], completed=rows, total=total, visible=True)

        yield told


def write_beside(path: Path, content: bytes) -> None:
    """Write a file whole, or leave what is there.

    Raises:
        BackendError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise BackendError(
            f"it cannot be written: {error.strerror}", where=str(path)
        ) from error


def _print(answer: dict[str, Any]) -> None:
    rows, windows = answer["rows"], answer["windows"]
    drifted = [one for one in answer["features"] if one["verdict"] == "drift"]
    out.print(
        f"{answer['verdict']}: {len(drifted)} of {len(answer['features'])} columns drifted; "
        f"{rows['baseline']:,} rows in {windows['baseline']} windows, "
        f"{rows['live']:,} in {windows['live']}"
    )
    if drifted:
        table(
            "Drifted",
            ["column", "chart", "statistic", "limit", "effect", "what"],
            [
                [
                    one["feature"],
                    chart["chart"],
                    f"{chart['statistic']:.2f}",
                    f"{chart['limit']:.2f}",
                    f"{chart['effect']:+.3f}",
                    one.get("note") or chart["metric"],
                ]
                for one in drifted
                for chart in one["charts"][:2]
            ],
        )
    for part in answer["slices"]:
        out.print(
            f"{part['feature']} moved by {part['effect']:+.2f} sd where {part['where']} "
            f"({part['share']:.1%} of rows)"
        )
    noted = [f"{one['feature']}: {one['note']}" for one in answer["features"]
             if one.get("note") and one["verdict"] == "ok"]  # fmt: skip
    for line in [*answer["notes"], *noted]:
        out.print(f"note: {line}", markup=False)
