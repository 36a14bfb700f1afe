"""What a rule may know of an event: its words and the facts that it carries."""

from typing import Any

from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import parse_uri

_SERVICE_KINDS = frozenset(("service", "deployment", "rollout", "rollout_step", "policy"))
_PIPELINE_KINDS = frozenset(("pipeline", "run", "model_version", "evaluation"))


def event_data(event: Event) -> dict[str, Attr]:
    """Return the facts of an event: its subject's attributes, and its own data above them."""
    of_subject = [dict(fact.attrs) for fact in event.nodes if fact.uri == event.subject]
    merged: dict[str, Attr] = {}
    for attrs in of_subject:
        merged |= attrs
    return merged | dict(event.data)


def event_words(event: Event) -> dict[str, Any]:
    """Return the event as conditions and texts see it; `at` is an aware UTC time."""
    return {
        "id": event.id,
        "type": event.type,
        "at": event.at,
        "actor": event.actor,
        "subject": event.subject,
        "data": event_data(event),
    }


def service_of(uri: str) -> str | None:
    """Return the service that a URI of a service, a deployment or a rollout belongs to.

    Examples:
        >>> service_of("mlg://deployment/mlg/movies/home@d1")
        'home'
    """
    return _name(uri, _SERVICE_KINDS)


def event_service(event: Event) -> str | None:
    """Return the service that an event concerns: its fact `service`, else its subject's."""
    named = event_data(event).get("service")
    return named if isinstance(named, str) and named else service_of(event.subject)


def event_pipeline(event: Event) -> str | None:
    """Return the pipeline that an event concerns: its fact `pipeline`, else its subject's."""
    named = event_data(event).get("pipeline")
    return named if isinstance(named, str) and named else _name(event.subject, _PIPELINE_KINDS)


def project_of(uri: str) -> str | None:
    """Return the namespace of a URI, or None for a text that is none of ours."""
    try:
        return parse_uri(uri).namespace
    except ValueError:
        return None


def _name(uri: str, kinds: frozenset[str]) -> str | None:
    try:
        parts = parse_uri(uri)
    except ValueError:
        return None
    return parts.name if parts.kind in kinds else None
