"""Events of what was found when replicas were compared with one another."""

from collections.abc import Mapping
from datetime import datetime

from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import EventId, Uri
from mlg.graph.record import Recorder, edge, node


def replica_judged(
    recorder: Recorder,
    *,
    key: str,
    restarted: bool,
    service: str,
    version: str,
    process_id: str,
    reason: str,
    deployment: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a replica was replaced because it differed, or why none was.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        restarted: Whether it is replaced; else a restart was held.
        service: The service it answers for.
        version: Version or label that it serves.
        process_id: `replica-home-2`; empty: about all replicas of the version.
        reason: Why, in one clause.
        deployment: What it runs.
        facts: Evidence, limit and means.
        at: When; None is now.
        cause: The event that led to it.
    """
    owner = recorder.uri("service", service)
    subject = recorder.uri("health_check", process_id) if process_id else owner
    word = "restarted" if restarted else "restart_held"
    nodes = [node(owner, {}, name=service)]
    edges = []
    if process_id:
        attrs: dict[str, Attr] = {"process": process_id, "service": service, "verdict": "FAIL"}
        nodes.append(node(subject, {**attrs, "detail": reason}, name=process_id))
        if deployment is not None:
            edges.append(edge(deployment, "checked_by", subject, provenance="observed"))
    return recorder.event(
        f"mlg.replica.{word}",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        facts={
            **(facts or {}),
            "service": service,
            "version": version,
            "process": process_id,
            "reason": reason,
        },
        at=at,
        cause=cause,
    )


def log_records_lost(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    process_id: str,
    records: int,
    total: int,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a process could not write answers or feedback to the log.

    Args:
        recorder: Whose event.
        key: Idempotency key: the process' life and the total.
        service: The service it answers for.
        process_id: `replica-home-2`.
        records: Records lost since the last such event.
        total: Records lost since the process started.
        at: When; None is now.
        cause: The event that led to it.
    """
    owner = recorder.uri("service", service)
    subject = recorder.uri("health_check", process_id)
    attrs: dict[str, Attr] = {"process": process_id, "service": service, "verdict": "FAIL"}
    attrs["log_records_lost"] = total
    return recorder.event(
        "mlg.log.records_lost",
        key=key,
        subject=subject,
        nodes=[node(owner, {}, name=service), node(subject, attrs, name=process_id)],
        facts={"service": service, "process": process_id, "records": records},
        at=at,
        cause=cause,
    )
