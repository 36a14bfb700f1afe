"""What a seed decides of the tables of `mlg bench monitors` before any row is drawn."""  # noqa: INP001 - a script, no package

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import SFC64, Generator, SeedSequence

ENVIRONMENTS = ("wobble", "ar", "seasonal", "heavy", "quiet")
NUMERIC, CATEGORICAL = 40, 10
MEAN_WOBBLE, SPREAD_WOBBLE, CONCENTRATION = 0.03, 0.01, 2_000.0
MEAN_BY, SPREAD_BY, TV_BY, SLICE_BY, SLICE_SHARE = 0.1, 1.15, 0.03, 1.0, 0.15

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
    "normal": ("laplace", "bimodal", "gamma2"),
    "uniform": ("normal", "bimodal"),
    "t5": ("normal", "uniform"),
    "exponential": ("gamma2", "uniform"),
    "gamma2": ("normal", "exponential"),
    "bimodal": ("normal", "laplace"),
    "t3": ("normal", "laplace"),
    "lognormal": ("gamma2", "exponential"),
    "pareto": ("gamma2", "exponential"),
}
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
        {"kind": "share", "feature": third.name, "by": TV_BY,
         "moved": _moved(third.usual, rng)},
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
        """Return stationary paths of sd 1, shape (2, windows, many); live goes on after it."""
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


def standard(family: str, rng: Generator, n: int) -> Array:
    """Return draws of a family, of mean 0 and sd 1."""
    draw, middle, sd = FAMILIES[family]
    return (draw(rng, n) - middle) / sd
