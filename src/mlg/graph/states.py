"""States that providers tell, to events of the graph; pure.

A state is two events. What never changes of a thing (its arrows) is recorded at
the time it came to be; what may change, at the time of the change. Each key is a digest of
the content; that of a change covers the digest of the state before, which the node carries,
so that a state which comes back is a new event and the same state twice is none.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from mlg.core.clock import rfc3339
from mlg.core.errors import ManifestError
from mlg.core.events import Event, NodeFact
from mlg.core.nodes import Attr, Node
from mlg.core.providers import Told
from mlg.core.uris import Uri, parse_uri
from mlg.graph.encode import canonical
from mlg.graph.record import Recorder, node

DIGEST_ATTR: Final = "state_digest"
"""Attribute of the subject: digest of the state it was last told to be in."""
THING_ATTR: Final = "thing"
"""Attribute of the subject: its type and id in the source, `run:0afb…`."""
AT_ATTR: Final = "state_at"
"""Attribute of the subject: the time of that state; one that was seen earlier is too late."""
MAX_URI: Final = 2_048
MAX_FACTS: Final = 2_000
"""Most attributes, and most other nodes and arrows, of one state."""
MAX_TEXT: Final = 10_000
"""Longest text of one attribute, in characters."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HINT: Final = "see docs/providers.md: a state may tell of its provider's own nodes only."


class StateError(ManifestError):
    """A state that is not taken; `where` names the thing. Both texts are cut."""

    code = "state"

    def __init__(self, what: str, told: Told) -> None:
        where = f"{told.thing.type} {told.thing.id}"
        super().__init__(what[:300], where=where[:300], hint=_HINT)


def state_events(
    recorder: Recorder, provider: str, told: Told, known: Node | None
) -> tuple[Event, ...]:
    """Return the events that bring the graph from what it knows to what was told.

    Args:
        recorder: Whose words these are; its project is not used.
        provider: The provider's part of every URI in the state.
        told: The state.
        known: The subject's node as it stands; None when the graph has none.

    Returns:
        Nothing when the state is the one that the graph knows, or was seen before that one.

    Raises:
        StateError: The state names another provider's nodes, allows no such arrow, or is
            beyond our limits.
    """
    _check(provider, told)
    try:
        born = _born(told)
        digest = _digest(
            {**born, "name": told.name, "attrs": dict(told.attrs), "gone": told.gone}
        )
        before = dict(known.attrs) if known is not None else {}
        former = str(before.get(DIGEST_ATTR) or "")
        if former == digest or rfc3339(told.observed_at) < str(before.get(AT_ATTR) or ""):
            return ()
        facts: dict[str, Attr] = {"thing_type": told.thing.type, "thing_id": told.thing.id}
        made: list[Event] = []
        if not told.gone:
            made.append(
                recorder.event(
                    "mlg.provider.named",
                    key=f"{provider}:named:{_digest(born)}",
                    subject=told.subject,
                    nodes=(node(told.subject), *told.nodes),
                    edges=told.edges,
                    facts=facts,
                    at=told.since or told.changed_at or told.observed_at,
                )
            )
        elif known is None:
            return ()
        at = _at(told, new=not former)
        made.append(
            recorder.event(
                "mlg.provider.told",
                key=f"{provider}:told:{_digest([told.subject, former, digest])}",
                subject=told.subject,
                nodes=(_standing(told, before, digest, at),),
                facts=facts,
                at=at,
            )
        )
    except (ValueError, OverflowError) as wrong:
        raise StateError(str(wrong), told) from wrong
    return tuple(made)


def _standing(told: Told, before: Mapping[str, Attr], digest: str, at: datetime) -> NodeFact:
    left = {name: None for name, value in before.items() if value is not None}
    kept = {} if told.gone else dict(told.attrs)
    attrs: dict[str, Attr] = {
        **({} if told.gone else left),
        **kept,
        THING_ATTR: f"{told.thing.type}:{told.thing.id}",
        DIGEST_ATTR: digest,
        AT_ATTR: rfc3339(at),
    }
    return node(told.subject, attrs, name=told.name, ended=told.gone)


def _at(told: Told, *, new: bool) -> datetime:
    """Return the time of a state: the source's for what is new, else when it was seen."""
    if new and told.changed_at is not None:
        return min(told.changed_at, told.observed_at)
    return told.observed_at


def _born(told: Told) -> dict[str, Any]:
    if told.gone:
        return {"subject": told.subject}
    return {
        "subject": told.subject,
        "since": rfc3339(told.since) if told.since else None,
        "nodes": [asdict(fact) for fact in told.nodes],
        "edges": [asdict(fact) for fact in told.edges],
    }


def _digest(value: Any) -> str:
    return sha256(canonical(value)).hexdigest()[:32]


def _check(provider: str, told: Told) -> None:
    """Refuse what is not the provider's to tell.

    Raises:
        StateError: What is wrong.
    """
    if not told.thing.type or not told.thing.id:
        raise StateError("a thing needs a type and an id", told)
    if max(len(told.attrs), len(told.nodes), len(told.edges)) > MAX_FACTS:
        raise StateError(f"a state may have {MAX_FACTS} attributes, nodes and edges", told)
    if any(at is not None and at < _EARLIEST for at in (told.since, told.changed_at)):
        raise StateError("expected times since 1970", told)
    named = [told.subject, *(fact.uri for fact in told.nodes)]
    named += [uri for edge in told.edges for uri in (edge.src, edge.dst)]
    problems = [_uri_problem(uri, provider) for uri in named]
    for pairs in (told.attrs, *(fact.attrs for fact in told.nodes)):
        if len(dict(pairs)) != len(pairs):
            problems.append("an attribute comes twice")
        problems += [_text_problem(text) for pair in pairs for text in pair]
    texts = [told.name, told.thing.type, told.thing.id, *(fact.name for fact in told.nodes)]
    for problem in (*problems, *map(_text_problem, texts)):
        if problem:
            raise StateError(problem, told)


def _uri_problem(uri: Uri, provider: str) -> str:
    if len(uri) > MAX_URI:
        return f"a URI may have {MAX_URI} characters, got {len(uri)}"
    try:
        found = parse_uri(uri).provider
    except ValueError as wrong:
        return str(wrong)
    return "" if found == provider else f"expected nodes of {provider!r}, got one of {found!r}"


def _text_problem(text: Attr) -> str:
    if not isinstance(text, str):
        return ""
    if len(text) > MAX_TEXT:
        return f"a text may have {MAX_TEXT} characters, got {len(text)}"
    return "a text holds a NUL, which no database takes" if "\0" in text else ""
