"""Rows of the tables as the core's frozen values, made without their checks.

A frozen dataclass sets each field through `object.__setattr__` and checks itself: 1.8
microseconds an edge where a trace has thousands. What comes out of our own tables was
checked when it was written, so here a plain twin with the same slots is filled, and then
becomes the frozen class: 0.4 microseconds. A test holds both ways equal.
"""

from datetime import datetime
from typing import Any, cast

from mlg.core.nodes import Attr, Edge, Node
from mlg.core.reading import Reached


class _Node:
    __slots__ = Node.__slots__

    def __init__(
        self,
        uri: str,
        kind: str,
        name: str,
        digest: str | None,
        attrs: tuple[tuple[str, Attr], ...],
        valid_from: datetime,
        valid_to: datetime | None,
    ) -> None:
        self.uri, self.kind, self.name, self.digest = uri, kind, name, digest
        self.attrs, self.valid_from, self.valid_to = attrs, valid_from, valid_to


class _Edge:
    __slots__ = Edge.__slots__

    def __init__(
        self,
        src: str,
        dst: str,
        role: str,
        provenance: str,
        event: str,
        valid_from: datetime,
        valid_to: datetime | None,
    ) -> None:
        self.src, self.dst, self.role, self.provenance = src, dst, role, provenance
        self.event, self.valid_from, self.valid_to = event, valid_from, valid_to


class _Reached:
    __slots__ = Reached.__slots__

    def __init__(self, node: Node, depth: int) -> None:
        self.node, self.depth = node, depth


def node_value(
    uri: str,
    kind: str,
    name: str,
    digest: str | None,
    attrs: tuple[tuple[str, Attr], ...],
    valid_from: datetime,
    valid_to: datetime | None,
) -> Node:
    """Return the node of columns that the graph wrote."""
    made: Any = _Node(uri, kind, name, digest, attrs, valid_from, valid_to)
    made.__class__ = Node
    return cast("Node", made)


def edge_value(
    src: str,
    dst: str,
    role: str,
    provenance: str,
    event: str,
    valid_from: datetime,
    valid_to: datetime | None,
) -> Edge:
    """Return the arrow of columns that the graph wrote."""
    made: Any = _Edge(src, dst, role, provenance, event, valid_from, valid_to)
    made.__class__ = Edge
    return cast("Edge", made)


def reached_value(node: Node, depth: int) -> Reached:
    """Return a node of a walk with its depth."""
    made: Any = _Reached(node, depth)
    made.__class__ = Reached
    return cast("Reached", made)
