"""Run lengths of Shewhart charts, EWMA and CUSUM over independent normal points.

EWMA and CUSUM are one chain each, u -> N(carry u + drift, spread^2) between two borders, so
one grid serves both: the integral equation of the run length on Gauss-Legendre nodes. Shifts
are in standard deviations of one charted point, from the first point on.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, log1p, sqrt
from typing import Final, Literal, cast

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, roots_legendre

from mlg.stats.run_length import (
    LONGEST,
    Curve,
    Dense,
    Floats,
    Law,
    State,
    cleaned,
    curve_of,
    geometric,
    law_of,
    mean_of,
)

Limits = Literal["fixed", "exact"]

_MOST_NODES: Final = 4_000
_FAR: Final = 8.5
"""Standard deviations below which a chain without a lower border is never found."""
_SETTLED: Final = 1e-10
"""Part of its limits by which an EWMA's moving limits may still differ from the last ones."""
_MOST_MOVES: Final = 20_000
_MOST_RENEWALS: Final = 20_000


def shewhart_law(limit: float, *, shift: float = 0.0, two_sided: bool = False) -> Law:
    """Return the run length's law of a Shewhart chart; as `shewhart_arl`.

    Raises:
        ValueError: A number is not finite.
    """
    finite(limit=limit, shift=shift)
    beyond = float(ndtr(shift - limit) + (ndtr(-limit - shift) if two_sided else 0.0))
    return geometric(min(beyond, 1.0))


def shewhart_arl(limit: float, *, shift: float = 0.0, two_sided: bool = False) -> float:
    """Return the average run length of a Shewhart chart: 1 / P(one point is beyond).

    Args:
        limit: In standard deviations of a point.
        shift: Of the mean, in the same unit.
        two_sided: Whether a point below `-limit` signals as well.

    Returns:
        Points, >= 1; infinity where no point can be beyond in double precision.

    Raises:
        ValueError: A number is not finite.

    Source:
        W. A. Shewhart (1931); D. C. Montgomery, Introduction to Statistical Quality
        Control, section 6.2 (ARL of the x-bar chart).

    Examples:
        >>> round(shewhart_arl(3.0, two_sided=True), 2)
        370.4
    """
    return shewhart_law(limit, shift=shift, two_sided=two_sided).mean


def ewma_law(
    lam: float,
    limit: float,
    *,
    shift: float = 0.0,
    two_sided: bool = False,
    reflect: float | None = None,
    head_start: float = 0.0,
    limits: Limits = "fixed",
    state: State = "zero",
) -> Law:
    """Return the run length's law of an EWMA chart; arguments and errors as `ewma_arl`.

    Raises:
        ValueError: A parameter is outside its range.
    """
    finite(limit=limit, shift=shift, head_start=head_start)
    if not 0 < lam <= 1 or limit <= 0:
        raise ValueError(f"expected 0 < lam <= 1 and limit > 0, got {lam} and {limit}")
    if reflect is not None and (two_sided or not -inf < reflect <= 0):
        raise ValueError(f"expected a border <= 0 of a one-sided chart, got {reflect}")
    if not 0 <= head_start < limit:
        raise ValueError(f"expected 0 <= head_start < limit, got {head_start} and {limit}")
    if limits not in {"fixed", "exact"}:
        raise ValueError(f"expected limits fixed or exact, got {limits!r}")
    if limits == "exact" and not two_sided:
        raise ValueError("exact limits are computed of a two-sided EWMA only")
    if lam == 1.0 and reflect is None:  # neither a start nor a state is remembered
        return shewhart_law(limit, shift=shift, two_sided=two_sided)
    unit = sqrt(lam / (2 - lam))
    drifts_to = abs(shift) if two_sided else shift
    if reflect is None and limit - drifts_to / unit > _FAR:
        return Law(inf, lambda: (np.ones(2), 0.0))
    if two_sided:
        lower = -limit
    elif reflect is not None:
        lower = reflect
    else:
        lower = min(0.0, shift / unit) - _FAR
    grid = Grid.over(lower * unit, limit * unit, carry=1 - lam, spread=lam,
                     reflects=not two_sided)  # fmt: skip
    chain, before = grid.chain(lam * shift), grid.chain(0.0)
    moving = two_sided and (head_start > 0 or limits == "exact")
    if moving and state == "zero":
        return _moving_law(grid, chain, lam, shift, _moving_limits(lam, limit, head_start, limits))
    start = 0.0 if two_sided else head_start * unit
    return law_of(
        chain,
        grid.rows(start, lam * shift)[0],
        state=state,
        before=before,
        first_before=grid.rows(start, 0.0)[0],
    )


def ewma_arl(
    lam: float,
    limit: float,
    *,
    shift: float = 0.0,
    two_sided: bool = False,
    reflect: float | None = None,
    head_start: float = 0.0,
    limits: Limits = "fixed",
    state: State = "zero",
) -> float:
    r"""Return the average run length of an EWMA chart.

    The chart is :math:`z_t = \lambda x_t + (1-\lambda) z_{t-1}`, :math:`z_0 = 0`, and signals
    when :math:`z_t` (two-sided: :math:`|z_t|`) is over
    :math:`L \sqrt{\lambda / (2 - \lambda)}`.

    Args:
        lam: Weight of the newest point, 0 < lam <= 1; 1 is a Shewhart chart.
        limit: L > 0, in asymptotic standard deviations of the EWMA.
        shift: In standard deviations of a point.
        two_sided: Whether both directions signal.
        reflect: One-sided only: border <= 0 below which the EWMA is set back to it, in the
            unit of `limit`; None lets it fall freely.
        head_start: Where the EWMA starts, in the unit of `limit`, 0 <= head_start < limit. A
            two-sided chart is two of them, one from +head_start with the upper limit, one
            from -head_start with the lower one.
        limits: Two-sided only: `fixed` at their asymptote, or `exact`, which follow the
            standard deviation of the EWMA from the first point on.
        state: In which state the chart is when the shift begins; see `run_length`.

    Returns:
        Points, >= 1; infinity over 1e12.

    Raises:
        ValueError: A parameter is outside its range, or `lam` is so small (about 1e-6) that
            the equation needs more than 4,000 nodes.

    Source:
        S. V. Crowder (1987), Technometrics 29(4):401-407; K.-H. Waldmann (1986), Applied
        Statistics 35:151-158 (one-sided); J. M. Lucas and M. S. Saccucci (1990),
        Technometrics 32(1):1-12 (head start, cyclical steady state); S. Knoth (2003),
        Sequential Analysis 22:241-255 (exact limits).

    Examples:
        >>> round(ewma_arl(0.25, 3.0, shift=1.0, two_sided=True), 6)  # SAS/QC: 11.154267
        11.154267
        >>> round(ewma_arl(0.03, 2.437, shift=2.0, two_sided=True, head_start=2.437 / 2), 2)
        3.43
    """
    return ewma_law(
        lam, limit, shift=shift, two_sided=two_sided, reflect=reflect, head_start=head_start,
        limits=limits, state=state,
    ).mean  # fmt: skip


def cusum_law(
    k: float,
    h: float,
    *,
    shift: float = 0.0,
    head_start: float = 0.0,
    two_sided: bool = False,
    state: State = "zero",
) -> Law:
    """Return the run length's law of a tabular CUSUM; arguments and errors as `cusum_arl`.

    Raises:
        ValueError: A parameter is outside its range.
    """
    finite(k=k, h=h, shift=shift, head_start=head_start)
    if k < 0 or h <= 0 or not 0 <= head_start <= h:
        raise ValueError(
            f"expected k >= 0, h > 0 and 0 <= head_start <= h, got {k}, {h}, {head_start}"
        )
    if two_sided and head_start > h / 2 + k:
        raise ValueError(
            f"expected a head start <= h / 2 + k of a two-sided CUSUM, got {head_start}"
        )
    grid = Grid.over(0.0, h, carry=1.0, spread=1.0, reflects=True)
    if two_sided:
        return _Arms(grid, k, shift, head_start).law(state)
    return law_of(
        grid.chain(shift - k),
        grid.rows(head_start, shift - k)[0],
        state=state,
        before=grid.chain(-k),
        first_before=grid.rows(head_start, -k)[0],
    )


def cusum_arl(
    k: float,
    h: float,
    *,
    shift: float = 0.0,
    head_start: float = 0.0,
    two_sided: bool = False,
    state: State = "zero",
) -> float:
    r"""Return the average run length of a tabular CUSUM.

    The upper arm is :math:`S_t = \max(0, S_{t-1} + x_t - k)` and signals when it is over h;
    the lower arm is the same on :math:`-x_t`. With both, 1/ARL is the sum over the arms, or
    :math:`(L^+_s L^-_0 + L^-_s L^+_0 - L^+_0 L^-_0) / (L^+_0 + L^-_0)` with a head start s.
    That is exact as long as one arm is at zero whenever the other signals, so for
    s <= h / 2 + k. A larger head start of a two-sided chart is refused.

    Args:
        k: Reference value >= 0, in standard deviations of a point.
        h: Decision interval > 0, in the same unit.
        shift: In the same unit.
        head_start: Value from which each arm starts, 0..h.
        two_sided: Whether both arms are kept.
        state: In which state the chart is when the shift begins; see `run_length`.

    Returns:
        Points, >= 1; infinity over 1e12.

    Raises:
        ValueError: A parameter is outside its range.

    Source:
        E. S. Page (1954), Biometrika 41:100-115; A. L. Goel and S. M. Wu (1971),
        Technometrics 13:221-230; L. C. Vance (1986), Journal of Quality Technology 18:189-193;
        J. M. Lucas and R. B. Crosier (1982), Technometrics 24(3):199-205 (head start).

    Examples:
        >>> round(cusum_arl(0.25, 8.0, shift=2.5), 6)  # SAS/QC: 4.1500836225
        4.150084
    """
    return cusum_law(
        k, h, shift=shift, head_start=head_start, two_sided=two_sided, state=state
    ).mean


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


def _moving_limits(lam: float, limit: float, head_start: float, limits: Limits) -> Floats:
    """Return an EWMA's limits by point, in the unit of a point, until they stand still.

    A head start moves both limits: the EWMA from +s is s (1 - lam)^t over the one from 0.
    """
    unit = sqrt(lam / (2 - lam))
    least = min(_SETTLED * limit / max(head_start, limit), 1e-3)
    count = int(np.ceil(np.log(least) / log1p(-lam))) if lam < 1 else 1
    if count > _MOST_MOVES:
        raise ValueError(
            f"moving limits of lam = {lam} take {count} points to settle, at most {_MOST_MOVES} "
            "are taken: a larger lam, or fixed limits without a head start"
        )
    left = (1 - lam) ** np.arange(1, count + 1)
    wide = limit * (np.sqrt(1 - left**2) if limits == "exact" else np.ones(count))
    bounds = unit * (wide - head_start * left)
    if np.any(bounds <= 0):
        raise ValueError(f"a head start of {head_start} is over the limit of the first points")
    return bounds


def _moving_law(grid: Grid, chain: Dense, lam: float, shift: float, bounds: Floats) -> Law:
    """Return the law of a two-sided EWMA from 0 whose limits move, then stand still."""
    alive = [1.0]
    nodes, mass = np.zeros(1), np.ones(1)
    for bound in bounds:
        here = Grid.over(-bound, bound, carry=1 - lam, spread=lam, reflects=False)
        mass = mass @ here.rows(nodes, lam * shift)
        nodes = here.nodes
        alive.append(float(mass.sum()))
        if alive[-1] < 1e-16:
            break
    first = mass @ grid.rows(nodes, lam * shift)
    mean = cleaned(sum(alive) - 1.0 + mean_of(chain, first))
    return Law(mean, lambda: curve_of(chain, first, mean, tuple(alive)))


class _Arms:
    """A two-sided CUSUM, by its arms: when one signals, the other is at zero.

    So when the lower arm signals first, at N, the upper one goes on as from zero, and what
    both do follows from what each does alone, by renewal.
    """

    def __init__(self, grid: Grid, k: float, shift: float, start: float) -> None:
        self._grid, self._k, self._start = grid, k, start
        self._drifts = (shift - k, -shift - k)
        up = grid.chain(shift - k)
        self._chains = (up, grid.chain(-shift - k) if shift else up)
        self._quiet = grid.chain(-k) if shift else up
        self._quiet_first = grid.rows(np.array([0.0, start]), -k)

    def law(self, state: State) -> Law:
        """Return the law from this state."""
        firsts = [self._grid.rows(np.array([0.0, self._start]), drift) for drift in self._drifts]
        if state == "steady":
            held, at_start = self._long_silent(), 0.0
        elif state == "cyclical":
            held, at_start = self._visited()
        elif state == "zero":
            held, at_start = np.zeros(self._quiet.size), 1.0
        else:
            raise ValueError(f"expected a state zero, steady or cyclical, got {state!r}")
        for first, chain in zip(firsts, self._chains, strict=True):
            first[1] = chain.back(held) + at_start * first[1]
        mean = self._mean(firsts)
        return Law(mean, lambda: self._curve(firsts, mean))

    def _mean(self, firsts: list[Floats]) -> float:
        up, down = (
            [mean_of(chain, row) for row in first]
            for first, chain in zip(firsts, self._chains, strict=True)
        )
        if not isfinite(up[0]) or not isfinite(down[0]):  # the other arm then decides alone
            return min(up[1], down[1])
        both = up[0] + down[0]
        return cleaned((up[1] * down[0] + down[1] * up[0] - up[0] * down[0]) / both)

    def _long_silent(self) -> Floats:
        """Return where an arm is while neither has signalled for long, without a shift.

        Raises:
            ValueError: There is no such state.

        P(S+ in da, N > n) is what the upper arm alone has there, less what it has there after
        a signal of the lower one. Its generating function in z is largest where that of one
        arm's run length is -1, and there in proportion to the one arm's visits.
        """
        chain, first = self._quiet, self._quiet_first[0]
        if self._k == 0:
            raise ValueError(
                "a two-sided CUSUM with k = 0 has no steady state: its arms never both return "
                "to zero; the cyclical one exists"
            )
        alone = chain.long_silent()
        signals = 1.0 - float(chain.back(alone).sum())
        if not 1e-10 < signals < 0.49:  # so seldom that the other arm changes nothing
            return alone
        matrix = chain.kernel.T

        def visits(z: float) -> Floats:
            found = np.linalg.solve(np.eye(chain.size) - z * matrix, z * first)
            found[0] += 1.0  # the start at zero itself
            return found

        pole = 1 / (1 - signals)

        def excess(times: float) -> float:
            z = 1 + times * (pole - 1)
            return (z - 1) * float(visits(z).sum()) + 2.0

        low, high = 1 + 1e-9, 1.05
        while excess(high) < 0 and high < 1e3:
            low, high = high, 1 + 1.1 * (high - 1)
        if high < 1e3:
            times = float(cast("float", brentq(excess, low, high, xtol=1e-12)))
            found = visits(1 + times * (pole - 1))
            found = found / found.sum()
            if found.min() > -1e-9:
                return found
        raise ValueError(
            "this two-sided CUSUM has no steady state that could be found: its arms share too "
            "little time at zero; a larger k, or the cyclical state"
        )

    def _visited(self) -> tuple[Floats, float]:
        """Return where an arm is between two starts without a shift: on nodes, at the start.

        By symmetry each arm signals first in half of the runs.
        """
        zero, started = (self._quiet.solve_left(row) for row in self._quiet_first)
        held = started - 0.5 * zero
        held[0] -= 0.5
        total = 1.0 + float(held.sum())
        if not np.all(np.isfinite(held)) or not 1 <= total <= LONGEST:
            return self._quiet.long_silent(), 0.0
        return held / total, 1.0 / total

    def _curve(self, firsts: list[Floats], mean: float) -> tuple[Floats, float]:
        """Return P(N > n), from the arms' own laws by renewal, and the lasting chance."""
        curve, alive = Curve(mean), 1.0
        masses = [first.copy() for first in firsts]
        ends = np.zeros((2, 2, _MOST_RENEWALS))  # arm, start (zero, own), points - 1
        before = np.ones((2, 2))
        signals = np.zeros((2, _MOST_RENEWALS))  # this arm first
        for n in range(_MOST_RENEWALS):
            for arm in (0, 1):
                now = masses[arm].sum(axis=1)
                ends[arm, :, n] = before[arm] - now
                before[arm] = now
                masses[arm] = self._chains[arm].back(masses[arm])
            for arm in (0, 1):
                renewed = signals[1 - arm, :n] @ ends[arm, 0, :n][::-1]
                signals[arm, n] = ends[arm, 1, n] - renewed
            alive -= float(signals[:, n].sum())
            if curve.ends(alive):
                return curve.told()
        raise ValueError(f"the chart has not settled within {_MOST_RENEWALS} points")


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
    """Return nodes and weights of Gauss-Legendre quadrature over -1..1; not to be written to."""
    return cast("tuple[Floats, Floats]", roots_legendre(count))
