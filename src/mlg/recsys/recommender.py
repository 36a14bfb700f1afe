"""What every loaded model of this room can do, whatever its kind."""

from dataclasses import dataclass
from typing import Any, Protocol

from mlg.core.predict import Key, Query, Ranked


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularityList:
    """The list that answers when the model does not."""

    items: tuple[Key, ...]
    """Best first."""
    scores: tuple[float, ...]
    hit_rate: float
    """Measured share of held-out events whose item was in the first k, 0..1."""


class Recommender(Protocol):
    """A fitted model, read from its artifact."""

    @property
    def kind(self) -> str:
        """`two_stage`, `context_ranker`, `popularity` or `own`."""
        ...

    @property
    def item_ids(self) -> tuple[Key, ...]:
        """The catalogue, sorted."""
        ...

    @property
    def popularity(self) -> PopularityList:
        """The list that answers an abstention."""
        ...

    @property
    def logged_features(self) -> tuple[str, ...]:
        """Names of `Ranked.features`."""
        ...

    @property
    def golden(self) -> list[dict[str, Any]]:
        """Recorded requests `{user_id, k, context}` for warm-up."""
        ...

    @property
    def longest_history(self) -> int:
        """How many items the artifact bars at most for one viewer; 0: it keeps no viewers."""
        ...

    def is_known_item(self, item: Key) -> bool:
        """Return whether the item is in the catalogue."""
        ...

    def recommend(self, query: Query) -> Ranked:
        """Return at most `query.k` items, best first."""
        ...
