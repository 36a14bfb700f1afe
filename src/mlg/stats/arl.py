"""Average run lengths: how long a chart stays quiet, and which limit makes it so.

A run length is the number of points until the chart signals, the signalling one included.
Its mean without a shift is the time between false alarms, with a shift the delay of the
detection. All values are zero-state: the chart starts at its centre (or head start) and the
shift, in standard deviations of one charted point, is there from the first point on. Points
are independent and normal with known mean and spread.

EWMA and CUSUM are one chain each, u -> N(carry u + drift, spread^2) between two borders, so
one solver serves both: the integral equation of the run length on Gauss-Legendre nodes.
"""

from collections.abc import Callable
from math import inf, isfinite, log, sqrt
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Chart = Literal["ewma", "cusum", "shewhart"]

LAMBDA: Final = 0.1
"""Weight of an EWMA's newest point where none is named."""
SLACK: Final = 0.25
"""Reference value of a CUSUM where none is named: best against a shift of twice as much."""
LONGEST: Final = 1e12
"""Run lengths above it cannot be told apart in double precision, and are infinite."""

_MOST_NODES: Final = 4_000
_FAR: Final = 8.5
"""Standard deviations below which a chain without a lower border is never found."""


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
    _finite(limit=limit, shift=shift)
    beyond = float(ndtr(shift - limit) + (ndtr(-limit - shift) if two_sided else 0.0))
    return 1.0 / min(beyond, 1.0) if beyond > 0 else inf


def ewma_arl(
    lam: float,
    limit: float,
    *,
    shift: float = 0.0,
    two_sided: bool = False,
    reflect: float | None = None,
) -> float:
    r"""Return the average run length of an EWMA chart with fixed, asymptotic limits.

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

    Returns:
        Points, >= 1; infinity over 1e12.

    Raises:
        ValueError: A parameter is outside its range, or `lam` is so small (about 1e-6) that
            the equation needs more than 4,000 nodes.

    Source:
        S. V. Crowder (1987), Technometrics 29(4):401-407; K.-H. Waldmann (1986), Applied
        Statistics 35:151-158 (one-sided); J. M. Lucas and M. S. Saccucci (1990),
        Technometrics 32(1):1-12.

    Examples:
        >>> round(ewma_arl(0.25, 3.0, shift=1.0, two_sided=True), 6)  # SAS/QC: 11.154267
        11.154267
    """
    _finite(limit=limit, shift=shift)
    if not 0 < lam <= 1 or limit <= 0:
        raise ValueError(f"expected 0 < lam <= 1 and limit > 0, got {lam} and {limit}")
    if reflect is not None and (two_sided or not reflect <= 0):
        raise ValueError(f"expected a border <= 0 of a one-sided chart, got {reflect}")
    if lam == 1.0 and reflect is None:
        return shewhart_arl(limit, shift=shift, two_sided=two_sided)
    unit = sqrt(lam / (2 - lam))
    if two_sided:
        lower = -limit
    elif reflect is not None:
        lower = reflect
    else:
        lower = min(0.0, shift / unit) - _FAR
    return _zero_state(
        carry=1 - lam,
        drift=lam * shift,
        spread=lam,
        borders=(lower * unit, limit * unit),
        reflects=not two_sided,
        start=0.0,
    )


def cusum_arl(
    k: float,
    h: float,
    *,
    shift: float = 0.0,
    head_start: float = 0.0,
    two_sided: bool = False,
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
    _finite(k=k, h=h, shift=shift, head_start=head_start)
    if k < 0 or h <= 0 or not 0 <= head_start <= h:
        raise ValueError(
            f"expected k >= 0, h > 0 and 0 <= head_start <= h, got {k}, {h}, {head_start}"
        )
    if two_sided and head_start > h / 2 + k:
        raise ValueError(
            f"expected a head start <= h / 2 + k of a two-sided CUSUM, got {head_start}"
        )
    up = [_arm(k, h, shift, start) for start in (0.0, head_start)]
    if not two_sided:
        return up[1]
    down = [_arm(k, h, -shift, start) for start in (0.0, head_start)]
    if not isfinite(up[0]) or not isfinite(down[0]):  # the other arm then decides alone
        return min(up[1], down[1])
    both = up[0] + down[0]
    return (up[1] * down[0] + down[1] * up[0] - up[0] * down[0]) / both


def arl(
    chart: Chart,
    *,
    shift: float = 0.0,
    lam: float | None = None,
    limit: float | None = None,
    k: float | None = None,
    h: float | None = None,
    head_start: float = 0.0,
    two_sided: bool = False,
) -> float:
    """Return the zero-state average run length of a chart, by the words of `mlg drift arl`.

    Args:
        chart: Which chart; one-sided upper unless `two_sided` (an MEWMA has no side).
        shift: In standard deviations of a point; of an MEWMA the Mahalanobis distance.
        lam: Weight of an EWMA or MEWMA; 0.1 where None.
        limit: Of a Shewhart chart, an EWMA (L), or an MEWMA (on T squared).
        k: Reference value of a CUSUM; 0.25 where None.
        h: Decision interval of a CUSUM.
        head_start: Of a CUSUM, in the unit of h.
        two_sided: Whether both directions signal.

    Returns:
        Points, >= 1; infinity over 1e12.

    Raises:
        ValueError: A parameter that the chart needs is missing, one is given that it does
            not have, or one is outside its range.

    Source:
        As the function of each chart.

    Examples:
        >>> round(arl("cusum", k=0.5, h=4.0, two_sided=True))  # Lucas and Crosier: 168
        168
    """
    given = {"lam": lam, "limit": limit, "k": k, "h": h}
    _only(chart, {name for name, value in given.items() if value is not None}, head_start)
    if chart == "cusum":
        if h is None:
            raise ValueError("a cusum needs h")
        return cusum_arl(
            SLACK if k is None else k,
            h,
            shift=shift,
            head_start=head_start,
            two_sided=two_sided,
        )
    if limit is None:
        raise ValueError(f"a chart of kind {chart} needs limit")
    weight = LAMBDA if lam is None else lam
    if chart == "ewma":
        return ewma_arl(weight, limit, shift=shift, two_sided=two_sided)
    return shewhart_arl(limit, shift=shift, two_sided=two_sided)


def design(
    chart: Chart,
    arl0: float,
    *,
    lam: float | None = None,
    k: float | None = None,
    head_start: float = 0.0,
    two_sided: bool = False,
) -> float:
    """Return the limit at which a chart without shift signals once in `arl0` points.

    Args:
        chart: Which chart, as in `arl`.
        arl0: Wanted mean number of points between false alarms, > 1 and <= 1e12.
        lam: Weight of an EWMA or MEWMA; 0.1 where None.
        k: Reference value of a CUSUM; 0.25 where None.
        head_start: Of a CUSUM, in the unit of h.
        two_sided: Whether both directions signal.

    Returns:
        The limit: of a Shewhart chart and an EWMA in standard deviations, of an MEWMA on
        T squared, of a CUSUM its h.

    Raises:
        ValueError: `arl0` is out of range or less than the chart can have, or a parameter
            does not fit the chart.

    Source:
        Root of `arl` by R. P. Brent (1973); Shewhart charts by the normal quantile.

    Examples:
        >>> round(design("ewma", 500.0, lam=0.1, two_sided=True), 3)
        2.814
    """
    if not 1 < arl0 <= LONGEST:
        raise ValueError(f"expected 1 < arl0 <= {LONGEST:g}, got {arl0}")
    given = {"lam": lam, "k": k}
    _only(chart, {name for name, value in given.items() if value is not None}, head_start)
    if chart == "shewhart":
        return float(-ndtri(1 / ((2 if two_sided else 1) * arl0)))

    def run(limit: float) -> float:
        bound = {"h": limit} if chart == "cusum" else {"limit": limit}
        return arl(
            chart,
            lam=lam,
            k=k,
            head_start=head_start,
            two_sided=two_sided,
            **bound,
        )

    low = max(1e-3, _least_h(head_start, k, two_sided=two_sided))
    if run(low) >= arl0:
        raise ValueError(f"expected arl0 over {run(low):.4g}, the least of this chart")
    return _rising_root(lambda limit: min(log(run(limit)), 50.0) - log(arl0), low)


def _least_h(head_start: float, k: float | None, *, two_sided: bool) -> float:
    """Return the least h that `cusum_arl` takes with this head start."""
    if two_sided:
        return max(0.0, 2 * (head_start - (SLACK if k is None else k)))
    return head_start


def _rising_root(f: Callable[[float], float], low: float) -> float:
    high = max(2.0 * low, 1.0)
    while f(high) < 0:
        low, high = high, 1.5 * high
    return float(cast("float", brentq(f, low, high, xtol=1e-10, rtol=np.float64(1e-12))))


def _only(chart: str, given: set[str], head_start: float) -> None:
    takes = {
        "ewma": {"lam", "limit"},
        "cusum": {"k", "h", "head_start"},
        "shewhart": {"limit"},
    }
    if chart not in takes:
        raise ValueError(f"expected a chart of {sorted(takes)}, got {chart!r}")
    odd = (given | ({"head_start"} if head_start else set())) - takes[chart]
    if odd:
        raise ValueError(f"a chart of kind {chart} has no {', '.join(sorted(odd))}")


def _finite(**numbers: float) -> None:
    bad = {name: value for name, value in numbers.items() if not isfinite(value)}
    if bad:
        raise ValueError(f"expected finite numbers, got {bad}")


def _arm(k: float, h: float, shift: float, start: float) -> float:
    return _zero_state(
        carry=1.0, drift=shift - k, spread=1.0, borders=(0.0, h), reflects=True, start=start
    )


def _zero_state(
    *,
    carry: float,
    drift: float,
    spread: float,
    borders: tuple[float, float],
    reflects: bool,
    start: float,
) -> float:
    """Return the mean number of steps until the chain leaves; below, it leaves or is set back.

    L(u) = 1 + A(u) L(lower) + integral of f(v | u) L(v) dv with A(u) the chance of being set
    back, 0 without reflection. The lower border is one more node, of weight 0.

    Raises:
        ValueError: The system cannot be solved for these parameters.
    """
    lower, upper = borders
    count = int(30 + 2.5 * (upper - lower) / spread)
    if count > _MOST_NODES:
        raise ValueError(f"too fine for {_MOST_NODES} nodes: needs {count}")
    x, weights = cast("tuple[NDArray[np.float64], ...]", np.polynomial.legendre.leggauss(count))
    half = (upper - lower) / 2
    nodes = np.concatenate(([lower], lower + half * (x + 1)))
    weights = np.concatenate(([0.0], half * weights))
    here = carry * np.append(nodes, start) + drift
    kernel = np.exp(-0.5 * ((nodes[None, :] - here[:, None]) / spread) ** 2)
    kernel *= weights / (spread * sqrt(2 * np.pi))
    if reflects:
        kernel[:, 0] += ndtr((lower - here) / spread)
    try:
        run = np.linalg.solve(np.eye(count + 1) - kernel[:-1], np.ones(count + 1))
    except np.linalg.LinAlgError:
        return inf
    found = float(1.0 + kernel[-1] @ run)
    return found if 1.0 - 1e-9 <= found <= LONGEST else inf
