"""Events of game days: a fault on purpose, what tests said of it, and its score."""

from collections.abc import Mapping

from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import EventId, Uri
from mlg.graph.record import Recorder, edge, node


def gameday_uri(recorder: Recorder, service: str, gameday: str) -> Uri:
    """Return `health_check home/gameday@<id>`: a game day is a check of the product itself."""
    return recorder.uri("health_check", f"{service}/gameday", gameday)


def gameday_begun(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    gameday: str,
    fault: str,
    environment: str,
    target: str,
    cause: EventId | None = None,
) -> Event:
    """Return the event that someone makes a fault on purpose; told before it is made.

    Args:
        recorder: Whose event; its actor is who asked.
        key: Idempotency key.
        service: Whose game day.
        gameday: Its id.
        fault: Name of the fault.
        environment: `staging` or `production`.
        target: What it is done to.
        cause: The event that led to it.
    """
    subject = gameday_uri(recorder, service, gameday)
    actor = recorder.uri("actor", recorder.actor)
    attrs: dict[str, Attr] = {
        "service": service,
        "fault": fault,
        "environment": environment,
        "target": target,
        "state": "running",
        "by": recorder.actor,
    }
    return recorder.event(
        "mlg.gameday.begun",
        key=key,
        subject=subject,
        nodes=[node(subject, attrs), node(actor, {}, name=recorder.actor)],
        edges=[
            edge(actor, "triggered", subject),
            edge(recorder.uri("service", service), "checked_by", subject),
        ],
        cause=cause,
    )


def gameday_checked(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    gameday: str,
    verdict: str,
    reason: str,
    cause: EventId | None = None,
) -> Event:
    """Return the event that the staging tests judged the version while the fault was on."""
    subject = gameday_uri(recorder, service, gameday)
    attrs: dict[str, Attr] = {"staging": verdict, "staging_reason": reason}
    return recorder.event(
        "mlg.gameday.checked",
        key=key,
        subject=subject,
        nodes=[node(subject, attrs)],
        facts={"service": service, "verdict": verdict, "reason": reason},
        cause=cause,
    )


def gameday_ended(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    gameday: str,
    verdict: str,
    score: Mapping[str, Attr],
    cause: EventId | None = None,
) -> Event:
    """Return the event that the fault is over, with what the product did about it.

    Args:
        recorder: Whose event; its actor is who asked.
        key: Idempotency key.
        service: Whose game day.
        gameday: Its id.
        verdict: PASS: noticed, named, answered and overcome; FAIL: not; ERROR: not made.
        score: Seconds and shares, by name.
        cause: The event that it began with.
    """
    subject = gameday_uri(recorder, service, gameday)
    attrs: dict[str, Attr] = {**score, "state": "ended", "verdict": verdict}
    return recorder.event(
        "mlg.gameday.ended",
        key=key,
        subject=subject,
        nodes=[node(subject, attrs)],
        cause=cause,
    )
