"""Events of what was erased, by age or for one viewer; none of them carries a viewer's id."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlg.core.clock import rfc3339
from mlg.core.events import Event, NodeFact
from mlg.core.nodes import Attr, Node
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, edge, node, segment_uri, snapshot_uri


def segment_fact(
    recorder: Recorder, service: str, root: str, digest: Digest, erased: int
) -> NodeFact:
    """Return the fact that a sealed segment has a new file, so many of its rows erased."""
    attrs: dict[str, Attr] = {"erased_rows": erased, "location": f"artifacts/{digest}"}
    return node(segment_uri(recorder, service, root), attrs, digest=digest)


def retention_applied(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    before: datetime,
    rows: int,
    log_files: int,
    segments: Sequence[NodeFact],
) -> Event:
    """Return the event that a service's answers past their time were erased.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: Whose answers.
        before: What was received before this time went.
        rows: Sealed answers of which only the leaf is left.
        log_files: Log files removed.
        segments: `segment_fact` of each sealed segment that has a new file.
    """
    return recorder.event(
        "mlg.retention.applied",
        key=key,
        subject=recorder.uri("service", service),
        nodes=segments,
        facts={
            "service": service,
            "before": rfc3339(before),
            "rows": rows,
            "segments": len(segments),
            "log_files": log_files,
        },
    )


def snapshot_redacted(
    recorder: Recorder,
    *,
    key: str,
    old: Node,
    digest: Digest,
    content_digest: Digest,
    rows: int,
) -> Event:
    """Return the event that a stored table was made anew without one viewer's rows.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        old: The version that ends here; its content is removed from the store.
        digest: sha256 of the new file.
        content_digest: Hash of the new rows.
        rows: Rows that are left.
    """
    attrs = dict(old.attrs)
    dataset = str(attrs.get("dataset") or old.name.partition("@")[0])
    new = snapshot_uri(recorder, dataset, digest, old.kind)
    table = recorder.uri("dataset", dataset)
    attrs |= {
        "content_digest": content_digest,
        "rows": rows,
        "location": f"artifacts/{digest}",
        "redacted": True,
    }
    return recorder.event(
        "mlg.dataset_version.redacted",
        key=key,
        subject=new,
        nodes=[
            node(old.uri, {"erased": True}, ended=True),
            node(new, attrs, name=f"{dataset}@{digest[:12]}", digest=digest),
        ],
        edges=[edge(old.uri, "derived_from", new), edge(table, "version_of", new)],
        facts={"erased_rows": int(str(dict(old.attrs).get("rows") or rows)) - rows},
    )


def erasure_performed(
    recorder: Recorder,
    *,
    key: str,
    subject: Uri,
    facts: Mapping[str, Attr],
    nodes: Sequence[NodeFact] = (),
) -> Event:
    """Return the event that one viewer was erased.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        subject: The service, or the one who asked where all were meant.
        facts: Counts, scope and reason; the viewer only under a keyed hash of its own.
        nodes: Segments with new files, models that end or need retraining.
    """
    return recorder.event(
        "mlg.erasure.performed", key=key, subject=subject, nodes=nodes, facts=facts
    )
