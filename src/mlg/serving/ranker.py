"""What serving needs from a loaded model, and who answers a request: model or list."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mlg.core.predict import Key, Query, Ranked, ServedBy, ServingPolicy
from mlg.core.traffic import FULL_BP

Reason = Literal["ranked", "explore", "abstain", "rescue"]
"""Why this arm answered: `rescue` is the fallback server's word, the others a replica's."""


class PopularityList(Protocol):
    """The service's most popular items, best first, and how good the list is."""

    @property
    def items(self) -> Sequence[Key]:
        """Item ids, best first."""
        ...

    @property
    def scores(self) -> Sequence[float]:
        """One score an item, falling."""
        ...

    @property
    def hit_rate(self) -> float:
        """Measured P(at least one of the first k is engaged with), 0..1."""
        ...


class Recommender(Protocol):
    """A model loaded from its artifact."""

    @property
    def popularity(self) -> PopularityList:
        """The list that answers when the model abstains."""
        ...

    @property
    def logged_features(self) -> Sequence[str]:
        """Names of `Ranked.features`, in order."""
        ...

    @property
    def longest_history(self) -> int:
        """How many items the artifact bars at most for one viewer; 0: it keeps no viewers."""
        ...

    def recommend(self, query: Query) -> Ranked:
        """Return at most `query.k` items, best first."""
        ...

    def is_known_item(self, item: Key, /) -> bool:
        """Return whether the item is in the model's catalogue."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which arm answers, why, and how likely that choice was."""

    served_by: ServedBy
    reason: Reason
    propensity: float
    """P(this arm | raw confidence, policy), 0 < p <= 1."""


def decide(raw_confidence: float, policy: ServingPolicy, draw: Callable[[], float]) -> Decision:
    """Return whether the model answers or abstains.

    Under the threshold a small share is answered by the model all the same, so that
    labels keep coming; `draw` is asked only there.

    Args:
        raw_confidence: The model's own calibrated confidence, 0..1.
        policy: The policy in force.
        draw: A uniform number in [0, 1).

    Examples:
        >>> decide(0.5, ServingPolicy(service="home", version="1"), lambda: 0.0).reason
        'ranked'
    """
    if raw_confidence >= policy.abstain_below:
        return Decision(served_by="model", reason="ranked", propensity=1.0)
    explore = policy.explore_bp / FULL_BP
    if draw() < explore:
        return Decision(served_by="model", reason="explore", propensity=explore)
    return Decision(served_by="fallback", reason="abstain", propensity=1.0 - explore)


def popular(listed: PopularityList, k: int, seen: Collection[Key]) -> Ranked:
    """Return the first k items of the list that are not in `seen`; fewer when it runs out.

    Args:
        listed: The popularity list.
        k: Number of items wanted, >= 1.
        seen: Items that the viewer already knows.
    """
    items: list[Key] = []
    scores: list[float] = []
    for item, score in zip(listed.items, listed.scores, strict=True):
        if item in seen:
            continue
        items.append(item)
        scores.append(score)
        if len(items) == k:
            break
    return Ranked(items=tuple(items), scores=tuple(scores), raw_confidence=listed.hit_rate)


def seen_items(query: Query) -> frozenset[Key]:
    """Return the items met in the request's own history; a mere impression does not count."""
    return frozenset(
        event.item_id for event in query.history or () if event.event != "impression"
    )
