"""Run lengths of Shewhart charts and EWMA over independent normal points.

Shifts are in standard deviations of one charted point, from the first point on.
"""

from math import inf, log1p, sqrt
from typing import Final, Literal

import numpy as np
from scipy.special import ndtr

from mlg.stats.grid import Grid, finite
from mlg.stats.run_length import (
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

_FAR: Final = 8.5
"""Standard deviations below which a chain without a lower border is never found."""
_SETTLED: Final = 1e-10
"""Part of its limits by which an EWMA's moving limits may still differ from the last ones."""
_MOST_MOVES: Final = 20_000


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
    _checked(
        lam, limit, shift, two_sided=two_sided, reflect=reflect, head_start=head_start,
        limits=limits,
    )  # fmt: skip
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
        bounds = _moving_limits(lam, limit, head_start, limits)
        return _moving_law(grid, chain, lam, shift, bounds)
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


def _checked(
    lam: float,
    limit: float,
    shift: float,
    *,
    two_sided: bool,
    reflect: float | None,
    head_start: float,
    limits: str,
) -> None:
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


def _moving_limits(lam: float, limit: float, head_start: float, limits: Limits) -> Floats:
    """Return an EWMA's limits by point, in the unit of a point, until they stand still.

    A head start moves both limits: the EWMA from +s is s (1 - lam)^t over the one from 0.

    Raises:
        ValueError: They take too long to settle, or the head start is beyond one.
    """
    unit = sqrt(lam / (2 - lam))
    least = min(_SETTLED * limit / max(head_start, limit), 1e-3)
    count = int(np.ceil(np.log(least) / log1p(-lam))) if lam < 1 else 1
    if count > _MOST_MOVES:
        raise ValueError(
            f"moving limits of lam = {lam} take {count} points to settle, at most "
            f"{_MOST_MOVES} are taken: a larger lam, or fixed limits without a head start"
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
