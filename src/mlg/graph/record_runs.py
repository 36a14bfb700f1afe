"""Events of data versions, runs and steps.

A step that makes a table is a part of its run, but no effect of it: else all that a run read
would lie above each table it made. The run lies between the data that its model learns from
and the steps that make the model.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from mlg.core.artifacts import Snapshot
from mlg.core.errors import LifecycleError
from mlg.core.events import EdgeFact, Event
from mlg.core.nodes import Attr
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.record import (
    Recorder,
    edge,
    feature_uri,
    node,
    run_uri,
    snapshot_uri,
    step_uri,
)

MOST_FEATURES: Final = 500
"""Columns of a feature snapshot that become nodes; more are counted in `features_left_out`."""
_TABLES: Final = frozenset(("source", "sql", "python"))
"""Kinds of steps that make a table."""


def dataset_snapshotted(
    recorder: Recorder,
    *,
    key: str,
    snapshot: Snapshot,
    source: str | None = None,
    kind: str = "dataset_version",
    step: Uri | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a table was stored as an immutable version.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        snapshot: The stored table.
        source: URI text of where it was read from, for example `movielens-100k://ratings`.
        kind: `dataset_version`, or `feature_snapshot` for what a train step reads.
        step: The step that produced it.
        at: When; None is now.
        cause: The event that led to it.
    """
    dataset = recorder.uri("dataset", snapshot.dataset)
    version = snapshot_uri(recorder, snapshot.dataset, snapshot.digest, kind)
    nodes = [
        node(dataset, {}, name=snapshot.dataset),
        node(
            version,
            {
                "dataset": snapshot.dataset,
                "content_digest": snapshot.content_digest,
                "rows": snapshot.rows,
                "columns": len(snapshot.schema),
                "schema": ", ".join(f"{c.name}: {c.type}" for c in snapshot.schema),
                "location": snapshot.location,
            },
            name=f"{snapshot.dataset}@{snapshot.digest[:12]}",
            digest=snapshot.digest,
        ),
    ]
    edges = [edge(dataset, "version_of", version), edge(dataset, "derived_from", version)]
    if source is not None:
        origin = recorder.uri("source", source)
        nodes.append(node(origin, {"uri": source}, name=source))
        edges += [
            edge(origin, "derived_from", dataset),
            edge(origin, "derived_from", version, provenance="observed"),
        ]
    if step is not None:
        edges.append(edge(step, "produced", version, provenance="observed"))
    left_out = 0
    if kind == "feature_snapshot":
        left_out = max(0, len(snapshot.schema) - MOST_FEATURES)
        for column in snapshot.schema[:MOST_FEATURES]:
            feature = feature_uri(recorder, snapshot.dataset, column.name)
            nodes.append(node(feature, {"type": column.type}, name=column.name))
            edges.append(edge(feature, "derived_from", version))
    return recorder.event(
        "mlg.dataset_version.created",
        key=key,
        subject=version,
        nodes=nodes,
        edges=edges,
        facts={"features_left_out": left_out} if left_out else None,
        at=at,
        cause=cause,
    )


def run_started(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    triggered_by: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a run began; `triggered_by` may be a commit or an alert."""
    run, parent = run_uri(recorder, pipeline, run_id), recorder.uri("pipeline", pipeline)
    attrs = {**(facts or {}), "pipeline": pipeline, "run_id": run_id, "state": "running"}
    edges = [edge(parent, "version_of", run)]
    if triggered_by is not None:
        edges.append(edge(triggered_by, "triggered", run, provenance="observed"))
    return recorder.event(
        "mlg.run.started",
        key=key,
        subject=run,
        nodes=[node(parent, {}, name=pipeline), node(run, attrs)],
        edges=edges,
        at=at,
        cause=cause,
    )


def run_finished(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    seconds: float,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a run reached its end; wall seconds."""
    run = run_uri(recorder, pipeline, run_id)
    attrs = {**(facts or {}), "state": "succeeded", "seconds": seconds}
    return recorder.event(
        "mlg.run.finished", key=key, subject=run, nodes=[node(run, attrs)], at=at, cause=cause
    )


def run_failed(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    error: LifecycleError,
    step: str = "",
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a run stopped at a step, with the error in its own words."""
    run = run_uri(recorder, pipeline, run_id)
    attrs = {"state": "failed", "failed_step": step, **error.as_dict()}
    return recorder.event(
        "mlg.run.failed", key=key, subject=run, nodes=[node(run, attrs)], at=at, cause=cause
    )


def step_started(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    step_kind: str,
    inputs: Sequence[Uri] = (),
    code: Digest | None = None,
    commit: Uri | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step began.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        pipeline: The pipeline's name.
        run_id: Which run.
        step: The step's name.
        step_kind: `source`, `sql`, `python`, `train`, `evaluate` or `package`; what a
            training reads, its run has used.
        inputs: Data and model versions that it reads.
        code: Digest of the code that runs.
        commit: The commit whose code that is.
        at: When; None is now.
        cause: The event that led to it.
    """
    attrs = {"step": step, "step_kind": step_kind, "state": "running", "code": code}
    return _step(
        recorder,
        "started",
        key,
        (pipeline, run_id, step),
        attrs,
        step_kind=step_kind,
        inputs=inputs,
        commit=commit,
        at=at,
        cause=cause,
    )


def step_finished(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    seconds: float,
    step_kind: str = "",
    inputs: Sequence[Uri] = (),
    outputs: Sequence[Uri] = (),
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step made its outputs; wall seconds."""
    attrs = {**(facts or {}), "state": "succeeded", "seconds": seconds}
    return _step(
        recorder,
        "finished",
        key,
        (pipeline, run_id, step),
        attrs,
        step_kind=step_kind,
        inputs=inputs,
        outputs=outputs,
        at=at,
        cause=cause,
    )


def step_cached(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    step_kind: str,
    inputs: Sequence[Uri] = (),
    outputs: Sequence[Uri] = (),
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step took what an earlier one made, which stays the maker."""
    attrs = {
        **(facts or {}),
        "step": step,
        "step_kind": step_kind,
        "state": "cached",
        "outputs": " ".join(outputs),
    }
    return _step(
        recorder,
        "cached",
        key,
        (pipeline, run_id, step),
        attrs,
        step_kind=step_kind,
        inputs=inputs,
        at=at,
        cause=cause,
    )


def step_failed(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    error: LifecycleError,
    step_kind: str = "",
    inputs: Sequence[Uri] = (),
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step failed, with the error in its own words."""
    attrs: dict[str, Attr] = {"state": "failed", **error.as_dict()}
    return _step(
        recorder,
        "failed",
        key,
        (pipeline, run_id, step),
        attrs,
        step_kind=step_kind,
        inputs=inputs,
        at=at,
        cause=cause,
    )


def _step(
    recorder: Recorder,
    what: str,
    key: str,
    place: tuple[str, str, str],
    attrs: Mapping[str, Attr],
    *,
    step_kind: str,
    inputs: Sequence[Uri] = (),
    outputs: Sequence[Uri] = (),
    commit: Uri | None = None,
    at: datetime | None,
    cause: EventId | None,
) -> Event:
    pipeline, run_id, _ = place
    subject, run = step_uri(recorder, *place), run_uri(recorder, pipeline, run_id)
    edges: list[EdgeFact] = [
        edge(run, "part_of" if step_kind in _TABLES else "triggered", subject)
    ]
    if commit is not None:
        edges.append(edge(commit, "used", subject, provenance="observed"))
    edges += [edge(uri, "used", subject, provenance="observed") for uri in inputs]
    if step_kind == "train":
        edges += [edge(uri, "used", run, provenance="observed") for uri in inputs]
    edges += [edge(subject, "produced", uri, provenance="observed") for uri in outputs]
    return recorder.event(
        f"mlg.step.{what}",
        key=key,
        subject=subject,
        nodes=[node(subject, {**attrs, "run_id": run_id})],
        edges=edges,
        at=at,
        cause=cause,
    )
