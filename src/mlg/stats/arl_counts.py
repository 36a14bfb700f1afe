"""Run lengths of attribute charts: p, np, c and u, exact, and overdispersed p' and u'.

Points are independent, so the run length is geometric: no state differs from another. The
chance to signal is that of the binomial or Poisson law itself, never of its normal
approximation, so limits that no count can pass are seen to be such.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, sqrt
from typing import Final, Literal, get_args

import numpy as np
from scipy.special import betaln, gammaln
from scipy.stats import binom, nbinom, poisson

from mlg.stats.grid import finite
from mlg.stats.run_length import Floats, Law, geometric

CountChart = Literal["p", "np", "c", "u"]

_MOST_ITEMS: Final = 1_000_000
_NEARLY: Final = 1e-9
"""Part of a count by which a limit may miss it in floating point and still be it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What an attribute chart counts while all is usual."""

    chart: CountChart
    rate: float
    """Share of items that count (p, np), or mean number of events in one unit (c, u)."""
    size: float = 1.0
    """Items of each point (p, np; a whole number), units of each point (u), 1 (c)."""
    dispersion: float = 1.0
    """Laney's sigma_z >= 1: standard deviation of a point in those of the simple law.

    The share then varies from point to point by a beta law (the rate by a gamma law)."""

    def __post_init__(self) -> None:
        finite(rate=self.rate, size=self.size, dispersion=self.dispersion)
        if self.chart not in get_args(CountChart):
            raise ValueError(f"expected a chart of p, np, c or u, got {self.chart!r}")
        if self.shares:
            if not 0 < self.rate < 1 or self.size < 1 or self.size != int(self.size):
                raise ValueError(
                    f"expected 0 < rate < 1 and a whole size >= 1, got {self.rate}, {self.size}"
                )
        elif self.rate <= 0 or self.size <= 0 or (self.chart == "c" and self.size != 1):
            raise ValueError(
                f"expected rate > 0 and size > 0 (1 of a c chart), got {self.rate}, {self.size}"
            )
        if self.dispersion < 1:
            raise ValueError(
                f"expected a dispersion >= 1, got {self.dispersion}: points that vary less "
                "than by chance have no such law"
            )
        if self.dispersion > 1 and self.shares:
            if self.dispersion**2 >= self.size:
                raise ValueError(
                    f"expected a dispersion below {sqrt(self.size):g}, the most that "
                    f"{self.size:g} items allow, got {self.dispersion}"
                )
            if self.size > _MOST_ITEMS:
                raise ValueError(f"overdispersed shares of more than {_MOST_ITEMS} items")

    @property
    def shares(self) -> bool:
        """Whether items are counted, each once at most."""
        return self.chart in {"p", "np"}

    @property
    def unit(self) -> float:
        """Counts that are 1 in the chart's own unit."""
        return self.size if self.chart in {"p", "u"} else 1.0

    @property
    def sigma(self) -> float:
        """Standard deviation of one point, in the chart's own unit."""
        mean = self.rate * self.size
        spread = sqrt(mean * (1 - self.rate) if self.shares else mean)
        return self.dispersion * spread / self.unit

    def above(self, count: float, shift: float = 0.0) -> float:
        """Return P(X > count) with the rate moved by `shift`."""
        now, least = self._moved(shift), floor(count * (1 + _NEARLY) + _NEARLY)
        if least < 0:
            return 1.0
        if self.shares and least >= self.size:
            return 0.0
        if self.dispersion == 1:
            return float(
                binom.sf(least, int(self.size), now)
                if self.shares
                else poisson.sf(least, now * self.size)
            )
        if self.shares:
            return float(self._beta_binomial(now)[least + 1 :].sum())
        return float(nbinom.sf(least, *self._negative_binomial(now)))

    def below(self, count: float, shift: float = 0.0) -> float:
        """Return P(X < count) with the rate moved by `shift`."""
        now, most = self._moved(shift), ceil(count * (1 - _NEARLY) - _NEARLY) - 1
        if most < 0:
            return 0.0
        if self.dispersion == 1:
            return float(
                binom.cdf(most, int(self.size), now)
                if self.shares
                else poisson.cdf(most, now * self.size)
            )
        if self.shares:
            return float(self._beta_binomial(now)[: most + 1].sum())
        return float(nbinom.cdf(most, *self._negative_binomial(now)))

    def _moved(self, shift: float) -> float:
        now = self.rate + shift
        if now < 0 or (self.shares and now > 1) or not isfinite(now):
            raise ValueError(
                f"a shift of {shift} moves the rate {self.rate} to {now}, which none can be"
            )
        return now

    def _beta_binomial(self, now: float) -> Floats:
        """Return the chance of each count; the correlation of items stays as it was."""
        n = int(self.size)
        if now in {0.0, 1.0}:
            sure = np.zeros(n + 1)
            sure[int(now) * n] = 1.0
            return sure
        together = (self.dispersion**2 - 1) / (n - 1)
        a, b = now * (1 / together - 1), (1 - now) * (1 / together - 1)
        k = np.arange(n + 1)
        ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        return np.exp(ways + betaln(k + a, n - k + b) - betaln(a, b))

    def _negative_binomial(self, now: float) -> tuple[float, float]:
        """Return shape and chance; the rate's relative variation stays as it was."""
        shape = self.rate * self.size / (self.dispersion**2 - 1)
        return shape, shape / (shape + now * self.size)


def count_limits(
    counts: Counts, *, limit: float = 3.0, two_sided: bool = False
) -> tuple[float | None, float]:
    """Return lower and upper limit by sigmas, in the chart's own unit.

    Args:
        counts: What is counted.
        limit: In standard deviations of one point, `dispersion` included.
        two_sided: Whether there is a lower limit; one at or below zero is None.

    Raises:
        ValueError: `limit` is not finite.

    Source:
        W. A. Shewhart (1931); D. B. Laney (2002), Quality Engineering 14:531-537 (p', u').

    Examples:
        >>> low, high = count_limits(Counts(chart="c", rate=16.0), two_sided=True)
        >>> low, high
        (4.0, 28.0)
    """
    finite(limit=limit)
    low = counts.rate * counts.size / counts.unit - limit * counts.sigma
    high = counts.rate * counts.size / counts.unit + limit * counts.sigma
    return (low if two_sided and low > 0 else None), high


def probability_limits(
    counts: Counts, arl0: float, *, two_sided: bool = False
) -> tuple[float | None, float]:
    """Return the nearest limits that signal at most once in `arl0` points, half each side.

    Args:
        counts: What is counted.
        arl0: Wanted mean number of points between false alarms, > 1.
        two_sided: Whether there is a lower limit; None where even 0 comes too often to be
            a signal.

    Returns:
        Lower and upper limit in the chart's own unit. A point signals below or above them,
        not on them. Counts are whole, so the run length is mostly longer than `arl0`.

    Raises:
        ValueError: `arl0` is out of range.

    Source:
        D. C. Montgomery, Introduction to Statistical Quality Control, section 7.2
        (probability limits).

    Examples:
        >>> probability_limits(Counts(chart="c", rate=4.0), 370.0)
        (None, 11.0)
    """
    if not 1 < arl0 < inf:
        raise ValueError(f"expected a finite arl0 > 1, got {arl0}")
    chance = 1 / arl0 / (2 if two_sided else 1)
    mean, spread = counts.rate * counts.size, counts.sigma * counts.unit
    high = _least(lambda count: counts.above(count) <= chance, floor(mean), spread)
    low = None
    if two_sided and counts.below(1) <= chance:
        low = (_least(lambda count: counts.below(count + 1) > chance, 0, spread)) / counts.unit
    return low, high / counts.unit


def counts_law(
    counts: Counts,
    *,
    lower: float | None = None,
    upper: float | None = None,
    shift: float = 0.0,
) -> Law:
    """Return the run length's law of an attribute chart; as `counts_arl`.

    Raises:
        ValueError: No limit is given, the limits cross, or `shift` leads to no rate.
    """
    if lower is None and upper is None:
        raise ValueError("expected a lower or an upper limit")
    finite(shift=shift, lower=lower or 0.0, upper=upper or 0.0)
    if lower is not None and upper is not None and lower > upper:
        raise ValueError(f"expected lower <= upper, got {lower} and {upper}")
    chance = 0.0
    if upper is not None:
        chance += counts.above(upper * counts.unit, shift)
    if lower is not None:
        chance += counts.below(lower * counts.unit, shift)
    return geometric(min(chance, 1.0))


def counts_arl(
    counts: Counts,
    *,
    lower: float | None = None,
    upper: float | None = None,
    shift: float = 0.0,
) -> float:
    """Return the average run length of a p, np, c or u chart, overdispersed or not.

    Args:
        counts: What is counted while all is usual.
        lower: A point below it signals; in the chart's own unit (share, count, or events a
            unit). None signals on no low point.
        upper: A point above it signals.
        shift: Added to the rate.

    Returns:
        Points, >= 1; infinity where no point can be beyond.

    Raises:
        ValueError: No limit is given, the limits cross, or `shift` leads to no rate.

    Source:
        D. C. Montgomery, Introduction to Statistical Quality Control, section 7.2 (operating
        characteristic and ARL of attribute charts); beta-binomial and negative binomial
        points for Laney's p' and u'.

    Examples:
        >>> chart = Counts(chart="c", rate=4.0)
        >>> [round(counts_arl(chart, upper=10.0, shift=by), 2) for by in (0.0, 4.0)]
        [352.14, 5.43]
    """
    return counts_law(counts, lower=lower, upper=upper, shift=shift).mean


def _least(holds: Callable[[int], bool], start: int, spread: float) -> int:
    """Return the least whole number from `start` on from which it holds."""
    step = max(1, int(spread))
    low = start
    if holds(low):
        return low
    high = low + step
    while not holds(high):
        low, step = high, 2 * step
        high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
