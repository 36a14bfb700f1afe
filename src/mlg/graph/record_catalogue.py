"""Events of what people say of things: who owns them, what they are, how fresh they must be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Uri
from mlg.graph.record import Recorder, edge, node

_TEAM: Final = "team:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is said of one thing."""

    kind: str
    name: str
    owner: str | None = None
    """`team:NAME`, or a person."""
    description: str = ""
    tags: tuple[str, ...] = ()
    max_age_s: float | None = None
    """How old its newest version may be, in seconds."""
    depends_on: tuple[str, ...] = ()
    """Services that a service waits for before it is started."""

    @property
    def attrs(self) -> dict[str, Attr]:
        """What its node says; None where nothing is said."""
        return {
            "description": self.description or None,
            "tags": ", ".join(self.tags) or None,
            "max_age_s": self.max_age_s,
            "depends_on": ", ".join(self.depends_on) or None,
        }


def owner_uri(recorder: Recorder, owner: str) -> Uri:
    """Return the node of an owner: a team, or a person as `actor`."""
    if owner.startswith(_TEAM) and len(owner) > len(_TEAM):
        return recorder.uri("team", owner.removeprefix(_TEAM))
    return recorder.uri("actor", owner)


def things_described(
    recorder: Recorder,
    *,
    key: str,
    subject: Uri,
    before: Iterable[Described],
    after: Iterable[Described],
) -> Event | None:
    """Return the event that says what is said of things, and what no longer; None for nothing.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        subject: The commit whose manifest says so.
        before: What was said until now.
        after: What is said from now on.
    """
    old = {(one.kind, one.name): one for one in before}
    new = {(one.kind, one.name): one for one in after}
    nodes: list[NodeFact] = []
    edges: list[EdgeFact] = []
    for place in sorted(old.keys() | new.keys()):
        silent = Described(kind=place[0], name=place[1])
        was, now = old.get(place, silent), new.get(place, silent)
        uri = recorder.uri(*place)
        said = {
            name: value
            for name, value in now.attrs.items()
            if value is not None or was.attrs[name] is not None
        }
        if said:
            nodes.append(node(uri, said))
        if was.owner is not None and was.owner != now.owner:
            edges.append(edge(owner_uri(recorder, was.owner), "owned_by", uri, ended=True))
        if now.owner is not None:
            owner = owner_uri(recorder, now.owner)
            nodes.append(node(owner, {}, name=now.owner.removeprefix(_TEAM)))
            edges.append(edge(owner, "owned_by", uri))
    if not nodes and not edges:
        return None
    return recorder.event(
        "mlg.things.described", key=key, subject=subject, nodes=nodes, edges=edges
    )
