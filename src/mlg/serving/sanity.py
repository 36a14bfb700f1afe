"""Whether an answer may leave the process; a bad one becomes a 500 that the gateway rescues."""

from collections.abc import Callable, Collection, Sequence
from math import isfinite
from typing import Literal

from mlg.core.predict import Key, Ranked

Fault = Literal[
    "confidence", "length", "empty", "nan", "duplicate", "unknown-item", "stale", "features"
]


def fault_of(
    ranked: Ranked,
    *,
    k: int,
    at_least: int,
    known: Callable[[Key], bool],
    met: Collection[Key] = (),
    features: int | None = None,
) -> Fault | None:
    """Return what is wrong with an answer, or None.

    Args:
        ranked: The ranker's answer.
        k: Number of items asked for.
        at_least: Number of items that the catalogue can surely fill.
        known: Whether an item is in the catalogue.
        met: Items that the viewer has had, where the model may not give them again.
        features: How many features the log expects; None: any number.

    Examples:
        >>> bad = Ranked(items=(1, 1), scores=(2.0, 1.0), raw_confidence=0.5)
        >>> fault_of(bad, k=2, at_least=1, known=lambda item: True)
        'duplicate'
    """
    items, scores = ranked.items, ranked.scores
    if features is not None and len(ranked.features) != features:
        return "features"
    if not 0.0 <= ranked.raw_confidence <= 1.0:  # also false for NaN
        return "confidence"
    if not items and at_least > 0:
        return "empty"
    if len(items) != len(scores) or not at_least <= len(items) <= k:
        return "length"
    if not all(map(isfinite, scores)):
        return "nan"
    return _of_items(items, known, met)


def _of_items(
    items: Sequence[Key], known: Callable[[Key], bool], met: Collection[Key]
) -> Fault | None:
    if len(set(items)) != len(items):
        return "duplicate"
    if not all(map(known, items)):
        return "unknown-item"
    if met and not set(met).isdisjoint(items):
        return "stale"
    return None
