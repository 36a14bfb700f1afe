"""The arrows next to many nodes at once: one step up or down from each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlg.core.errors import NotFoundError
from mlg.core.nodes import Edge, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import Direction, WalkOptions
from mlg.core.uris import Uri

MOST: Final = 10_000
"""Most neighbours of one node that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One arrow and the node at its other end."""

    edge: Edge
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Hops:
    """The arrows next to one node, by the name of the other end and the role."""

    hops: tuple[Hop, ...] = ()
    truncated: bool = False
    """The node has more than `MOST` neighbours: those beyond are not told."""


Neighbours = Callable[[Sequence[Uri], Direction, WalkOptions], Mapping[Uri, Hops]]
"""Reads one step from many nodes; a node that is not there has no entry."""


def neighbours_of(reader: GraphReader) -> Neighbours:
    """Return a function that reads one step from many nodes, by one short walk each."""

    def neighbours(
        uris: Sequence[Uri], direction: Direction, options: WalkOptions
    ) -> Mapping[Uri, Hops]:
        step = WalkOptions(
            classes=options.classes,
            roles=options.roles,
            stop_at=options.stop_at,
            as_of=options.as_of,
            depth=1,
            limit=MOST,
        )
        found: dict[Uri, Hops] = {}
        for uri in dict.fromkeys(uris):
            try:
                walk = reader.walk(uri, direction, step)
            except NotFoundError:
                continue
            nodes = {reached.node.uri: reached.node for reached in walk.nodes}
            near, far = ("dst", "src") if direction == "up" else ("src", "dst")
            hops = [
                Hop(edge=edge, node=nodes[getattr(edge, far)])
                for edge in walk.edges
                if getattr(edge, near) == uri
            ]
            hops.sort(key=lambda hop: (hop.node.uri, hop.edge.role))
            found[uri] = Hops(hops=tuple(hops), truncated=walk.truncated)
        return found

    return neighbours
