"""Two tables that ordinary traffic could have made, and five drifts planted in the second.

    python benchmarks/monitors_data.py FOLDER --environment ar --seed 3 [--rows 1000000] [--clean]

Written from the issue's words and `docs/monitors.md`'s question, before and apart from the
detector. 40 numeric and 10 categorical features; everything that a detector could have learned
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.random import SFC64, Generator, SeedSequence

ENVIRONMENTS = ("wobble", "ar", "seasonal", "heavy", "quiet")
NUMERIC, CATEGORICAL, ROW_GROUP = 40, 10, 100_000
MEAN_WOBBLE, SPREAD_WOBBLE, CONCENTRATION = 0.03, 0.01, 2_000.0
MEAN_BY, SPREAD_BY, TV_BY, SLICE_BY, SLICE_SHARE = 0.1, 1.15, 0.03, 1.0, 0.15
BASELINE, LIVE = 0, 1

Array = np.ndarray[Any, Any]
Draw = Callable[[Generator, int], Array]


def _bimodal(rng: Generator, n: int) -> Array:
    return 0.8 * rng.choice((-1.0, 1.0), n) + 0.6 * rng.standard_normal(n)


FAMILIES: dict[str, tuple[Draw, float, float]] = {
    "normal": (lambda rng, n: rng.standard_normal(n), 0.0, 1.0),
    "uniform": (lambda rng, n: rng.random(n), 0.5, 12**-0.5),
    "t5": (lambda rng, n: rng.standard_t(5, n), 0.0, (5 / 3) ** 0.5),
    "laplace": (lambda rng, n: rng.laplace(0.0, 1.0, n), 0.0, 2**0.5),
    "bimodal": (_bimodal, 0.0, 1.0),
    "exponential": (lambda rng, n: rng.standard_exponential(n), 1.0, 1.0),
    "gamma2": (lambda rng, n: rng.standard_gamma(2.0, n), 2.0, 2**0.5),
    "t3": (lambda rng, n: rng.standard_t(3, n), 0.0, 3**0.5),
    "lognormal": (
        lambda rng, n: np.exp(rng.standard_normal(n)),
        np.exp(0.5),
        np.exp(0.5) * (np.e - 1) ** 0.5,
    ),
    "pareto": (lambda rng, n: rng.pareto(3.0, n), 0.5, 0.75**0.5),
}
"""Family -> how to draw it, its mean, its standard deviation."""
POSITIVE = ("exponential", "gamma2", "lognormal", "pareto")
COUNT_MEAN = 6.0
"""Of a feature of family `count`: Poisson, whole numbers."""
MIX = {
    "heavy": ("t3", "lognormal", "pareto", "t3", "lognormal", "pareto", "normal", "count"),
    "": ("normal", "normal", "exponential", "t5", "uniform", "gamma2", "bimodal", "count"),
}
RESHAPED = {
    "normal": ("laplace", "bimodal", "gamma2"), "uniform": ("normal", "bimodal"),
    "t5": ("normal", "uniform"), "exponential": ("gamma2", "uniform"), "gamma2": ("normal", "exponential"),
    "bimodal": ("normal", "laplace"), "t3": ("normal", "laplace"), "lognormal": ("gamma2", "exponential"),
    "pareto": ("gamma2", "exponential"),
}  # fmt: skip
"""Family -> what a change of its shape alone may turn it into, moments kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A numeric feature: x = at + scale * y, y of mean 0 and sd 1."""

    name: str
    family: str
    at: float
    scale: float
    dtype: str
    mean_of: Array
    """Moves of the mean in sd, shape (2, windows): baseline, live."""
    spread_of: Array
    """Factors of the spread, same shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A categorical feature."""

    name: str
    values: tuple[str, ...]
    usual: Array
    """Shares, shape (values,)."""
    shares: Array
    """Shares by window, shape (2, windows, values)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the seed decided before any row is drawn."""

    environment: str
    seed: int
    windows: int
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    plants: tuple[dict[str, Any], ...]
    """Each `{"kind", "feature", "by"}` and what its kind needs; `kind` of PLANTS."""
    facts: dict[str, Any] = field(default_factory=dict)


PLANTS = ("mean", "spread", "shape", "share", "slice")


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


def plan(
    environment: str,
    seed: int,
    *,
    windows: int | None = None,
    numeric: int = NUMERIC,
    categorical: int = CATEGORICAL,
) -> Plan:
    """Return what the seed decides.

    Args:
        environment: One of ENVIRONMENTS.
        seed: Any whole number >= 0.
        windows: Windows that wobble, in each table; 100 to 200 by the seed where None.
        numeric: Numeric features, >= 6.
        categorical: Categorical features, >= 3.
    """
    kind = ENVIRONMENTS.index(environment)
    rng = Generator(SFC64(SeedSequence([seed, kind, 77])))
    count = windows or int(rng.integers(100, 201))
    cycles, phase = float(rng.uniform(4, 8)), float(rng.uniform(0, 0.25))
    facts: dict[str, Any] = {"phi": {}, "cycles": cycles, "phase": phase}
    moves = _Moves(environment, count, cycles, phase, rng, facts)
    mix = MIX.get(environment, MIX[""])
    families = rng.permutation([mix[n % len(mix)] for n in range(numeric)])
    numbers = tuple(_number(f"num_{n:02}", str(families[n]), moves) for n in range(numeric))
    names = [f"cat_{n:02}" for n in range(categorical)]
    special = [str(name) for name in rng.choice(names, 3, replace=False)]
    categories = tuple(_category(name, special, moves) for name in names)
    usable = [one for one in numbers if one.family != "count"]
    chosen = [usable[n] for n in rng.choice(len(usable), 4, replace=False)]
    first, second = (next(c for c in categories if c.name == name) for name in special[:2])
    third = next(c for c in categories if c.name == special[2])
    plants = (
        {"kind": "mean", "feature": chosen[0].name, "by": MEAN_BY},
        {"kind": "spread", "feature": chosen[1].name, "by": SPREAD_BY},
        {"kind": "shape", "feature": chosen[2].name, "by": 0.0, "family": chosen[2].family,
         "to": str(rng.choice(RESHAPED[chosen[2].family]))},
        {"kind": "share", "feature": third.name, "by": TV_BY, "moved": _moved(third.usual, rng)},
        {"kind": "slice", "feature": chosen[3].name, "by": SLICE_BY,
         "where": {first.name: first.values[0], second.name: second.values[0]}},
    )  # fmt: skip
    return Plan(
        environment=environment, seed=seed, windows=count, numbers=numbers,
        categories=categories, plants=plants, facts=facts,
    )  # fmt: skip


class _Moves:
    """Draws how one quantity moves over the windows of both tables, in units of its wobble."""

    def __init__(
        self, environment: str, windows: int, cycles: float, phase: float, rng: Generator,
        facts: dict[str, Any],
    ) -> None:  # fmt: skip
        self.environment, self.windows, self.rng, self.facts = environment, windows, rng, facts
        days = cycles * (np.arange(windows) + 0.5) / windows
        self.days = np.stack((days, days + phase))

    def phi(self, name: str) -> float:
        """Return a feature's autocorrelation, kept in the facts."""
        if self.environment != "ar":
            return 0.0
        return self.facts["phi"].setdefault(name, float(self.rng.uniform(0.5, 0.9)))

    def wobble(self, phi: float, many: int = 1) -> Array:
        """Return stationary paths of sd 1, shape (2, windows, many); live goes on from baseline."""
        steps = self.rng.standard_normal((2 * self.windows, many))
        if self.environment == "quiet":
            steps[:] = 0.0
        elif phi:
            steps[1:] *= (1 - phi * phi) ** 0.5
            for at in range(1, len(steps)):
                steps[at] += phi * steps[at - 1]
        return steps.reshape(2, self.windows, many)

    def cycle(self, low: float, high: float, many: int = 1) -> Array:
        """Return daily cycles, shape (2, windows, many); 0 without seasons."""
        size = self.rng.uniform(low, high, many) * (self.environment == "seasonal")
        turn = self.rng.uniform(0, 1, many)
        return size * np.sin(2 * np.pi * (self.days[:, :, None] + turn))


def _number(name: str, family: str, moves: _Moves) -> Number:
    phi, rng = moves.phi(name), moves.rng
    mean = MEAN_WOBBLE * moves.wobble(phi)[..., 0] + moves.cycle(0.05, 0.2)[..., 0]
    spread = np.exp(SPREAD_WOBBLE * moves.wobble(phi)[..., 0])
    scale = float(10 ** rng.uniform(-2, 3))
    at = float(scale * rng.uniform(-5, 5))
    dtype = str(rng.choice(("float32", "float64")))
    if family in POSITIVE:
        _, middle, sd = FAMILIES[family]
        # a factor on the value moves the mean by as many sd, and the spread with it
        at, spread = float(scale * middle / sd), 1 + mean * sd / middle
    if family == "count":
        at, scale, dtype = COUNT_MEAN, COUNT_MEAN**0.5, "int32"
    return Number(
        name=name,
        family=family,
        at=at,
        scale=scale,
        dtype=dtype,
        mean_of=mean,
        spread_of=spread,
    )


def _category(name: str, special: list[str], moves: _Moves) -> Category:
    rng = moves.rng
    size = int(rng.choice((3, 4, 6, 8, 12, 20)))
    usual = np.sort(rng.dirichlet(np.full(size, 3.0)))[::-1].copy()
    usual = np.maximum(usual, 0.01)
    usual /= usual.sum()
    if name in special[:2]:  # one value of the slice: the product of two is 2.25 %
        usual = np.concatenate(([SLICE_SHARE], (1 - SLICE_SHARE) * usual))
    shape = (2, moves.windows, len(usual))
    if moves.environment == "quiet":
        shares = np.broadcast_to(usual, shape).copy()
    elif moves.environment == "ar":
        # as a Dirichlet to first order, its normalised parts following each other
        sd = 1 / np.sqrt(CONCENTRATION * usual)
        shares = usual * np.exp(sd * moves.wobble(moves.phi(name), len(usual)) - sd**2 / 2)
    else:
        shares = rng.dirichlet(CONCENTRATION * usual, shape[:2])
    shares = shares * np.exp(moves.cycle(0.05, 0.2, len(usual)))
    values = tuple(f"{name}_{chr(97 + n)}" for n in rng.permutation(len(usual)))
    return Category(
        name=name, values=values, usual=usual, shares=shares / shares.sum(axis=2, keepdims=True)
    )


def _moved(usual: Array, rng: Generator) -> list[float]:
    """Return how each share moves: one or two lose 0.03 in all, one or two others gain it."""
    order = rng.permutation(np.flatnonzero(usual > 2 * TV_BY))
    if len(order) < 2:
        order = np.concatenate((order, rng.permutation(np.flatnonzero(usual <= 2 * TV_BY))))
    losers = order[: 1 + int(len(order) > 3)]
    rest = np.setdiff1d(np.arange(len(usual)), losers)
    gainers = rng.choice(rest, min(len(rest), int(rng.integers(1, 3))), replace=False)
    moved = np.zeros(len(usual))
    moved[losers] -= TV_BY / len(losers)
    moved[gainers] += TV_BY / len(gainers)
    return [float(one) for one in moved]


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
        # what wobble alone made of the two means: a detector that names it did not see a ghost
        "moved_by_wobble_sd": {
            one.name: float(np.diff(one.mean_of.mean(axis=1))[0]) for one in made.numbers
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


def _chunks(
    made: Plan, frame: int, rows: int, starts_at: float, size: int, names: tuple[str, ...],
    pool: ThreadPoolExecutor,
) -> Iterator[dict[str, list[Any]]]:  # fmt: skip
    """Give the columns of each row group, of each table wanted."""
    plants = {one["feature"]: one for one in made.plants}
    columns = [*made.numbers, *made.categories]
    for number, begin in enumerate(range(0, rows, size)):
        at = np.arange(begin, min(begin + size, rows))
        window = at * made.windows // rows
        drifts = at >= starts_at * rows

        def codes(
            one: Category, plant: dict[str, Any] | None, *, number=number, window=window, drifts=drifts
        ) -> Array:  # fmt: skip
            rng = _stream(made, frame, columns.index(one), number)
            return _codes(one, frame, window, rng, plant, drifts)

        def column(
            position: int, planted: bool, *, number=number, window=window, drifts=drifts, codes=codes
        ) -> Any:  # fmt: skip
            one = columns[position]
            plant = plants.get(one.name) if planted else None
            if isinstance(one, Category):
                return pa.DictionaryArray.from_arrays(
                    pa.array(codes(one, plant), pa.int32()), pa.array(one.values)
                )
            here = drifts
            if plant and plant["kind"] == "slice":
                here = drifts.copy()
                for name, value in plant["where"].items():
                    attribute = next(c for c in made.categories if c.name == name)
                    here &= codes(attribute, None) == attribute.values.index(value)
            rng = _stream(made, frame, position, number)
            return pa.array(_values(one, frame, window, rng, plant, here))

        usual = list(pool.map(lambda p, column=column: column(p, False), range(len(columns))))
        tables = {name: list(usual) for name in names}
        if "planted" in tables:
            drifting = [n for n, one in enumerate(columns) if one.name in plants]
            for position, drifted in zip(
                drifting,
                pool.map(lambda p, column=column: column(p, True), drifting),
                strict=True,
            ):
                tables["planted"][position] = drifted
        yield tables


def _stream(made: Plan, frame: int, column: int, chunk: int) -> Generator:
    """Return the random stream of one column in one row group."""
    kind = ENVIRONMENTS.index(made.environment)
    return Generator(SFC64(SeedSequence([made.seed, kind, frame, column, chunk])))


def _values(
    one: Number, frame: int, window: Array, rng: Generator, plant: dict[str, Any] | None, here: Array
) -> Array:  # fmt: skip
    """Return values of a numeric feature; `here` are the rows that drift."""
    move, spread = one.mean_of[frame][window], one.spread_of[frame][window]
    if one.family == "count":
        return rng.poisson(COUNT_MEAN + COUNT_MEAN**0.5 * move).astype(np.int32)
    y = _standard(one.family, rng, len(window))
    if plant and plant["kind"] == "shape":
        y = np.where(here, _standard(plant["to"], rng, len(window)), y)
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


def _standard(family: str, rng: Generator, n: int) -> Array:
    draw, middle, sd = FAMILIES[family]
    return (draw(rng, n) - middle) / sd


def _codes(
    one: Category, frame: int, window: Array, rng: Generator, plant: dict[str, Any] | None, here: Array
) -> Array:  # fmt: skip
    """Return the code of each row's value, by one uniform draw a row."""
    draws = rng.random(len(window))
    steps = np.flatnonzero(np.diff(window)) + 1
    bounds = np.concatenate(([0], steps, [len(window)]))
    codes = np.empty(len(window), np.int32)
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        shares = one.shares[frame][window[begin]]
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
