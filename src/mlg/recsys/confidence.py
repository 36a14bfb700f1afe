"""P(at least one of the top k is engaged with): a logistic model, then isotonic steps."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isnan, log1p
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit

from mlg.recsys.columns import Floats

LEAST, MOST = 0.001, 0.999
"""Confidence is kept inside these: no answer is certain."""

NAMES = (
    "margin_second", "margin_last", "entropy", "top_score", "history", "cold",
    "popularity_share", "short", "short_last", "short_entropy",
)  # fmt: skip
_SHORT_AT = NAMES.index("short")
BLOCK = 60
"""Answers that share one level before the levels are put in order: fewer are only noise."""
SHORT = 5
"""Histories with fewer events have weights, and a calibration, of their own."""


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """A fitted confidence model; JSON-ready. It has no slots, as it caches its arrays."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    curves: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    """(logits, calibrated probabilities) of long histories and of short ones, each ascending;
    between knots a straight line."""

    @cached_property
    def _line(self) -> tuple[Floats, Floats, Floats]:
        return np.asarray(self.mean), np.asarray(self.scale), np.asarray(self.weights)

    @cached_property
    def _knots(self) -> tuple[tuple[Floats, Floats], ...]:
        return tuple((np.asarray(knots), np.asarray(levels)) for knots, levels in self.curves)

    def logit(self, seen: Floats) -> Floats:
        """Return the logistic model's logit of rows, shape ``(n,)``."""
        mean, scale, weights = self._line
        return ((seen - mean) / scale) @ weights + self.intercept

    def calibrated(self, seen: Floats) -> Floats:
        """Return the calibrated probability of rows, shape ``(n,)``, 0.001..0.999."""
        logit = self.logit(seen)
        long, short = (np.interp(logit, knots, levels) for knots, levels in self._knots)
        chosen = np.where(seen[:, NAMES.index("short")] > 0, short, long)
        return np.clip(chosen, LEAST, MOST)

    def of(self, seen: Floats) -> float:
        """Return the calibrated probability of one answer, ``seen`` of shape ``(names,)``.

        As `calibrated` of the one row, without arrays, which cost ten times as much for one.
        """
        row: list[float] = seen.tolist()
        terms = zip(row, self.mean, self.scale, self.weights, strict=True)
        logit = self.intercept + sum((x - mean) / scale * w for x, mean, scale, w in terms)
        if isnan(logit):
            return logit
        level = _between(logit, *self.curves[1 if row[_SHORT_AT] > 0 else 0])
        return min(max(level, LEAST), MOST)

    def as_dict(self) -> dict[str, Any]:
        """Return the model as a JSON object."""
        return asdict(self)


def confidence_from(raw: dict[str, Any]) -> Confidence:
    """Return the model from its JSON object."""
    return Confidence(
        names=tuple(raw["names"]),
        mean=tuple(raw["mean"]),
        scale=tuple(raw["scale"]),
        weights=tuple(raw["weights"]),
        intercept=float(raw["intercept"]),
        curves=tuple((tuple(knots), tuple(levels)) for knots, levels in raw["curves"]),
    )


def logistic(
    rows: Floats, y: Floats, *, ridge: float, weight: Floats | None = None
) -> tuple[Floats, float]:
    """Return weights and intercept of a ridge logistic regression by Newton's method.

    Args:
        rows: Features, shape ``(n, f)``, about unit scale.
        y: Outcomes 0 or 1, shape ``(n,)``.
        ridge: Penalty on the squared weights (not on the intercept), > 0.
        weight: Non-negative weights of the rows; None counts each once.

    Source:
        T. Hastie, R. Tibshirani, J. Friedman (2009), The Elements of Statistical Learning,
        2nd ed., section 4.4.1 (iteratively reweighted least squares).
    """
    w = np.ones_like(y) if weight is None else weight
    design = np.column_stack([rows, np.ones(y.size)])
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 1e-6
    theta = np.zeros(design.shape[1])
    base = float(np.clip(np.average(y, weights=w), 1e-6, 1 - 1e-6))
    theta[-1] = np.log(base / (1 - base))
    for _ in range(50):
        p = expit(design @ theta)
        gradient = design.T @ (w * (y - p)) - penalty * theta
        curve = w * np.maximum(p * (1 - p), 1e-9)
        step = np.linalg.solve(
            (design * curve[:, None]).T @ design + np.diag(penalty), gradient
        )
        size = float(np.abs(step).max())
        theta += step * min(1.0, 5.0 / max(size, 1e-12))
        if size < 1e-9:
            break
    return theta[:-1], float(theta[-1])


def isotonic_knots(
    x: Floats, y: Floats, weight: Floats | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the isotonic regression of y on x as (mean x of each block, its level).

    Args:
        x: Scores, shape ``(n,)``, n >= 1.
        y: Outcomes, shape ``(n,)``.
        weight: Positive weights of the rows; None counts each once.

    Returns:
        Two tuples of equal length, both ascending; equal x are one block's business.

    Source:
        R. E. Barlow et al. (1972), Statistical Inference under Order Restrictions (pool
        adjacent violators); B. Zadrozny, C. Elkan (2002), KDD '02, pp. 694-699.

    Examples:
        >>> isotonic_knots(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]))
        ((1.5, 3.0), (0.5, 1.0))
    """
    w = np.ones_like(y) if weight is None else weight
    unique, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weights=w)
    mean = np.bincount(place, weights=w * y) / mass
    fit: Any = isotonic_regression(mean, weights=mass)
    blocks = np.asarray(fit.blocks)
    levels = np.asarray(fit.x)[blocks[:-1]]
    sums = np.add.reduceat(mass * unique, blocks[:-1])
    knots = sums / np.add.reduceat(mass, blocks[:-1])
    return tuple(knots.tolist()), tuple(levels.tolist())


def fit_confidence(seen: Floats, hit: Floats, weight: Floats | None = None) -> Confidence:
    """Return the confidence model fitted on held-out answers.

    Args:
        seen: What `observe` returned for each answer, shape ``(n, len(NAMES))``, n >= 1.
        hit: 1 where the next event's item was in the top k, else 0.
        weight: How many answers each stands for, positive; None counts each once.
    """
    w = np.ones(hit.size) if weight is None else weight
    mean = np.average(seen, axis=0, weights=w)
    scale = np.sqrt(np.average((seen - mean) ** 2, axis=0, weights=w))
    scale[scale < 1e-9] = 1.0
    weights, intercept = logistic((seen - mean) / scale, hit, ridge=1.0, weight=w)
    raw = ((seen - mean) / scale) @ weights + intercept
    short = seen[:, NAMES.index("short")] > 0
    curves = tuple(_curve(raw[part], hit[part], w[part]) for part in (~short, short))
    return Confidence(
        names=NAMES,
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(weights.tolist()),
        intercept=intercept,
        curves=curves,
    )


def _curve(
    raw: Floats, hit: Floats, weight: Floats
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return isotonic steps over blocks of `BLOCK` answers; the logistic's own without any."""
    if not raw.size:
        grid = np.linspace(-7.0, 7.0, 57)
        return tuple(grid.tolist()), tuple(expit(grid).tolist())
    blocks = max(raw.size // BLOCK, 1)
    place = np.empty(raw.size, dtype=np.int64)
    place[np.argsort(raw, kind="stable")] = np.arange(raw.size) * blocks // raw.size
    mass = np.bincount(place, weights=weight).astype(np.float64)
    return isotonic_knots(
        np.bincount(place, weights=weight * raw) / mass,
        np.bincount(place, weights=weight * hit) / mass,
        mass,
    )


def _between(x: float, knots: Sequence[float], levels: Sequence[float]) -> float:
    """Return `np.interp` of one number that is not NaN."""
    after = bisect_right(knots, x)
    if after == 0:
        return levels[0]
    if after == len(knots):
        return levels[-1]
    left, right = knots[after - 1], knots[after]
    low, high = levels[after - 1], levels[after]
    return low + (high - low) / (right - left) * (x - left)


def observe(scores: Floats, k: int, history: int, popularity_share: float) -> Floats:
    """Return what the confidence model sees of one answer, shape ``(len(NAMES),)``.

    Args:
        scores: Scores of all candidates, best first, shape ``(n,)``; empty gives zeros.
        k: Length of the list that confidence speaks of.
        history: Earlier events of the viewer.
        popularity_share: Share of the top k that is on the popularity list, 0..1.
    """
    if scores.size:
        best = float(scores[0])
        head = scores[:50] - best
        p = np.exp(head)
        p /= p.sum()
        entropy = -float(p @ np.log(np.maximum(p, 1e-12)))
        second = best - float(scores[1]) if scores.size > 1 else 0.0
        last = best - float(scores[min(k, scores.size) - 1])
    else:
        best = entropy = second = last = 0.0
    few = float(history < SHORT)
    return np.array(
        [
            second,
            last,
            entropy,
            best,
            log1p(history),
            float(history == 0),
            popularity_share,
            few,
            few * last,
            few * entropy,
        ]
    )
