"""Two tables in, a verdict out: reading, windows, charts; needs no instance and no manifest."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from mlg.adapters.frame_file import is_baseline, read_baseline, write_baseline
from mlg.adapters.table_batches import Table, open_table
from mlg.adapters.table_frame import Reading, frame_of, kind_of, reading_of
from mlg.adapters.table_ibis import counted_there, frame_there, open_ibis, stays
from mlg.core.errors import ManifestError
from mlg.monitors.check import CheckReport, check_frames
from mlg.monitors.check_defaults import ALPHA, LEAST_ROWS, WINDOWS
from mlg.monitors.check_level import LEAST
from mlg.monitors.frame import Frame


def _untold(name: str, rows: int, total: int) -> None: ...


def check(
    baseline: Any,
    live: Any,
    *,
    time: str | None = None,
    windows: int = WINDOWS,
    alpha: float = ALPHA,
    told: Callable[[str, int, int], None] = _untold,
) -> CheckReport:
    """Return whether a table drifted from another one, column by column.

    Both are cut into windows of equal counts. How windows of the baseline vary says what is
    usual, so that neither many rows nor ordinary wobble make an alarm.

    Args:
        baseline: What is usual: the path of a Parquet or CSV file or of a folder of Parquet
            files; a pandas or polars frame; an Arrow table, batch, reader or dataset; an Ibis
            expression, counted where it lies; or what `keep_baseline` wrote.
        live: What is compared with it, of any of these kinds but the last.
        time: Column that orders the rows, and is no feature; None takes rows as they come.
        windows: Windows of each table, 1 to 10,000; fewer where they would have less than 200
            rows.
        alpha: Chance that a check of tables that do not differ names any column, 0 to 1.
        told: Told `baseline` or `live`, rows read, and rows in all.

    Returns:
        The verdict, of each column its charts, and the parts of the traffic in which a column
        moved. A column without one known value is noted and never drifts by itself; nulls,
        infinities and texts never seen before are shares with charts of their own.

    Raises:
        NotFoundError: There is no such file.
        ManifestError: A table cannot be read, has no row, or lacks the time column.
        ValueError: A number is out of range.

    Examples:
        >>> import pyarrow as pa
        >>> usual = pa.table({"age": [20.0, 30.0, 40.0, 50.0] * 1_000})
        >>> older = pa.table({"age": [30.0, 40.0, 50.0, 60.0] * 1_000})
        >>> check(usual, usual).verdict, check(usual, older).verdict
        ('ok', 'drift')
    """
    if not 1 <= windows <= 10_000 or not 0 < alpha < 1:
        raise ValueError(
            f"expected 1..10,000 windows and 0 < alpha < 1, got {windows}, {alpha}"
        )
    kept = isinstance(baseline, str | Path) and is_baseline(Path(baseline))
    if kept:
        base, reading = read_baseline(Path(baseline))
        time = reading.time if time is None else time
        if time != reading.time:
            raise ManifestError(
                f"the baseline's rows are ordered by {reading.time!r}, not by {time!r}",
                where=str(baseline),
                hint="leave --time out: the baseline knows its own.",
            )
        now = _table(live, "live", time)
    else:
        before = _table(baseline, "baseline", time)
        now = _table(live, "live", time)  # before the baseline is read for seconds
        base, reading = _learned(before, time, windows, told)
    other = _framer(now, reading)(
        now,
        reading,
        windows=_windows(now, windows),
        learn=False,
        told=lambda rows: told("live", rows, now.rows),
    )
    return check_frames(
        base,
        other,
        alpha=alpha,
        changed=_changed(reading, now),
        notes=_notes(base, reading, now),
    )


def keep_baseline(
    source: Any,
    path: str | Path,
    *,
    time: str | None = None,
    windows: int = WINDOWS,
    told: Callable[[str, int, int], None] = _untold,
) -> Frame:
    """Write what a check needs of a baseline to a file, which `check` takes in its place.

    The file holds counts of windows, texts by name, and 100,000 rows drawn from the table: it
    is as private as the table is.

    Args:
        source: As for `check`.
        path: Where to; a file there is replaced.
        time: As for `check`; checks against the baseline order their rows by it too.
        windows: As for `check`.
        told: As for `check`.

    Returns:
        What was written.

    Raises:
        NotFoundError: There is no such file.
        ManifestError: The table cannot be read, has no row, or lacks the time column.
        BackendError: The file could not be written.
        ValueError: A number is out of range.
    """
    if not 1 <= windows <= 10_000:
        raise ValueError(f"expected 1..10,000 windows, got {windows}")
    frame, reading = _learned(_table(source, "baseline", time), time, windows, told)
    write_baseline(Path(path), frame, reading)
    return frame


def _learned(
    table: Table, time: str | None, windows: int, told: Callable[[str, int, int], None]
) -> tuple[Frame, Reading]:
    reading = reading_of(table, time)
    frame = _framer(table, reading)(
        table,
        reading,
        windows=_windows(table, windows),
        learn=True,
        told=lambda rows: told("baseline", rows, table.rows),
    )
    return frame, reading


class _Framer(Protocol):
    def __call__(
        self,
        table: Table,
        reading: Reading,
        *,
        windows: int,
        learn: bool,
        told: Callable[[int], None],
    ) -> Frame: ...


def _framer(table: Table, reading: Reading) -> _Framer:
    """Return what counts a table: where it lies, or from its batches."""
    return frame_there if counted_there(table, reading) else frame_of


def _table(source: Any, name: str, time: str | None) -> Table:
    table = open_ibis(source, name) if stays(source) else open_table(source, name)
    if not table.rows:
        raise ManifestError(
            "the table has no row", where=table.name, hint="nothing can be compared with it."
        )
    if time is not None and time not in table.schema.names:
        raise ManifestError(
            f"no column {time!r} to order the rows by",
            where=table.name,
            hint=f"there is: {', '.join(table.schema.names[:20])}",
        )
    if time is not None and kind_of(table.schema.field(time).type) != "number":
        raise ManifestError(
            f"column {time!r} is {table.schema.field(time).type}, no time or number",
            where=table.name,
            hint="store it as a timestamp.",
        )
    return table


def _windows(table: Table, wanted: int) -> int:
    return max(1, min(wanted, table.rows // LEAST_ROWS))


def _changed(reading: Reading, now: Table) -> Mapping[str, str]:
    """Return the columns that are gone or of another type, with the words for it."""
    found: dict[str, str] = {}
    for name, (kind, words) in reading.types.items():
        if name in reading.notes or name == reading.time:
            continue
        at = now.schema.get_field_index(name)
        if at < 0:
            found[name] = "the column is gone"
        elif kind_of(now.schema.field(at).type) != kind:
            found[name] = f"was {words}, is {now.schema.field(at).type}"
    return found


def _notes(base: Frame, reading: Reading, now: Table) -> list[str]:
    notes = [f"{name}: {words}" for name, words in reading.notes.items()]
    new = [name for name in now.schema.names if name not in reading.types]
    notes += [f"{name}: a new column, not checked" for name in new]
    windows = max((len(one.n) for one in base.windows.values()), default=0)
    if windows < LEAST:
        notes.append(
            f"{base.rows} rows make {windows} windows, too few to know how windows vary: "
            "rows are taken to be independent"
        )
    return notes


def document(report: CheckReport) -> dict[str, Any]:
    """Return the report as `mlg drift check --json` prints it."""
    return {
        "verdict": report.verdict,
        "rows": report.rows,
        "windows": report.windows,
        "alpha": report.alpha,
        "features": [
            {
                "feature": one.feature,
                "verdict": one.verdict,
                "charts": [
                    {
                        "chart": chart.chart,
                        "metric": chart.metric,
                        "statistic": chart.statistic,
                        "limit": chart.limit,
                        "effect": chart.effect,
                        **({} if chart.window is None else {"window": chart.window}),
                    }
                    for chart in one.charts
                ],
                **({"note": one.note} if one.note else {}),
            }
            for one in report.features
        ],
        "slices": [
            {"where": s.where, "share": s.share, "feature": s.feature, "effect": s.effect}
            for s in report.slices
        ],
        "notes": list(report.notes),
    }
