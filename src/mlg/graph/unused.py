"""What could be deprecated: things that nothing live comes of and nothing used lately.

Work: the deployments are listed; one walk up from each version that takes traffic (two for
columns); then one walk down from each candidate that is not above any of them, at most
`MOST_EXAMINED` in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.columns import ROWS
from mlg.core.errors import ManifestError
from mlg.core.nodes import Node
from mlg.core.ports import GraphReader
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.columns import FOLLOWED
from mlg.graph.listing import checked_kinds, standing
from mlg.manifest.units import seconds

SINCE_S: Final = 30 * 86_400.0
"""What was used longer ago than this counts as unused, in seconds."""
MOST_LISTED: Final = 100_000
"""Nodes looked at of each kind; of more, those beyond are not told."""
MOST_LIVE: Final = 1_000
"""Versions that take traffic whose ancestors are looked up."""
MOST_EXAMINED: Final = 5_000
"""Candidates whose last use is looked up."""
_MOST_USES: Final = 10_000
_LONGEST_S: Final = 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """How the use of a kind is seen: arrows followed down, and those that are uses."""

    followed: tuple[str, ...]
    uses: tuple[str, ...]
    depth: int | None


_READ: Final = ("used", "trained_on", "evaluated_on")
_USES: Final[dict[str, _Use]] = {
    "source": _Use(followed=("derived_from", *_READ), uses=_READ, depth=3),
    "dataset": _Use(followed=("derived_from", *_READ), uses=_READ, depth=2),
    "column": _Use(followed=FOLLOWED, uses=("trained_on",), depth=None),
    "feature": _Use(followed=FOLLOWED, uses=("trained_on",), depth=1),
    "pipeline": _Use(
        followed=("version_of", "produced"), uses=("version_of", "produced"), depth=1
    ),
    "model": _Use(
        followed=("version_of", "packaged_as", "deployed_as"), uses=("deployed_as",), depth=3
    ),
    "dataset_version": _Use(followed=_READ, uses=_READ, depth=1),
    "feature_snapshot": _Use(followed=_READ, uses=_READ, depth=1),
    "model_version": _Use(
        followed=("packaged_as", "deployed_as"), uses=("deployed_as",), depth=2
    ),
    "image": _Use(followed=("deployed_as",), uses=("deployed_as",), depth=1),
    "service": _Use(followed=("version_of",), uses=("version_of",), depth=1),
}
KINDS: Final = tuple(_USES)
"""Kinds that can be asked for."""
DEFAULT_KINDS: Final = (
    "source",
    "dataset",
    "column",
    "feature",
    "pipeline",
    "model",
    "service",
)
"""Kinds of things that are kept up; versions are for collecting garbage."""

_ABOVE: Final = (
    "derived_from", "used", "produced", "trained_on", "packaged_as", "deployed_as",
    "warm_started_from", "version_of",
)  # fmt: skip
"""What leads from a deployment to all that it lives on; not `column_of`: a column is not used
because its table is."""
_MADE_BY: Final = ("produced", "triggered", "part_of", "version_of")
_COLUMN_KINDS: Final = frozenset(("column", "feature"))


class UnusedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that could go."""

    uri: str
    kind: str
    name: str
    last_use: str | None
    """When it was last used; None when it never was."""
    last_use_by: str | None
    """What used it then."""
    idle_s: float
    """Seconds since the last use, or since it was made."""
    why: str


class UnusedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What could go, the longest idle first."""

    at: str
    since: str
    """Uses before this time do not count."""
    total: int
    """How many were found; `items` may be fewer."""
    examined: int
    """Things of these kinds that were looked at."""
    in_doubt: int
    """Things with more uses than are counted; they are not told as unused."""
    truncated: bool
    """There are more nodes than are looked at, or more items than were asked for."""
    items: list[UnusedItem]


def since_seconds(text: str) -> float:
    """Return how long back a use counts, from text such as `30d`.

    Raises:
        ManifestError: The text is no duration, or longer than 100 years.

    Examples:
        >>> since_seconds("30d")
        2592000.0
    """
    found = seconds(text.strip())
    if found is None or found > _LONGEST_S:
        raise ManifestError(
            f"expected a duration of at most 100 years, got {text[:50]!r}",
            where="since",
            hint="for example 30d.",
        )
    return found


def unused(
    reader: GraphReader,
    *,
    now: datetime,
    kinds: Sequence[str] = (),
    since_s: float = SINCE_S,
    limit: int = 100,
) -> UnusedAnswer:
    """Return things that no version with traffic comes of and that nothing used lately.

    Args:
        reader: The graph.
        now: The time.
        kinds: Which kinds, of `KINDS`; `DEFAULT_KINDS` when empty.
        since_s: A use within so many seconds counts; what was made within them is spared.
        limit: Most items of the answer.

    Raises:
        ManifestError: A kind is unknown.
    """
    wanted = checked_kinds(kinds, KINDS) if kinds else DEFAULT_KINDS
    begin = now - timedelta(seconds=since_s)
    live, whole = _live(reader, columns=bool(_COLUMN_KINDS & set(wanted)))
    examined, in_doubt, walks = 0, 0, 0
    found: list[tuple[datetime, UnusedItem]] = []
    for kind in wanted:
        listed = 0
        for node in standing(reader, kind, MOST_LISTED):
            listed += 1
            if _is_rows(node):
                continue
            examined += 1
            if node.uri in live or node.valid_from > begin:
                continue
            walks += 1
            if walks > MOST_EXAMINED:
                break
            use = _last_use(reader, node)
            if use is None:
                in_doubt += 1
            elif use[0] is None or use[0] <= begin:
                found.append(_item(node, use, now))
        whole = whole and listed < MOST_LISTED and walks <= MOST_EXAMINED
    found.sort(key=lambda one: (one[0], one[1].uri))
    return UnusedAnswer(
        at=rfc3339(now),
        since=rfc3339(begin),
        total=len(found),
        examined=examined,
        in_doubt=in_doubt,
        truncated=not whole or len(found) > limit,
        items=[item for _, item in found[:limit]],
    )


def _is_rows(node: Node) -> bool:
    return node.kind == "column" and parse_uri(node.uri).name.partition("/")[2] == ROWS


def _live(reader: GraphReader, *, columns: bool) -> tuple[set[Uri], bool]:
    """Return all that versions with traffic come of, and whether that is everything."""
    serving: dict[Uri, Uri] = {}
    listed = 0
    for node in standing(reader, "deployment", MOST_LISTED):
        listed += 1
        attrs = dict(node.attrs)
        share = attrs.get("share_bp")
        if isinstance(share, int) and share > 0:
            serving.setdefault(Uri(str(attrs.get("model_version") or node.uri)), node.uri)
    whole = listed < MOST_LISTED and len(serving) <= MOST_LIVE
    live: set[Uri] = set()
    for version, deployment in list(serving.items())[:MOST_LIVE]:
        above = reader.walk(deployment, "up", WalkOptions(roles=_ABOVE, limit=MOST_LISTED))
        live |= {one.node.uri for one in above.nodes if one.node.kind not in _COLUMN_KINDS}
        whole = whole and not above.truncated
        if version not in live:
            continue
        made = reader.walk(version, "up", WalkOptions(roles=_MADE_BY, depth=3))
        live |= {one.node.uri for one in made.nodes}
        if columns:
            told = reader.walk(version, "up", WalkOptions(roles=FOLLOWED, limit=MOST_LISTED))
            live |= {one.node.uri for one in told.nodes}
    return live, whole


def _last_use(reader: GraphReader, node: Node) -> tuple[datetime | None, Uri | None] | None:
    """Return when and by what a thing was last used; None when it has too many uses to tell."""
    how = _USES[node.kind]
    walk = reader.walk(
        node.uri,
        "down",
        WalkOptions(roles=how.followed, depth=how.depth, limit=_MOST_USES),
    )
    if walk.truncated:
        return None
    uses = [edge for edge in walk.edges if edge.role in how.uses]
    if not uses:
        return None, None
    last = max(uses, key=lambda edge: (edge.valid_from, edge.dst))
    return last.valid_from, last.dst


def _item(
    node: Node, use: tuple[datetime | None, Uri | None], now: datetime
) -> tuple[datetime, UnusedItem]:
    at, by = use
    idle_s = (now - (at or node.valid_from)).total_seconds()
    days = idle_s / 86_400
    if at is None or by is None:
        why = f"nothing has used it in the {days:.0f} days since it is known"
    else:
        why = f"last used {days:.0f} days ago by {parse_uri(by).kind} {parse_uri(by).name}"
    return at or node.valid_from, UnusedItem(
        uri=node.uri,
        kind=node.kind,
        name=node.name,
        last_use=None if at is None else rfc3339(at),
        last_use_by=by,
        idle_s=idle_s,
        why=f"{why}; nothing that takes traffic comes of it",
    )
