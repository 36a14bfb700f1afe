"""Events of baselines: what a monitor holds for usual, kept as a version."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.record import Recorder, edge, node

REASONS: Final = frozenset(("learned", "season", "incident"))
"""Phase I ended; the season's columns in use changed; an incident opened."""


def baseline_uri(recorder: Recorder, monitor: str, stream: str, digest: Digest) -> Uri:
    """Return `baseline home-features/requests@<digest12>`."""
    return recorder.uri("baseline", f"{monitor}/{stream}", digest[:12])


def baseline_kept(
    recorder: Recorder,
    *,
    key: str,
    monitor: str,
    service: str,
    stream: str,
    digest: Digest,
    reason: str,
    model_version: Uri | None = None,
    previous: Digest | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a monitor kept what it holds for usual as a version.

    Args:
        recorder: Whose event.
        key: Idempotency key; holds the digest, so the same content is kept once.
        monitor: The monitor of the manifest.
        service: The service that it watches.
        stream: `requests`, a model version, or `quality:` and a model version.
        digest: Of the document in the artifact store.
        reason: One of `REASONS`.
        model_version: Whose answers the stream is; None: the requests, whatever answers.
        previous: The version of the same monitor and stream that this one takes the place of.
        facts: More attributes of the version.
        at: When; None is now.
        cause: The event that led to it.

    Raises:
        ValueError: Unknown reason.
    """
    if reason not in REASONS:
        raise ValueError(f"unknown reason to keep a baseline {reason!r}")
    subject = baseline_uri(recorder, monitor, stream, digest)
    owner = recorder.uri("service", service)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "monitor": monitor,
        "service": service,
        "stream": stream,
        "reason": reason,
    }
    nodes = [node(subject, attrs, name=f"{monitor}/{stream}", digest=digest)]
    edges = [edge(owner, "version_of", subject)]
    if model_version is not None:
        edges.append(edge(model_version, "derived_from", subject, provenance="observed"))
    if previous is not None and previous != digest:
        old = baseline_uri(recorder, monitor, stream, previous)
        nodes.append(node(old, {}, ended=True))
        edges.append(edge(old, "supersedes", subject))
    return recorder.event(
        "mlg.baseline.kept",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )
