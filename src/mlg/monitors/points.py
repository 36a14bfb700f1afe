"""One statistic of one window."""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

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


def angle(share: float, n: int) -> float:
    """Return the variance-stabilising arcsine of a share of n: its noise is 1 / (2 sqrt(n)).

    Source:
        F. J. Anscombe (1948), Biometrika 35:246-254.
    """
    return float(np.arcsin(sqrt((share * n + 0.375) / (n + 0.75))))


def share_point(metric: str, count: int, n: int) -> Point:
    """Return the point of a share of n > 0 rows."""
    share = count / n
    return Point(
        metric=metric, kind="share", value=angle(share, n), shown=share, n=n,
        noise=0.5 / sqrt(n),
    )  # fmt: skip
