"""How a version came to serve, by node and by time, read from the graph alone."""

from collections.abc import Iterable
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.errors import NotFoundError
from mlg.core.events import Event, StoredEvent
from mlg.core.ports import GraphHistory, GraphReader
from mlg.core.reading import Direction, NodeQuery, WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.why import twins
from mlg.graph.why_words import clause_of

_EACH: Final = 200
_MOST_WALKED: Final = 300
_TOLD: Final = {
    "commit": ("mlg.hook.accepted",),
    "run": ("mlg.run.",),
    "step": ("mlg.step.finished", "mlg.step.cached", "mlg.step.failed"),
    "model_version": ("mlg.model_version.registered", "mlg.model_version.packaged"),
    "health_check": ("mlg.staging.",),
    "rollout": ("mlg.rollout.",),
}
"""Types of events that are told of each kind of node."""
_MADE: Final = frozenset(("rollout_step", "approval"))
"""Kinds of nodes that a rollout's events make."""
_MAKERS: Final = ("produced", "part_of", "triggered")
"""From a run to its steps: those that make tables are parts of it, the others came of it."""
_HELD: Final = "mlg.rollout.held"


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One event on the way."""

    at: str
    """When it was recorded, RFC 3339."""
    since_start_s: float
    since_before_s: float
    """Since the row above."""
    kind: str
    """Of the node."""
    node: str
    """URI of what it happened to."""
    event: str
    """Type of the event."""
    by: str
    """Who acted."""
    words: str
    seq: int


class TimelineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How one version came, from the commit to its end."""

    service: str
    rollout: str
    """URI."""
    version: str
    state: str
    total_s: float
    """From the first row to that in which it had all of the traffic, or to the last one."""
    rows: list[TimelineRow]


def timeline(
    reader: GraphReader, history: GraphHistory, rollout: Uri, *, holds: bool = False
) -> TimelineAnswer:
    """Return the way of one rollout's version: commit, run, model, image, staging, steps, swap.

    Args:
        reader: The graph.
        history: Its log, by index.
        rollout: URI of the rollout.
        holds: Also tell for want of what it stayed where it was.

    Raises:
        NotFoundError: No such rollout.
    """
    found = reader.nodes(NodeQuery(uri=rollout)).nodes
    if not found:
        raise NotFoundError(
            "no such rollout on the graph",
            where=rollout,
            hint="mlg rollout status SERVICE names the newest one.",
        )
    attrs = dict(found[0].attrs)
    things = _things(reader, rollout)
    runs = {uri for uri in things if parse_uri(uri).kind == "run"}
    events = [
        one for one in history.told(things, limit=_EACH) if _is_told(one, set(things), runs)
    ]
    events = [one for one in events if holds or one.event.type != _HELD]
    rows = _rows(events)
    swapped = [row.since_start_s for row in rows if row.event == "mlg.rollout.swapped"]
    return TimelineAnswer(
        service=str(attrs.get("service", parse_uri(rollout).name)),
        rollout=rollout,
        version=str(attrs.get("candidate", "")),
        state=str(attrs.get("phase", "")),
        total_s=swapped[0] if swapped else rows[-1].since_start_s if rows else 0.0,
        rows=rows,
    )


def _things(reader: GraphReader, rollout: Uri) -> list[Uri]:
    """Return the nodes on the way, the rollout first."""
    (deployment,) = twins((rollout,))
    made = _near(reader, deployment, "up", ("deployed_as", "packaged_as"), 2)
    versions = [uri for uri in made if parse_uri(uri).kind in {"model_version", "image"}]
    runs = _of_kind(_near(reader, rollout, "up", ("triggered",), 1), "run")
    if not runs:  # a person started it: the run is the one that made the version
        for version in versions[:1]:
            runs = _of_kind(_near(reader, version, "up", _MAKERS, 2), "run")[:1]
    commits = [c for run in runs for c in _near(reader, run, "up", ("triggered",), 1)]
    ahead = [s for run in runs for s in _near(reader, run, "down", _MAKERS, 1)]
    steps = _of_kind(ahead, "step")
    checks = _near(reader, rollout, "down", ("triggered",), 1)
    kinds = ("commit", "run", "step", "model_version", "health_check", "rollout")
    every = (rollout, *commits, *runs, *steps, *versions, *checks)
    return [uri for uri in dict.fromkeys(every) if parse_uri(uri).kind in kinds]


def _near(
    reader: GraphReader, uri: Uri, direction: Direction, roles: tuple[str, ...], depth: int
) -> list[Uri]:
    try:
        walk = reader.walk(
            uri, direction, WalkOptions(roles=roles, depth=depth, limit=_MOST_WALKED)
        )
    except NotFoundError:
        return []
    return [one.node.uri for one in walk.nodes if one.node.uri != uri]


def _of_kind(uris: Iterable[Uri], kind: str) -> list[Uri]:
    return [uri for uri in uris if parse_uri(uri).kind == kind]


def _is_told(stored: StoredEvent, things: set[Uri], runs: set[Uri]) -> bool:
    """Whether an event is a step of the way; a version has those of other runs too."""
    event = stored.event
    if event.subject not in things:
        return False
    kind = parse_uri(event.subject).kind
    if not event.type.startswith(_TOLD.get(kind, ())):
        return False
    if kind == "model_version" and runs:
        return any(event.key.startswith(parse_uri(run).version or "?") for run in runs)
    if kind == "commit":
        return any(edge.dst in runs for edge in event.edges)
    return True


def _rows(events: list[StoredEvent]) -> list[TimelineRow]:
    rows: list[TimelineRow] = []
    first = events[0].event.recorded_at if events else None
    before = first
    for stored in events:
        event = stored.event
        if first is None or before is None:
            break
        node = _node_of(event)
        rows.append(
            TimelineRow(
                at=rfc3339(event.recorded_at),
                since_start_s=round((event.recorded_at - first).total_seconds(), 3),
                since_before_s=round((event.recorded_at - before).total_seconds(), 3),
                kind=parse_uri(node).kind,
                node=node,
                event=event.type,
                by=event.actor,
                words=clause_of(stored).text,
                seq=stored.seq,
            )
        )
        before = event.recorded_at
    return rows


def _node_of(event: Event) -> Uri:
    """Return the node that an event made, where it happened to another: a step, an image."""
    made = [fact.uri for fact in event.nodes if parse_uri(fact.uri).kind in _MADE]
    made += [edge.dst for edge in event.edges if edge.role == "packaged_as"]
    return made[0] if made else event.subject
