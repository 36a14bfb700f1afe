"""Why a thing is as it is: the events that made it so, each in one clause.

No language model: every clause is one event, in the words that its facts give. Only what
lies near the thing is read, by index: its causes, itself, what came of it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.events import Event, StoredEvent
from mlg.core.nodes import ROLE_CLASS, Attr
from mlg.core.ports import GraphHistory, GraphReader
from mlg.core.reading import Direction, NodeQuery, WalkOptions
from mlg.core.uris import EventId, Uri, make_uri, parse_uri
from mlg.graph.why_words import Clause, clause_of, facts_of

MOST_CLAUSES: Final = 40
EACH: Final = 40
"""Of each thing so many of the first and of the newest events are read."""
MOST_THINGS: Final = 60
"""Things whose events are told: the thing, its causes, what came of it; nearest first."""
_DEPTH: Final = 6
_MOST_WALKED: Final = 300

_CAUSES: Final = tuple(
    name
    for name, class_ in ROLE_CLASS.items()
    # a healing explains the incident, not the other way round, and a way back what was left;
    # what an alert was seen on is in its own words
    if class_ == "causal"
    and name not in {"healed_by", "detected_on", "approved_by", "rolled_back_to"}
)
_MAKERS: Final = ("produced", "packaged_as", "deployed_as", "part_of")
_CALM: Final = frozenset(("alert", "incident", "drift_signal", "policy", "layout", "approval"))
"""Kinds whose story is their causes only, not how those were made."""
_WIDE: Final = frozenset(
    ("actor", "service", "pipeline", "team", "dataset", "source", "model", "endpoint")
)
"""Kinds that many other things hang on: as a cause they explain nothing."""

_EFFECTS: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "alert": (("caused", "triggered"), 1),
    "approval": (("triggered",), 1),
    "automation_run": (("triggered",), 1),
    "commit": (("triggered",), 1),
    "drift_signal": (("caused",), 2),
    "image": (("deployed_as",), 1),
    "incident": (("triggered", "healed_by"), 1),
    "model_version": (("checked_by", "packaged_as", "deployed_as"), 2),
    "run": (("triggered", "produced"), 2),
    "step": (("produced",), 1),
}
"""What came of a thing and belongs to its story: by which roles, how far."""

_FOLLOWED: Final = {
    "automation": "automation_run",
    "pipeline": "run",
    "service": "deployment",
}
"""Sorts of things that a thing has many of: the newest of them are told too."""
_NEWEST: Final = 3
_QUIET: Final = ("mlg.step.", "mlg.process.")
"""Types that are told only of the thing that was asked about, unless they failed."""


class WhyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A paragraph, and the clauses that it is made of."""

    uri: str
    paragraph: str
    clauses: list[Clause]
    truncated: bool
    """Whether some of the oldest clauses were left out."""
    question: str = "why"
    """`why`, or what did not happen: `not promoted`, `not restarted`, …"""
    holds: bool = True
    """False when the opposite of what was asked about is so: it was promoted after all."""


def why(reader: GraphReader, history: GraphHistory, uri: Uri) -> WhyAnswer:
    """Return what led to a thing and what became of it, oldest first.

    Args:
        reader: The graph.
        history: Its log, by index.
        uri: The thing.

    Returns:
        A clause for each event that happened to the thing or says something of it, and for
        those of what caused it and of what came of it. No clauses if nothing is known of it.
    """
    if not reader.nodes(NodeQuery(uri=uri)).nodes:
        return answer(uri, ())
    causes = causes_of(reader, uri)
    effects = effects_of(reader, uri) or _followed(history, uri)
    arrows = _arrows(reader, uri, ("rolled_back_to", "healed_by"), ways=("up",))
    things = list(dict.fromkeys((uri, *twins((uri,)), *causes, *effects, *twins(effects))))
    shown = set(things[:MOST_THINGS])
    events = [
        one
        for one in history.told(things[:MOST_THINGS], arrows, limit=EACH)
        if one.event.id in arrows or is_told(one.event, uri, shown)
    ]
    if not events:  # it is only named, by an arrow
        events = list(history.told((), _arrows(reader, uri, tuple(ROLE_CLASS))))
    return answer(uri, events, root=uri)


def causes_of(reader: GraphReader, uri: Uri) -> list[Uri]:
    """Return what led to a thing, nearest first: no people, and no whole services."""
    kind = parse_uri(uri).kind
    roles = _CAUSES if kind in _CALM else (*_CAUSES, *_MAKERS)
    return _reached(reader, uri, "up", roles, _DEPTH)


def effects_of(reader: GraphReader, uri: Uri) -> list[Uri]:
    """Return what came of a thing and belongs to its story."""
    roles, depth = _EFFECTS.get(parse_uri(uri).kind, ((), 0))
    return _reached(reader, uri, "down", roles, depth) if roles else []


def _followed(history: GraphHistory, uri: Uri) -> list[Uri]:
    """Return the newest things of a sort that a thing has many of, as its events name them."""
    wanted = _FOLLOWED.get(parse_uri(uri).kind)
    if wanted is None:
        return []
    told = history.told((uri,), limit=EACH)
    named = [one.event.subject for one in told if parse_uri(one.event.subject).kind == wanted]
    newest = list(dict.fromkeys(reversed(named)))[:_NEWEST]
    return newest if wanted != "deployment" else twins(newest)


def _reached(
    reader: GraphReader, uri: Uri, direction: Direction, roles: Sequence[str], depth: int
) -> list[Uri]:
    """Return what a walk comes to without going through what many things hang on."""
    options = WalkOptions(roles=tuple(roles), depth=depth, limit=_MOST_WALKED)
    walk = reader.walk(uri, direction, options)
    ahead: dict[Uri, list[Uri]] = {}
    for arrow in walk.edges:
        near, far = (arrow.dst, arrow.src) if direction == "up" else (arrow.src, arrow.dst)
        if parse_uri(far).kind not in _WIDE:
            ahead.setdefault(near, []).append(far)
    found, front = [uri], [uri]
    while front:
        front = list(dict.fromkeys(far for near in front for far in ahead.get(near, ())))
        front = [far for far in front if far not in found]
        found += front
    return found[1:]


def twins(uris: Iterable[Uri]) -> list[Uri]:
    """Return the rollout of each deployment, the deployment of each rollout: one id names both.

    Examples:
        >>> twins([Uri("mlg://deployment/mlg/movies/home@d1")])
        ['mlg://rollout/mlg/movies/home@d1']
    """
    other = {"deployment": "rollout", "rollout": "deployment"}
    parts = [parse_uri(uri) for uri in uris]
    return [
        make_uri(other[p.kind], p.namespace, p.name, p.version, provider=p.provider)
        for p in parts
        if p.kind in other
    ]


def is_told(event: Event, root: Uri, shown: set[Uri]) -> bool:
    """Return whether an event belongs to the story of a thing.

    Args:
        event: One that was found by index.
        root: The thing.
        shown: The thing, its causes and effects.
    """
    if event.subject == root:
        return True
    mentioned = any(fact.uri == root for fact in event.nodes)
    if event.type.startswith(_QUIET):
        return mentioned or (event.type.endswith(".failed") and event.subject in shown)
    return mentioned or event.subject in shown


def answer(
    uri: Uri,
    events: Iterable[StoredEvent],
    *,
    root: Uri | None = None,
    question: str = "why",
    holds: bool = True,
) -> WhyAnswer:
    """Return events as an answer, without each growth of what grows.

    Args:
        uri: What was asked about.
        events: In the order of the log.
        root: The thing that clauses speak of where an event says something of it.
        question: What was asked.
        holds: Whether what was asked about is so.
    """
    whole = list(events)
    told = without_growth(whole, causes=True)
    if len(told) > MOST_CLAUSES:  # a cause that is found anew again and again is no story
        told = without_growth(whole, causes=False)
    clauses = [clause_of(one, root) for one in told[-MOST_CLAUSES:]]
    return from_clauses(
        uri, clauses, truncated=len(told) > MOST_CLAUSES, question=question, holds=holds
    )


def from_clauses(
    uri: Uri,
    clauses: Sequence[Clause],
    *,
    truncated: bool = False,
    question: str = "why",
    holds: bool = True,
) -> WhyAnswer:
    """Return clauses as an answer with its paragraph; each sentence ends with its event."""
    return WhyAnswer(
        uri=uri,
        paragraph=" ".join(f"{clause.text} [{clause.seq}]." for clause in clauses),
        clauses=list(clauses),
        truncated=truncated,
        question=question,
        holds=holds,
    )


def without_growth(told: Sequence[StoredEvent], *, causes: bool) -> list[StoredEvent]:
    """Return the events with only the last growth of each thing, and those to a new cause."""
    last = {one.event.subject: one.seq for one in told if one.event.type.endswith(".grown")}
    known: dict[Uri, Attr] = {}
    kept: list[StoredEvent] = []
    for one in told:
        uri = one.event.subject
        before, now = known.get(uri), facts_of(one.event).get("cause")
        known[uri] = now if now is not None else before
        new = causes and before != now and one.event.type == "mlg.incident.grown"
        if not one.event.type.endswith(".grown") or last[uri] == one.seq or new:
            kept.append(one)
    return kept


def resolve(reader: GraphReader, text: str) -> Uri | None:
    """Return the URI that a text is, or that of the service or process of that name, or None.

    Raises:
        ManifestError: The text begins like a URI and is none.
        NotFoundError: Services of several projects have the name.
    """
    if text.startswith("mlg://"):
        try:
            parse_uri(text)
        except ValueError as wrong:
            raise ManifestError(
                str(wrong), where="uri", hint="`mlg search` finds the URIs of things."
            ) from wrong
        return Uri(text)
    page = reader.nodes(NodeQuery(kinds=("service",), limit=10_000))
    found = [node.uri for node in page.nodes if parse_uri(node.uri).name == text]
    if len(found) > 1:
        raise NotFoundError(
            f"{len(found)} services have this name", where=text, hint=f"name one: {found[0]}"
        )
    return found[0] if found else _process(reader, text)


def _process(reader: GraphReader, text: str) -> Uri | None:
    """Return the newest process of a name, such as `replica-home-2`."""
    if not text.startswith(("replica-", "fallback-", "gateway-")):
        return None
    query = NodeQuery(kinds=("health_check",), attr=("process", text), limit=1)
    return next((node.uri for node in reader.nodes(query).nodes), None)


def _arrows(
    reader: GraphReader,
    uri: Uri,
    roles: tuple[str, ...],
    ways: tuple[Direction, ...] = ("up", "down"),
) -> list[EventId]:
    """Return the events that drew the arrows at a thing."""
    options = WalkOptions(roles=roles, depth=1, limit=MOST_CLAUSES)
    walks = (reader.walk(uri, way, options) for way in ways)
    return list(dict.fromkeys(arrow.event for walk in walks for arrow in walk.edges))
