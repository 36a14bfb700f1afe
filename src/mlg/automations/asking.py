"""What conditions may ask of the graph, as functions over a `GraphReader`.

An alert is open while its node has not ended; its attributes `service` and `kind` say
whom it concerns and what it is.
"""

from datetime import datetime
from typing import Final

from mlg.automations.conditions import GraphFunctions
from mlg.automations.happened import service_of
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import NodeQuery
from mlg.core.uris import Uri, parse_uri

INPUT_DRIFT: Final = "input_drift"
_MOST: Final = 1_000


def graph_functions(reader: GraphReader, at: datetime) -> GraphFunctions:
    """Return the functions behind `graph.<name>(…)`, as the graph stood at a time.

    - `input_drift_open(what)`: whether an alert of the kind `input_drift` is open for the
      service that `what` names: a service's name, or the URI of a service, a deployment, a
      rollout or an alert.
    - `alerts_open(what)`: how many alerts of any kind are open for it.
    - `production(service)`: the version with the largest share of it, or an empty text.
    - `attr(uri, name)`: an attribute of a node, or null.

    Args:
        reader: The graph.
        at: The time of the event; later facts are not seen.
    """

    def input_drift_open(what: object) -> bool:
        return bool(_open(reader, at, what, INPUT_DRIFT))

    def alerts_open(what: object) -> int:
        return len(_open(reader, at, what, None))

    def production(service: str) -> str:
        return _production(reader, at, service)

    def attr(uri: str, name: str) -> Attr:
        return _attr(reader, at, uri, name)

    return {
        "input_drift_open": input_drift_open,
        "alerts_open": alerts_open,
        "production": production,
        "attr": attr,
    }


def _open(reader: GraphReader, at: datetime, what: object, kind: str | None) -> list[Node]:
    service = _service(reader, at, what)
    if service is None:
        return []
    query = NodeQuery(kinds=("alert",), attr=("service", service), as_of=at, limit=_MOST)
    nodes = [node for node in reader.nodes(query).nodes if _is_open(node, at)]
    return [node for node in nodes if kind is None or dict(node.attrs).get("kind") == kind]


def _is_open(node: Node, at: datetime) -> bool:
    return node.valid_from <= at and (node.valid_to is None or node.valid_to > at)


def _service(reader: GraphReader, at: datetime, what: object) -> str | None:
    if not isinstance(what, str):
        raise TypeError(f"expected a service's name or a URI, got {what!r}")
    if not what.startswith("mlg://"):
        return what
    if parse_uri(what).kind != "alert":
        return service_of(what)
    named = _attr(reader, at, what, "service")
    return named if isinstance(named, str) else None


def _production(reader: GraphReader, at: datetime, service: str) -> str:
    versions = reader.production(service, at).versions
    if not versions:
        return ""
    largest = max(versions, key=lambda one: (one.share_bp, one.model_version))
    return parse_uri(largest.model_version).version or ""


def _attr(reader: GraphReader, at: datetime, uri: str, name: str) -> Attr:
    page = reader.nodes(NodeQuery(uri=Uri(uri), as_of=at, limit=1))
    return dict(page.nodes[0].attrs).get(name) if page.nodes else None
