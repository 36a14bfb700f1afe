"""Which viewers: the slice, in words, whose share grew or within which a feature moved.

A beam search over conditions on attributes: `attribute = level` for text, `attribute < x`
and `attribute >= x` for numbers at the quantiles of all rows. A deeper slice must earn its
extra words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.windows import Feature

BEAM: Final = 12
DEPTH: Final = 2
LEAST_Z: Final = 3.5
"""A slice must stand out by so many standard errors: hundreds of slices are looked at."""

LEAST_SHARE: Final = 0.01
EARN: Final = 1.1
"""A longer description must score so many times the shorter one's score."""

FELL: Final = 0.7
"""Weight of a slice that shrank: when one grows, others make room for it."""

ROUND: Final = 0.05
"""Part of the score that a cut at no multiple of five costs."""

_CUTS: Final = 12

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition on one attribute."""

    attribute: str
    op: Literal["=", "<", ">="]
    value: str
    """The level, or the number as it is written."""

    def words(self) -> str:
        """Return the condition as a person reads it, without the prefix `viewer:`."""
        return f"{self.attribute.removeprefix('viewer:')} {self.op} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One part of the traffic, and how it changed."""

    conditions: tuple[Condition, ...]
    usual_share: float
    live_share: float
    z: float
    """Standard errors by which the share, or the feature inside, differs from the usual."""
    score: float
    feature: str = ""
    """The feature that moved inside the slice; empty where its share changed."""
    effect: float = 0.0
    """Shift of that feature inside, in its usual standard deviations."""

    @property
    def words(self) -> str:
        """The slice in words: `occupation = student and age < 25`."""
        return " and ".join(condition.words() for condition in self.conditions)


def find_slices(
    columns: Sequence[Feature],
    usual: Floats,
    live: Floats,
    *,
    attributes: Sequence[str] | None = None,
    feature: str | None = None,
    depth: int = DEPTH,
    top: int = 3,
) -> tuple[Slice, ...]:
    r"""Return the slices that changed most, best first; empty when none stands out.

    Without `feature`, the score of a slice with share p, usually q, is its part of the
    divergence, :math:`(p - q) \log (p / q)`. With one, it is the live share times the shift of
    the feature inside, in its usual standard deviations.

    Args:
        columns: What the columns of both matrices are.
        usual: Rows of the baseline, shape ``(n, len(columns))``; text as codes, NaN missing.
        live: Rows since the change, shape ``(m, len(columns))``.
        attributes: Columns to describe slices by; None takes those of the request, or all
            where there are none of these.
        feature: A numeric column whose values moved; it describes no slice itself.
        depth: Most conditions of a slice.
        top: Slices wanted.

    Returns:
        At most `top` slices. Fewer than 20 rows on either side give none.

    Source:
        W. Klösgen (1996), Advances in Knowledge Discovery and Data Mining, ch. 10 (subgroup
        discovery by beam search); J. Lin (1991), IEEE Trans. Inf. Theory 37(1) (divergence).
    """
    if min(len(usual), len(live)) < 20:
        return ()
    names = [column.name for column in columns]
    if attributes is None:
        asked = [c.name for c in columns if c.of == "request"]
        attributes = asked or names
    pool = [
        (condition, _holds(condition, columns[at], usual[:, at]),
         _holds(condition, columns[at], live[:, at]))
        for at, name in enumerate(names)
        if name in attributes and name != feature
        for condition in _conditions(columns[at], usual[:, at], live[:, at])
    ]  # fmt: skip
    values = None
    if feature is not None:
        at = names.index(feature)
        values = (usual[:, at], live[:, at])
    found: dict[frozenset[Condition], Slice] = {}
    beam: list[tuple[tuple[Condition, ...], Bools, Bools, float]] = [
        ((), np.ones(len(usual), dtype=bool), np.ones(len(live), dtype=bool), 0.0)
    ]
    for _ in range(depth):
        grown: list[tuple[tuple[Condition, ...], Bools, Bools, float]] = []
        for chosen, in_usual, in_live, parent in beam:
            for condition, own_usual, own_live in pool:
                if any(_same_side(condition, other) for other in chosen):
                    continue
                both = (*chosen, condition)
                if frozenset(both) in found:
                    continue
                rows = (in_usual & own_usual, in_live & own_live)
                one = _scored(both, *rows, values, feature or "")
                if one is None or one.score < EARN * parent:
                    continue
                found[frozenset(both)] = one
                grown.append((both, *rows, one.score))
        beam = sorted(grown, key=lambda item: -item[3])[:BEAM]
    best = sorted(
        found.values(), key=lambda one: (-_plain(one), len(one.conditions), one.words)
    )
    return tuple(_ordered(one) for one in best[:top])


def _plain(one: Slice) -> float:
    """Return the score, less for odd numbers and for slices that merely made room."""
    odd = sum(c.op != "=" and float(c.value) % 5 != 0 for c in one.conditions)
    fell = one.live_share < one.usual_share and not one.feature
    return one.score * (1 - ROUND * odd) * (FELL if fell else 1.0)


def members(one: Slice, columns: Sequence[Feature], rows: Floats) -> Bools:
    """Return which rows, shape ``(n, len(columns))``, belong to a slice."""
    at = {column.name: place for place, column in enumerate(columns)}
    result = np.ones(len(rows), dtype=bool)
    for condition in one.conditions:
        place = at[condition.attribute]
        result &= _holds(condition, columns[place], rows[:, place])
    return result


def _conditions(feature: Feature, usual: Floats, live: Floats) -> list[Condition]:
    if feature.levels is not None:
        return [
            Condition(attribute=feature.name, op="=", value=level) for level in feature.levels
        ]
    known = np.concatenate([usual, live])
    known = known[np.isfinite(known)]
    if not known.size:
        return []
    cuts = np.unique(np.quantile(known, np.arange(1, _CUTS) / _CUTS))
    # round numbers where the values are whole: `age < 25`, not `age < 24.6`
    whole = bool(np.all(known == np.round(known)))
    if whole:  # and round ones where they lie among them
        cuts = np.unique(np.concatenate([cuts, np.arange(0, cuts[-1] + 1, 5)[1:]]))[:60]
        cuts = cuts[cuts >= known.min()]
    texts = dict.fromkeys(f"{round(cut)}" if whole else f"{cut:.4g}" for cut in cuts.tolist())
    return [
        Condition(attribute=feature.name, op=op, value=text)
        for text in texts
        for op in ("<", ">=")
    ]


def _holds(condition: Condition, feature: Feature, values: Floats) -> Bools:
    if feature.levels is not None:
        return values == feature.levels.index(condition.value)
    with np.errstate(invalid="ignore"):
        if condition.op == "<":
            return values < float(condition.value)
        return values >= float(condition.value)


def _same_side(a: Condition, b: Condition) -> bool:
    """Return whether two conditions together say nothing more, or nothing sensible."""
    return a.attribute == b.attribute and ("=" in {a.op, b.op} or a.op == b.op)


def _scored(
    conditions: tuple[Condition, ...],
    in_usual: Bools,
    in_live: Bools,
    values: tuple[Floats, Floats] | None,
    feature: str,
) -> Slice | None:
    n, m = in_usual.size, in_live.size
    # half a row more on each side: a slice that was never there has a share all the same
    q, p = (in_usual.sum() + 0.5) / (n + 1), (in_live.sum() + 0.5) / (m + 1)
    if max(p, q) < LEAST_SHARE:
        return None
    if values is None:
        pooled = (in_usual.sum() + in_live.sum() + 1) / (n + m + 2)
        error = sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        z, score, effect = (p - q) / error, (p - q) * log(p / q), 0.0
    else:
        before, now = values[0][in_usual], values[1][in_live]
        before, now = before[np.isfinite(before)], now[np.isfinite(now)]
        sd = (
            float(values[0][np.isfinite(values[0])].std())
            if np.isfinite(values[0]).any()
            else 0
        )
        if min(before.size, now.size) < 5 or sd <= 0:
            return None
        effect = float(now.mean() - before.mean()) / sd
        error = sqrt(1 / before.size + 1 / now.size)
        z, score = effect / error, float(p) * abs(effect)
    if abs(z) < LEAST_Z:
        return None
    return Slice(
        conditions=conditions,
        usual_share=float(q),
        live_share=float(p),
        z=float(z),
        score=float(score),
        feature=feature if values is not None else "",
        effect=effect,
    )


def _ordered(one: Slice) -> Slice:
    """Return the slice with what is text first, then numbers, each by name."""
    key = sorted(one.conditions, key=lambda c: (c.op != "=", c.attribute, c.op))
    return replace(one, conditions=tuple(key))
