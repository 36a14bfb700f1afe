"""E-processes: evidence that may be looked at after every request.

An e-process starts at 1 and is, while its null hypothesis holds, at most 1 in the mean at
every stopping time. So the chance that it ever reaches 1 / alpha is at most alpha, however
often one looks (Ville 1939). All functions return logarithms, and add up over stages:
pass one count for each span in which the split of the traffic did not change.

Counts are of independent units. Requests of one viewer are not independent: where one
client could repeat a failing request, count viewers (or sessions) and not requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, log1p
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

RISES: Final = tuple(float(r) for r in np.geomspace(1.5, 50.0, 16))
"""Rate ratios that the test of a rise is mixed over: errors, faults."""
SLOWER: Final = tuple(float(r) for r in np.geomspace(1.3, 30.0, 16))
"""The same for exceedances of a latency."""
FALLS: Final = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Parts of the bound that the test of being below it is mixed over."""
RISEN: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Parts of the way from a bound to 1 that the test of being above it is mixed over."""
DROPS: Final = (0.7, 0.8, 0.85, 0.9, 0.95)
"""Ratios of engagement that the test of a drop is mixed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCounts:
    """Events and units of a candidate and its control in one stage."""

    events: int
    """Events of the candidate, 0..units."""
    units: int
    control_events: int
    control_units: int

    def __post_init__(self) -> None:
        pairs = ((self.events, self.units), (self.control_events, self.control_units))
        if any(not 0 <= events <= units for events, units in pairs):
            raise ValueError(f"expected 0 <= events <= units in both arms, got {self}")

    @property
    def share(self) -> float:
        """The candidate's part of the units; 0 when an arm is empty: it says nothing."""
        both = self.units and self.control_units
        return self.units / (self.units + self.control_units) if both else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomised:
    """Events of units that chance alone sent to an arm, each unit counted once.

    While the version makes no difference, a unit that has an event was in the candidate's arm
    with probability `share`, whatever its habits are: no assumption about rates, about
    their course over the day, or about how unlike each other the units are.
    """

    events: int
    """Of the candidate, >= 0."""
    control_events: int
    share: float
    """The candidate's part of the split between the two arms, in [0, 1]; 0 says nothing."""

    def __post_init__(self) -> None:
        if min(self.events, self.control_events) < 0 or not 0 <= self.share <= 1:
            raise ValueError(f"expected events >= 0 and a share in [0, 1], got {self}")


Counts = ArmCounts | Randomised
"""What the conditional tests take: they need events of both arms, and a share."""


def log_e_rise(
    stages: Sequence[Counts],
    *,
    null_ratio: float = 1.0,
    ratios: Sequence[float] = RISES,
) -> float:
    """Return the log evidence that the candidate's rate is over `null_ratio` x the control's.

    Of all events, each falls into the candidate with probability r w / (1 + w (r - 1)),
    where w is its part of the units and r the ratio of the rates. That conditional test
    needs no knowledge of the base rate, and stays valid when it changes during the day.
    The evidence is the mean over `ratios` of the likelihood ratios against `null_ratio`.

    Args:
        stages: Counts, one for each split of the traffic; empty is no evidence.
        null_ratio: Largest ratio that is still accepted, > 0.
        ratios: Alternatives, each taken as at least `null_ratio` times itself.

    Returns:
        Natural logarithm of the e-value; 0 without events.

    Raises:
        ValueError: `null_ratio` or one of `ratios` is not positive and finite.

    Source:
        M. Lindon and A. Malek (2022), Anytime-valid inference for multinomial count data,
        NeurIPS; exact for rare, independent events.

    Examples:
        >>> one = ArmCounts(events=1, units=10, control_events=0, control_units=10)
        >>> round(log_e_rise((one,), ratios=(3.0,)), 4)  # log(0.75 / 0.5)
        0.4055
    """
    return _conditional(stages, null_ratio, [null_ratio * r for r in ratios])


def log_e_not_above(
    stages: Sequence[Counts],
    *,
    margin: float,
    falls: Sequence[float] = (0.25, 0.5, 0.75, 0.9),
) -> float:
    """Return the log evidence that the candidate's rate is under (1 + margin) x the control's.

    Large evidence means that the candidate is not worse by more than the margin: the same
    conditional test as `log_e_rise`, with the null and the alternatives on the other side.

    Args:
        stages: Counts, one for each split of the traffic.
        margin: Relative rise that is still accepted, > -1.
        falls: Alternatives, as parts of 1 + margin, each in (0, 1).

    Returns:
        Natural logarithm of the e-value; 0 without events.

    Raises:
        ValueError: A ratio is not positive and finite.

    Source:
        As `log_e_rise`; non-inferiority by inversion of the null.
    """
    return _conditional(stages, 1.0 + margin, [(1.0 + margin) * part for part in falls])


def log_e_below(
    events: int, units: int, bound: float, *, parts: Sequence[float] = FALLS
) -> float:
    """Return the log evidence that a rate is under `bound`, from one arm alone.

    A candidate whose rate exceeds its control's by an absolute margin has at least that
    margin as its rate. So large evidence at `bound` = margin shows non-inferiority, also
    where the control never fails; where the control itself fails often it shows nothing.

    Args:
        events: Events, 0..units.
        units: Independent units.
        bound: Rate under the null, in (0, 1).
        parts: Alternatives, as parts of the bound, in [0, 1).

    Returns:
        Natural logarithm of the e-value; 0 without units.

    Raises:
        ValueError: The bound is not in (0, 1), or the counts contradict each other.

    Source:
        Likelihood-ratio mixture of Bernoulli rates: A. Wald (1945), Annals of Mathematical
        Statistics 16(2); A. Ramdas et al. (2023), Statistical Science 38(4).

    Examples:
        >>> round(log_e_below(0, 300, 0.01, parts=(0.0,)), 4)  # -300 log(0.99)
        3.0151
    """
    if not 0 < bound < 1 or not 0 <= events <= units:
        raise ValueError(f"expected 0 < bound < 1 and events <= units, got {bound}, {events}")
    terms: list[float] = []
    for part in parts:
        q = part * bound
        hit = events * log(q / bound) if q else (-inf if events else 0.0)
        terms.append(hit + (units - events) * (log1p(-q) - log1p(-bound)))
    return _mean(terms)


def log_e_above(
    events: int, units: int, bound: float, *, parts: Sequence[float] = RISEN
) -> float:
    """Return the log evidence that a rate is over `bound`, from one arm alone.

    Args:
        events: Events, 0..units.
        units: Independent units.
        bound: Rate under the null, in (0, 1).
        parts: Alternatives, as parts of the way from the bound to 1, in (0, 1].

    Returns:
        Natural logarithm of the e-value; 0 without units.

    Raises:
        ValueError: The bound is not in (0, 1), or the counts contradict each other.

    Source:
        As `log_e_below`, with the alternatives on the other side.

    Examples:
        >>> round(log_e_above(3, 3, 0.1, parts=(1.0,)), 4)  # 3 log(10)
        6.9078
    """
    if not 0 < bound < 1 or not 0 <= events <= units:
        raise ValueError(f"expected 0 < bound < 1 and events <= units, got {bound}, {events}")
    terms: list[float] = []
    for part in parts:
        q = bound + part * (1.0 - bound)
        miss = -inf if q >= 1.0 else log1p(-q) - log1p(-bound)
        missed = (units - events) * miss if units > events else 0.0
        terms.append(events * log(q / bound) + missed)
    return _mean(terms)


def log_e_drop(
    events: float,
    units: int,
    control_events: float,
    control_units: int,
    *,
    ratios: Sequence[float] = DROPS,
    null_ratio: float = 1.0,
) -> float:
    """Return the log evidence that the candidate's rate is under `null_ratio` x the control's.

    For rates that are not rare, like clicks or hits. Asymptotic: the difference of the
    rates is taken as normal with the pooled variance, so 100 events an arm are the least.
    For a candidate that is better, call it with ratios above `null_ratio`.

    Args:
        events: Events (or a sum of values in 0..1) of the candidate.
        units: Units of the candidate.
        control_events: The same of the control.
        control_units: The same of the control.
        ratios: Alternatives.
        null_ratio: The ratio at the border of the null.

    Returns:
        Natural logarithm of the e-value; 0 when an arm is empty or has no variance.

    Source:
        Normal likelihood ratio of the difference, mixed over ratios; the variance as in
        R. Johari et al. (2022), Operations Research 70(3), Always valid inference.
    """
    if not units or not control_units:
        return 0.0
    control = control_events / control_units
    pooled = (events + control_events) / (units + control_units)
    variance = pooled * (1 - pooled) * (1 / units + 1 / control_units)
    if variance <= 0:
        return 0.0
    seen = events / units - null_ratio * control
    shifts = [(ratio - null_ratio) * pooled for ratio in ratios]
    return _mean([(shift * seen - shift * shift / 2) / variance for shift in shifts])


def log_e_mismatch(
    observed: Sequence[int], shares: Sequence[float], *, weight: float = 100.0
) -> float:
    """Return the log evidence that units do not fall into the arms by `shares`.

    The likelihood of a Dirichlet mixture around the shares over that of the shares.

    Args:
        observed: Units of each arm.
        shares: Their declared shares, positive, with sum 1.
        weight: Concentration of the mixture: how near to the shares it looks.

    Returns:
        Natural logarithm of the e-value; 0 without units.

    Raises:
        ValueError: Shares and counts do not belong together.

    Source:
        M. Lindon and A. Malek (2022), as `log_e_rise`, section on sample ratio mismatch.

    Examples:
        >>> log_e_mismatch((0, 0), (0.5, 0.5))
        0.0
    """
    n, p = np.asarray(observed, dtype=float), np.asarray(shares, dtype=float)
    if n.shape != p.shape or np.any(p <= 0) or abs(float(p.sum()) - 1) > 1e-9 or np.any(n < 0):
        raise ValueError(f"expected counts >= 0 and shares that sum to 1, got {n}, {p}")
    prior = weight * p
    total = gammaln(weight) - gammaln(weight + n.sum())
    mixture = total + float(np.sum(gammaln(prior + n) - gammaln(prior)))
    return float(mixture - np.sum(n * np.log(p)))


def control_quantile(
    counts: Sequence[int] | NDArray[np.int64], edges: Sequence[float], quantile: float
) -> float:
    """Return the upper edge of the histogram bin in which a quantile lies.

    An edge, not an interpolated value: exceedances of it can be counted exactly in both
    arms. Estimate it on control data of earlier minutes than those that are compared.

    Args:
        counts: Events by bin, one more than `edges`: the last bin is open.
        edges: Ascending upper edges.
        quantile: In (0, 1).

    Returns:
        An edge; infinity when the quantile is in the open bin, NaN without events.
    """
    total = int(np.sum(counts))
    if not total:
        return float("nan")
    place = int(np.searchsorted(np.cumsum(counts), quantile * total))
    return float(edges[place]) if place < len(edges) else inf


def rise_terms(
    events: ArrayLike,
    control_events: ArrayLike,
    share: ArrayLike,
    ratios: ArrayLike,
    null_ratio: float = 1.0,
) -> NDArray[np.float64]:
    """Return the log likelihood ratio of each alternative, for many comparisons at once.

    What `log_e_rise` adds up over stages and then averages by `mixed`; for simulations.

    Args:
        events: The candidate's, of any shape.
        control_events: The control's, of the same shape.
        share: The candidate's part of the units, of the same shape or one for all; where
            it is 0 or 1 the terms are 0.
        ratios: Alternatives, shape ``(R,)``.
        null_ratio: Largest ratio that is still accepted.

    Returns:
        Shape of `events` with one more axis of length R.
    """
    k, m = np.asarray(events, dtype=float), np.asarray(control_events, dtype=float)
    w = np.asarray(share, dtype=float)
    w = np.where(w < 1.0, w, 0.0)
    r = np.asarray(ratios, dtype=float)
    hit = np.log(r / null_ratio) * np.where(w > 0.0, k, 0.0)[..., None]
    spread = np.log1p(w[..., None] * (r - 1)) - np.log1p(w[..., None] * (null_ratio - 1))
    return hit - (k + m)[..., None] * spread


def mixed(terms: ArrayLike) -> NDArray[np.float64]:
    """Return the log of the mean of the exponentials over the last axis.

    Examples:
        >>> float(mixed([0.0, 0.0]))
        0.0
    """
    rows = np.asarray(terms, dtype=float)
    return np.asarray(logsumexp(rows, axis=-1)) - log(rows.shape[-1])


def _conditional(stages: Sequence[Counts], null_ratio: float, ratios: Sequence[float]) -> float:
    if not all(isfinite(r) and r > 0 for r in (null_ratio, *ratios)):
        raise ValueError(f"ratios must be positive, got {null_ratio} against {list(ratios)}")
    terms = np.zeros(len(ratios))
    for stage in stages:
        terms += rise_terms(stage.events, stage.control_events, stage.share, ratios, null_ratio)
    return float(mixed(terms))


def _mean(terms: Sequence[float]) -> float:
    return float(mixed(terms))
