"""What breaks if a column changes: features, models and deployments, and by which way.

A walk from a column follows columns, features, models and deployments, not whole tables:
what a step makes of other columns is not in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from mlg.core.columns import ROWS
from mlg.core.errors import ManifestError
from mlg.core.nodes import Attr, Edge, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import Walk, WalkOptions
from mlg.core.uris import Uri, parse_uri

KINDS: Final = ("column", "feature")
FOLLOWED: Final = ("column_derived_from", "trained_on", "packaged_as", "deployed_as")
"""What a walk down from a column follows."""

Way = Literal["values", "rows", "table"]
_WAYS: Final[tuple[Way, ...]] = ("values", "rows", "table")
_CANDIDATES: Final = 200


class BrokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that comes of a column."""

    uri: str
    name: str
    way: Way
    """`values`: the column's values are in it or decide about its values; `rows`: they decide
    which rows there are; `table`: a step on the way hides what it reads."""
    live: bool = False
    """Whether it takes traffic now."""
    service: str = ""
    share_bp: int = 0


class BreaksAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What breaks if a column changes; the surest and the live ones first."""

    features: list[BrokenAnswer]
    models: list[BrokenAnswer]
    deployments: list[BrokenAnswer]
    services: list[str]
    """Services that answer with one of them now."""


def of_column(uri: Uri, options: WalkOptions) -> WalkOptions:
    """Return how to walk down from a column or feature; other roots and choices stay.

    Examples:
        >>> of_column(Uri("mlg://column/mlg/p/t%2Fc"), WalkOptions()).roles[0]
        'column_derived_from'
    """
    default = WalkOptions()
    chosen = options.roles or options.classes != default.classes
    if chosen or not any(uri.startswith(f"mlg://{kind}/") for kind in KINDS):
        return options
    return replace(options, roles=FOLLOWED)


def named(reader: GraphReader, text: str) -> Uri | None:
    """Return the column or dataset of a name such as `column` or `dataset.column`.

    The project may come first.

    Returns:
        None when nothing has the name.

    Raises:
        ManifestError: Several things have it.
    """
    wanted = text.strip().lower()
    found = sorted(
        node.uri
        for node in reader.search(text, (*KINDS, "dataset"), _CANDIDATES)
        if wanted in _names(node)
    )
    columns = [uri for uri in found if uri.startswith("mlg://column/")] or found
    if len(columns) > 1:
        raise ManifestError(
            f"{len(columns)} things are called {text!r}: {', '.join(columns[:5])}",
            where="uri",
            hint="give one of these URIs, or dataset.column.",
        )
    return columns[0] if columns else None


def breaks(walk: Walk) -> BreaksAnswer:
    """Return what a walk down from a column says of features, models and deployments."""
    nodes = {reached.node.uri: reached.node for reached in walk.nodes}
    ways = _ways(walk.root, nodes, walk.edges)
    deployments = [_broken(node, ways) for node in nodes.values() if node.kind == "deployment"]
    live = [one for one in deployments if one.live]
    serving = {dict(nodes[Uri(one.uri)].attrs).get("model_version") for one in live}
    models = [
        msgspec.structs.replace(_broken(node, ways), live=node.uri in serving)
        for node in nodes.values()
        if node.kind == "model_version"
    ]
    features = [_broken(node, ways) for node in nodes.values() if node.kind == "feature"]
    return BreaksAnswer(
        features=sorted(features, key=_place),
        models=sorted(models, key=_place),
        deployments=sorted(deployments, key=_place),
        services=sorted({one.service for one in live if one.service}),
    )


def _names(node: Node) -> set[str]:
    """Return what a node may be called, in lower case."""
    parts = parse_uri(node.uri)
    pieces = [parts.name]
    if node.kind in KINDS:
        table, _, field = parts.name.partition("/")
        pieces = [unquote(table), field]
    pieces = [parts.namespace, *pieces]
    return {".".join(pieces[at:]).lower() for at in range(len(pieces))} - {""}


def _ways(root: Uri, nodes: Mapping[Uri, Node], edges: Iterable[Edge]) -> dict[Uri, Way]:
    """Return the surest way by which each node is reached."""
    ahead: dict[Uri, list[Uri]] = {}
    for edge in edges:
        ahead.setdefault(edge.src, []).append(edge.dst)
    found: dict[Uri, Way] = {}
    for way in _WAYS:
        seen, front = {root}, [root]
        while front:
            front = [
                uri
                for from_ in front
                for uri in dict.fromkeys(ahead.get(from_, ()))
                if uri not in seen and _passable(nodes[uri], way) and not seen.add(uri)
            ]
        for uri in seen:
            found.setdefault(uri, way)
    return found


def _passable(node: Node, way: Way) -> bool:
    """Return whether a path of this way may go through the node."""
    if node.kind != "column" or parse_uri(node.uri).name.partition("/")[2] != ROWS:
        return True
    exact = dict(node.attrs).get("lineage") in {"exact", None}
    return way == "table" or (way == "rows" and exact)


def _broken(node: Node, ways: Mapping[Uri, Way]) -> BrokenAnswer:
    attrs: dict[str, Attr] = dict(node.attrs)
    share = attrs.get("share_bp")
    share_bp = share if isinstance(share, int) and node.valid_to is None else 0
    return BrokenAnswer(
        uri=node.uri,
        name=node.name,
        way=ways.get(node.uri, "table"),
        live=node.kind == "deployment" and share_bp > 0,
        service=str(attrs.get("service") or "") if node.kind == "deployment" else "",
        share_bp=share_bp,
    )


def _place(one: BrokenAnswer) -> tuple[object, ...]:
    return (not one.live, _WAYS.index(one.way), one.uri)
