"""Nodes for the integral equation of a run length: one grid for EWMA and CUSUM alike.

Both are a chain u -> N(carry u + drift, spread^2) between two borders, and the equation is
solved on Gauss-Legendre nodes between them.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt
from typing import Final, cast

import numpy as np
from scipy.special import ndtr, roots_legendre

from mlg.stats.run_length import Dense, Floats

_MOST_NODES: Final = 4_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Nodes between two borders for a chain u -> N(carry u + drift, spread^2)."""

    nodes: Floats
    """The lower border first, as one more node of weight 0."""
    weights: Floats
    carry: float
    spread: float
    reflects: bool
    """Whether the chain is set back to the lower border instead of leaving there."""

    @classmethod
    def over(
        cls, lower: float, upper: float, *, carry: float, spread: float, reflects: bool
    ) -> "Grid":
        """Return a grid that is fine enough for these borders.

        Raises:
            ValueError: That takes more than 4,000 nodes.
        """
        count = int(30 + 2.5 * (upper - lower) / spread)
        if count > _MOST_NODES:
            raise ValueError(
                f"a chart this long and fine needs {count} nodes, and at most {_MOST_NODES} "
                "are taken: a larger lam or a smaller limit"
            )
        x, weights = legendre(count)
        half = (upper - lower) / 2
        nodes = np.concatenate(([lower], lower + half * (x + 1)))
        return cls(nodes, np.concatenate(([0.0], half * weights)), carry, spread, reflects)

    def rows(self, start: float | Floats, drift: float) -> Floats:
        """Return where the mass is one point after each start, one row a start."""
        here = self.carry * np.atleast_1d(np.asarray(start, dtype=np.float64)) + drift
        kernel = np.exp(-0.5 * ((self.nodes[None, :] - here[:, None]) / self.spread) ** 2)
        kernel *= self.weights / (self.spread * sqrt(2 * np.pi))
        if self.reflects:
            kernel[:, 0] += ndtr((self.nodes[0] - here) / self.spread)
        return kernel

    def chain(self, drift: float) -> Dense:
        """Return the chain on the nodes."""
        return Dense(self.rows(self.nodes, drift))


def finite(**numbers: float) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ValueError: A number is not finite.
    """
    bad = {name: value for name, value in numbers.items() if not isfinite(value)}
    if bad:
        raise ValueError(f"expected finite numbers, got {bad}")


@lru_cache(maxsize=64)
def legendre(count: int) -> tuple[Floats, Floats]:
    """Return nodes and weights of Gauss-Legendre quadrature over -1..1; read them only."""
    return cast("tuple[Floats, Floats]", roots_legendre(count))
