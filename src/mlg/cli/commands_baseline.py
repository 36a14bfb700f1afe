"""`mlg drift baseline`: keep what checks need of a table, or show what monitors learned."""

from pathlib import Path
from typing import Any, Final

import typer

from mlg.cli.commands_drift import progress, write_beside
from mlg.cli.instance import (
    HomeOption,
    JsonOption,
    connect,
    home_of,
    out,
    reported,
    show,
)
from mlg.cli.instance import table as printed
from mlg.core.errors import ManifestError

_ROWS: Final = 40
"""Statistics that are printed; --json and --out have all."""


def baseline(
    table: Path | None = typer.Argument(
        None, help="What is usual: Parquet or CSV. Without: live monitors."
    ),
    to: Path | None = typer.Option(
        None, "--out", help="File to write; one that is there is replaced."
    ),
    time: str | None = typer.Option(
        None, "--time", help="Column that orders the rows, here and in checks against it."
    ),
    windows: int | None = typer.Option(
        None, "--windows", min=1, max=10_000, help="Windows of the table; default 200."
    ),
    monitor: str | None = typer.Option(
        None, "--monitor", help="Show what this monitor learned; without: a list of all."
    ),
    stream: str | None = typer.Option(
        None, "--stream", help="requests, a model version, or quality:VERSION."
    ),
    version: str | None = typer.Option(
        None, "--version", help="A version that was kept, by the beginning of its digest."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Keep what checks need of a table, or show what live monitors hold for usual.

    With a table: the file holds counts, texts by name and 100,000 drawn rows: as private as
    the table. Without: the baselines of the monitors that run here. Versions are kept at the
    end of phase I, when a season begins to be told, and when an incident opens. The sha256 of
    a written one begins with its version; nothing in it is of one viewer.

    Example: mlg drift baseline last-month.parquet --out usual.mlgb

    Example: mlg drift check --baseline usual.mlgb --live yesterday.parquet

    Example: mlg drift baseline

    Example: mlg drift baseline --monitor home-features

    Example: mlg drift baseline --monitor home-features --version 3f2a9c01d4e5 --out then.json
    """
    with reported(as_json):
        if table is not None:
            _refuse("a table", monitor=monitor, stream=stream, version=version)
            if to is None:
                raise ManifestError("expected a file to write", where="--out")
            _keep(table, to, time, windows, as_json=as_json)
            return
        _refuse("live monitors", time=time, windows=windows)
        client = connect(home_of(home))
        if monitor is None:
            _refuse("a list: name a --monitor", stream=stream, version=version, out=to)
            show(client.baselines(), as_json, _print_list)
            return
        found = client.baseline(monitor, stream=stream, version=version)
        if to is not None:
            from mlg.monitors.baseline_document import encoded

            write_beside(to, encoded(found["baseline"]))
            found["written"] = str(to)
        show(found, as_json, _print_one)


def _refuse(what: str, **given: object) -> None:
    """Raise where an option is given that the form at hand does not have."""
    names = [f"--{name}" for name, value in given.items() if value is not None]
    if names:
        raise ManifestError(f"{', '.join(names)} does not go with {what}", where=names[0])


def _keep(
    source: Path, to: Path, time: str | None, windows: int | None, *, as_json: bool
) -> None:
    from mlg.app.drift_check import WINDOWS, keep_baseline  # scipy and Ibis: seconds to import

    with progress() as told:
        frame = keep_baseline(source, to, time=time, windows=windows or WINDOWS, told=told)
    answer = {
        "baseline": str(to),
        "rows": frame.rows,
        "windows": max((len(one.n) for one in frame.windows.values()), default=0),
        "columns": list(frame.columns),
        "bytes": to.stat().st_size,
    }
    show(answer, as_json, _print_kept)


def _print_kept(answer: dict[str, Any]) -> None:
    out.print(
        f"kept {answer['rows']:,} rows of {len(answer['columns'])} columns in "
        f"{answer['windows']} windows: {answer['baseline']}, {answer['bytes']:,} bytes"
    )


def _print_list(found: dict[str, Any]) -> None:
    for one in found["baselines"]:
        words = [f"{one['monitor']}/{one['stream']}"]
        if one["state"] == "learning":
            words.append(f"learning: {one['windows']} of {one['wanted']} windows")
        else:
            words += [
                f"{one['windows']} windows",
                f"season {one['season']}",
                f"{one['statistics']} statistic{'s' if one['statistics'] != 1 else ''}",
                f"version {one['version']}" if one["version"] else "no version kept yet",
                *([f"since {_time(one['since'])}"] if one["since"] else []),
            ]
        out.print("; ".join(words), markup=False, soft_wrap=True)
    if not found["baselines"]:
        out.print("baselines: none")


def _print_one(found: dict[str, Any]) -> None:
    usual = found["baseline"]
    lines = [
        f"{found['monitor']}/{found['stream']} of {usual['service']}, "
        f"version {found['version']}{'' if found['kept'] else ' (as of now, not kept)'}",
        f"  learned from {usual['windows_learned']} windows, "
        f"{_time(usual['first_at'])} to {_time(usual['last_at'])} (event time); "
        f"remembers {usual['memory_windows']:.0f}",
        f"  season: {usual['season']}",
    ]
    if "written" in found:
        lines.append(f"  written: {found['written']}")
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    rows = usual["statistics"]
    printed(
        f"statistics: {len(rows)}",
        ["statistic", "kind", "usual", "sd (charted)", "autocorrelation", "of its EWMA"],
        [
            [
                one["metric"],
                one["kind"],
                _short(one["usual"]),
                _short(one["sigma"]),
                _short(one["autocorrelation"]),
                _short(one["ewma_sd"]),
            ]
            for one in rows[:_ROWS]
        ],
    )
    if len(rows) > _ROWS:
        out.print(f"{len(rows) - _ROWS} more: --json or --out")
    printed(
        "versions",
        ["version", "why", "windows", "season", "kept"],
        [
            [
                one["version"],
                one["reason"],
                one["windows"],
                one["season"],
                _time(one["kept_at"]),
            ]
            for one in found["versions"]
        ],
    )


def _time(text: str | None) -> str:
    return f"{text[:16]}Z" if text else ""


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
