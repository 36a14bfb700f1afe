"""The inventory of the graph: which recorder makes what, found by running them all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlg.core.events import Event
from mlg.core.nodes import ALLOWED, KINDS, ROLE_CLASS
from mlg.core.uris import parse_uri
from mlg.graph.openlineage import to_event
from mlg.graph.openlineage_check import check
from mlg.graph.taxonomy import KIND_INGEST, KIND_MEANING, ROLE_INGEST, ROLE_MEANING
from tests.story import whole_story

Triple = tuple[str, str, str]
"""Kind of the source, role, kind of the destination."""


@dataclass(frozen=True)
class KindRow:
    name: str
    meaning: str
    makers: tuple[str, ...]
    ingest: str


@dataclass(frozen=True)
class RoleRow:
    name: str
    edge_class: str
    meaning: str
    pairs: tuple[tuple[str, str], ...]
    makers: tuple[str, ...]
    ingest: str


def kinds_of(event: Event) -> set[str]:
    """Return the kinds of all nodes that an event names."""
    uris = [event.subject, *(fact.uri for fact in event.nodes)]
    uris += [end for arrow in event.edges for end in (arrow.src, arrow.dst)]
    return {parse_uri(uri).kind for uri in uris}


def triples_of(event: Event) -> set[Triple]:
    """Return the arrows of an event by kind."""
    return {
        (parse_uri(arrow.src).kind, arrow.role, parse_uri(arrow.dst).kind)
        for arrow in event.edges
    }


def made_kinds() -> dict[str, set[str]]:
    """Return the recorders of each kind: those that say something of its nodes, if any does."""
    named, told = _makers(kinds_of), _makers(_told_kinds)
    return named | told


def _told_kinds(event: Event) -> set[str]:
    return {parse_uri(fact.uri).kind for fact in event.nodes}


def made_triples() -> dict[Triple, set[str]]:
    """Return the recorders that draw each sort of arrow."""
    return _makers(triples_of)


def _makers(of: Any) -> dict[Any, set[str]]:
    story = whole_story()
    found: dict[Any, set[str]] = {}
    for event, maker in zip(story.events, story.makers, strict=True):
        for one in of(event):
            found.setdefault(one, set()).add(maker)
    return found


def kind_rows() -> list[KindRow]:
    """Return a row for each kind, in the order of the table of meanings."""
    made = made_kinds()
    return [
        KindRow(
            name=kind,
            meaning=meaning,
            makers=tuple(sorted(made.get(kind, ()))),
            ingest=_what(KIND_INGEST, kind),
        )
        for kind, meaning in KIND_MEANING.items()
        if kind in KINDS
    ]


def role_rows() -> list[RoleRow]:
    """Return a row for each role, in the order of the table of meanings."""
    made: dict[str, set[str]] = {}
    for (_, role, _), makers in made_triples().items():
        made.setdefault(role, set()).update(makers)
    return [
        RoleRow(
            name=role,
            edge_class=ROLE_CLASS[role],
            meaning=meaning,
            pairs=tuple(sorted(ALLOWED[role])),
            makers=tuple(sorted(made.get(role, ()))),
            ingest=_what(ROLE_INGEST, role),
        )
        for role, meaning in ROLE_MEANING.items()
    ]


def _what(paths: Mapping[str, Any], name: str) -> str:
    return paths[name].what if name in paths else ""


def ingested(recorder: Any, contents: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Return what OpenLineage events become, by the code behind the API's door."""
    return [to_event(recorder, check(content)) for content in contents]
