"""What providers tell of things that other systems keep: thin events, states, enrichment.

A provider knows one source of truth, for example an MLflow server. A thin event names a
thing of it; the provider is asked for the whole present state, so neither the order of
events nor a lost one matters.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mlg.core.events import EdgeFact, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Uri


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Thing:
    """One thing of a source, by the source's own words."""

    type: str
    """A word of the provider: `run`, `model_version`."""
    id: str
    """The source's id of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The whole present state of one thing, as its source tells it."""

    thing: Thing
    subject: Uri
    """Its node; like every other node here it has the provider's own part in its URI."""
    name: str
    observed_at: datetime
    """When the source was asked; aware UTC."""
    since: datetime | None = None
    """When it came to be; what never changes of it is recorded at this time."""
    changed_at: datetime | None = None
    """When it came into this state, where the source knows; for what is new to the graph."""
    attrs: tuple[tuple[str, Attr], ...] = ()
    """What may change; an attribute that is told no more becomes None."""
    nodes: tuple[NodeFact, ...] = ()
    """What else it names, with what never changes of it."""
    edges: tuple[EdgeFact, ...] = ()
    named: tuple[tuple[Uri, Thing], ...] = ()
    """Other things that it names, with their nodes; unknown ones are asked for too."""
    gone: bool = False
    """Whether the source has it no more."""


EnrichmentState = Literal["waiting", "enriched", "failing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrichment:
    """Where one thing stands."""

    provider: str
    """The provider's name in the settings."""
    thing: Thing
    state: EnrichmentState
    """`waiting` to be asked for, `enriched`, or `failing`: it is tried again at `next_at`."""
    asked: int = 0
    """How many times it was asked for; rises for ever."""
    tries: int = 0
    """Failures since it was last told."""
    next_at: datetime | None = None
    """When it is due; None when it waits for nothing."""
    enriched_at: datetime | None = None
    """When its source last told it, changed or not; aware UTC."""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichmentCounts:
    """How many things of one provider stand where."""

    provider: str
    waiting: int = 0
    enriched: int = 0
    failing: int = 0
    enriched_at: datetime | None = None
    """The newest."""
