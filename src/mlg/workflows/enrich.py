"""Bringing what providers tell into the graph: recording states, and finding what is gone."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, Literal

from mlg.core.errors import ConflictError, LifecycleError
from mlg.core.events import Event
from mlg.core.nodes import KINDS, Attr, Node
from mlg.core.ports import EnrichmentQueue, GraphReader, GraphStore
from mlg.core.providers import Enrichment, Thing, Told
from mlg.core.reading import NodeQuery
from mlg.core.uris import Uri, make_uri
from mlg.graph.record import Recorder
from mlg.graph.states import DIGEST_ATTR, THING_ATTR, StateError, state_events
from mlg.workflows.record import append_once

Status = Literal["recorded", "unchanged", "refused"]

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one state."""

    thing: Thing
    subject: Uri
    status: Status
    error: LifecycleError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Records states: those that the graph knows already make no event.

    The graph itself holds what was last told, as a digest on the node; the queue only knows
    when. A crash between the two is made good by the next look.
    """

    store: GraphStore
    reader: GraphReader
    queue: EnrichmentQueue
    recorder: Callable[[str], Recorder]
    """Gives a recorder in the name of an actor."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held from asking the graph what it knows until it knows more."""

    def record(
        self, name: str, plugin: str, told: Sequence[Told], asked: Enrichment | None = None
    ) -> tuple[Outcome, ...]:
        """Bring states into the graph; of two about one thing the last counts.

        Args:
            name: The provider's name in the settings, or the plug-in's.
            plugin: The provider's part of the URIs.
            told: The states.
            asked: What the provider was asked for; its row is settled too.

        Raises:
            BackendError: The graph or the queue could not be written.
        """
        recorder = self.recorder(f"provider:{plugin}")
        outcomes: list[Outcome] = []
        events: list[Event] = []
        with self.lock:
            for one in {state.subject: state for state in told}.values():
                try:
                    made = state_events(recorder, plugin, one, self.known(one.subject))
                except StateError as error:
                    outcomes.append(_outcome(one, "refused", error))
                else:
                    events += made
                    outcomes.append(_outcome(one, "recorded" if made else "unchanged"))
            self._append(events)
        self._settle(name, told, outcomes, asked)
        return tuple(outcomes)

    def unknown(self, told: Iterable[Told]) -> tuple[Thing, ...]:
        """Return the things that states name and that nobody has told about yet."""
        named = {pair for one in told for pair in one.named}
        return tuple(sorted(thing for uri, thing in named if not self._is_told(uri)))

    def vanished(self, plugin: str, namespace: str, seen: Set[Uri]) -> tuple[Thing, ...]:
        """Return what the graph was told about before, and what a whole sweep did not see."""

        def page(kind: str, cursor: str) -> list[Listed]:
            query = NodeQuery(kinds=(kind,), cursor=cursor, limit=_PAGE)
            return [
                (node.uri, dict(node.attrs), node.valid_to is not None)
                for node in self.reader.nodes(query).nodes
            ]

        return vanished(page, plugin, namespace, seen)

    def _is_told(self, uri: Uri) -> bool:
        known = self.known(uri)
        return known is not None and bool(dict(known.attrs).get(DIGEST_ATTR))

    def known(self, uri: Uri) -> Node | None:
        """Return a node as the graph has it."""
        found = self.reader.nodes(NodeQuery(uri=uri, limit=1)).nodes
        return found[0] if found else None

    def _append(self, events: Sequence[Event]) -> None:
        if not events:
            return
        try:
            self.store.append(events)
        except ConflictError:
            append_once(self.store, events)

    def _settle(
        self,
        name: str,
        told: Sequence[Told],
        outcomes: Sequence[Outcome],
        asked: Enrichment | None,
    ) -> None:
        at = {state.thing: state.observed_at for state in told}
        errors = {one.thing: str(one.error) for one in outcomes if one.error is not None}
        rows = [
            Enrichment(
                provider=name,
                thing=thing,
                state="failing" if thing in errors else "enriched",
                asked=asked.asked if asked is not None and asked.thing == thing else 0,
                enriched_at=None if thing in errors else at[thing],
                error=errors.get(thing, ""),
            )
            for thing in at
        ]
        self.queue.settle(rows)


Listed = tuple[str, Mapping[str, Attr], bool]
"""A node's URI and attributes, and whether it has ended."""


def vanished(
    page: Callable[[str, str], Sequence[Listed]], plugin: str, namespace: str, seen: Set[str]
) -> tuple[Thing, ...]:
    """Return the things below a namespace that were told once, have not ended and are not seen.

    Args:
        page: Returns nodes of a kind after a URI, in order; none at the end.
        plugin: The provider's part of the URIs.
        namespace: The namespace.
        seen: URIs of the things that the source still has.
    """
    found: set[Thing] = set()
    for kind in sorted(KINDS):
        prefix = make_uri(kind, namespace, "x", provider=plugin)[:-1]
        cursor: str = prefix
        while listed := page(kind, cursor):
            for uri, attrs, ended in listed:
                type_, _, id_ = str(attrs.get(THING_ATTR) or "").partition(":")
                if uri.startswith(prefix) and id_ and not ended and uri not in seen:
                    found.add(Thing(type=type_, id=id_))
            cursor = listed[-1][0]
            if not cursor.startswith(prefix):
                break
    return tuple(sorted(found))


def _outcome(told: Told, status: Status, error: LifecycleError | None = None) -> Outcome:
    return Outcome(thing=told.thing, subject=told.subject, status=status, error=error)
