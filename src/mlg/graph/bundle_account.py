"""The account that a bundle gives: a part of the graph, made only from events it carries."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from mlg.core.errors import ConflictError, ManifestError, NotFoundError
from mlg.core.events import Event, StoredEvent
from mlg.core.nodes import Edge, Node, Provenance
from mlg.core.ports import ArtifactStore, GraphReader
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.audit import Anchor, ChainLog, RawEvent
from mlg.graph.bundle_scope import Scope, Subject
from mlg.graph.encode import decode
from mlg.graph.log_tree import LogTree
from mlg.graph.project import (
    EdgeUpsert,
    NodeUpsert,
    default_name,
    intervals,
    kind_of,
    project_event,
    resolve,
)

EXPORTS: Final = "mlg.audit_export."
"""Type of the events of exports: left out, so that an export changes no later one."""
MOST_EVENTS: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What bundles are made from; all of it is handed in."""

    reader: GraphReader
    log: ChainLog
    tree: LogTree
    anchor_for: Callable[[int], Anchor | None]
    """Gives the oldest signed head that covers an event, or None."""
    artifacts: ArtifactStore
    private_key: bytes
    """Signs the manifest; the key that signs heads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event of the account, as it lies in the log and as it reads."""

    raw: RawEvent
    event: Event

    @property
    def stored(self) -> StoredEvent:
        """The event with its place in the chain."""
        return StoredEvent(
            seq=self.raw.seq,
            event=self.event,
            prev_hash=self.raw.prev_hash,
            hash=self.raw.hash,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known of a subject, as of a signed head."""

    subject: Subject
    project: str
    anchor: Anchor
    events: tuple[Told, ...]
    """In order of the log."""
    nodes: tuple[Node, ...]
    """Sorted by URI; the subject is one of them."""
    edges: tuple[Edge, ...]
    """Among the nodes; those to a virtual prediction have no event."""

    _by_uri: dict[Uri, Node] = field(init=False, repr=False, compare=False)
    _above: dict[Uri, list[Edge]] = field(init=False, repr=False, compare=False)
    _below: dict[Uri, list[Edge]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        above: dict[Uri, list[Edge]] = {}
        below: dict[Uri, list[Edge]] = {}
        for edge in self.edges:
            above.setdefault(edge.dst, []).append(edge)
            below.setdefault(edge.src, []).append(edge)
        object.__setattr__(self, "_by_uri", {node.uri: node for node in self.nodes})
        object.__setattr__(self, "_above", above)
        object.__setattr__(self, "_below", below)

    def kind(self, *kinds: str) -> tuple[Node, ...]:
        """Return the nodes of these kinds."""
        return tuple(node for node in self.nodes if node.kind in kinds)

    def node(self, uri: Uri) -> Node | None:
        """Return a node, or None when it is not in the account."""
        return self._by_uri.get(uri)

    def sources(self, uri: Uri, role: str, *kinds: str) -> tuple[Uri, ...]:
        """Return what lies before a thing on arrows of a role."""
        found = [edge.src for edge in self._above.get(uri, ()) if edge.role == role]
        return tuple(src for src in found if not kinds or kind_in(src) in kinds)

    def targets(self, uri: Uri, role: str, *kinds: str) -> tuple[Uri, ...]:
        """Return what lies behind a thing on arrows of a role."""
        found = [edge.dst for edge in self._below.get(uri, ()) if edge.role == role]
        return tuple(dst for dst in found if not kinds or kind_in(dst) in kinds)

    def models(self) -> tuple[Node, ...]:
        """Return the model versions that the account is about, not those before them."""
        if self.subject.kind == "model_version":
            own = {self.subject.uri}
        elif self.subject.kind == "prediction":
            own = {edge.src for edge in self.edges if edge.dst == self.subject.uri}
        else:
            roles = ("deployed_as", "packaged_as")
            own = {edge.src for edge in self.edges if edge.role in roles}
        return tuple(node for node in self.kind("model_version") if node.uri in own)

    def depths(self) -> dict[Uri, int]:
        """Return the hops from the subject up to what it came of."""
        found, frontier = {self.subject.uri: 0}, [self.subject.uri]
        while frontier:
            near = frontier
            ahead = dict.fromkeys(e.src for one in near for e in self._above.get(one, ()))
            frontier = [far for far in ahead if far not in found]
            found |= dict.fromkeys(frontier, found[near[0]] + 1)
        return found


def account(
    evidence: Evidence,
    subject: Subject,
    scope: Scope,
    *,
    project: str,
    seen: Node | None = None,
    seen_edges: Sequence[Edge] = (),
    covers: int = 0,
) -> Account:
    """Return the account of a subject: of the events in its scope, as of a signed head.

    The head is the oldest one that covers what counts, so later events that say nothing
    of the subject change nothing in it.

    Args:
        evidence: The graph and its log.
        subject: What it is of.
        scope: Things and events around the subject.
        project: Name of the project.
        seen: The subject's own node where no event stores one: a prediction.
        seen_edges: Its arrows.
        covers: The event that the head must cover; 0: all that count.

    Raises:
        ConflictError: No signed head covers the events: make one first.
        NotFoundError: No event tells of the subject.
        ManifestError: There are too many events.
    """
    seqs = evidence.log.seqs_of(scope.events, scope.uris - scope.quiet)
    if not seqs:
        raise NotFoundError("no event tells of it", where=subject.uri)
    if covers:
        anchor = _anchor(evidence, subject, covers)
        seqs = tuple(seq for seq in seqs if seq <= anchor.seq)
        told = _read(evidence.log, seqs, subject)
    else:
        told = _read(evidence.log, seqs, subject)
        if not told:
            raise NotFoundError("no event tells of it then", where=subject.uri)
        anchor = _anchor(evidence, subject, told[-1].raw.seq)
    facts, arrows = _facts(told, scope.uris)
    edges = [*seen_edges, *_edges(arrows)]
    kept = _connected(subject.uri, edges, facts.keys() | {edge.dst for edge in seen_edges})
    edges = [edge for edge in edges if edge.src in kept and edge.dst in kept]
    made = {edge.event for edge in edges}
    nodes = [_node(uri, found) for uri, found in facts.items() if uri in kept]
    return Account(
        subject=subject,
        project=project,
        anchor=anchor,
        events=tuple(one for one in told if one.event.id in made or one.event.subject in kept),
        nodes=tuple(sorted([*nodes, *([seen] if seen else [])], key=lambda node: node.uri)),
        edges=tuple(edges),
    )


def artifact_bytes(evidence: Evidence, digest: object) -> bytes | None:
    """Return a small file of the artifact store, or None when it is not there."""
    if not isinstance(digest, str) or not evidence.artifacts.has(Digest(digest)):
        return None
    path = evidence.artifacts.open(Digest(digest))
    return path.read_bytes() if path.is_file() else None


def kind_in(uri: Uri) -> str:
    """Return the kind that a URI names, virtual ones too."""
    return uri.split("/", 3)[2]


def attrs_of(node: Node) -> dict[str, Any]:
    """Return a node's attributes."""
    return dict(node.attrs)


def _anchor(evidence: Evidence, subject: Subject, seq: int) -> Anchor:
    found = evidence.anchor_for(seq)
    if found is None:
        raise ConflictError(
            f"no signed head covers event {seq}, which tells of it",
            where=subject.uri,
            hint="make an anchor first; mlg writes one at each checkpoint and at mlg down",
        )
    return found


def _read(log: ChainLog, seqs: Collection[int], subject: Subject) -> list[Told]:
    """Return the events that count, in order of the log.

    Raises:
        ManifestError: There are too many.
    """
    if len(seqs) > MOST_EVENTS:
        raise ManifestError(
            f"{len(seqs):,} events tell of it, at most {MOST_EVENTS:,} make a bundle",
            where=subject.uri,
            hint="export a shorter period.",
        )
    found: list[Told] = []
    for seq in seqs:
        for raw in log.chain(seq - 1, 1):
            one = Told(raw=raw, event=decode(raw.data))
            if not one.event.type.startswith(EXPORTS) and _inside(one.event, subject):
                found.append(one)
    return found


def _inside(event: Event, subject: Subject) -> bool:
    """Return whether an event counts: what a period begins with came before it."""
    return subject.until is None or event.at < subject.until


Arrow = tuple[EdgeUpsert, EventId]


def _facts(
    told: Iterable[Told], uris: Collection[Uri]
) -> tuple[dict[Uri, list[NodeUpsert]], list[Arrow]]:
    """Return what the events say of the nodes in scope, and of arrows among them."""
    facts: dict[Uri, list[NodeUpsert]] = {}
    arrows: list[Arrow] = []
    for one in told:
        nodes, edges = project_event(one.event, uris)
        for node in nodes:
            facts.setdefault(node.uri, []).append(node)
        arrows += [(edge, one.event.id) for edge in edges]
    return facts, arrows


def _edges(arrows: Iterable[Arrow]) -> list[Edge]:
    """Return each arrow's spans, sorted by its ends."""
    by_ends: dict[tuple[Uri, str, Uri], list[Arrow]] = {}
    for arrow in arrows:
        by_ends.setdefault((arrow[0].src, arrow[0].role, arrow[0].dst), []).append(arrow)
    found: list[Edge] = []
    for (src, role, dst), same in sorted(by_ends.items()):
        openers = {fact.order: (fact, event) for fact, event in same}
        for span in intervals((fact.order, fact.ended) for fact, _ in same):
            fact, event = openers[span.opened_by]
            found.append(
                Edge(
                    src=src,
                    dst=dst,
                    role=role,
                    provenance=cast("Provenance", fact.provenance),
                    event=event,
                    valid_from=span.valid_from,
                    valid_to=span.valid_to,
                )
            )
    return found


def _connected(root: Uri, edges: Sequence[Edge], known: Collection[Uri]) -> set[Uri]:
    """Return what hangs together with the subject; the rest came into scope later."""
    beside: dict[Uri, list[Uri]] = {}
    for edge in edges:
        beside.setdefault(edge.src, []).append(edge.dst)
        beside.setdefault(edge.dst, []).append(edge.src)
    found, frontier = {root}, [root]
    while frontier:
        frontier = [far for near in frontier for far in beside.get(near, ())]
        frontier = [far for far in dict.fromkeys(frontier) if far not in found]
        found |= {far for far in frontier if far in known}
        frontier = [far for far in frontier if far in known]
    return found


def _node(uri: Uri, facts: Iterable[NodeUpsert]) -> Node:
    listed = list(facts)
    state = resolve(listed)
    assert state is not None  # noqa: S101 - there is a fact
    return Node(
        uri=uri,
        kind=kind_of(uri),
        name=state.name or default_name(uri),
        digest=Digest(state.digest) if state.digest else None,
        attrs=state.attrs,
        valid_from=state.valid_from,
        valid_to=state.valid_to,
    )
