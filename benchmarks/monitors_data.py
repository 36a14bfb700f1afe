"""Two tables that ordinary traffic could have made, and five drifts planted in the second.

    python benchmarks/monitors_data.py FOLDER --environment ar --seed 3 [--rows 1000000]

Written from the issue's words, before the detector and apart from it. 40 numeric and 10
categorical features; everything that a detector could have learned
by heart (families, scales, shares, which feature drifts, which two attributes make the slice,
how many windows the wobble has) is drawn by the seed. `truth.json` beside the files tells it.

What differs between two spans of rows while all is well, by environment:

- `wobble`: each of 100-200 windows moves every mean by 0.03 sd, every spread by 1 %, and draws
  category shares from a Dirichlet of concentration 2,000. Positive features wobble as factors.
- `ar`: the same sizes, but each feature's windows follow each other: AR(1), 0.5 to 0.9.
- `seasonal`: wobble, and a daily cycle of 0.05 to 0.2 sd over 4 to 8 days that are not whole;
  live begins up to a quarter of a day later than the baseline did.
- `heavy`: wobble, and most features are t3, lognormal or Pareto (no fourth moment).
- `quiet`: nothing; rows are independent and identically distributed.

The plants, of live rows from `starts_at` on: a mean +0.1 sd; a spread x1.15; a shape with the
same mean and spread; a category's shares by total variation 0.03; +1 sd only where two
attributes have one value each, 2.25 % of rows.
"""  # noqa: INP001 - a script, no package

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from monitors_plan import (
    CATEGORICAL,
    COUNT_MEAN,
    ENVIRONMENTS,
    FAMILIES,
    NUMERIC,
    POSITIVE,
    Array,
    Category,
    Number,
    Plan,
    plan,
    standard,
)
from numpy.random import SFC64, Generator, SeedSequence

ROW_GROUP = 100_000
BASELINE, LIVE = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What was written."""

    baseline: Path
    live: dict[str, Path]
    """`clean`, `planted`, or both: the same draws but for the plants."""
    truth: dict[str, Any]

    @property
    def planted(self) -> frozenset[str]:
        """Features that drift in the planted table."""
        return frozenset(one["feature"] for one in self.truth["plants"])


def write_case(
    folder: Path,
    *,
    environment: str,
    seed: int,
    rows: int = 1_000_000,
    live: tuple[str, ...] = ("clean", "planted"),
    starts_at: float = 0.0,
    windows: int | None = None,
    numeric: int = NUMERIC,
    categorical: int = CATEGORICAL,
    row_group: int = ROW_GROUP,
) -> Case:
    """Write `baseline.parquet`, `live_clean.parquet`, `live_planted.parquet` and `truth.json`.

    Args:
        folder: Where to; is made.
        environment: One of ENVIRONMENTS.
        seed: Decides everything; equal arguments make equal tables.
        rows: Of each table.
        live: Which live tables.
        starts_at: Share of the live rows before the plants begin, 0 (all drift) to < 1.
        windows: As in `plan`.
        numeric: As in `plan`.
        categorical: As in `plan`.
        row_group: Rows of a row group.
    """
    made = plan(environment, seed, windows=windows, numeric=numeric, categorical=categorical)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"live_{name}.parquet" for name in live}
    baseline = folder / "baseline.parquet"
    truth = {
        "environment": environment, "seed": seed, "rows": rows, "windows": made.windows,
        "starts_at": starts_at, "plants": list(made.plants), **made.facts,
        # what wobble alone did, clean features too: a detector that names one saw no ghost
        "moved_by_wobble": {
            **{one.name: _moved_number(one) for one in made.numbers},
            **{one.name: _moved_category(one) for one in made.categories},
        },
    }  # fmt: skip
    schema = pa.schema(
        [(one.name, getattr(pa, one.dtype)()) for one in made.numbers]
        + [(one.name, pa.dictionary(pa.int32(), pa.string())) for one in made.categories]
    )
    strings = [one.name for one in made.categories]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for frame, files in ((BASELINE, {"clean": baseline}), (LIVE, paths)):
            if not files:
                continue
            writers = {
                name: pq.ParquetWriter(path, schema, use_dictionary=strings)
                for name, path in files.items()
            }
            for tables in _chunks(made, frame, rows, starts_at, row_group, tuple(files), pool):
                for name, columns in tables.items():
                    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
                    writers[name].write_batch(batch, row_group_size=row_group)
            for writer in writers.values():
                writer.close()
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))
    return Case(baseline=baseline, live=paths, truth=truth)


def _moved_number(one: Number) -> str:
    mean = float(np.diff(one.mean_of.mean(axis=1))[0])
    spread = float(np.diff(np.log(one.spread_of).mean(axis=1))[0])
    return f"{one.family}, mean {mean:+.4f} sd, log spread {spread:+.4f}"


def _moved_category(one: Category) -> str:
    before, after = one.shares.mean(axis=1)
    return f"total variation {0.5 * float(np.abs(after - before).sum()):.4f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """One row group of one frame; each of its columns has a random stream of its own."""

    made: Plan
    frame: int
    number: int
    window: Array
    """Window of each row."""
    drifts: Array
    """Whether plants hold for a row."""

    def _stream(self, name: str) -> Generator:
        kind, column = ENVIRONMENTS.index(self.made.environment), int(name[4:])
        at = [self.made.seed, kind, self.frame, column, name.startswith("cat"), self.number]
        return Generator(SFC64(SeedSequence(at)))

    def _codes(self, one: Category, plant: dict[str, Any] | None) -> Array:
        rng, shares = self._stream(one.name), one.shares[self.frame]
        return _codes(shares, self.window, rng, plant, self.drifts)

    def column(self, one: Number | Category, plant: dict[str, Any] | None) -> Any:
        """Return a column, drifting by its plant where there is one."""
        if isinstance(one, Category):
            codes = pa.array(self._codes(one, plant), pa.int32())
            return pa.DictionaryArray.from_arrays(codes, pa.array(one.values))
        here = self.drifts
        if plant and plant["kind"] == "slice":
            here = here.copy()
            for name, value in plant["where"].items():
                attribute = next(c for c in self.made.categories if c.name == name)
                here &= self._codes(attribute, None) == attribute.values.index(value)
        rng = self._stream(one.name)
        return pa.array(_values(one, self.frame, self.window, rng, plant, here))


def _chunks(
    made: Plan, frame: int, rows: int, starts_at: float, size: int, names: tuple[str, ...],
    pool: ThreadPoolExecutor,
) -> Iterator[dict[str, list[Any]]]:  # fmt: skip
    """Give the columns of each row group, of each table wanted."""
    plants = {one["feature"]: one for one in made.plants}
    columns = [*made.numbers, *made.categories]
    drifting = [n for n, one in enumerate(columns) if one.name in plants]
    for number, begin in enumerate(range(0, rows, size)):
        at = np.arange(begin, min(begin + size, rows))
        chunk = _Chunk(
            made=made, frame=frame, number=number, window=at * made.windows // rows,
            drifts=at >= starts_at * rows,
        )  # fmt: skip
        usual = list(pool.map(chunk.column, columns, [None] * len(columns)))
        tables = {name: list(usual) for name in names}
        if "planted" in tables:
            asked = [columns[n] for n in drifting]
            found = pool.map(chunk.column, asked, [plants[one.name] for one in asked])
            for position, drifted in zip(drifting, found, strict=True):
                tables["planted"][position] = drifted
        yield tables


def _values(
    one: Number, frame: int, window: Array, rng: Generator, plant: dict[str, Any] | None,
    here: Array,
) -> Array:  # fmt: skip
    """Return values of a numeric feature; `here` are the rows that drift."""
    move, spread = one.mean_of[frame][window], one.spread_of[frame][window]
    if one.family == "count":
        return rng.poisson(COUNT_MEAN + COUNT_MEAN**0.5 * move).astype(np.int32)
    y = standard(one.family, rng, len(window))
    if plant and plant["kind"] == "shape":
        y = np.where(here, standard(plant["to"], rng, len(window)), y)
    if one.family in POSITIVE:
        _, middle, sd = FAMILIES[one.family]
        y = (y + middle / sd) * spread - middle / sd
    else:
        y = move + spread * y
    if plant and plant["kind"] in ("mean", "slice"):
        y = y + plant["by"] * here
    elif plant and plant["kind"] == "spread":
        y = np.where(here, plant["by"] * y, y)
    return (one.at + one.scale * y).astype(one.dtype)


def _codes(
    shares_of: Array, window: Array, rng: Generator, plant: dict[str, Any] | None, here: Array
) -> Array:
    """Return the code of each row's value, by one uniform draw a row."""
    draws = rng.random(len(window))
    codes = np.empty(len(window), np.int32)
    bounds = [0, *(np.flatnonzero(np.diff(window)) + 1), len(window)]
    for begin, end in pairwise(bounds):
        shares = shares_of[window[begin]]
        codes[begin:end] = _picked(shares, draws[begin:end])
        if plant:
            moved = np.maximum(shares + np.array(plant["moved"]), 0.0)
            drifted = _picked(moved / moved.sum(), draws[begin:end])
            codes[begin:end] = np.where(here[begin:end], drifted, codes[begin:end])
    return codes


def _picked(shares: Array, draws: Array) -> Array:
    return np.minimum(np.searchsorted(np.cumsum(shares), draws, side="right"), len(shares) - 1)


def main() -> None:
    """Write one case and print where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--environment", choices=ENVIRONMENTS, default="wobble")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--starts-at", type=float, default=0.0)
    asked = parser.parse_args()
    made = write_case(
        asked.folder, environment=asked.environment, seed=asked.seed, rows=asked.rows,
        starts_at=asked.starts_at,
    )  # fmt: skip
    print(json.dumps({"folder": str(asked.folder), "plants": made.truth["plants"]}, indent=1))


if __name__ == "__main__":
    main()
