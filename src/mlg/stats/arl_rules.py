"""Run lengths of Shewhart charts with runs rules: k of m points in a zone, on one side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mlg.stats.grid import finite
from mlg.stats.run_length import Dense, Floats, Law, State, geometric, law_of

_MOST_STATES = 3_000
_MOST_SPAN = 64
_WORDS = re.compile(
    r"(?P<hits>\d+)/(?P<span>\d+):(?P<above>-?\d+(\.\d+)?)(\.\.(?P<below>-?\d+(\.\d+)?))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Signals when `hits` of the last `span` points lie between `above` and `below`.

    On a two-sided chart also when as many lie between -below and -above.
    """

    hits: int
    span: int
    above: float
    """In standard deviations of a point."""
    below: float = inf

    def __post_init__(self) -> None:
        if not 1 <= self.hits <= self.span <= _MOST_SPAN:
            raise ValueError(
                f"expected 1 <= hits <= span <= {_MOST_SPAN}, got {self.hits} of {self.span}"
            )
        if not isfinite(self.above) or not self.above < self.below:
            raise ValueError(f"expected a zone, got {self.above}..{self.below}")


WESTERN_ELECTRIC = (
    Rule(hits=1, span=1, above=3.0),
    Rule(hits=2, span=3, above=2.0),
    Rule(hits=4, span=5, above=1.0),
    Rule(hits=8, span=8, above=0.0),
)
"""The four rules of the Western Electric handbook (1956)."""


def rules_from(words: str) -> tuple[Rule, ...]:
    """Return the rules that a text names, as `1/1:3, 2/3:2, 4/5:1..3`.

    Args:
        words: `hits/span:above` or `hits/span:above..below`, with commas or spaces between.

    Raises:
        ValueError: A part is no rule, or there is none.

    Examples:
        >>> rules_from("8/8:0")
        (Rule(hits=8, span=8, above=0.0, below=inf),)
    """
    found: list[Rule] = []
    for part in re.split(r"[,\s]+", words.strip()):
        match = _WORDS.fullmatch(part)
        if match is None:
            raise ValueError(
                f"expected rules like 1/1:3,2/3:2 or 4/5:1..3 (hits/span:zone), got {part!r}"
            )
        below = match["below"]
        found.append(
            Rule(
                hits=int(match["hits"]),
                span=int(match["span"]),
                above=float(match["above"]),
                below=inf if below is None else float(below),
            )
        )
    return tuple(found)


def rules_law(
    rules: Sequence[Rule],
    *,
    shift: float = 0.0,
    two_sided: bool = False,
    scale: float = 1.0,
    state: State = "zero",
) -> Law:
    """Return the run length's law of a chart with runs rules; as `rules_arl`.

    Raises:
        ValueError: There is no rule, one parameter is outside its range, or the rules
            together have more than 3,000 states.
    """
    finite(shift=shift, scale=scale)
    if not rules or scale <= 0:
        raise ValueError(f"expected a rule and a scale > 0, got {len(rules)} and {scale}")
    table = _states(tuple(rules), two_sided)
    kernel = table.kernel(shift, scale)
    if len(kernel) == 1:
        return geometric(table.beyond(shift, scale))
    before = table.kernel(0.0, scale)
    return law_of(
        Dense(kernel), kernel[0], state=state, before=Dense(before), first_before=before[0]
    )


def rules_arl(
    rules: Sequence[Rule],
    *,
    shift: float = 0.0,
    two_sided: bool = False,
    scale: float = 1.0,
    state: State = "zero",
) -> float:
    """Return the average run length of a Shewhart chart with runs rules.

    Args:
        rules: Any of which signals.
        shift: Of the mean, in standard deviations of a point.
        two_sided: Whether each rule holds on the other side as well.
        scale: Multiplies every bound of the rules.
        state: In which state the chart is when the shift begins; see `run_length`. Zero: no
            point before it counts.

    Returns:
        Points, >= 1; infinity over 1e12.

    Raises:
        ValueError: There is no rule, one parameter is outside its range, or the rules
            together have more than 3,000 states.

    Source:
        C. W. Champ and W. H. Woodall (1987), Technometrics 29:393-399.

    Examples:
        >>> round(rules_arl(WESTERN_ELECTRIC, two_sided=True), 2)
        91.75
    """
    return rules_law(rules, shift=shift, two_sided=two_sided, scale=scale, state=state).mean


@dataclass(frozen=True)
class _States:
    """What the rules remember of the last points, and where each zone of a point leads."""

    bounds: Floats
    """Between the zones, ascending; one less than there are zones."""
    after: NDArray[np.int64]
    """State by state and zone; -1 signals."""

    def chances(self, shift: float, scale: float) -> Floats:
        """Return the chance of each zone, exact in both tails."""
        low = np.append(-inf, self.bounds * scale) - shift
        high = np.append(self.bounds * scale, inf) - shift
        return np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))

    def beyond(self, shift: float, scale: float) -> float:
        """Return the chance to signal from the first state."""
        return float(self.chances(shift, scale)[self.after[0] < 0].sum())

    def kernel(self, shift: float, scale: float) -> Floats:
        """Return the chances from state to state."""
        count = len(self.after)
        chances = self.chances(shift, scale)
        kernel = np.zeros((count, count))
        for zone, chance in enumerate(chances):
            goes = np.flatnonzero(self.after[:, zone] >= 0)
            np.add.at(kernel, (goes, self.after[goes, zone]), chance)
        return kernel


@lru_cache(maxsize=64)
def _states(rules: tuple[Rule, ...], two_sided: bool) -> _States:
    sides = [(rule, rule.above, rule.below) for rule in rules]
    if two_sided:
        sides += [(rule, -rule.below, -rule.above) for rule in rules]
    bounds = sorted({edge for _, low, high in sides for edge in (low, high) if isfinite(edge)})
    between = [(a + b) / 2 for a, b in pairwise(bounds)]
    middles = [bounds[0] - 1, *between, bounds[-1] + 1]
    hits = [[low < middle < high for _, low, high in sides] for middle in middles]
    start: tuple[int, ...] = tuple(0 for _ in sides)
    known, order, after = {start: 0}, [start], list[list[int]]()
    while len(after) < len(order):
        past, row = order[len(after)], list[int]()
        for zone in hits:
            now = [
                _remembered(rule, bits, hit=hit)
                for (rule, _, _), bits, hit in zip(sides, past, zone, strict=True)
            ]
            if any(bits < 0 for bits in now):
                row.append(-1)
                continue
            if tuple(now) not in known:
                known[tuple(now)] = len(order)
                order.append(tuple(now))
            row.append(known[tuple(now)])
        after.append(row)
        if len(order) > _MOST_STATES:
            raise ValueError(f"these rules have more than {_MOST_STATES} states together")
    return _States(np.array(bounds), np.array(after))


def _remembered(rule: Rule, bits: int, *, hit: bool) -> int:
    """Return the hits that still matter, the newest as the lowest bit; -1 where it signals.

    An old hit matters while it and the newer ones, and a hit at each point until it is
    forgotten, would be enough.
    """
    bits = (bits << 1) | hit
    if bits.bit_count() >= rule.hits:
        return -1
    bits &= (1 << (rule.span - 1)) - 1
    while bits and bits.bit_count() + rule.span - bits.bit_length() < rule.hits:
        bits &= ~(1 << (bits.bit_length() - 1))
    return bits
