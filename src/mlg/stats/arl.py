"""Average run lengths: how long a chart stays quiet, and which limit makes it so.

A run length is the number of points until the chart signals, the signalling one included.
Its mean without a shift is the time between false alarms, with a shift the delay of the
detection. Points are independent with known mean and spread; a shift is there from the first
point on that counts. The families are in `arl_normal` (Shewhart, EWMA), `arl_cusum`, `arl_t2`,
`arl_vector` (MEWMA), `arl_rules` (runs rules) and `arl_counts` (p, np, c, u); here they are
called by one set of words, those of `mlg drift arl` and `mlg drift design`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import log
from typing import Any, Final, Literal, cast, get_args

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from mlg.stats.arl_counts import (
    CountChart,
    Counts,
    count_limits,
    counts_law,
    probability_limits,
)
from mlg.stats.arl_cusum import cusum_arl, cusum_law
from mlg.stats.arl_normal import (
    Limits,
    ewma_arl,
    ewma_law,
    shewhart_arl,
    shewhart_law,
)
from mlg.stats.arl_rules import WESTERN_ELECTRIC, Rule, rules_law
from mlg.stats.arl_t2 import t2_arl, t2_law, t2_limit
from mlg.stats.arl_vector import mewma_arl, mewma_law
from mlg.stats.run_length import LONGEST, Law, State

__all__ = [
    "LAMBDA",
    "LONGEST",
    "SLACK",
    "Chart",
    "Law",
    "Spec",
    "State",
    "arl",
    "cusum_arl",
    "design",
    "designed",
    "ewma_arl",
    "law",
    "mewma_arl",
    "shewhart_arl",
    "t2_arl",
]

Chart = Literal["ewma", "cusum", "shewhart", "mewma", "t2", "runs", "p", "np", "c", "u"]

LAMBDA: Final = 0.1
"""Weight of an EWMA's newest point where none is named."""
SLACK: Final = 0.25
"""Reference value of a CUSUM where none is named: best against a shift of twice as much."""

_COUNTS: Final = {"size", "rate", "lower", "upper", "dispersion", "limit", "two_sided"}
_TAKES: Final[dict[str, set[str]]] = {
    "ewma": {"lam", "limit", "two_sided", "reflect", "head_start", "limits"},
    "cusum": {"k", "h", "two_sided", "head_start"},
    "shewhart": {"limit", "two_sided"},
    "mewma": {"lam", "limit", "dims", "two_sided"},
    "t2": {"limit", "dims", "two_sided"},
    "runs": {"rules", "limit", "two_sided"},
    **dict.fromkeys(get_args(CountChart), _COUNTS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A control chart, by the words of `mlg drift arl`. What a chart has no use for is refused.

    Raises:
        ValueError: The chart is unknown, or a parameter is given that it does not have.
    """

    chart: Chart
    limit: float | None = None
    """Shewhart and EWMA: in standard deviations of the statistic. MEWMA and T squared: on T
    squared. Runs rules: times the bounds, 1 where None. p, np, c, u: sigmas, 3 where None."""
    lam: float | None = None
    """Weight of the newest point of an EWMA or MEWMA; 0.1 where None."""
    k: float | None = None
    """Reference value of a CUSUM; 0.25 where None."""
    h: float | None = None
    """Decision interval of a CUSUM."""
    head_start: float = 0.0
    """Where a CUSUM (unit of h) or an EWMA (unit of its limit) starts."""
    two_sided: bool = False
    """Whether both directions signal; an MEWMA and T squared have none."""
    dims: int | None = None
    """Variables of an MEWMA or T squared."""
    reflect: float | None = None
    """Border <= 0 below which a one-sided EWMA is set back to it; None lets it fall."""
    limits: Limits = "fixed"
    """Of a two-sided EWMA: fixed at the asymptote, or exact from the first point on."""
    rules: tuple[Rule, ...] = ()
    """Of a Shewhart chart with runs rules; those of Western Electric where empty."""
    rate: float | None = None
    """Usual share (p, np) or mean count of a unit (c, u)."""
    size: float | None = None
    """Items (p, np) or units (u) of each point."""
    lower: float | None = None
    upper: float | None = None
    """Limits of p, np, c, u in the chart's own unit, instead of `limit`."""
    dispersion: float = 1.0
    """Laney's sigma_z of p, np, c, u; above 1 the chart is a p' or u'."""

    def __post_init__(self) -> None:
        if self.chart not in _TAKES:
            raise ValueError(f"expected a chart of {', '.join(_TAKES)}, got {self.chart!r}")
        odd = [
            one.name
            for one in fields(self)
            if one.name not in {"chart", *_TAKES[self.chart]}
            and getattr(self, one.name) != one.default
        ]
        if odd:
            raise ValueError(f"a chart of kind {self.chart} has no {', '.join(sorted(odd))}")


def law(spec: Spec, *, shift: float = 0.0, state: State = "zero") -> Law:
    """Return the law of a chart's run length: mean, median, quantiles.

    Args:
        spec: The chart.
        shift: In standard deviations of a point; of an MEWMA and T squared the Mahalanobis
            distance; of p, np, c, u added to the rate.
        state: In which state the chart is when the shift begins; see `run_length`.

    Raises:
        ValueError: A parameter that the chart needs is missing or outside its range.

    Source:
        As the function of each chart.

    Examples:
        >>> chart = Spec(chart="ewma", lam=0.1, limit=2.814, two_sided=True)
        >>> law(chart, shift=0.5).median
        25.0
    """
    if state not in get_args(State):
        raise ValueError(f"expected a state of {', '.join(get_args(State))}, got {state!r}")
    lam = LAMBDA if spec.lam is None else spec.lam
    match spec.chart:
        case "cusum":
            return cusum_law(
                SLACK if spec.k is None else spec.k, _needed(spec, "h"), shift=shift,
                head_start=spec.head_start, two_sided=spec.two_sided, state=state,
            )  # fmt: skip
        case "ewma":
            return ewma_law(
                lam, _needed(spec, "limit"), shift=shift, two_sided=spec.two_sided,
                reflect=spec.reflect, head_start=spec.head_start, limits=spec.limits,
                state=state,
            )  # fmt: skip
        case "shewhart":
            return shewhart_law(_needed(spec, "limit"), shift=shift, two_sided=spec.two_sided)
        case "mewma":
            limit, dims = _needed(spec, "limit"), _needed(spec, "dims")
            return mewma_law(lam, limit, dims=dims, shift=shift, state=state)
        case "t2":
            return t2_law(_needed(spec, "limit"), dims=_needed(spec, "dims"), shift=shift)
        case "runs":
            return rules_law(
                spec.rules or WESTERN_ELECTRIC, shift=shift, two_sided=spec.two_sided,
                scale=1.0 if spec.limit is None else spec.limit, state=state,
            )  # fmt: skip
        case _:
            lower, upper = _count_limits(spec)
            return counts_law(_counts(spec), lower=lower, upper=upper, shift=shift)


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
    dims: int | None = None,
    state: State = "zero",
) -> float:
    """Return the average run length of a chart; `law` of a `Spec` knows more charts and more.

    Args:
        chart: Which chart; one-sided upper unless `two_sided` (an MEWMA has no side).
        shift: In standard deviations of a point; of an MEWMA the Mahalanobis distance.
        lam: Weight of an EWMA or MEWMA; 0.1 where None.
        limit: Of a Shewhart chart, an EWMA (L), or an MEWMA (on T squared).
        k: Reference value of a CUSUM; 0.25 where None.
        h: Decision interval of a CUSUM.
        head_start: Of a CUSUM in the unit of h, of an EWMA in that of its limit.
        two_sided: Whether both directions signal.
        dims: Variables of an MEWMA or T squared.
        state: In which state the chart is when the shift begins; see `run_length`.

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
    spec = Spec(
        chart=chart, lam=lam, limit=limit, k=k, h=h, head_start=head_start,
        two_sided=two_sided, dims=dims,
    )  # fmt: skip
    return law(spec, shift=shift, state=state).mean


def designed(spec: Spec, arl0: float, *, state: State = "zero") -> Spec:
    """Return the chart with the limit at which it signals once in `arl0` points, unshifted.

    Of p, np, c and u: the nearest probability limits, `lower` and `upper`, at which it signals
    at most once in `arl0`, as counts are whole.

    Args:
        spec: The chart, without its limit.
        arl0: Wanted mean number of points between false alarms, > 1 and <= 1e12.
        state: From which state that mean is counted.

    Raises:
        ValueError: `arl0` is out of range, less than the chart can have or more, or a limit
            was given.

    Source:
        Root of the average run length by R. P. Brent (1973); Shewhart charts by the normal
        quantile, T squared by the chi-squared one.

    Examples:
        >>> designed(Spec(chart="np", rate=0.1, size=100.0), 370.0).upper
        19.0
    """
    if not 1 < arl0 <= LONGEST:
        raise ValueError(f"expected 1 < arl0 <= {LONGEST:g}, got {arl0}")
    limits = ("limit", "h", "lower", "upper")
    given = [name for name in limits if getattr(spec, name) is not None]
    if given:
        raise ValueError(f"a design finds {' and '.join(given)}: leave out what it is to find")
    match spec.chart:
        case "shewhart":
            tail = 1 / ((2 if spec.two_sided else 1) * arl0)
            return replace(spec, limit=float(-ndtri(tail)))
        case "t2":
            return replace(spec, limit=t2_limit(1 / arl0, dims=_needed(spec, "dims")))
        case "p" | "np" | "c" | "u":
            lower, upper = probability_limits(_counts(spec), arl0, two_sided=spec.two_sided)
            return replace(spec, lower=lower, upper=upper)
        case _:
            name = "h" if spec.chart == "cusum" else "limit"
            found: Any = {name: _root(spec, name, arl0, state)}
            return replace(spec, **found)


def design(
    chart: Chart,
    arl0: float,
    *,
    lam: float | None = None,
    k: float | None = None,
    head_start: float = 0.0,
    two_sided: bool = False,
    dims: int | None = None,
    state: State = "zero",
) -> float:
    """Return the limit at which a chart without shift signals once in `arl0` points.

    Args:
        chart: Which chart, as in `arl`.
        arl0: Wanted mean number of points between false alarms, > 1 and <= 1e12.
        lam: Weight of an EWMA or MEWMA; 0.1 where None.
        k: Reference value of a CUSUM; 0.25 where None.
        head_start: Of a CUSUM in the unit of h, of an EWMA in that of its limit.
        two_sided: Whether both directions signal.
        dims: Variables of an MEWMA or T squared.
        state: From which state `arl0` is counted.

    Returns:
        The limit: of a Shewhart chart and an EWMA in standard deviations, of an MEWMA on
        T squared, of a CUSUM its h.

    Raises:
        ValueError: `arl0` is out of range or less than the chart can have, or a parameter
            does not fit the chart.

    Source:
        As `designed`.

    Examples:
        >>> round(design("ewma", 500.0, lam=0.1, two_sided=True), 3)
        2.814
    """
    spec = Spec(
        chart=chart, lam=lam, k=k, head_start=head_start, two_sided=two_sided, dims=dims
    )
    found = designed(spec, arl0, state=state)
    limit = found.h if chart == "cusum" else found.limit
    if limit is None:
        raise ValueError(f"a chart of kind {chart} has two limits: `designed` returns them")
    return limit


def delays(
    spec: Spec, shifts: Sequence[float], *, state: State = "zero"
) -> tuple[tuple[float, Law], ...]:
    """Return the run length's law at each of some shifts.

    Raises:
        ValueError: As `law`.
    """
    return tuple((shift, law(spec, shift=shift, state=state)) for shift in shifts)


def _root(spec: Spec, name: str, arl0: float, state: State) -> float:
    least = {"cusum": _least_h(spec), "ewma": spec.head_start * (1 + 1e-9)}.get(spec.chart, 0.0)

    def run(limit: float) -> float:
        one = replace(spec, **cast("dict[str, Any]", {name: limit}))
        return law(one, state=state).mean

    low = max(1e-3, least)
    if run(low) >= arl0:
        raise ValueError(f"expected arl0 over {run(low):.4g}, the least of this chart")
    most = 1e3 if spec.chart == "runs" else 1e6
    return _rising_root(
        lambda limit: min(log(run(limit)), 50.0) - log(arl0),
        low,
        most,
        lambda limit: f"at {limit:.4g} it is {run(limit):.6g}",
    )


def _least_h(spec: Spec) -> float:
    """Return the least h that `cusum_law` takes with this head start."""
    if spec.two_sided:
        return max(0.0, 2 * (spec.head_start - (SLACK if spec.k is None else spec.k)))
    return spec.head_start


def _rising_root(
    f: Callable[[float], float], low: float, most: float, told: Callable[[float], str]
) -> float:
    high = max(2.0 * low, 1.0)
    while f(high) < 0:
        low, high = high, 1.5 * high
        if high > most:
            raise ValueError(f"no limit gives this chart so long a run length: {told(high)}")
    return float(cast("float", brentq(f, low, high, xtol=1e-10, rtol=np.float64(1e-12))))


def _needed(spec: Spec, name: str) -> Any:
    found = getattr(spec, name)
    if found is None:
        raise ValueError(f"a chart of kind {spec.chart} needs {name}")
    return found


def _counts(spec: Spec) -> Counts:
    size = 1.0 if spec.chart == "c" and spec.size is None else _needed(spec, "size")
    return Counts(
        chart=cast("CountChart", spec.chart),
        rate=_needed(spec, "rate"),
        size=size,
        dispersion=spec.dispersion,
    )


def _count_limits(spec: Spec) -> tuple[float | None, float | None]:
    if spec.lower is None and spec.upper is None:
        limit = 3.0 if spec.limit is None else spec.limit
        return count_limits(_counts(spec), limit=limit, two_sided=spec.two_sided)
    if spec.limit is not None:
        raise ValueError("expected limit (in sigmas), or lower and upper, not both")
    return spec.lower, spec.upper
