"""The trace of one prediction: a first node that no event stores, then the graph's own."""

from dataclasses import dataclass, replace
from datetime import datetime

from mlg.core.errors import NotFoundError
from mlg.core.nodes import Attr, Edge, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import Direction, NodeQuery, Reached, Walk, WalkOptions
from mlg.core.uris import EventId, Uri, make_uri, parse_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the log of predictions says of one answer; enough to find its lineage."""

    project: str
    service: str
    prediction_id: str
    at: datetime
    model_version: Uri | None
    """None when no model answered: the fallback server's popularity list."""
    segment: Uri | None = None
    """None until the prediction is sealed."""
    attrs: tuple[tuple[str, Attr], ...] = ()
    """What to show of it: served_by, reason, confidence and so on; never a viewer id."""

    @property
    def uri(self) -> Uri:
        """The prediction's URI."""
        return prediction_uri(self.project, self.service, self.prediction_id)


def prediction_uri(project: str, service: str, prediction_id: str) -> Uri:
    """Return `mlg://prediction/mlg/<project>/<service>@<prediction id>`."""
    return make_uri("prediction", project, service, prediction_id)


def trace_prediction(
    answered: Answered,
    reader: GraphReader,
    options: WalkOptions | None = None,
    direction: Direction = "up",
) -> Walk:
    """Return the walk from a prediction: its model version and on to the sources.

    The segment is shown as a leaf: what else it holds came of other deployments. The
    deployment that answered is found from what was in production at the prediction's
    time. Downwards nothing comes of a prediction.

    Args:
        answered: The prediction, as the log of predictions has it.
        reader: The graph.
        options: How far; its depth counts from the prediction.
        direction: `up` or `down`.

    Raises:
        NotFoundError: Its model version is not in the graph.
    """
    options = options or WalkOptions()
    first = Reached(node=_virtual(answered), depth=0)
    alone = Walk(
        root=answered.uri,
        direction=direction,
        total=1,
        truncated=False,
        nodes=(first,),
        edges=(),
    )
    if direction == "down" or options.depth == 0:
        return alone
    walk = alone
    if answered.model_version is not None:
        further = None if options.depth is None else options.depth - 1
        below = reader.walk(answered.model_version, "up", replace(options, depth=further))
        edge = _virtual_edge(answered, answered.model_version, "served_by")
        walk = Walk(
            root=answered.uri,
            direction="up",
            total=below.total + 1,
            truncated=below.truncated,
            nodes=(first, *(replace(found, depth=found.depth + 1) for found in below.nodes)),
            edges=(edge, *below.edges),
        )
        walk = _with_deployment(walk, answered, reader, options)
    if answered.segment is not None:
        walk = _with_leaf(walk, answered, answered.segment, "derived_from", reader)
    return walk


def _virtual(answered: Answered) -> Node:
    attrs = {
        **dict(answered.attrs),
        "service": answered.service,
        "model_version": answered.model_version,
        "segment": answered.segment,
    }
    return Node(
        uri=answered.uri,
        kind="prediction",
        name=answered.prediction_id,
        attrs=tuple(sorted(attrs.items())),
        valid_from=answered.at,
    )


def _virtual_edge(answered: Answered, src: Uri, role: str) -> Edge:
    return Edge(
        src=src,
        dst=answered.uri,
        role=role,
        provenance="observed",
        event=EventId(""),
        valid_from=answered.at,
    )


def _with_deployment(
    walk: Walk, answered: Answered, reader: GraphReader, options: WalkOptions
) -> Walk:
    """Add the deployment of this version that took traffic when the answer was given."""
    service = make_uri("service", answered.project, answered.service)
    serving = reader.production(service, answered.at).versions
    found = [v.deployment for v in serving if v.model_version == answered.model_version]
    if not found or answered.model_version is None:
        return walk
    walk = _with_leaf(walk, answered, found[0], "served_by", reader)
    if options.depth == 1:
        return walk
    hop = reader.walk(found[0], "up", WalkOptions(depth=1, roles=("deployed_as",)))
    ends = {reached.node.uri for reached in walk.nodes}
    return replace(walk, edges=(*walk.edges, *(e for e in hop.edges if e.src in ends)))


def _with_leaf(
    walk: Walk, answered: Answered, uri: Uri, role: str, reader: GraphReader
) -> Walk:
    """Add one node beside the prediction, without what lies above it.

    Raises:
        NotFoundError: It is not in the graph.
    """
    page = reader.nodes(NodeQuery(uri=uri))
    if not page.nodes:
        raise NotFoundError(
            f"no such {parse_uri(uri).kind} in the graph",
            where=uri,
            hint="mlg graph rebuild makes the nodes again from the log",
        )
    at = sum(1 for reached in walk.nodes if reached.depth <= 1)
    leaf = Reached(node=page.nodes[0], depth=1)
    return replace(
        walk,
        total=walk.total + 1,
        nodes=(*walk.nodes[:at], leaf, *walk.nodes[at:]),
        edges=(*walk.edges, _virtual_edge(answered, uri, role)),
    )
