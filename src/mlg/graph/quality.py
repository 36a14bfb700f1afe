"""How well things are described: owner, description, freshness and tags, as one score.

The score is the weighted share of what a thing of its kind should have::

    score = sum(weight * part) / sum(weight)     over the parts that count for it

`owner`, `description` and `tags` are 1 or 0. `freshness` is 1 while the newest version is no
older than allowed, then allowed / age. It does not count where neither a `freshness` check nor
`LEAST_VERSIONS` versions tell what is usual.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import fmean, median
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri
from mlg.graph.listing import checked_kinds, standing

WEIGHTS: Final = {"owner": 0.35, "description": 0.25, "freshness": 0.25, "tags": 0.15}
"""What each part weighs."""
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "dataset": ("owner", "description", "freshness", "tags"),
    "pipeline": ("owner", "description", "freshness", "tags"),
    "model": ("owner", "description", "freshness", "tags"),
    "service": ("owner", "description", "tags"),
    "source": ("owner", "description"),
    "feature": ("owner", "description", "tags"),
    "column": ("description",),
}
"""What things of each kind should have."""
KINDS: Final = tuple(PARTS)
"""Kinds that can be asked for."""
DEFAULT_KINDS: Final = ("dataset", "pipeline", "model", "service")
LEAST_VERSIONS: Final = 4
"""So many versions show what interval is usual."""
LATE: Final = 2.0
"""A version is late after so many times the usual interval, the median of the last gaps."""
MOST_LISTED: Final = 5_000
"""Nodes of each kind that are looked at."""
MOST_OWNERS: Final = 10_000
"""Teams and people whose things are looked up, of each."""

_GAPS: Final = 20
_MOST_VERSIONS: Final = 10_000
_MOST_OWNED: Final = 100_000


class QualityItem(msgspec.Struct, frozen=True, kw_only=True):
    """How well one thing is described."""

    uri: str
    kind: str
    name: str
    score: float
    """0..1."""
    missing: list[str]
    """Parts that are not there or late, the heaviest first."""
    owners: list[str]
    description: str
    tags: str
    newest_version_at: str | None
    age_s: float | None
    """Age of the newest version; None without versions."""
    allowed_s: float | None
    """How old it may be; None where nothing tells."""
    allowed_by: str
    """`declared`, `usual` (twice the usual interval) or empty."""


class QualitySummary(msgspec.Struct, frozen=True, kw_only=True):
    """The things of one kind."""

    kind: str
    things: int
    score: float | None
    """Mean of their scores; None without things."""
    missing: dict[str, int]
    """How many lack each part."""


class QualityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How well things are described, the worst first."""

    at: str
    summary: list[QualitySummary]
    items: list[QualityItem]
    truncated: bool
    """There are more things than are looked at, or more items than were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fresh:
    """How old the newest version is and may be."""

    newest: datetime | None = None
    age_s: float | None = None
    allowed_s: float | None = None
    by: str = ""

    @property
    def part(self) -> float | None:
        """1 when in time, less when late; None where nothing tells."""
        if self.allowed_s is None or (self.age_s is None and self.by != "declared"):
            return None
        if self.age_s is None:
            return 0.0
        return 1.0 if self.age_s <= self.allowed_s else self.allowed_s / self.age_s


def quality(
    reader: GraphReader,
    *,
    now: datetime,
    uri: Uri | None = None,
    kinds: Sequence[str] = (),
    limit: int = 100,
) -> QualityAnswer:
    """Return how well things are described.

    Args:
        reader: The graph.
        now: The time.
        uri: Only this thing.
        kinds: Which kinds, of `KINDS`; `DEFAULT_KINDS` when empty.
        limit: Most items of the answer; the summary counts all.

    Raises:
        ManifestError: A kind is unknown or has no measure.
        NotFoundError: The thing is not in the graph.
    """
    whole = True
    if uri is not None:
        nodes = [_one(reader, uri)]
        owners = {uri: _owners_of(reader, uri)}
    else:
        nodes = list[Node]()
        for kind in checked_kinds(kinds, KINDS) if kinds else DEFAULT_KINDS:
            listed = list(standing(reader, kind, MOST_LISTED + 1))
            whole = whole and len(listed) <= MOST_LISTED
            nodes += listed[:MOST_LISTED]
        owners = _all_owners(reader)
    items = [_judged(reader, node, owners.get(node.uri, []), now) for node in nodes]
    items.sort(key=lambda one: (one.score, one.uri))
    return QualityAnswer(
        at=rfc3339(now),
        summary=[_summary(kind, items) for kind in dict.fromkeys(n.kind for n in nodes)],
        items=items[:limit],
        truncated=not whole or len(items) > limit,
    )


def score_of(parts: Mapping[str, float | None]) -> float:
    """Return the weighted share of the parts that are there; None does not count.

    Examples:
        >>> score_of({"owner": 1.0, "description": 0.0, "freshness": None, "tags": 0.0})
        0.4667
        >>> score_of({})
        0.0
    """
    counted = {name: part for name, part in parts.items() if part is not None}
    total = sum(WEIGHTS[name] for name in counted)
    if not total:
        return 0.0
    return round(sum(WEIGHTS[name] * part for name, part in counted.items()) / total, 4)


def allowed_age_s(made: Sequence[datetime]) -> float | None:
    """Return how old the newest of these versions may be by what is usual, in seconds.

    Examples:
        >>> from datetime import UTC, timedelta
        >>> begin = datetime(2026, 1, 1, tzinfo=UTC)
        >>> allowed_age_s([begin + timedelta(days=n) for n in (0, 1, 2, 9)])
        172800.0
        >>> allowed_age_s([begin]) is None
        True
    """
    ordered = sorted(made)[-(_GAPS + 1) :]
    gaps = [(after - before).total_seconds() for before, after in pairwise(ordered)]
    usual = median(gaps) if len(ordered) >= LEAST_VERSIONS else 0.0
    return LATE * usual if usual > 0 else None


def _one(reader: GraphReader, uri: Uri) -> Node:
    nodes = reader.nodes(NodeQuery(uri=uri)).nodes
    if not nodes:
        raise NotFoundError(
            "no such node in the graph", where=uri, hint="mlg search finds nodes by any word."
        )
    if nodes[0].kind not in PARTS:
        raise ManifestError(
            f"things of kind {nodes[0].kind} have no measure of quality",
            where=uri,
            hint=f"ask for one of {', '.join(KINDS)}.",
        )
    return nodes[0]


def _owners_of(reader: GraphReader, uri: Uri) -> list[str]:
    walk = reader.walk(uri, "up", WalkOptions(roles=("owned_by",), depth=1))
    return [one.node.uri for one in walk.nodes if one.depth == 1]


def _all_owners(reader: GraphReader) -> dict[Uri, list[str]]:
    """Return the owners of everything that has one: a walk for each owner, not each thing."""
    found: dict[Uri, list[str]] = {}
    options = WalkOptions(roles=("owned_by",), depth=1, limit=_MOST_OWNED)
    for kind in ("team", "actor"):
        for owner in standing(reader, kind, MOST_OWNERS):
            for one in reader.walk(owner.uri, "down", options).nodes:
                if one.depth == 1:
                    found.setdefault(one.node.uri, []).append(owner.uri)
    return found


def _judged(reader: GraphReader, node: Node, owners: list[str], now: datetime) -> QualityItem:
    attrs = dict(node.attrs)
    expected = PARTS[node.kind]
    fresh = _fresh(reader, node, attrs, now) if "freshness" in expected else _Fresh()
    description, tags = _text(attrs, "description"), _text(attrs, "tags")
    parts: dict[str, float | None] = {
        "owner": float(bool(owners)),
        "description": float(bool(description)),
        "freshness": fresh.part,
        "tags": float(bool(tags)),
    }
    parts = {name: part for name, part in parts.items() if name in expected}
    lacking = [name for name, part in parts.items() if part is not None and part < 1]
    return QualityItem(
        uri=node.uri,
        kind=node.kind,
        name=node.name,
        score=score_of(parts),
        missing=sorted(lacking, key=lambda name: -WEIGHTS[name]),
        owners=owners,
        description=description,
        tags=tags,
        newest_version_at=None if fresh.newest is None else rfc3339(fresh.newest),
        age_s=fresh.age_s,
        allowed_s=fresh.allowed_s,
        allowed_by=fresh.by,
    )


def _fresh(reader: GraphReader, node: Node, attrs: Mapping[str, Attr], now: datetime) -> _Fresh:
    walk = reader.walk(
        node.uri, "down", WalkOptions(roles=("version_of",), depth=1, limit=_MOST_VERSIONS)
    )
    made = [one.node.valid_from for one in walk.nodes if one.depth == 1]
    newest = max(made, default=None)
    declared = attrs.get("max_age_s")
    by_check = isinstance(declared, int | float)
    allowed = float(declared) if isinstance(declared, int | float) else allowed_age_s(made)
    return _Fresh(
        newest=newest,
        age_s=None if newest is None else max(0.0, (now - newest).total_seconds()),
        allowed_s=allowed,
        by="declared" if by_check else "usual" if allowed is not None else "",
    )


def _text(attrs: Mapping[str, Attr], name: str) -> str:
    value = attrs.get(name)
    return value.strip() if isinstance(value, str) else ""


def _summary(kind: str, items: Iterable[QualityItem]) -> QualitySummary:
    own = [one for one in items if one.kind == kind]
    return QualitySummary(
        kind=kind,
        things=len(own),
        score=round(fmean(one.score for one in own), 4) if own else None,
        missing={
            part: sum(part in one.missing for one in own)
            for part in PARTS[kind]
            if any(part in one.missing for one in own)
        },
    )
