"""Answers of the graph as the JSON objects that `--json` and the API print."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mlg.core.clock import rfc3339
from mlg.core.events import StoredEvent
from mlg.core.nodes import Edge, Node
from mlg.core.reading import NodePage, Production, Walk
from mlg.graph.encode import pairs_object


def trace_answer(walk: Walk) -> dict[str, Any]:
    """Return what `mlg trace` and `mlg impact` print."""
    return {
        "root": walk.root,
        "direction": walk.direction,
        "total": walk.total,
        "truncated": walk.truncated,
        "nodes": [
            {**node_answer(reached.node), "depth": reached.depth} for reached in walk.nodes
        ],
        "edges": [edge_answer(edge) for edge in walk.edges],
    }


def production_answer(production: Production) -> dict[str, Any]:
    """Return what `mlg production` prints."""
    return {
        "service": production.service,
        "at": rfc3339(production.at),
        "versions": [
            {
                "model_version": version.model_version,
                "deployment": version.deployment,
                "image_digest": version.image_digest,
                "share_bp": version.share_bp,
                "since": rfc3339(version.since),
                "health": version.health,
            }
            for version in production.versions
        ],
    }


def nodes_answer(page: NodePage) -> dict[str, Any]:
    """Return what `GET /api/v1/nodes` answers."""
    return {
        "nodes": [node_answer(node) for node in page.nodes],
        "total": page.total,
        "truncated": page.truncated,
        "cursor": page.cursor,
    }


def search_answer(text: str, nodes: Iterable[Node]) -> dict[str, Any]:
    """Return what `mlg search` prints, best first."""
    return {"query": text, "nodes": [node_answer(node) for node in nodes]}


def events_answer(events: Iterable[StoredEvent]) -> dict[str, Any]:
    """Return what `GET /api/v1/events` answers, in the order of the log."""
    found = [event_answer(stored) for stored in events]
    return {"events": found, "last_seq": found[-1]["seq"] if found else None}


def event_answer(stored: StoredEvent) -> dict[str, Any]:
    """Return one event of the log with its place and hash."""
    event = stored.event
    return {
        "seq": stored.seq,
        "hash": stored.hash,
        "id": event.id,
        "key": event.key,
        "type": event.type,
        "at": rfc3339(event.at),
        "recorded_at": rfc3339(event.recorded_at),
        "actor": event.actor,
        "subject": event.subject,
        "cause": event.cause,
        "data": pairs_object(event.data),
    }


def node_answer(node: Node) -> dict[str, Any]:
    """Return one node."""
    return {
        "uri": node.uri,
        "kind": node.kind,
        "name": node.name,
        "digest": node.digest,
        "attrs": pairs_object(node.attrs),
        "valid_from": rfc3339(node.valid_from),
        "valid_to": _time(node.valid_to),
    }


def edge_answer(edge: Edge) -> dict[str, Any]:
    """Return one arrow."""
    return {
        "src": edge.src,
        "dst": edge.dst,
        "role": edge.role,
        "class": edge.edge_class,
        "valid_from": rfc3339(edge.valid_from),
        "valid_to": _time(edge.valid_to),
        "provenance": edge.provenance,
        "event": edge.event or None,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
