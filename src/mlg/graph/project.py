"""Events to nodes and edges: what each event says, and how many sayings resolve to one graph.

Facts resolve by (`at`, `key`), never by arrival, so any order of ingest gives one graph.
"""

import functools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn
from urllib.parse import unquote

from mlg.core.events import EdgeFact, Event, StoredEvent
from mlg.core.nodes import ALLOWED, KINDS, ROLE_CLASS, Attr, EdgeClass
from mlg.core.uris import Uri, parse_uri

_PROVENANCES: Final = frozenset(("declared", "observed", "inferred"))
_URI: Final = re.compile(r"mlg://([^/]+)/[^/]+/[^/]+/[^/@]+(?:@[^/]+)?\Z")
"""The form that `parse_uri` takes; its one group is the kind."""

MAX_URI: Final = 2_048
"""Longest URI in characters; databases index no longer ones."""

Order = tuple[datetime, str, int]
"""Where a fact stands among all facts: event time, event key, place in the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUpsert:
    """What one event says about one node."""

    uri: Uri
    kind: str
    order: Order
    name: str = ""
    digest: str | None = None
    attrs: tuple[tuple[str, Attr], ...] = ()
    ended: bool = False
    implied: bool = False
    """Only named by an edge or as a subject: it exists, and nothing more is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeUpsert:
    """What one event says about one arrow."""

    src: Uri
    role: str
    dst: Uri
    edge_class: EdgeClass
    order: Order
    provenance: str
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A node after some of its facts."""

    name: str
    digest: str | None
    attrs: tuple[tuple[str, Attr], ...]
    valid_from: datetime
    valid_to: datetime | None
    last: Order | None
    """Order of the newest fact that was not implied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One span in which an arrow held."""

    valid_from: datetime
    valid_to: datetime | None
    opened_by: Order


@functools.lru_cache(maxsize=65_536)
def kind_of(uri: Uri) -> str:
    """Return the kind of a node.

    Raises:
        ValueError: The text is no URI, or the kind is unknown.
    """
    found = _URI.match(uri)
    kind = found[1] if found else parse_uri(uri).kind
    if kind not in KINDS:
        kind = parse_uri(uri).kind
        if kind not in KINDS:
            raise ValueError(f"unknown node kind {kind!r} of {uri}")
    return kind


def check_event(event: Event) -> tuple[Uri, ...]:
    """Return every URI that the event names, sorted; refuse what the graph cannot hold.

    Raises:
        ValueError: A URI or kind is unknown, an edge is not allowed, a URI is too long or not
            percent-encoded, or a text holds NUL.
    """
    uris = {event.subject}
    uris.update([fact.uri for fact in event.nodes])
    uris.update([fact.src for fact in event.edges])
    uris.update([fact.dst for fact in event.edges])
    kinds = {uri: kind_of(uri) for uri in uris}
    for uri in uris:
        if len(uri) > MAX_URI or not (uri.isascii() and uri.isprintable()):
            _refuse_uri(uri)
    # an event of ten thousand arrows has few kinds of arrows
    drawn = {(kinds[e.src], e.role, kinds[e.dst], e.provenance) for e in event.edges}
    for src, role, dst, provenance in drawn:
        if (src, dst) not in ALLOWED.get(role, ()) or provenance not in _PROVENANCES:
            for edge in event.edges:
                check_edge(edge)
    for fact in event.nodes:
        _check_texts(fact.uri, (fact.name, *_texts(fact.attrs)))
    _check_texts(event.type, (event.key, event.actor, *_texts(event.data)))
    return tuple(sorted(uris))


def _refuse_uri(uri: Uri) -> NoReturn:
    if len(uri) > MAX_URI:
        raise ValueError(f"a URI may have {MAX_URI} characters, got {len(uri)}: {uri[:100]}…")
    raise ValueError(f"expected a percent-encoded URI, got {uri[:200]!r}")


def _texts(pairs: Iterable[tuple[str, Attr]]) -> Iterator[str]:
    for name, value in pairs:
        yield name
        if isinstance(value, str):
            yield value


def _check_texts(where: str, texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise ValueError(f"a text of {where} holds NUL, which no database takes")


def check_edge(fact: EdgeFact) -> EdgeClass:
    """Return the class of an arrow that the direction table allows.

    Raises:
        ValueError: Unknown role or provenance, or the table has no such (src, role, dst).
    """
    src, dst = kind_of(fact.src), kind_of(fact.dst)
    if fact.role not in ROLE_CLASS:
        raise ValueError(f"unknown edge role {fact.role!r} from {fact.src} to {fact.dst}")
    if (src, dst) not in ALLOWED[fact.role]:
        raise ValueError(
            f"no edge {src} -{fact.role}-> {dst} is allowed ({fact.src} to {fact.dst}); "
            "src is what came first, see the table in mlg.core.nodes"
        )
    if fact.provenance not in _PROVENANCES:
        raise ValueError(f"unknown provenance {fact.provenance!r} of the edge to {fact.dst}")
    return ROLE_CLASS[fact.role]


def default_name(uri: Uri) -> str:
    """Return the name of a node that no fact has named."""
    name = uri[uri.rindex("/") + 1 :]
    return unquote(name) if "%" in name else name


def project(stored: StoredEvent) -> tuple[tuple[NodeUpsert, ...], tuple[EdgeUpsert, ...]]:
    """Return what the event says about nodes and edges, in the event's order.

    Raises:
        ValueError: A URI or kind is unknown, or an edge is not allowed.
    """
    return project_event(stored.event)


def project_event(
    event: Event, among: Collection[Uri] | None = None
) -> tuple[tuple[NodeUpsert, ...], tuple[EdgeUpsert, ...]]:
    """Return the same as `project`, for an event that has no place in the log yet.

    Args:
        event: The event.
        among: Only these nodes, and the arrows between two of them; None: all.

    Raises:
        ValueError: A URI or kind is unknown, or an edge is not allowed.
    """
    told = {fact.uri for fact in event.nodes}
    implied = dict.fromkeys(
        uri
        for uri in (event.subject, *(end for e in event.edges for end in (e.src, e.dst)))
        if uri not in told
    )
    nodes = [
        NodeUpsert(
            uri=fact.uri,
            kind=kind_of(fact.uri),
            order=(event.at, event.key, place),
            name=fact.name,
            digest=fact.digest,
            attrs=fact.attrs,
            ended=fact.ended,
        )
        for place, fact in enumerate(event.nodes)
        if among is None or fact.uri in among
    ]
    nodes += [
        NodeUpsert(uri=uri, kind=kind_of(uri), order=(event.at, event.key, place), implied=True)
        for place, uri in enumerate(implied)
        if among is None or uri in among
    ]
    edges = tuple(
        EdgeUpsert(
            src=fact.src,
            role=fact.role,
            dst=fact.dst,
            edge_class=check_edge(fact),
            order=(event.at, event.key, place),
            provenance=fact.provenance,
            ended=fact.ended,
        )
        for place, fact in enumerate(event.edges)
        if among is None or (fact.src in among and fact.dst in among)
    )
    return tuple(nodes), edges


def fold(state: NodeState | None, fact: NodeUpsert) -> NodeState:
    """Return the state after one more fact, which must be newer than `state.last` or implied.

    A fact after the end opens the node again: a pipeline that was removed from a
    manifest may come back.

    Raises:
        ValueError: The fact is older than the newest; use `resolve` with all of them.
    """
    at = fact.order[0]
    if state is None:
        state = NodeState(
            name=default_name(fact.uri),
            digest=None,
            attrs=(),
            valid_from=at,
            valid_to=None,
            last=None,
        )
    if not fact.implied and state.last is not None and fact.order < state.last:
        raise ValueError(f"a fact about {fact.uri} from {at} is older than the newest")
    valid_from = min(state.valid_from, at)
    if fact.implied:
        return NodeState(
            name=state.name,
            digest=state.digest,
            attrs=state.attrs,
            valid_from=valid_from,
            valid_to=state.valid_to,
            last=state.last,
        )
    return NodeState(
        name=fact.name or state.name,
        digest=fact.digest or state.digest,
        attrs=tuple(sorted({**dict(state.attrs), **dict(fact.attrs)}.items())),
        valid_from=valid_from,
        valid_to=at if fact.ended else None,
        last=fact.order,
    )


def resolve(facts: Iterable[NodeUpsert]) -> NodeState | None:
    """Return the state of one node after all its facts, given in any order."""
    state: NodeState | None = None
    for fact in sorted(facts, key=lambda fact: fact.order):
        state = fold(state, fact)
    return state


def intervals(facts: Iterable[tuple[Order, bool]]) -> tuple[Interval, ...]:
    """Return the spans in which one arrow held.

    Args:
        facts: (order, ended) of every fact about the arrow, in any order. An end
            before any start says nothing; a second start inside a span neither.
    """
    spans: list[Interval] = []
    opened: Order | None = None
    for order, ended in sorted(facts):
        if ended and opened is not None:
            spans.append(Interval(valid_from=opened[0], valid_to=order[0], opened_by=opened))
            opened = None
        elif not ended and opened is None:
            opened = order
    if opened is not None:
        spans.append(Interval(valid_from=opened[0], valid_to=None, opened_by=opened))
    return tuple(spans)
