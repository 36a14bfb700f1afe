"""`mlg drift check` and `mlg.drift.check`: verdicts, every kind of table, bad input."""

import datetime
import json
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import mlg.drift
from mlg.cli.main import app
from mlg.core.errors import BackendError, ManifestError, NotFoundError

Columns = dict[str, Any]
ROWS = 20_000


def usual(seed: int = 1, rows: int = ROWS, **changed: Any) -> Columns:
    """Rows with ordinary wobble: the mean of `age` differs from window to window."""
    rng = np.random.default_rng(seed)
    windows = np.arange(rows) * 100 // rows
    wobble = rng.normal(0, 0.03, 100)[windows]
    columns: Columns = {
        "age": rng.normal(40, 10, rows) + 10 * wobble,
        "price": rng.lognormal(1, 1, rows),
        "country": rng.choice(["BR", "DE", "FR", "IN"], rows, p=[0.4, 0.3, 0.2, 0.1]),
        "device": rng.choice(["tv", "phone", "web"], rows),
        "new": rng.random(rows) < 0.2,
    }
    return columns | changed


def ewma_of(report: mlg.drift.CheckReport, metric: str) -> mlg.drift.ChartFound:
    charts = [chart for one in report.features for chart in one.charts]
    (found,) = (c for c in charts if (c.chart, c.metric) == ("ewma", metric))
    return found


def drifted(report: mlg.drift.CheckReport) -> set[str]:
    return {one.feature for one in report.features if one.verdict == "drift"}


@pytest.mark.parametrize("seed", range(5))
def test_clean_tables_are_ok(seed: int) -> None:
    report = mlg.drift.check(pa.table(usual(seed)), pa.table(usual(seed + 100)))
    assert (report.verdict, drifted(report)) == ("ok", set())
    assert report.rows == {"baseline": ROWS, "live": ROWS}
    assert report.windows == {"baseline": 100, "live": 100}  # 200 rows a window at least


def test_what_moved_is_named_and_nothing_else() -> None:
    rng = np.random.default_rng(9)
    live = usual(7)
    live["age"] = live["age"] + 1.5  # 0.15 sd
    live["country"] = rng.choice(["BR", "DE", "FR", "IN"], ROWS, p=[0.46, 0.24, 0.2, 0.1])
    report = mlg.drift.check(pa.table(usual(1)), pa.table(live))
    assert drifted(report) == {"age", "country"}
    (age,) = (one for one in report.features if one.feature == "age")
    assert age.charts[0].metric == "age.location"
    assert age.charts[0].effect == pytest.approx(0.15, abs=0.03)
    (share,) = (one for one in report.features if one.feature == "country")
    assert abs(share.charts[0].effect) == pytest.approx(0.06, abs=0.015)


def test_a_part_of_the_traffic_is_named_in_words() -> None:
    live = usual(3, rows=60_000)
    inside = (live["country"] == "BR") & (live["device"] == "tv")
    live["price"] = np.where(inside, live["price"] * 2, live["price"])
    report = mlg.drift.check(pa.table(usual(1, rows=60_000)), pa.table(live))
    assert drifted(report) == {"price"}
    (part,) = report.slices
    assert part.where == "country = BR and device = tv"
    assert part.share == pytest.approx(0.4 / 3, abs=0.01)


def test_what_begins_on_the_way_is_found() -> None:
    live = usual(4)
    late = np.arange(ROWS) >= 0.8 * ROWS
    live["age"] = live["age"] + np.where(late, 3.0, 0.0)
    report = mlg.drift.check(pa.table(usual(1)), pa.table(live))
    assert drifted(report) == {"age"}
    chart = ewma_of(report, "age.location")
    assert chart.window is not None
    assert chart.window >= 80


def _every_form(columns: Columns, folder: Path) -> dict[str, Any]:
    import polars

    table = pa.table(columns)
    pq.write_table(table, folder / "one.parquet", row_group_size=3_000)
    parts = folder / "parts"
    parts.mkdir()
    for at in range(4):
        pq.write_table(table.slice(at * 5_000, 5_000), parts / f"{at}.parquet")
    pyarrow.csv.write_csv(table, folder / "one.csv")
    return {
        "parquet": folder / "one.parquet",
        "folder": str(parts),
        "csv": folder / "one.csv",
        "arrow": table,
        "reader": table.to_reader(),
        "dataset": pyarrow.dataset.dataset(parts, format="parquet"),
        "pandas": pd.DataFrame(columns),
        "polars": polars.DataFrame(columns),
        "lazy": polars.LazyFrame(columns),
        "ibis": ibis.memtable(pd.DataFrame(columns)),
    }


def test_every_kind_of_table_gives_the_same_verdict(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    live = usual(5)
    live["age"] = live["age"] + 2.0
    before, now = _every_form(usual(1), tmp_path / "a"), _every_form(live, tmp_path / "b")
    for name, table in before.items():
        assert drifted(mlg.drift.check(table, now[name])) == {"age"}, name


def test_rows_are_put_in_order_of_a_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    late = np.arange(ROWS) >= 0.9 * ROWS
    live = usual(6)
    live["age"] = live["age"] + np.where(late, 4.0, 0.0)
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    at = [begin + datetime.timedelta(seconds=n) for n in range(ROWS)]
    mixed = rng.permutation(ROWS)
    tables = [pa.table(c | {"at": at}).take(mixed) for c in (usual(1), live)]
    report = mlg.drift.check(*tables, time="at")
    assert drifted(report) == {"age"}
    assert "at" not in {one.feature for one in report.features}
    chart = ewma_of(report, "age.location")
    assert (chart.window or 0) >= 90
    with pytest.raises(ManifestError, match="no column 'when'"):
        mlg.drift.check(*tables, time="when")
    with pytest.raises(ManifestError, match="no time or number"):
        mlg.drift.check(*tables, time="country")


def test_odd_columns_are_told_and_break_nothing() -> None:
    odd = {
        "nothing": pa.nulls(ROWS, pa.float64()),
        "nulls": pa.nulls(ROWS),
        "same": np.full(ROWS, 3.0),
        "blob": pa.array([b"x"] * ROWS),
        "id": [f"id-{n}" for n in range(ROWS)],
        "gone": np.arange(ROWS),
        "typed": np.arange(ROWS) % 7,
    }
    live = usual(8) | odd | {
        "id": [f"id-{n + ROWS}" for n in range(ROWS)],
        "typed": [str(n % 7) for n in range(ROWS)],
        "extra": np.zeros(ROWS),
    }  # fmt: skip
    del live["gone"]
    report = mlg.drift.check(pa.table(usual(1) | odd), pa.table(live))
    assert drifted(report) == {"gone", "typed"}
    notes = {one.feature: one.note for one in report.features}
    assert notes["gone"] == "the column is gone"
    assert notes["typed"] == "was int64, is string"
    assert "constant" in notes["same"]
    assert "extra: a new column, not checked" in report.notes
    assert "blob: not checked: no chart for binary" in report.notes


def _spoilt(how: str, values: np.ndarray) -> np.ndarray:
    some = np.arange(len(values)) % 20 == 0
    return {
        "null": np.where(some, np.nan, values),
        "infinite": np.where(some, np.inf, values),
        "unit": values * 100,
        "constant": np.full(len(values), 40.0),
        "all null": np.full(len(values), np.nan),
    }[how]


@pytest.mark.parametrize("how", ["null", "infinite", "unit", "constant", "all null"])
def test_a_broken_column_is_drift(how: str) -> None:
    live = usual(2)
    live["age"] = _spoilt(how, live["age"])
    assert "age" in drifted(mlg.drift.check(pa.table(usual(1)), pa.table(live)))


def test_texts_never_seen_before_are_drift_and_a_million_of_them_are_not() -> None:
    live = usual(2)
    live["country"] = np.where(np.arange(ROWS) % 20 == 0, "XX", live["country"])
    report = mlg.drift.check(pa.table(usual(1)), pa.table(live))
    assert drifted(report) == {"country"}
    metrics = {c.metric for f in report.features if f.feature == "country" for c in f.charts}
    assert "country=(unseen).share" in metrics
    many = 1_000_000
    ids = [
        pa.table({"id": pa.array(np.arange(many) + by).cast(pa.string())}) for by in (0, many)
    ]
    report = mlg.drift.check(*ids)
    assert report.verdict == "ok"
    assert "more than 100,000 texts" in report.features[0].note


def test_tags_and_vectors_have_charts() -> None:
    rng = np.random.default_rng(6)

    def table(seed: int, action: float, shift: float) -> pa.Table:
        own = np.random.default_rng(seed)
        tags = [
            [t for t, p in (("drama", 0.5), ("action", action)) if own.random() < p]
            for _ in range(ROWS)
        ]
        vectors = own.standard_normal((ROWS, 4)) + shift * direction
        kind = pa.list_(pa.float32(), 4)
        flat = pa.array(vectors.astype(np.float32).ravel())
        return pa.table(
            {"tags": tags, "taste": pa.FixedSizeListArray.from_arrays(flat, type=kind)}
        )

    direction = rng.standard_normal(4)
    base = table(1, 0.3, 0.0)
    assert mlg.drift.check(base, table(2, 0.3, 0.0)).verdict == "ok"
    assert drifted(mlg.drift.check(base, table(3, 0.4, 0.0))) == {"tags"}
    moved = drifted(mlg.drift.check(base, table(4, 0.3, 0.3)))
    assert moved
    assert {name.partition(".")[0] for name in moved} == {"taste"}


def test_few_rows_are_judged_as_independent_and_that_is_said() -> None:
    few = [pa.table(usual(seed, rows=600)) for seed in (1, 2)]
    report = mlg.drift.check(*few)
    assert report.verdict == "ok"
    assert any("too few to know how windows vary" in note for note in report.notes)
    moved = usual(3, rows=600)
    moved["age"] = moved["age"] + 10
    assert drifted(mlg.drift.check(few[0], pa.table(moved))) == {"age"}
    one = mlg.drift.check(few[0].slice(0, 1), few[1].slice(0, 1))
    assert one.rows == {"baseline": 1, "live": 1}


def test_tables_that_cannot_be_compared(tmp_path: Path) -> None:
    table = pa.table(usual(1, rows=500))
    with pytest.raises(NotFoundError):
        mlg.drift.check(tmp_path / "none.parquet", table)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ManifestError, match="cannot be read"):
        mlg.drift.check(broken, table)
    with pytest.raises(ManifestError, match="no row"):
        mlg.drift.check(table, table.slice(0, 0))
    with pytest.raises(ManifestError, match="expected a table"):
        mlg.drift.check(3, table)
    with pytest.raises(ManifestError, match="no Parquet file"):
        mlg.drift.check(_empty(tmp_path), table)
    with pytest.raises(ValueError, match="windows"):
        mlg.drift.check(table, table, windows=0)


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _told(folder: Path, command: str, code: int = 0) -> str:
    words = [
        str(folder / w) if w.endswith((".parquet", ".mlgb")) else w for w in command.split()
    ]
    done = CliRunner().invoke(app, ["drift", *words])
    assert done.exit_code == code, (command, done.output)
    return done.stdout if code in {0, 1} else done.output


def test_the_command_prints_one_document_and_exits_by_the_verdict(tmp_path: Path) -> None:
    live = usual(2)
    live["age"] = live["age"] + 2.0
    for name, columns in (("a", usual(1)), ("b", usual(3)), ("c", live)):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    told = json.loads(_told(tmp_path, "check --baseline a.parquet --live b.parquet --json"))
    assert told["verdict"] == "ok"
    drift = "check --baseline a.parquet --live c.parquet"
    told = json.loads(_told(tmp_path, f"{drift} --json", code=1))
    assert told["verdict"] == "drift"
    assert told["rows"] == {"baseline": ROWS, "live": ROWS}
    (age,) = (one for one in told["features"] if one["verdict"] == "drift")
    assert {"chart", "statistic", "limit", "effect"} <= age["charts"][0].keys()
    assert told["slices"] == []
    assert "1 of 5 columns drifted" in _told(tmp_path, drift, code=1)
    kept = json.loads(_told(tmp_path, "baseline a.parquet --out usual.mlgb --json"))
    assert (kept["rows"], kept["windows"], len(kept["columns"])) == (ROWS, 100, 5)
    by_file = "check --baseline usual.mlgb --live c.parquet --json"
    assert json.loads(_told(tmp_path, by_file, code=1))["features"] == told["features"]
    missing = _told(tmp_path, "check --baseline a.parquet --live no.parquet", code=3)
    assert "no such file" in missing
    (tmp_path / "odd.parquet").write_text("no table")
    broken = _told(tmp_path, "check --baseline odd.parquet --live a.parquet", code=2)
    assert "cannot be read" in broken
    assert "give a Parquet or CSV file" in broken


def test_the_page_draws_what_drifted_and_names_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `report`")
    from html.parser import HTMLParser

    from mlg.adapters.drift_page import drift_page

    live = usual(2)
    live["age"] = live["age"] + 2.0
    live["<b>odd</b>"] = np.zeros(ROWS)
    report = mlg.drift.check(pa.table(usual(1)), pa.table(live))
    page = drift_page(report, "Drift of <live>")
    assert page == drift_page(report, "Drift of <live>")
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
            tags.append(tag)

    Tags().feed(page)
    assert tags.count("figure") == len({c.metric for f in report.features for c in f.charts})
    assert "script" not in tags
    assert "<b>odd" not in page
    assert "<live>" not in page
    # drift comes first
    assert page.index("age.location</figcaption>") == page.index("</figcaption>") - 12


def test_a_kept_baseline_gives_the_verdict_of_its_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    tags = [[t for t in ("drama", "action") if rng.random() < 0.4] for _ in range(ROWS)]
    base = pa.table(usual(1) | {"tags": tags, "id": [f"id-{n}" for n in range(ROWS)]})
    live = usual(2) | {"tags": tags, "id": [f"id-{n + ROWS}" for n in range(ROWS)]}
    live["age"] = live["age"] + 2.0
    live["country"] = np.where(np.arange(ROWS) % 20 == 0, "XX", live["country"])
    kept = tmp_path / "usual.mlgb"
    frame = mlg.drift.keep_baseline(base, kept)
    assert frame.rows == ROWS
    direct, by_file = (mlg.drift.check(one, pa.table(live)) for one in (base, kept))
    assert mlg.drift.document(by_file) == mlg.drift.document(direct)
    assert drifted(by_file) == {"age", "country"}
    gone = pa.table(live).drop_columns(["price"])
    assert "price" in drifted(mlg.drift.check(str(kept), gone))


def test_a_kept_baseline_orders_rows_by_its_own_time(tmp_path: Path) -> None:
    at = np.random.default_rng(5).permutation(ROWS)
    kept = tmp_path / "usual.mlgb"
    mlg.drift.keep_baseline(pa.table(usual(1) | {"at": at}), kept, time="at")
    live = pa.table(usual(2) | {"at": at})
    assert mlg.drift.check(kept, live).verdict == "ok"
    with pytest.raises(ManifestError, match="ordered by 'at', not by 'age'"):
        mlg.drift.check(kept, live, time="age")
    with pytest.raises(ManifestError, match="no column 'at'"):
        mlg.drift.check(kept, pa.table(usual(2)))


def test_a_damaged_baseline_is_told_and_a_failed_write_leaves_the_former(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "usual.mlgb"
    table = pa.table(usual(1))
    mlg.drift.keep_baseline(table, kept)
    whole = kept.read_bytes()
    middle = len(whole) // 2
    kept.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(ManifestError, match="damaged"):
        mlg.drift.check(kept, table)
    with pytest.raises(BackendError, match="cannot be written"):
        mlg.drift.keep_baseline(table, tmp_path / "no folder" / "usual.mlgb")
    with pytest.raises(NotFoundError):
        mlg.drift.check(tmp_path / "none.mlgb", table)
