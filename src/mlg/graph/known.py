"""What the graph knew at an earlier moment: a reader made of the log up to then.

`as_of` asks how things were; `known_at` asks what had been recorded of them. A fact that
came late is part of the one and not of the other. The log is projected in memory, so the
work is bounded and a longer log is refused.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn, cast

from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.events import Event, StoredEvent
from mlg.core.nodes import ROLE_CLASS, Attr, Edge, Node, Provenance
from mlg.core.ports import GraphReader
from mlg.core.reading import (
    Direction,
    InProduction,
    NodePage,
    NodeQuery,
    Production,
    Reached,
    Walk,
    WalkOptions,
)
from mlg.core.uris import Digest, EventId, Uri, parse_uri
from mlg.graph.project import (
    Interval,
    NodeState,
    NodeUpsert,
    Order,
    default_name,
    intervals,
    kind_of,
    project_event,
    resolve,
)
from mlg.graph.questions import Pages, time_of

MAX_EVENTS: Final = 50_000
"""Most events that are projected for one question."""
MAX_FACTS: Final = 500_000
"""Most nodes and arrows that those events may tell of."""
_PAGE: Final = 1_000

_Arrow = tuple[Uri, str, Uri]


@dataclass(slots=True)
class _Told:
    """What was told of one node."""

    facts: list[NodeUpsert] = field(default_factory=list[NodeUpsert])
    since: datetime | None = None


@dataclass(slots=True)
class _Drawn:
    """What was told of one arrow."""

    facts: list[tuple[Order, bool]] = field(default_factory=list[tuple[Order, bool]])
    made: dict[Order, tuple[EventId, str]] = field(
        default_factory=dict[Order, tuple[EventId, str]]
    )


class KnownGraph:
    """Answers from events held in memory, as the stored graph would after just these.

    Args:
        events: Part of a log, in its order.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._nodes: dict[Uri, _Told] = {}
        self._arrows: dict[_Arrow, _Drawn] = {}
        self._up: dict[Uri, list[_Arrow]] = {}
        self._down: dict[Uri, list[_Arrow]] = {}
        for event in events:
            self._add(event)

    def _add(self, event: Event) -> None:
        nodes, arrows = project_event(event)
        for fact in sorted(nodes, key=lambda fact: fact.uri):
            told = self._nodes.setdefault(fact.uri, _Told())
            at = fact.order[0]
            told.since = at if told.since is None else min(told.since, at)
            if not fact.implied:
                told.facts.append(fact)
        for arrow in arrows:
            ends = (arrow.src, arrow.role, arrow.dst)
            drawn = self._arrows.get(ends)
            if drawn is None:
                drawn = self._arrows[ends] = _Drawn()
                self._down.setdefault(arrow.src, []).append(ends)
                self._up.setdefault(arrow.dst, []).append(ends)
            drawn.facts.append((arrow.order, arrow.ended))
            drawn.made[arrow.order] = (event.id, arrow.provenance)

    def walk(self, root: Uri, direction: Direction, options: WalkOptions) -> Walk:
        """Return the walk from a root.

        Raises:
            NotFoundError: The root was not known then, or was not at that time.
        """
        begun = self._begun(root)
        if begun is None or (options.as_of is not None and begun > options.as_of):
            raise NotFoundError(
                "no such node was known then",
                where=root,
                hint="ask without known_at, or for a later one.",
            )
        roles = {
            name
            for name, edge_class in ROLE_CLASS.items()
            if (name in options.roles if options.roles else edge_class in options.classes)
            and name not in options.stop_at
        }
        up = direction == "up"
        depths, edges, front = {root: 0}, list[Edge](), [root]
        while front:
            depth, further = depths[front[0]] + 1, list[Uri]()
            for near in front:
                for ends in (self._up if up else self._down).get(near, ()):
                    span = self._span(ends, options.as_of) if ends[1] in roles else None
                    if span is None:
                        continue
                    edges.append(self._edge(ends, span))
                    far = ends[0] if up else ends[2]
                    if far not in depths and (options.depth is None or depth <= options.depth):
                        depths[far] = depth
                        further.append(far)
            front = further
        limit = max(1, options.limit)
        reached = [
            Reached(node=self._node(uri, options.as_of), depth=depth)
            for uri, depth in list(depths.items())[:limit]
        ]
        ends_kept = {found.node.uri for found in reached}
        return Walk(
            root=root,
            direction=direction,
            total=len(depths),
            truncated=len(depths) > limit,
            nodes=tuple(reached),
            edges=tuple(
                sorted(
                    (e for e in edges if e.src in ends_kept and e.dst in ends_kept),
                    key=lambda e: (e.src, e.role, e.dst),
                )
            ),
        )

    def nodes(self, query: NodeQuery) -> NodePage:
        """Return nodes in URI order."""
        found: list[Node] = []
        for uri in sorted(self._nodes) if query.uri is None else (query.uri,):
            begun = self._begun(uri)
            if begun is None or (query.as_of is not None and begun > query.as_of):
                continue
            if query.kinds and kind_of(uri) not in query.kinds:
                continue
            node = self._node(uri, query.as_of)
            if query.attr is None or _has(node, query.attr):
                found.append(node)
        after = [node for node in found if node.uri > (query.cursor or "")]
        page = tuple(after[: query.limit])
        more = len(after) > len(page)
        return NodePage(nodes=page, total=len(found), cursor=page[-1].uri if more else None)

    def production(self, service: str, at: datetime) -> Production:
        """Return the versions that took traffic, largest share first."""
        parts = parse_uri(service) if service.startswith("mlg://") else None
        found: list[InProduction] = []
        for uri, told in self._nodes.items():
            if kind_of(uri) != "deployment":
                continue
            own = dict(self._node(uri, None).attrs).get("service")
            if own != (parts.name if parts else service):
                continue
            if parts and parse_uri(uri).namespace != parts.namespace:
                continue
            serving = _serving(uri, told, at)
            found += [serving] if serving else []
        found.sort(key=lambda version: (-version.share_bp, version.deployment))
        return Production(service=service, at=at, versions=tuple(found))

    def search(
        self, text: str, kinds: tuple[str, ...] = (), limit: int = 50
    ) -> tuple[Node, ...]:
        """Return nodes that hold every word anywhere, by URI; not ranked."""
        words = text.casefold().split()
        some = (self._node(u, None) for u in sorted(self._nodes) if words)
        said = ((n, f"{n.name} {n.uri} {n.attrs}".casefold()) for n in some)
        found = [n for n, all_ in said if all(word in all_ for word in words)]
        return tuple(n for n in found if not kinds or n.kind in kinds)[:limit]

    def _begun(self, uri: Uri) -> datetime | None:
        told = self._nodes.get(uri)
        return None if told is None else told.since

    def _node(self, uri: Uri, as_of: datetime | None) -> Node:
        told = self._nodes[uri]
        assert told.since is not None  # noqa: S101 - narrows; it was named
        facts = [f for f in told.facts if as_of is None or f.order[0] <= as_of]
        state = resolve(facts)
        return Node(
            uri=uri,
            kind=kind_of(uri),
            name=default_name(uri) if state is None else state.name,
            digest=None if state is None or state.digest is None else Digest(state.digest),
            attrs=() if state is None else state.attrs,
            valid_from=told.since,
            valid_to=None if state is None else state.valid_to,
        )

    def _span(self, ends: _Arrow, as_of: datetime | None) -> Interval | None:
        """Return the span of an arrow that stands, or stood at the time."""
        for span in intervals(self._arrows[ends].facts):
            if as_of is None:
                if span.valid_to is None:
                    return span
            elif span.valid_from <= as_of and (span.valid_to is None or span.valid_to > as_of):
                return span
        return None

    def _edge(self, ends: _Arrow, span: Interval) -> Edge:
        event, provenance = self._arrows[ends].made[span.opened_by]
        return Edge(
            src=ends[0],
            role=ends[1],
            dst=ends[2],
            provenance=cast("Provenance", provenance),
            event=event,
            valid_from=span.valid_from,
            valid_to=span.valid_to,
        )


class KnownGraphs:
    """Makes readers of earlier knowledge; the last one made is kept for the next question.

    Args:
        pages: Reads the log.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._kept: tuple[str, int, KnownGraph] | None = None
        self._lock = threading.Lock()

    def at(self, known_at: str, head: int) -> KnownGraph:
        """Return a reader of what was known.

        Args:
            known_at: A seq of the log: the events up to it. Or a time: every event whose
                `recorded_at` is not later.
            head: Seq of the newest event.

        Raises:
            ManifestError: It is neither, or the log up to then is too long.
        """
        until, moment = head, None
        if known_at.isascii() and known_at.isdecimal() and len(known_at) < 16:
            until = min(int(known_at), head)
        else:
            moment = time_of("known_at", known_at)
        if until > MAX_EVENTS:
            self._refuse(f"{until} events", MAX_EVENTS)
        with self._lock:
            if self._kept is None or self._kept[:2] != (known_at, until):
                graph = KnownGraph(self._events(until, moment))
                self._kept = (known_at, until, graph)
            return self._kept[2]

    def _events(self, until: int, moment: datetime | None) -> Iterable[Event]:
        facts = 0
        for stored in _read(self._pages, until):
            if moment is not None and stored.event.recorded_at > moment:
                continue
            facts += len(stored.event.nodes) + len(stored.event.edges)
            if facts > MAX_FACTS:
                self._refuse("more nodes and arrows", MAX_FACTS)
            yield stored.event

    def _refuse(self, what: str, most: int) -> NoReturn:
        raise ManifestError(
            f"known_at reads the log in memory, at most {most}; got {what}",
            where="known_at",
            hint="give a seq that is small enough, or ask as_of.",
        )


def _read(pages: Pages, until: int) -> Iterable[StoredEvent]:
    after = 0
    while after < until and (page := pages(after, min(_PAGE, until - after))):
        yield from page
        after = page[-1].seq


def _has(node: Node, wanted: tuple[str, str]) -> bool:
    return any(name == wanted[0] and _text(value) == wanted[1] for name, value in node.attrs)


def _text(value: Attr) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _serving(uri: Uri, told: _Told, at: datetime) -> InProduction | None:
    """Return what a deployment served at a time; None when it took no traffic."""
    state: NodeState | None = None
    since: datetime | None = None
    facts = sorted((f for f in told.facts if f.order[0] <= at), key=lambda fact: fact.order)
    for count, fact in enumerate(facts, start=1):
        state = resolve(facts[:count])
        assert state is not None  # noqa: S101 - narrows; there is a fact
        takes = state.valid_to is None and _share_bp(dict(state.attrs)) > 0
        since = (since or fact.order[0]) if takes else None
    if state is None or since is None:
        return None
    attrs = dict(state.attrs)
    return InProduction(
        model_version=Uri(str(attrs.get("model_version", ""))),
        deployment=uri,
        image_digest=str(attrs.get("image_digest") or state.digest or ""),
        share_bp=_share_bp(attrs),
        since=since,
        health=str(attrs.get("health", "unknown")),
    )


def _share_bp(attrs: dict[str, Attr]) -> int:
    value = attrs.get("share_bp", 0)
    return value if isinstance(value, int) else 0


if TYPE_CHECKING:
    _: GraphReader = KnownGraph(())
