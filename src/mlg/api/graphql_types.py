"""The types of the GraphQL schema, made of the same answers as REST."""

from typing import Any

import msgspec
import strawberry
from strawberry.relay import PageInfo
from strawberry.scalars import JSON

from mlg.api.graphql_ask import NOW, HopsKey, View
from mlg.api.graphql_pages import (
    After,
    AskInfo,
    Classes,
    First,
    Kinds,
    Roles,
    cursor_of,
    page_info,
    page_size,
    place_of,
)
from mlg.core.clock import rfc3339
from mlg.core.nodes import Edge, Node
from mlg.core.reading import Direction
from mlg.core.uris import Uri
from mlg.graph.answers import EventAnswer, NodeAnswer, WalkAnswer, node_answer
from mlg.graph.diff import DiffAnswer
from mlg.graph.neighbours import Hop, Hops
from mlg.graph.questions import known_kinds


@strawberry.type(name="Node", description="One thing in the graph.")
class GraphNode:
    """One thing in the graph, and the way on from it."""

    uri: strawberry.ID
    kind: str
    name: str
    digest: str | None
    attrs: JSON
    valid_from: str
    valid_to: str | None
    view: strawberry.Private[View]

    @strawberry.field(description="One step towards causes and sources.")
    async def upstream(
        self,
        info: AskInfo,
        first: First = 20,
        after: After = None,
        kinds: Kinds = None,
        classes: Classes = None,
        roles: Roles = None,
    ) -> "HopConnection | None":
        """Return the arrows that come in."""
        key = self._key("up", classes, roles)
        return _hops(await info.context.loader.load(key), self.view, first, after, kinds)

    @strawberry.field(description="One step towards what came of it.")
    async def downstream(
        self,
        info: AskInfo,
        first: First = 20,
        after: After = None,
        kinds: Kinds = None,
        classes: Classes = None,
        roles: Roles = None,
    ) -> "HopConnection | None":
        """Return the arrows that go out."""
        key = self._key("down", classes, roles)
        return _hops(await info.context.loader.load(key), self.view, first, after, kinds)

    def _key(
        self, direction: Direction, classes: list[str] | None, roles: list[str] | None
    ) -> HopsKey:
        return HopsKey(
            uri=Uri(self.uri),
            direction=direction,
            view=self.view,
            classes=tuple(classes or ()),
            roles=tuple(roles or ()),
            stop_at=(),
        )


@strawberry.type(description="One arrow, from what came first to what came of it.")
class GraphEdge:
    """One arrow."""

    src: strawberry.ID
    dst: strawberry.ID
    role: str
    class_: str = strawberry.field(name="class")
    valid_from: str
    valid_to: str | None
    provenance: str
    event: str | None


@strawberry.type(description="One arrow next to a node, and the node at its other end.")
class HopEdge:
    """An entry of `upstream` and `downstream`."""

    cursor: str
    node: GraphNode
    role: str
    class_: str = strawberry.field(name="class")
    valid_from: str
    valid_to: str | None
    provenance: str
    event: str | None


@strawberry.type(description="The arrows next to a node, a page at a time.")
class HopConnection:
    """The answer of `upstream` and `downstream`."""

    edges: list[HopEdge]
    page_info: PageInfo
    total_count: int
    truncated: bool = strawberry.field(
        description="The node has more than 10,000 neighbours; the others are not told."
    )


@strawberry.type
class NodeEdge:
    """An entry of `nodes`."""

    cursor: str
    node: GraphNode


@strawberry.type(description="Nodes in the order of their URIs, a page at a time.")
class NodeConnection:
    """The answer of `nodes`."""

    edges: list[NodeEdge]
    page_info: PageInfo
    total_count: int


@strawberry.type(description="A node that a walk came to, in so many steps at least.")
class Reached:
    """A node of a walk."""

    depth: int
    node: GraphNode


@strawberry.type(description="A trace or an impact, nearest first.")
class Walk:
    """The answer of `trace` and `impact`."""

    root: strawberry.ID
    direction: str
    total: int
    truncated: bool
    nodes: list[Reached]
    edges: list[GraphEdge]


@strawberry.type(description="One version that took traffic.")
class InProduction:
    """A version of `production`."""

    model_version: str
    deployment: str
    image_digest: str
    share_bp: int
    since: str
    health: str


@strawberry.type(description="What served a service at a time.")
class Production:
    """The answer of `production`."""

    service: str
    at: str
    versions: list[InProduction]


@strawberry.type(description="Things of one sort that only one of two versions has.")
class Side:
    """A sort of things of `diff`."""

    sort: str
    only_a: list[str]
    only_b: list[str]
    both: int


@strawberry.type(description="One value that differs.")
class Difference:
    """A value of `diff`."""

    sort: str
    name: str
    a: JSON | None
    b: JSON | None


@strawberry.type(description="What differs between two versions.")
class Diff:
    """The answer of `diff`."""

    a: strawberry.ID
    b: strawberry.ID
    same: bool
    truncated: bool
    things: list[Side]
    values: list[Difference]


@strawberry.type(description="What a search found, best first.")
class Found:
    """The answer of `search`."""

    nodes: list[GraphNode]
    truncated: bool


@strawberry.type(description="What an event says of a node.")
class NodeFact:
    """A node that an event tells of."""

    uri: strawberry.ID
    name: str
    digest: str | None
    attrs: JSON
    ended: bool


@strawberry.type(description="What an event says of an arrow.")
class EdgeFact:
    """An arrow that an event tells of."""

    src: strawberry.ID
    role: str
    dst: strawberry.ID
    provenance: str
    ended: bool


@strawberry.type(description="One event of the log, with its place in the chain.")
class Event:
    """An event."""

    seq: int
    hash: str
    prev_hash: str
    key: str
    id: str
    at: str
    recorded_at: str
    type: str
    actor: str
    subject: strawberry.ID
    cause: str | None
    data: JSON
    told: strawberry.Private[EventAnswer]

    @strawberry.field(description="The first so many nodes that it tells of.")
    def nodes(self, first: First = 20) -> list[NodeFact]:
        """Return the first facts about nodes."""
        some = self.told.nodes[: page_size(first)]
        return [NodeFact(**_plain(fact)) for fact in some]

    @strawberry.field(description="The first so many arrows that it tells of.")
    def edges(self, first: First = 20) -> list[EdgeFact]:
        """Return the first facts about arrows."""
        some = self.told.edges[: page_size(first)]
        return [EdgeFact(**_plain(fact)) for fact in some]

    @strawberry.field(description="How many nodes it tells of.")
    def node_count(self) -> int:
        """Return how many facts about nodes there are."""
        return len(self.told.nodes)

    @strawberry.field(description="How many arrows it tells of.")
    def edge_count(self) -> int:
        """Return how many facts about arrows there are."""
        return len(self.told.edges)


@strawberry.type
class EventEdge:
    """An entry of `events`."""

    cursor: str
    node: Event


@strawberry.type(description="Events in order, a page at a time.")
class EventConnection:
    """The answer of `events`."""

    edges: list[EventEdge]
    page_info: PageInfo
    total_count: int | None = strawberry.field(
        description="Null when only those about a subject are asked for: they are not counted."
    )


def graph_node(told: NodeAnswer, view: View = NOW) -> GraphNode:
    """Return a node's answer as GraphQL tells it."""
    return GraphNode(
        uri=strawberry.ID(told.uri),
        kind=told.kind,
        name=told.name,
        digest=told.digest,
        attrs=JSON(told.attrs),
        valid_from=told.valid_from,
        valid_to=told.valid_to,
        view=view,
    )


def core_node(node: Node, view: View = NOW) -> GraphNode:
    """Return a node as GraphQL tells it."""
    return graph_node(node_answer(node), view)


def walk_of(told: WalkAnswer, view: View) -> Walk:
    """Return a walk as GraphQL tells it."""
    return Walk(
        root=strawberry.ID(told.root),
        direction=told.direction,
        total=told.total,
        truncated=told.truncated,
        nodes=[Reached(depth=one.depth, node=graph_node(one, view)) for one in told.nodes],
        edges=[GraphEdge(**_plain(edge)) for edge in told.edges],
    )


def diff_of(told: DiffAnswer) -> Diff:
    """Return a difference as GraphQL tells it."""
    return Diff(
        a=strawberry.ID(told.a),
        b=strawberry.ID(told.b),
        same=told.same,
        truncated=told.truncated,
        things=[Side(**_plain(side)) for side in told.things],
        values=[Difference(**_plain(value)) for value in told.values],
    )


def event_of(told: EventAnswer) -> Event:
    """Return an event as GraphQL tells it."""
    own = {
        name: value for name, value in _plain(told).items() if name not in {"nodes", "edges"}
    }
    return Event(told=told, **own)


def _plain(told: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(told)


def _hops(
    found: Hops, view: View, first: int, after: str | None, kinds: list[str] | None
) -> HopConnection:
    size, wanted = page_size(first), known_kinds(kinds or (), "kinds")
    place = ["", ""] if after is None else place_of(after)
    hops = [hop for hop in found.hops if not wanted or hop.node.kind in wanted]
    rest = [hop for hop in hops if [hop.node.uri, hop.edge.role] > place]
    page = rest[:size]
    edges = [_hop_edge(hop, view) for hop in page]
    return HopConnection(
        edges=edges,
        page_info=page_info(
            [edge.cursor for edge in edges],
            more=len(rest) > size,
            begun=len(rest) < len(hops),
        ),
        total_count=len(hops),
        truncated=found.truncated,
    )


def _hop_edge(hop: Hop, view: View) -> HopEdge:
    edge: Edge = hop.edge
    return HopEdge(
        cursor=cursor_of(hop.node.uri, edge.role),
        node=core_node(hop.node, view),
        role=edge.role,
        class_=edge.edge_class,
        valid_from=rfc3339(edge.valid_from),
        valid_to=None if edge.valid_to is None else rfc3339(edge.valid_to),
        provenance=edge.provenance,
        event=edge.event or None,
    )
