"""What differs between two versions: data, features, code, parameters, metrics, image."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from mlg.core.errors import ManifestError
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import Reached, WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.answers import JsonScalar

KINDS: Final = ("model_version", "dataset_version", "feature_snapshot", "image")
"""What can be compared; both must be of one kind."""

_ABOVE: Final = {
    "data": "dataset_version",
    "features": "feature_snapshot",
    "code": "commit",
    "runs": "run",
    "sources": "source",
}
_BELOW: Final = {"evaluations": "evaluation", "images": "image", "deployments": "deployment"}
_FIT: Final = ("param.", "metric.")
_MOST: Final = 10_000


class SideAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Things of one sort that only one of the two has."""

    sort: str
    """`data`, `features`, `code`, `runs`, `sources`, `evaluations`, `images`, `deployments`."""
    only_a: list[str]
    only_b: list[str]
    both: int
    """How many they have in common."""


class ValueAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One value that differs; None where a side has none."""

    sort: str
    """`parameters`, `metrics` or `attributes`."""
    name: str
    a: JsonScalar
    b: JsonScalar


class DiffAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two versions."""

    a: str
    b: str
    same: bool
    truncated: bool
    """One of the two comes of more than 10,000 things; those beyond were not compared."""
    things: list[SideAnswer]
    values: list[ValueAnswer]


def diff(reader: GraphReader, a: Uri, b: Uri, as_of: datetime | None = None) -> DiffAnswer:
    """Return what differs between two versions of one kind, now or as of a time.

    What they come of and what came of them is compared by URI, what is said of them and of
    their evaluations by value. What a version inherited by starting warm from another is not
    counted as its own.

    Raises:
        ManifestError: The two are not of one kind, or of one that has no versions.
        NotFoundError: One of them is not in the graph.
    """
    kinds = tuple(_kind(uri) for uri in (a, b))
    if kinds[0] != kinds[1] or kinds[0] not in KINDS:
        raise ManifestError(
            f"expected two of one kind, got {kinds[0]} and {kinds[1]}",
            where="a, b",
            hint=f"compare two of: {', '.join(KINDS)}.",
        )
    options = WalkOptions(stop_at=("warm_started_from",), limit=_MOST, as_of=as_of)
    up = [reader.walk(uri, "up", options) for uri in (a, b)]
    down = [reader.walk(uri, "down", options) for uri in (a, b)]
    things: list[SideAnswer] = []
    for sorts, walks in ((_ABOVE, up), (_BELOW, down)):
        nodes = [[found.node for found in walk.nodes] for walk in walks]
        for sort, kind in sorts.items():
            sides = [{n.uri for n in some if n.kind == kind} - {a, b} for some in nodes]
            things.append(_side(sort, sides[0], sides[1]))
    values = _values(*(_said(walk.nodes[0].node, _judged(walk.nodes)) for walk in down))
    return DiffAnswer(
        a=a,
        b=b,
        same=not values and not any(side.only_a or side.only_b for side in things),
        truncated=any(walk.truncated for walk in (*up, *down)),
        things=[side for side in things if side.only_a or side.only_b or side.both],
        values=values,
    )


def _kind(uri: Uri) -> str:
    try:
        return parse_uri(uri).kind
    except ValueError as wrong:
        raise ManifestError(
            str(wrong), where="a, b", hint="`mlg search` finds the URIs of things."
        ) from wrong


def _side(sort: str, a: set[Uri], b: set[Uri]) -> SideAnswer:
    return SideAnswer(sort=sort, only_a=sorted(a - b), only_b=sorted(b - a), both=len(a & b))


def _judged(nodes: Iterable[Reached]) -> list[Node]:
    return [found.node for found in nodes if found.node.kind == "evaluation"]


def _said(node: Node, evaluations: list[Node]) -> dict[str, Attr]:
    """Return what is said of a version; what its evaluation measured wins."""
    said = dict(node.attrs)
    if node.digest is not None:
        said["digest"] = node.digest
    for judged in sorted(evaluations, key=lambda one: (one.valid_from, one.uri)):
        said.update((name, value) for name, value in judged.attrs if name.startswith("metric."))
    return said


def _values(a: dict[str, Attr], b: dict[str, Attr]) -> list[ValueAnswer]:
    found: list[ValueAnswer] = []
    for name in sorted(a.keys() | b.keys()):
        one, other = a.get(name), b.get(name)
        if (type(one), one) == (type(other), other):
            continue
        sort = {"param": "parameters", "metric": "metrics"}.get(name.partition(".")[0])
        short = name.partition(".")[2] if sort and name.startswith(_FIT) else name
        found.append(ValueAnswer(sort=sort or "attributes", name=short, a=one, b=other))
    return found
