"""The law of a run length: its mean, its median, and how likely it ends within n points.

A run length is the number of points until a chart signals, the signalling one included. A
chart is a chain that is alive until it signals. Three starts are told apart:

- `zero`: the chart stands at its centre (or head start) when the shift begins;
- `steady`: it has run for long without a shift and without a signal (the *conditional*
  steady state: S. Knoth, W. Schmid; the limit of E[N - t | N > t] for a shift after t);
- `cyclical`: it has run for long without a shift, and began anew after each false alarm
  (R. B. Crosier 1986; J. M. Lucas and M. S. Saccucci 1990).
"""

import warnings
from collections.abc import Callable
from functools import cached_property
from math import ceil, inf, isfinite, log, log1p
from typing import Final, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

State = Literal["zero", "steady", "cyclical"]
Floats = NDArray[np.float64]

LONGEST: Final = 1e12
"""Run lengths above it cannot be told apart in double precision, and are infinite."""

_MOST_STEPS: Final = 200_000
_MOST_WORK: Final = 3e9
_DEAD: Final = 1e-11
_LOOK: Final = 16


class Chain(Protocol):
    """A substochastic operator P on the states in which a chart is silent."""

    def solve(self, right: Floats) -> Floats:
        """Return x with x = right + P x."""
        ...

    def solve_left(self, left: Floats) -> Floats:
        """Return x with x = left + x P."""
        ...

    def back(self, left: Floats) -> Floats:
        """Return left P: where the mass is one point later."""
        ...

    def long_silent(self) -> Floats:
        """Return where a chart is that has been silent for long: a left eigenvector, sum 1."""
        ...

    @property
    def size(self) -> int:
        """Number of states."""
        ...

    @property
    def cost(self) -> int:
        """Multiplications of one `back`."""
        ...


class Dense:
    """A chain by its matrix; of an integral equation, quadrature weights included.

    Attributes:
        kernel: Chances from state (row) to state (column).
    """

    def __init__(self, kernel: Floats) -> None:
        self.kernel = kernel

    @cached_property
    def _factors(self) -> tuple[Floats, Floats]:
        flow = np.eye(len(self.kernel)) - self.kernel
        return cast("tuple[Floats, Floats]", lu_factor(flow, check_finite=False))

    def solve(self, right: Floats) -> Floats:
        """Return x with x = right + P x; not finite where no state is ever left."""
        if not self._regular:
            return np.full(len(right), inf)
        return np.asarray(lu_solve(self._factors, right, check_finite=False))

    def solve_left(self, left: Floats) -> Floats:
        """Return x with x = left + x P; not finite where no state is ever left."""
        if not self._regular:
            return np.full(len(left), inf)
        return np.asarray(lu_solve(self._factors, left, trans=1, check_finite=False))

    def back(self, left: Floats) -> Floats:
        """Return left P."""
        return left @ self.kernel

    def long_silent(self) -> Floats:
        """Return where a chart is that has been silent for long.

        By inverse iteration, as the greatest eigenvalue of a chart is near 1.

        Source:
            J. N. Darroch and E. Seneta (1965), Journal of Applied Probability 2:88-100.
        """
        mass = np.full(self.size, 1 / self.size)
        forward = not np.all(np.isfinite(self.solve_left(mass)))
        for _ in range(10_000):
            after = self.back(mass) if forward else self.solve_left(mass)
            if not after.sum() > 0:
                return mass
            after = after / after.sum()
            if np.abs(after - mass).sum() <= 1e-12:
                return after
            mass = after
        return mass

    @property
    def size(self) -> int:
        """Number of states."""
        return len(self.kernel)

    @property
    def cost(self) -> int:
        """Multiplications of one `back`."""
        return self.size**2

    @cached_property
    def _regular(self) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns of the zero that is looked for
            return bool(np.all(np.diagonal(self._factors[0]) != 0))


class Law:
    """The law of one run length.

    Attributes:
        mean: The average run length in points, >= 1; infinity over 1e12.
    """

    def __init__(self, mean: float, curve: Callable[[], tuple[Floats, float]]) -> None:
        self.mean = mean
        self._make = curve

    @cached_property
    def _curve(self) -> tuple[Floats, float]:
        """P(N > n) for n = 0, 1, …, and the chance to signal at each point thereafter."""
        return self._make()

    def exceeds(self, points: float) -> float:
        """Return P(N > points): the chance of no signal within so many points."""
        n = int(max(points, 0))
        if not isfinite(self.mean):
            return 1.0
        head, rate = self._curve
        if n < len(head):
            return float(min(max(head[n], 0.0), 1.0))
        if head[-1] <= _DEAD or rate >= 1:
            return 0.0
        return float(head[-1] * np.exp((n - len(head) + 1) * log1p(-rate)))

    def within(self, points: float) -> float:
        """Return P(N <= points): the chance of a signal within so many points."""
        return 1.0 - self.exceeds(points)

    def quantile(self, level: float) -> float:
        """Return the least n with P(N <= n) >= level; infinity of an infinite mean.

        Raises:
            ValueError: `level` is not inside 0..1.
        """
        if not 0 < level < 1:
            raise ValueError(f"expected a level inside 0..1, got {level}")
        if not isfinite(self.mean):
            return inf
        head, rate = self._curve
        beyond = (1 - level) * (1 + 1e-12)
        below = np.flatnonzero(head <= beyond)
        if len(below):
            return float(max(int(below[0]), 1))
        return float(len(head) - 1 + ceil(log(beyond / head[-1]) / log1p(-rate) - 1e-9))

    @property
    def median(self) -> float:
        """Points within which half of the runs have signalled."""
        return self.quantile(0.5)


def geometric(chance: float) -> Law:
    """Return the law of a chart whose points signal independently, each with one chance.

    Args:
        chance: In 0..1; 0 never signals.

    Examples:
        >>> law = geometric(0.25)
        >>> law.mean, law.median, law.exceeds(2)
        (4.0, 3.0, 0.5625)
    """
    chance = min(chance, 1.0)
    mean = 1 / chance if chance > 0 else inf
    if chance == 1.0:
        return Law(1.0, lambda: (np.array([1.0, 0.0]), 1.0))
    return Law(mean, lambda: (np.array([1.0, 1.0 - chance]), chance))


def law_of(
    chain: Chain,
    first: Floats,
    *,
    state: State = "zero",
    before: Chain | None = None,
    first_before: Floats | None = None,
) -> Law:
    """Return the run length's law of a chain.

    Args:
        chain: With the shift.
        first: Where the mass is after one point from the start, with the shift.
        state: In which state the chart is when the shift begins.
        before: The chain without the shift, on the same states; the same where None.
        first_before: Like `first` without the shift; the same where None.

    Raises:
        ValueError: `state` is unknown.
    """
    if state == "steady":
        first = chain.back((before or chain).long_silent())
    elif state == "cyclical":
        visits = (before or chain).solve_left(first if first_before is None else first_before)
        if not np.all(np.isfinite(visits)) or not 0 <= visits.sum() <= LONGEST:
            first = chain.back((before or chain).long_silent())
        else:
            first = (first + chain.back(visits)) / (1 + visits.sum())
    elif state != "zero":
        raise ValueError(f"expected a state zero, steady or cyclical, got {state!r}")
    mean = mean_of(chain, first)
    return Law(mean, lambda: curve_of(chain, first, mean))


def mean_of(chain: Chain, first: Floats) -> float:
    """Return the mean run length from where the mass is after one point."""
    rest = chain.solve(np.ones(chain.size))
    return cleaned(float(1.0 + first @ rest)) if np.all(np.isfinite(rest)) else inf


def curve_of(
    chain: Chain, first: Floats, mean: float, head: tuple[float, ...] = (1.0,)
) -> tuple[Floats, float]:
    """Return P(N > n) until each point's chance to signal stands still, and that chance.

    Args:
        chain: The chain from then on.
        first: Where the mass is after the last point of `head` and one more.
        mean: Of the whole run length.
        head: P(N > n) of the points before.

    Raises:
        ValueError: The chance does not stand still soon enough.
    """
    curve = Curve(mean, head)
    steps = int(min(_MOST_STEPS, _MOST_WORK / chain.cost))
    for _ in range(steps):
        if curve.ends(float(first.sum())):
            return curve.told()
        first = chain.back(first)
    raise ValueError(f"the chance to signal has not settled within {steps} points")


class Curve:
    """P(N > n), point by point, until what comes next is known from what there is."""

    def __init__(self, mean: float, head: tuple[float, ...] = (1.0,)) -> None:
        self._alive = list(head)
        self._mean, self._sum = mean, sum(head)
        self._rate = 1.0

    def ends(self, alive: float) -> bool:
        """Add one more point; return whether the chance to signal stands still since.

        It does when it was the same a while ago and gives the mean that is known.
        """
        last = self._alive[-1]
        self._alive.append(alive)
        self._sum += alive
        if alive <= _DEAD:
            return True
        n = len(self._alive)
        if n <= 2 * _LOOK or n % _LOOK:
            return False
        self._rate = 1 - alive / last
        then = 1 - self._alive[-_LOOK] / self._alive[-_LOOK - 1]
        if abs(self._rate - then) > 1e-6 * self._rate + 1e-15:
            return False
        rest = self._rate * (self._mean - self._sum + alive)
        return abs(rest - alive) <= 1e-3 * alive

    def told(self) -> tuple[Floats, float]:
        """Return P(N > n) for n = 0, 1, …, and the chance to signal from then on."""
        return np.array(self._alive), self._rate


def cleaned(mean: float) -> float:
    """Return a mean run length as it can be told: at least 1, infinity over 1e12."""
    return max(mean, 1.0) if 1.0 - 1e-9 <= mean <= LONGEST else inf
