"""Run lengths of one- and two-sided CUSUM over independent normal points."""

from math import isfinite
from typing import Final, cast

import numpy as np
from scipy.optimize import brentq

from mlg.stats.grid import Grid, finite
from mlg.stats.run_length import (
    LONGEST,
    Curve,
    Floats,
    Law,
    State,
    cleaned,
    law_of,
    mean_of,
)

_MOST_RENEWALS: Final = 20_000


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
        """Return the law from this state.

        Raises:
            ValueError: The state is unknown, or this chart has none such.
        """
        starts = np.array([0.0, self._start])
        firsts = [self._grid.rows(starts, drift) for drift in self._drifts]
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
        if not np.all(np.isfinite(started)) or not np.all(np.isfinite(zero)):
            return self._quiet.long_silent(), 0.0
        held = started - 0.5 * zero
        held[0] -= 0.5
        total = 1.0 + float(held.sum())
        if not 1 <= total <= LONGEST:
            return self._quiet.long_silent(), 0.0
        return held / total, 1.0 / total

    def _curve(self, firsts: list[Floats], mean: float) -> tuple[Floats, float]:
        """Return P(N > n), from the arms' own laws by renewal, and the lasting chance.

        Raises:
            ValueError: The chance does not stand still within 20,000 points.
        """
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
