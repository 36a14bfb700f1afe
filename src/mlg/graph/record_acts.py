"""Events of what people and the control plane did: apply, fail, export."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlg.core.errors import LifecycleError
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Digest, EventId, Uri, parse_uri
from mlg.graph.record import Recorder, edge, node


def manifest_applied(
    recorder: Recorder,
    *,
    key: str,
    folder: Digest,
    datasets: Mapping[str, str] | None = None,
    personal: Mapping[str, str] | None = None,
    pipelines: Sequence[str] = (),
    services: Mapping[str, str] | None = None,
    removed: Sequence[Uri] = (),
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a manifest took effect; what it no longer names is retired.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        folder: Digest of the manifest's folder; the `commit` node that the rest hangs on.
        datasets: Source URI by dataset name.
        personal: JSON text `[{"column", "purpose"}]` by dataset name; `[]` where not given.
        pipelines: Names of the pipelines.
        services: Model name by service name.
        removed: Nodes that the manifest named before and does not name now.
        facts: More attributes of the commit: diff counts, a git revision.
        at: When; None is now.
        cause: The event that led to it.
    """
    commit = recorder.uri("commit", "manifest", folder[:12])
    nodes: list[NodeFact] = [node(commit, facts, name="manifest", digest=folder)]
    edges: list[EdgeFact] = []
    for name, source in sorted((datasets or {}).items()):
        dataset, origin = recorder.uri("dataset", name), recorder.uri("source", source)
        nodes += [
            node(
                dataset,
                {"source": source, "personal_fields": (personal or {}).get(name, "[]")},
                name=name,
            ),
            node(origin, {"uri": source}, name=source),
        ]
        edges.append(edge(origin, "derived_from", dataset))
    for name in pipelines:
        pipeline = recorder.uri("pipeline", name)
        nodes.append(node(pipeline, {}, name=name))
        edges.append(edge(commit, "triggered", pipeline))
    for name, model in sorted((services or {}).items()):
        service = recorder.uri("service", name)
        nodes.append(node(service, {"model": model}, name=name))
        edges.append(edge(commit, "triggered", service))
    nodes += [node(uri, {}, ended=True) for uri in removed]
    return recorder.event(
        "mlg.manifest.applied",
        key=key,
        subject=commit,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )


def failure_recorded(
    recorder: Recorder,
    *,
    key: str,
    subject: Uri,
    error: LifecycleError,
    command: str = "",
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that something failed: a contract was breached, a command said no.

    The subject keeps what it had; the error's code, place and hint are the event's data.
    """
    return recorder.event(
        "mlg.failure.recorded",
        key=key,
        subject=subject,
        facts={**(facts or {}), "command": command, **error.as_dict()},
        at=at,
        cause=cause,
    )


def audit_exported(
    recorder: Recorder,
    *,
    key: str,
    subject: Uri,
    bundle: Digest,
    files: int,
    of: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that someone took an audit bundle.

    Args:
        recorder: Whose event; its actor is who took it.
        key: Idempotency key.
        subject: What the bundle is of: a prediction, a model version, a service.
        bundle: sha256 of the bundle.
        files: How many files it has.
        of: The node that stands for the subject: of a prediction, its segment.
        facts: More attributes: a period.
        at: When; None is now.
        cause: The event that led to it.
    """
    made = recorder.uri("audit_export", bundle[:12])
    actor = recorder.uri("actor", recorder.actor)
    kind = parse_uri(subject).kind
    attrs: dict[str, Attr] = {**(facts or {}), "of": subject, "of_kind": kind, "files": files}
    edges = [edge(actor, "triggered", made)]
    if of is not None:
        edges.append(edge(of, "derived_from", made, provenance="observed"))
    return recorder.event(
        "mlg.audit_export.created",
        key=key,
        subject=made,
        nodes=[node(made, attrs, digest=bundle), node(actor, {}, name=recorder.actor)],
        edges=edges,
        at=at,
        cause=cause,
    )
