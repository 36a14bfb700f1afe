"""Run lengths of an MEWMA: many variables at once, with memory.

Points are independent and normal with known mean and covariance; a shift of the mean counts
by its Mahalanobis distance alone. An MEWMA's state is its part along the shift and the length
of the rest; without a shift its length is enough.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf, lgamma, log, sqrt
from typing import Any, Final, cast

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs
from scipy.special import hyp0f1, ive

from mlg.stats.arl_normal import ewma_law
from mlg.stats.arl_t2 import checked, t2_law, tail
from mlg.stats.grid import legendre
from mlg.stats.run_length import Dense, Floats, Law, State, geometric, law_of

_MOST_NODES: Final = 1_500
_MOST_STATES: Final = 60_000
_MOST_DENSE: Final = 2_500
_MOST_DIMS: Final = 500
_TRUSTED: Final = 1e-6
_POWERS: Final = 120
_ROUNDS: Final = 3
_UNSOLVED: Final = "the equation of this MEWMA was not solved: a larger lam"


def mewma_law(
    lam: float, limit: float, *, dims: int, shift: float = 0.0, state: State = "zero"
) -> Law:
    """Return the run length's law of an MEWMA; arguments and errors as `mewma_arl`.

    Raises:
        ValueError: A parameter is outside its range.
    """
    checked(limit, dims, shift)
    if not 0 < lam <= 1:
        raise ValueError(f"expected 0 < lam <= 1, got {lam}")
    if state not in {"zero", "steady", "cyclical"}:
        raise ValueError(f"expected a state zero, steady or cyclical, got {state!r}")
    distance = abs(shift)
    if dims > _MOST_DIMS:
        raise ValueError(f"expected at most {_MOST_DIMS} variables of an MEWMA, got {dims}")
    if lam == 1.0:
        return t2_law(limit, dims=dims, shift=distance)
    if dims == 1:
        return ewma_law(lam, sqrt(limit), shift=distance, two_sided=True, state=state)
    if tail(limit, dims, distance * sqrt((2 - lam) / lam)) < 1e-14:
        return Law(inf, lambda: (np.ones(2), 0.0))  # not even of a settled chart is one beyond
    if lam * distance > sqrt(limit * lam / (2 - lam)) * (2 - lam) + 9 * lam:
        return geometric(1.0)  # the first point is beyond, wherever the chart was
    if distance == 0:
        return _unshifted(lam, limit, dims, state)
    chain = _Half(lam, limit, dims, distance)
    before = _Half(lam, limit, dims, 0.0) if state != "zero" else chain
    return law_of(chain, chain.first, state=state, before=before, first_before=before.first)


def mewma_arl(
    lam: float, limit: float, *, dims: int, shift: float = 0.0, state: State = "zero"
) -> float:
    r"""Return the average run length of an MEWMA chart with fixed, asymptotic limits.

    The chart is :math:`Z_t = \lambda X_t + (1-\lambda) Z_{t-1}`, :math:`Z_0 = 0`, and signals
    when :math:`T^2_t = \frac{2-\lambda}{\lambda} Z_t' \Sigma^{-1} Z_t` is over the limit.

    Args:
        lam: Weight of the newest point, 0 < lam <= 1; 1 is a T squared chart.
        limit: On T squared, > 0. An EWMA's L is its square root when `dims` is 1.
        dims: Number of variables p, >= 1.
        shift: Mahalanobis distance of the mean from its usual one, in each point.
        state: In which state the chart is when the shift begins; see `run_length`.

    Returns:
        Points, >= 1; infinity over 1e12.

    Raises:
        ValueError: A parameter is outside its range, or `lam` is so small that the equation
            needs too many nodes (below about 1e-4).

    Source:
        C. A. Lowry, W. H. Woodall, C. W. Champ and S. E. Rigdon (1992), Technometrics
        34:46-53; S. E. Rigdon (1995), J. Stat. Comput. Simulation 52:351-365 and Statistics
        & Probability Letters 24:365-373; G. C. Runger and S. S. Prabhu (1996), JASA
        91:1701-1706; S. Knoth (2017), Journal of Quality Technology 49.

    Examples:
        >>> round(mewma_arl(0.25, 16.38, dims=4))  # Rigdon (1995): 500
        500
    """
    return mewma_law(lam, limit, dims=dims, shift=shift, state=state).mean


def _unshifted(lam: float, limit: float, dims: int, state: State) -> Law:
    """Return the law without a shift: the length of Z is a chain of its own.

    Raises:
        ValueError: It needs too many nodes.
    """
    reach = sqrt(limit * lam / (2 - lam))
    count = int(24 + 2.2 * reach / lam)
    if count > _MOST_NODES:
        raise ValueError(f"an MEWMA this fine needs {count} nodes, at most {_MOST_NODES}")
    x, weights = legendre(count)
    nodes, weights = reach * (x + 1) / 2, reach * weights / 2
    kernel = _length(nodes, nodes * (1 - lam), lam, dims) * weights
    first = (_length(nodes, np.zeros(1), lam, dims) * weights)[0]
    return law_of(Dense(kernel), first, state=state)


def _length(to: Floats, center: Floats, spread: float, df: int) -> Floats:
    """Return the density of the length of a df-variate normal vector, one row a center.

    Args:
        to: Lengths > 0, shape (n,).
        center: Lengths of the mean vector, shape (m,).
        spread: Standard deviation of each coordinate.
        df: Number of coordinates, >= 1.
    """
    x, c = to[None, :] / spread, center[:, None] / spread
    if df == 1:
        density = np.exp(-0.5 * (x - c) ** 2) + np.exp(-0.5 * (x + c) ** 2)
        return density / (spread * sqrt(2 * np.pi))
    m = df / 2 - 1
    z = x * c
    small = z * z < 4 * (m + 1)
    with np.errstate(all="ignore"):
        # x (x/c)^m I_m(xc) exp(-(x^2 + c^2)/2); near the centre by the series of I_m
        far = np.exp(-0.5 * (x - c) ** 2 + m * (np.log(x) - np.log(c))) * ive(m, z)
        near = np.exp(2 * m * np.log(x) - m * log(2) - lgamma(m + 1) - 0.5 * (x**2 + c**2))
        near = near * hyp0f1(m + 1, np.where(small, z * z / 4, 0.0))
    found = x * np.where(small, near, far) / spread
    return np.where(np.isfinite(found), found, 0.0)


@dataclass(frozen=True)
class _Rest:
    """What becomes of the part across the shift; the same with and without one."""

    along: Floats
    """Nodes u along the shift, shape (a,), within the reach."""
    weights: Floats
    kernels: Floats
    """Shape (a, r, r): for each u, from length node to length node, silent only."""
    start: Floats
    """Shape (a, r): the same from the centre."""


class _Half:
    """An MEWMA on a half-disc: u along the shift, v the length of the rest.

    L(u, v) is smooth beyond the limit too, so it is kept on a rectangle of nodes; for each u
    the integral over v stops where u and v are over the limit, and reads L between nodes.
    """

    def __init__(self, lam: float, limit: float, dims: int, shift: float) -> None:
        reach = sqrt(limit * lam / (2 - lam))
        self.rest = _rest(lam, reach, dims)
        here = (1 - lam) * self.rest.along + lam * shift
        self._along = _normal(self.rest.along, here, lam) * self.rest.weights
        self._begin = (
            _normal(self.rest.along, np.array([lam * shift]), lam)[0] * self.rest.weights
        )
        self._shape = (len(self.rest.along), self.rest.start.shape[1])

    @property
    def first(self) -> Floats:
        """Where the mass is after one point from the centre."""
        return (self._begin[:, None] * self.rest.start).ravel()

    @property
    def size(self) -> int:
        """Number of states."""
        return self._shape[0] * self._shape[1]

    @property
    def cost(self) -> int:
        """Multiplications of one `back`."""
        return self.size * sum(self._shape)

    def ahead(self, values: Floats) -> Floats:
        """Return P values."""
        inner = (self.rest.kernels @ values.reshape(*self._shape, 1))[:, :, 0]
        return (self._along @ inner).ravel()

    def back(self, left: Floats) -> Floats:
        """Return left P."""
        inner = self._along.T @ left.reshape(self._shape)
        return (inner[:, None, :] @ self.rest.kernels).ravel()

    def solve(self, right: Floats) -> Floats:
        """Return x with x = right + P x."""
        return self._solved(right, left=False)

    def solve_left(self, left: Floats) -> Floats:
        """Return x with x = left + x P."""
        return self._solved(left, left=True)

    def long_silent(self) -> Floats:
        """Return where a chart is that has been silent for long."""
        if self.size <= _MOST_DENSE:
            return self._dense.long_silent()
        back = self._lasting[1]
        return back / back.sum()

    def _solved(self, right: Floats, *, left: bool) -> Floats:
        if self.size <= _MOST_DENSE:
            return self._dense.solve_left(right) if left else self._dense.solve(right)
        found, missed = self._tried(right, left=left)
        if missed * np.abs(found).max() <= _TRUSTED * np.abs(right).max():
            return found
        # what lasts long is split off: the rest is found in few steps
        ahead, back, leak = self._lasting
        if left:
            ahead, back = back, ahead
        lasts = float(back @ right)
        found, missed = self._tried(right - ahead * lasts, left=left)
        if not leak > 0:
            return np.full(self.size, inf)
        if missed * np.abs(found).max() > 1e-3 * np.abs(right).max():
            raise ValueError(_UNSOLVED)
        return found + ahead * (lasts / leak)

    def _tried(self, right: Floats, *, left: bool) -> tuple[Floats, float]:
        """Return a solution, and by which part of `right` it fails."""
        through = self.back if left else self.ahead

        def flow(values: Floats) -> Floats:
            return values - through(values)

        size = float(np.linalg.norm(right))
        if size == 0:
            return np.zeros(self.size), 0.0
        found, left_over, missed = np.zeros(self.size), right, 1.0
        for _ in range(_ROUNDS):
            found = found + _krylov(flow, left_over, 1e-12 * size)
            left_over = right - flow(found)
            missed = float(np.linalg.norm(left_over)) / size
            if missed <= 1e-11:
                break
        return found, missed

    @cached_property
    def _dense(self) -> Dense:
        along, rest = self._along, self.rest.kernels
        return Dense(np.einsum("ia,ajk->ijak", along, rest).reshape(self.size, self.size))

    @cached_property
    def _lasting(self) -> tuple[Floats, Floats, float]:
        """Return the greatest eigenvalue's right and left vectors, product 1, and 1 less it.

        Raises:
            ValueError: They are not found.
        """
        try:
            ahead, back = (self._greatest(through) for through in (self.ahead, self.back))
        except ArpackNoConvergence as error:
            raise ValueError(_UNSOLVED) from error
        ones = np.ones(self.size)
        leak = float(back @ (ones - self.ahead(ones))) / float(back.sum())
        return ahead / float(back @ ahead), back, leak

    def _greatest(self, through: Callable[[Floats], Floats]) -> Floats:
        found = eigs(self._operator(through), k=1, ncv=60, v0=np.ones(self.size), maxiter=60)
        return np.real(found[1][:, 0])

    def _operator(self, through: Callable[[Floats], Floats]) -> Any:
        made = cast("Any", LinearOperator)  # its stubs know the abstract class only
        return made((self.size, self.size), matvec=through, dtype=np.float64)


def _krylov(flow: Callable[[Floats], Floats], right: Floats, apart: float) -> Floats:
    """Return x with flow(x) = right nearly, from the first powers of `flow` (GMRES).

    SciPy's takes a thousand small products a solution; on a busy machine each of them waits.
    """
    size = float(np.linalg.norm(right))
    if size == 0:
        return np.zeros(len(right))
    basis, upper = np.empty((_POWERS + 1, len(right))), np.zeros((_POWERS + 1, _POWERS))
    basis[0] = right / size
    weights = np.zeros(0)
    for k in range(1, _POWERS + 1):
        new = flow(basis[k - 1])
        for _ in range(2):  # twice is enough to be orthogonal
            along = basis[:k] @ new
            new = new - along @ basis[:k]
            upper[:k, k - 1] += along
        upper[k, k - 1] = length = float(np.linalg.norm(new))
        if length > 0:
            basis[k] = new / length
        if k % 8 == 0 or k == _POWERS or length == 0:
            goal = np.zeros(k + 1)
            goal[0] = size
            weights = np.linalg.lstsq(upper[: k + 1, :k], goal)[0]
            if np.linalg.norm(upper[: k + 1, :k] @ weights - goal) <= apart or length == 0:
                break
    return weights @ basis[: len(weights)]


def _normal(to: Floats, center: Floats, spread: float) -> Floats:
    gap = (to[None, :] - center[:, None]) / spread
    return np.exp(-0.5 * gap**2) / (spread * sqrt(2 * np.pi))


@lru_cache(maxsize=4)
def _rest(lam: float, reach: float, dims: int) -> _Rest:
    wide = reach / lam
    count_u, count_v = int(16 + 5 * wide), int(14 + 1.6 * wide)
    if count_u * count_v > _MOST_STATES:
        raise ValueError(
            f"an MEWMA with lam = {lam:g} and this limit needs {count_u * count_v} states, and "
            f"at most {_MOST_STATES} are taken: a larger lam"
        )
    angle, weights = legendre(count_u)
    angle, weights = angle * np.pi / 2, weights * np.pi / 2
    along, weights = reach * np.sin(angle), weights * reach * np.cos(angle)
    lengths = reach * (np.cos(np.pi * (np.arange(count_v) + 0.5) / count_v) + 1) / 2
    between = (-1.0) ** np.arange(count_v) * np.sin(
        np.pi * (2 * np.arange(count_v) + 1) / (2 * count_v)
    )  # barycentric weights of Chebyshev points
    x, w = legendre(count_v + 4)
    kernels = np.empty((count_u, count_v, count_v))
    start = np.empty((count_u, count_v))
    for i, u in enumerate(along[: (count_u + 1) // 2]):  # the same on both sides
        top = sqrt(max(reach**2 - u**2, 0.0))
        to, weight = top * (x + 1) / 2, top * w / 2
        gap = to[:, None] - lengths[None, :]
        gap[np.abs(gap) < 1e-300] = 1e-300
        read = between / gap
        read /= read.sum(axis=1, keepdims=True)
        kernels[i] = (_length(to, (1 - lam) * lengths, lam, dims - 1) * weight) @ read
        start[i] = ((_length(to, np.zeros(1), lam, dims - 1) * weight) @ read)[0]
        kernels[-1 - i], start[-1 - i] = kernels[i], start[i]
    return _Rest(along, weights, kernels, start)
