"""One statistic of one window."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Kind = Literal["location", "spread", "share", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One statistic of one window."""

    metric: str
    """`viewer:age.location`, `viewer:occupation=student.share`, `viewer:age.missing`."""
    kind: Kind
    value: float
    """As charted: a mean of normal scores, a log sd, an arcsine of a share, a mean."""
    shown: float
    """As a person reads it: a mean, a sd, a share."""
    n: int
    """Rows behind it."""
    noise: float
    """Standard deviation that chance among independent rows alone would give `value`."""


def angles(count: Any, n: Any) -> Floats:
    """Return variance-stabilising arcsines of shares; their noise is 1 / (2 sqrt(n)).

    Args:
        count: Rows that have it, any shape of numbers.
        n: Rows, same shape; where there are none the answer is NaN.

    Source:
        F. J. Anscombe (1948), Biometrika 35:246-254.

    Examples:
        >>> angles(np.array([50.0, 0.0]), np.array([100.0, 0.0])).round(4).tolist()
        [0.7854, nan]
    """
    share = np.sqrt((count + 0.375) / (n + 0.75))
    return np.where(n > 0, np.arcsin(np.minimum(share, 1.0)), np.nan)


def share_point(metric: str, count: int, n: int) -> Point:
    """Return the point of a share of n > 0 rows."""
    value = float(angles(np.float64(count), np.float64(n)))
    return Point(
        metric=metric, kind="share", value=value, shown=count / n, n=n, noise=0.5 / sqrt(n)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """All statistics of one window, as columns; each as in `Point`."""

    metrics: tuple[str, ...]
    kinds: tuple[Kind, ...]
    value: Floats
    shown: Floats
    n: Floats
    noise: Floats

    @classmethod
    def of(cls, points: Iterable[Point]) -> Self:
        """Return single statistics as columns."""
        found = tuple(points)
        return cls(
            metrics=tuple(one.metric for one in found),
            kinds=tuple(one.kind for one in found),
            value=np.array([one.value for one in found]),
            shown=np.array([one.shown for one in found]),
            n=np.array([one.n for one in found], dtype=np.float64),
            noise=np.array([one.noise for one in found]),
        )

    def in_order(self, metrics: tuple[str, ...]) -> "Points":
        """Return the columns in the order of other metrics; NaN where there is none of them."""
        if metrics == self.metrics:
            return self
        places = {metric: place for place, metric in enumerate(self.metrics)}
        at = np.array([places.get(metric, -1) for metric in metrics], dtype=np.int64)
        value, shown, n, noise = (
            np.append(one, np.nan)[at] for one in (self.value, self.shown, self.n, self.noise)
        )
        kinds: tuple[Kind, ...] = (*self.kinds, "location")
        return Points(
            metrics=metrics, kinds=tuple(kinds[place] for place in at.tolist()),
            value=value, shown=shown, n=n, noise=noise,
        )  # fmt: skip


class Collected:
    """Statistics as they come, shares apart from the others: one arcsine for all shares."""

    def __init__(self) -> None:
        self._shares = list[tuple[str, int, int]]()
        self._others, self._blocks = list[Point](), list[Points]()

    def share(self, metric: str, count: int, n: int) -> None:
        """Add a share of n > 0 rows."""
        self._shares.append((metric, count, n))

    def add(self, points: Iterable[Point]) -> None:
        """Add other statistics."""
        self._others += points

    def block(self, points: Points) -> None:
        """Add statistics that are columns already."""
        self._blocks.append(points)

    def done(self) -> Points:
        """Return all of them: shares first."""
        blocks = [self._of_shares(), *self._blocks, Points.of(self._others)]
        return Points(
            metrics=tuple(metric for one in blocks for metric in one.metrics),
            kinds=tuple(kind for one in blocks for kind in one.kinds),
            value=np.concatenate([one.value for one in blocks]),
            shown=np.concatenate([one.shown for one in blocks]),
            n=np.concatenate([one.n for one in blocks]),
            noise=np.concatenate([one.noise for one in blocks]),
        )

    def _of_shares(self) -> Points:
        names = tuple(one[0] for one in self._shares)
        count = np.array([one[1] for one in self._shares], dtype=np.float64)
        n = np.array([one[2] for one in self._shares], dtype=np.float64)
        kinds: tuple[Kind, ...] = ("share",) * len(names)
        return Points(
            metrics=names, kinds=kinds, value=angles(count, n),
            shown=count / n, n=n, noise=0.5 / np.sqrt(n),
        )  # fmt: skip
