"""Which things and events a bundle is about, found by short walks from its subject."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from mlg.core.clock import rfc3339
from mlg.core.errors import ManifestError
from mlg.core.nodes import Node
from mlg.core.ports import GraphReader
from mlg.core.reading import Direction, Walk, WalkOptions
from mlg.core.uris import EventId, Uri, parse_uri

MOST_NODES: Final = 100_000
"""Of one walk; a subject that comes of more is refused, never cut silently."""

SubjectKind = Literal["prediction", "model_version", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a bundle accounts for."""

    kind: SubjectKind
    uri: Uri
    since: datetime | None = None
    """A service only: from when, inclusive."""
    until: datetime | None = None
    """A service only: up to when, exclusive."""


@dataclass(slots=True, kw_only=True)
class Scope:
    """URIs of things, and ids of the events that made the arrows between them."""

    uris: set[Uri] = field(default_factory=set[Uri])
    events: set[EventId] = field(default_factory=set[EventId])
    quiet: set[Uri] = field(default_factory=set[Uri])
    """Of those URIs, the ones whose own events are not looked up: only joints."""

    def take(self, walk: Walk) -> tuple[Node, ...]:
        """Add all of a walk and return its nodes.

        Raises:
            ManifestError: The walk did not come to its end.
        """
        if walk.truncated:
            raise ManifestError(
                f"has more than {MOST_NODES:,} things around it",
                where=walk.root,
                hint="export a model version of it, or a shorter period of a service.",
            )
        self.uris.update(reached.node.uri for reached in walk.nodes)
        self.events.update(edge.event for edge in walk.edges if edge.event)
        return tuple(reached.node for reached in walk.nodes)


def of_prediction(walk: Walk, at: datetime, service: Uri, reader: GraphReader) -> Scope:
    """Return what a prediction came of, and how that was checked before it answered.

    Args:
        walk: From the prediction up, as `trace_prediction` gives it.
        at: When it answered: alerts of the service that were open then are told.
        service: The service that answered.
        reader: The graph.

    Raises:
        ManifestError: There is too much of it.
    """
    scope = Scope()
    nodes = scope.take(walk)
    first = {edge.src for edge in walk.edges if edge.dst == walk.root}
    for node in nodes:
        if node.uri in first and node.kind == "model_version":
            _judgements(scope, reader, node.uri)
        if node.uri in first and node.kind == "deployment":
            _deployment(scope, reader, node.uri)
    alerts = _near(reader, service, "down", "detected_on")
    open_then = [n for n in _nodes(alerts, "alert", "drift_signal") if _held(n, at, at)]
    if open_then:
        kept = {node.uri for node in open_then}
        scope.uris |= {service, *kept}
        scope.quiet.add(service)  # it has many events, and is here to join the alerts
        scope.events |= {edge.event for edge in alerts.edges if edge.dst in kept}
    _alerts(scope, reader, open_then)
    return scope


def of_model(uri: Uri, reader: GraphReader) -> Scope:
    """Return what a model version came of, how it was judged, and where it served.

    Raises:
        NotFoundError: It is not in the graph.
        ManifestError: There is too much of it.
    """
    scope = Scope()
    scope.take(_up(reader, uri))
    _judgements(scope, reader, uri)
    below = _near(reader, uri, "down", "packaged_as", "deployed_as", "detected_on")
    found = scope.take(below)
    for image in [node for node in found if node.kind == "image"]:
        scope.take(_near(reader, image.uri, "down", "deployed_as"))
    for deployment in _kinds(scope.uris, "deployment"):
        _deployment(scope, reader, deployment)
    _alerts(scope, reader, _nodes(below, "alert", "drift_signal"))
    return scope


def of_service(uri: Uri, since: datetime, until: datetime, reader: GraphReader) -> Scope:
    """Return what served, what was checked, alarmed, sealed and decided in a period.

    A thing is in the period when it was there at some time of it. What the models that
    served came of is told whole.

    Raises:
        NotFoundError: The service is not in the graph.
        ManifestError: There is too much of it.
    """
    scope = Scope(uris={uri})
    below = _near(reader, uri, "down", "version_of", "detected_on", "checked_by", "triggered")
    above = _near(reader, uri, "up", "served_by")
    around = {r.node.uri: r.node for walk in (below, above) for r in walk.nodes}
    inside = {one for one, node in around.items() if _held(node, since, until)}
    for edge in (*below.edges, *above.edges):
        if edge.src in inside and edge.dst in inside:
            scope.events.add(edge.event)
    scope.uris |= inside
    for deployment in _kinds(inside, "deployment"):
        _deployment(scope, reader, deployment)
        made = WalkOptions(depth=2, roles=("deployed_as", "packaged_as"), limit=MOST_NODES)
        served = scope.take(reader.walk(deployment, "up", made))
        for version in [node.uri for node in served if node.kind == "model_version"]:
            _judgements(scope, reader, version)
            scope.take(_up(reader, version))
        sealed = _near(reader, deployment, "down", "served_by")
        kept = {node.uri for node in _segments(sealed, since, until)}
        scope.uris |= kept
        scope.events |= {edge.event for edge in sealed.edges if edge.dst in kept}
    _alerts(scope, reader, [around[one] for one in _kinds(inside, "alert", "drift_signal")])
    return scope


def segments_of(
    reader: GraphReader, service: Uri, since: datetime, until: datetime
) -> tuple[Node, ...]:
    """Return the sealed segments of a service that lie in a period, by URI.

    Raises:
        NotFoundError: The service is not in the graph.
    """
    found: dict[Uri, Node] = {}
    for node in _nodes(_near(reader, service, "down", "version_of"), "deployment"):
        if _held(node, since, until):
            sealed = _near(reader, node.uri, "down", "served_by")
            found |= {one.uri: one for one in _segments(sealed, since, until)}
    return tuple(found[uri] for uri in sorted(found))


def _segments(walk: Walk, since: datetime, until: datetime) -> list[Node]:
    return [n for n in _nodes(walk, "prediction_segment") if _sealed(n, since, until)]


def _up(reader: GraphReader, uri: Uri) -> Walk:
    return reader.walk(uri, "up", WalkOptions(limit=MOST_NODES))


def _near(reader: GraphReader, uri: Uri, direction: Direction, *roles: str) -> Walk:
    return reader.walk(
        uri, direction, WalkOptions(depth=1, roles=tuple(roles), limit=MOST_NODES)
    )


def _judgements(scope: Scope, reader: GraphReader, version: Uri) -> None:
    """Add the evaluations and tests of a model version."""
    scope.take(_near(reader, version, "down", "evaluated_on", "checked_by"))


def _deployment(scope: Scope, reader: GraphReader, deployment: Uri) -> None:
    """Add what brought a deployment, its rollout's steps and approvals, its health checks."""
    scope.take(_near(reader, deployment, "down", "checked_by"))
    before = _near(reader, deployment, "up", "triggered", "caused")
    _approvals(scope, reader, before)
    for rollout in [node for node in scope.take(before) if node.kind == "rollout"]:
        for direction in ("up", "down"):
            beside = _near(reader, rollout.uri, direction, "triggered", "caused")
            scope.take(beside)
            _approvals(scope, reader, beside)


def _alerts(scope: Scope, reader: GraphReader, alerts: Iterable[Node]) -> None:
    """Add alerts, the incidents that they became, and what rules and people did with them."""
    for alert in alerts:
        caused = scope.take(
            _near(reader, alert.uri, "down", "caused", "healed_by", "triggered")
        )
        for incident in [node for node in caused if node.kind == "incident"]:
            caused += scope.take(_near(reader, incident.uri, "down", "triggered", "healed_by"))
        for run in [node for node in caused if node.kind == "automation_run"]:
            asked = _near(reader, run.uri, "up", "triggered")
            scope.take(asked)
            _approvals(scope, reader, asked)


def _approvals(scope: Scope, reader: GraphReader, walk: Walk) -> None:
    """Add who gave the approvals of a walk."""
    for approval in _nodes(walk, "approval"):
        scope.take(_near(reader, approval.uri, "up", "approved_by"))


def _nodes(walk: Walk, *kinds: str) -> list[Node]:
    return [reached.node for reached in walk.nodes if reached.node.kind in kinds]


def _kinds(uris: Iterable[Uri], *kinds: str) -> list[Uri]:
    return sorted(uri for uri in uris if parse_uri(uri).kind in kinds)


def _held(node: Node, since: datetime, until: datetime) -> bool:
    """Return whether a thing was there at some time of a period."""
    begun = node.valid_from < until or (since == until and node.valid_from == since)
    return begun and (node.valid_to is None or node.valid_to >= since)


def _sealed(node: Node, since: datetime, until: datetime) -> bool:
    """Return whether a segment was sealed in the period, or has predictions of it."""
    if since <= node.valid_from < until:
        return True
    attrs = dict(node.attrs)
    first, last = attrs.get("first_at"), attrs.get("last_at")
    if not isinstance(first, str) or not isinstance(last, str):
        return False
    return first < rfc3339(until) and last >= rfc3339(since)
