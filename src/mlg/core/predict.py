"""What a viewer asks and gets, and the policy that a replica serves under."""

from dataclasses import dataclass
from datetime import datetime
from math import nan
from typing import Literal

from mlg.core.nodes import Attr

ServedBy = Literal["model", "fallback"]
FeedbackKind = Literal["impression", "play", "complete"]

Key = str | int
"""Identifier of a viewer or an item, of the type that the table's column has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One earlier event of the viewer, as `context.history` carries it."""

    item_id: Key
    at: datetime | None = None
    event: str = "play"
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One request for recommendations, after parsing and before any model."""

    user_id: Key | None
    k: int
    at: datetime
    """Event time of the request; aware UTC."""
    history: tuple[Interaction, ...] | None = None
    """None: the artifact's own table is used; empty: the viewer has no history."""
    viewer: tuple[tuple[str, Attr], ...] = ()
    """Viewer features given in the request, by column name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A ranker's answer: best first, with what the confidence model saw."""

    items: tuple[Key, ...]
    scores: tuple[float, ...]
    raw_confidence: float = nan
    """P(at least one of the items is engaged with), calibrated, 0..1; NaN: the ranker gives
    none, and mlg's stand-in does."""
    features: tuple[float, ...] = ()
    """Values of the logged features, in the artifact's declared order."""
    judged: bool = True
    """Whether `raw_confidence` was measured; if not, nobody abstains for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer as it was given, and as the segment log keeps it."""

    prediction_id: str
    service: str
    version: str
    policy: str
    items: tuple[Key, ...]
    scores: tuple[float, ...]
    raw_confidence: float
    confidence: float
    served_by: ServedBy
    reason: str
    at: datetime
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPolicy:
    """What may change about a service while it runs, as one versioned value."""

    service: str
    version: str
    abstain_below: float = 0.0
    """Raw confidence under which the popularity list answers, 0..1."""
    explore_bp: int = 100
    """Share of would-be abstentions that the model answers all the same."""
    drift_severity: float = 0.0
    diversity: float = 0.0
    seeding: float = 0.0
    layout: str = "default"

    def __post_init__(self) -> None:
        unit = (self.abstain_below, self.drift_severity, self.diversity, self.seeding)
        if not all(0.0 <= value <= 1.0 for value in unit) or not 0 <= self.explore_bp <= 10_000:
            raise ValueError(f"policy values of {self.service!r} must be 0..1 (bp: 0..10000)")
