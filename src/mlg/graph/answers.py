"""Answers of the graph: what programs read, made from the core types.

The API sends them, `--json` prints them, and the command line makes the same ones from a
database that it reads itself. Fields may be added, never renamed.
"""

import functools
from collections.abc import Iterable
from datetime import datetime

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.events import EdgeFact, NodeFact, Revision, StoredEvent
from mlg.core.nodes import ROLE_CLASS, Attr, Edge, Node
from mlg.core.reading import NodePage, Production, Walk
from mlg.graph.columns import KINDS, BreaksAnswer, breaks


class NodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One node as it stands."""

    uri: str
    kind: str
    name: str
    attrs: dict[str, Attr]
    digest: str | None
    valid_from: str
    valid_to: str | None


class ReachedAnswer(NodeAnswer, frozen=True, kw_only=True):
    """One node that a walk came to, after so many arrows."""

    depth: int


class EdgeAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"class_": "class"}):
    """One arrow, from what came first to what came of it."""

    src: str
    dst: str
    role: str
    class_: str
    valid_from: str
    valid_to: str | None
    provenance: str
    event: str | None
    """Idempotency key of the event that made it; None for what is told, not stored."""


class WalkAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trace or an impact."""

    root: str
    direction: str
    total: int
    truncated: bool
    nodes: list[ReachedAnswer]
    edges: list[EdgeAnswer]
    breaks: BreaksAnswer | None = None
    """What breaks if the root changes, where it is a column or a feature."""


class NodesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of nodes."""

    nodes: list[NodeAnswer]
    total: int
    truncated: bool
    cursor: str | None


class FoundAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found, best first."""

    nodes: list[NodeAnswer]


class VersionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One version that took traffic."""

    model_version: str
    deployment: str
    image_digest: str
    share_bp: int
    since: str
    health: str


class ProductionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What served a service at a time."""

    service: str
    at: str
    versions: list[VersionAnswer]


class NodeFactAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says about a node."""

    uri: str
    name: str
    digest: str | None
    attrs: dict[str, Attr]
    ended: bool


class EdgeFactAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says about an arrow."""

    src: str
    role: str
    dst: str
    provenance: str
    ended: bool


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its place in the chain."""

    seq: int
    hash: str
    prev_hash: str
    key: str
    id: str
    at: str
    recorded_at: str
    type: str
    actor: str
    subject: str
    cause: str | None
    nodes: list[NodeFactAnswer]
    edges: list[EdgeFactAnswer]
    data: dict[str, Attr]


class HeadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log stands."""

    seq: int
    hash: str


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Events in order, and where the log stands."""

    events: list[EventAnswer]
    head: HeadAnswer


def node_answer(node: Node) -> NodeAnswer:
    """Return a node as the API gives it."""
    return NodeAnswer(
        uri=node.uri,
        kind=node.kind,
        name=node.name,
        attrs=dict(node.attrs),
        digest=node.digest,
        valid_from=rfc3339(node.valid_from),
        valid_to=_maybe(node.valid_to),
    )


def page_answer(page: NodePage) -> NodesAnswer:
    """Return a page of nodes as the API gives it."""
    return NodesAnswer(
        nodes=[node_answer(node) for node in page.nodes],
        total=page.total,
        truncated=page.truncated,
        cursor=page.cursor,
    )


def found_answer(nodes: Iterable[Node]) -> FoundAnswer:
    """Return what a search answers, best first."""
    return FoundAnswer(nodes=[node_answer(node) for node in nodes])


def walk_answer(walk: Walk) -> WalkAnswer:
    """Return what `trace` and `impact` answer."""
    return WalkAnswer(
        root=walk.root,
        direction=walk.direction,
        total=walk.total,
        truncated=walk.truncated,
        nodes=[
            ReachedAnswer(
                uri=node.uri,
                kind=node.kind,
                name=node.name,
                attrs=dict(node.attrs),
                digest=node.digest,
                valid_from=_text(node.valid_from),
                valid_to=_maybe(node.valid_to),
                depth=reached.depth,
            )
            for reached in walk.nodes
            for node in (reached.node,)
        ],
        edges=[_edge_answer(edge) for edge in walk.edges],
        breaks=breaks(walk) if walk.direction == "down" and _kind(walk) in KINDS else None,
    )


def _kind(walk: Walk) -> str:
    return walk.nodes[0].node.kind if walk.nodes else ""


def production_answer(production: Production) -> ProductionAnswer:
    """Return what served at a time in the shape of `production`."""
    return ProductionAnswer(
        service=production.service,
        at=rfc3339(production.at),
        versions=[
            VersionAnswer(
                model_version=version.model_version,
                deployment=version.deployment,
                image_digest=version.image_digest,
                share_bp=version.share_bp,
                since=rfc3339(version.since),
                health=version.health,
            )
            for version in production.versions
        ],
    )


def event_answer(stored: StoredEvent) -> EventAnswer:
    """Return an event with its place in the chain."""
    event = stored.event
    return EventAnswer(
        seq=stored.seq,
        hash=stored.hash,
        prev_hash=stored.prev_hash,
        key=event.key,
        id=event.id,
        at=rfc3339(event.at),
        recorded_at=rfc3339(event.recorded_at),
        type=event.type,
        actor=event.actor,
        subject=event.subject,
        cause=event.cause,
        nodes=[_node_fact(fact) for fact in event.nodes],
        edges=[_edge_fact(fact) for fact in event.edges],
        data=dict(event.data),
    )


def head_answer(head: Revision) -> HeadAnswer:
    """Return where the log stands."""
    return HeadAnswer(seq=head.seq, hash=head.hash)


def _edge_answer(edge: Edge) -> EdgeAnswer:
    return EdgeAnswer(
        src=edge.src,
        dst=edge.dst,
        role=edge.role,
        class_=ROLE_CLASS[edge.role],
        valid_from=_text(edge.valid_from),
        valid_to=_maybe(edge.valid_to),
        provenance=edge.provenance,
        event=edge.event or None,
    )


def _node_fact(fact: NodeFact) -> NodeFactAnswer:
    return NodeFactAnswer(
        uri=fact.uri,
        name=fact.name,
        digest=fact.digest,
        attrs=dict(fact.attrs),
        ended=fact.ended,
    )


def _edge_fact(fact: EdgeFact) -> EdgeFactAnswer:
    return EdgeFactAnswer(
        src=fact.src,
        role=fact.role,
        dst=fact.dst,
        provenance=fact.provenance,
        ended=fact.ended,
    )


@functools.lru_cache(maxsize=65_536)
def _text(at: datetime) -> str:
    """Return `rfc3339`; the things of one event share its time."""
    return rfc3339(at)


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else _text(at)
