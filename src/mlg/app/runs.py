"""Runs as the API tells them, read from the graph."""

from typing import Any

from mlg.core.clock import rfc3339
from mlg.core.errors import NotFoundError
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import parse_uri

_STATES = {"succeeded": "done", "running": "running", "failed": "failed"}


def run_document(reader: GraphReader, run_id: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return one run with its steps in the order they began.

    Args:
        reader: The graph.
        run_id: Which run.
        result: What the durable workflow says: `{}` when it knows no such run.

    Raises:
        NotFoundError: Neither the graph nor the workflows know the run.
    """
    page = reader.nodes(NodeQuery(kinds=("run",), attr=("run_id", run_id)))
    if not page.nodes:
        if result:
            return {"run_id": run_id, "pipeline": "", "steps": [], **result}
        raise NotFoundError(f"no run {run_id}", where="graph", hint="mlg search run")
    run = page.nodes[0]
    attrs = dict(run.attrs)
    walk = reader.walk(run.uri, "down", WalkOptions(roles=("triggered", "part_of"), depth=1))
    steps = sorted(
        (reached.node for reached in walk.nodes if reached.node.kind == "step"),
        key=lambda node: (node.valid_from, node.uri),
    )
    document = {
        "run_id": run_id,
        "uri": run.uri,
        "pipeline": attrs.get("pipeline", ""),
        "state": _state(attrs),
        "started_at": rfc3339(run.valid_from),
        "steps": [_step(node) for node in steps],
    }
    ended = result.get("state") not in {None, "running"}
    if document["state"] == "running" and not ended:
        return document
    return {**document, **result} if ended else {**document, "state": "running"}


def run_documents(reader: GraphReader) -> list[dict[str, Any]]:
    """Return the runs on the graph, newest first, without their steps."""
    page = reader.nodes(NodeQuery(kinds=("run",), limit=1_000))
    newest = sorted(page.nodes, key=lambda node: node.valid_from, reverse=True)
    return [
        {
            "run_id": dict(node.attrs).get("run_id", ""),
            "uri": node.uri,
            "pipeline": dict(node.attrs).get("pipeline", ""),
            "state": _state(dict(node.attrs)),
            "started_at": rfc3339(node.valid_from),
        }
        for node in newest
    ]


def _state(attrs: dict[str, Attr]) -> str:
    return str(attrs.get("verdict") or _STATES.get(str(attrs.get("state")), "running"))


def _step(node: Node) -> dict[str, Any]:
    attrs = dict(node.attrs)
    seconds = attrs.get("seconds")
    return {
        "name": attrs.get("step") or parse_uri(node.uri).name.rpartition("/")[2],
        "uri": node.uri,
        "state": attrs.get("state", "running"),
        "seconds": float(seconds) if isinstance(seconds, int | float) else 0.0,
        "attrs": attrs,
    }
