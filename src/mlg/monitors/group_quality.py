"""Statistics of what became of answers: of all of them, and of each group of viewers.

A group's statistics are named `feature=level.hit_rate.share`, those of all answers
`hit_rate.share`; `feature.hit_rate_gap.mean` is how far the groups of one feature lie apart.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Final

from mlg.monitors.group_memory import MISSING, UNSEEN
from mlg.monitors.points import Point, share_point
from mlg.monitors.windows import GroupQuality, Quality

LEAST_GROUP: Final = 20
"""A group with fewer labelled answers in a window is not charted for it."""

HIT_RATE: Final = "hit_rate"
WATCH_THROUGH: Final = "watch_through"
GAP: Final = "hit_rate_gap"

_LEAST_WATCHED: Final = 5
_NO_PEOPLE: Final = frozenset((MISSING, UNSEEN))
"""Groups that say what is not known, so that nobody is compared with them."""


def figures(one: Quality | GroupQuality, prefix: str = "") -> list[Point]:
    """Return hit rate, calibration (hits less those expected) and watch-through.

    Args:
        one: What became of the answers; without a labelled one nothing is said.
        prefix: Before the names.
    """
    n = one.labelled
    if not n:
        return []
    rate = one.hits / n
    apart = rate - one.expected / n
    points = [
        share_point(f"{prefix}{HIT_RATE}.share", one.hits, n),
        Point(
            metric=f"{prefix}calibration.mean", kind="mean", value=apart, shown=apart, n=n,
            noise=_noise(rate, n),
        ),
    ]  # fmt: skip
    if one.watch_n >= _LEAST_WATCHED:
        mean = one.watch_sum / one.watch_n
        points.append(
            Point(
                metric=f"{prefix}{WATCH_THROUGH}.mean", kind="mean", value=mean, shown=mean,
                n=one.watch_n, noise=0.25 / sqrt(one.watch_n),
            )
        )  # fmt: skip
    return points


def _noise(rate: float, n: int) -> float:
    """Return the standard deviation of a share of n answers; of none or all it is no 0."""
    return max(sqrt(rate * (1 - rate) / n), 0.5 / n)


def group_points(groups: Sequence[GroupQuality]) -> list[Point]:
    """Return the statistics of each group with enough labels, and the gaps between groups.

    The gap of a feature is the greatest hit rate of its groups less the smallest: the
    difference in opportunity, where a hit is the opportunity. Answers without a value, and
    texts that training never saw, are charted and compared with nobody.

    Source:
        M. Hardt, E. Price, N. Srebro (2016), Equality of opportunity in supervised learning,
        NIPS; the difference over more than two groups is the largest of any two.

    Examples:
        >>> two = [
        ...     GroupQuality(feature="plan", level=level, n=50, labelled=40, hits=hits)
        ...     for level, hits in (("free", 10), ("paid", 30))
        ... ]
        >>> gap = group_points(two)[-1]
        >>> gap.metric, gap.value
        ('plan.hit_rate_gap.mean', 0.5)
    """
    points: list[Point] = []
    enough: dict[str, list[GroupQuality]] = {}
    for one in groups:
        if one.labelled < LEAST_GROUP:
            continue
        points += figures(one, f"{one.feature}={one.level}.")
        if one.level not in _NO_PEOPLE:
            enough.setdefault(one.feature, []).append(one)
    return [*points, *(_gap(name, of) for name, of in enough.items() if len(of) > 1)]


def _gap(feature: str, groups: Sequence[GroupQuality]) -> Point:
    rates = sorted((one.hits / one.labelled, one.labelled) for one in groups)
    (low, low_n), (high, high_n) = rates[0], rates[-1]
    apart = high - low
    return Point(
        metric=f"{feature}.{GAP}.mean",
        kind="mean",
        value=apart,
        shown=apart,
        n=sum(n for _, n in rates),
        noise=sqrt(_noise(low, low_n) ** 2 + _noise(high, high_n) ** 2),
    )


def measured(metric: str) -> str:
    """Return what a statistic of quality measures, of whomever.

    Examples:
        >>> measured("hit_rate.share"), measured("viewer:plan=pro 1.5.hit_rate.share")
        ('hit_rate', 'hit_rate')
        >>> measured("viewer:plan.hit_rate_gap.mean")
        'hit_rate_gap'
    """
    return metric.rpartition(".")[0].rpartition(".")[2]


def group_of(metric: str) -> tuple[str, str]:
    """Return feature and level that a statistic of quality is of; empty: of all answers.

    Examples:
        >>> group_of("viewer:plan=pro 1.5.hit_rate.share"), group_of("hit_rate.share")
        (('viewer:plan', 'pro 1.5'), ('', ''))
        >>> group_of("viewer:plan.hit_rate_gap.mean")
        ('viewer:plan', '')
    """
    whose = metric.rpartition(".")[0].rpartition(".")[0]
    feature, _, level = whose.partition("=")
    return feature, level


def group_words(metric: str) -> str:
    """Return whom a statistic of quality is of, as a slice in words; empty: of all answers.

    Examples:
        >>> group_words("viewer:plan=free.hit_rate.share"), group_words("hit_rate.share")
        ('plan = free', '')
    """
    feature, level = group_of(metric)
    name = feature.removeprefix("viewer:")
    return f"{name} = {level}" if level else name
