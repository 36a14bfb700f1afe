"""Events of data, runs, steps, models and evaluations."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlg.core.artifacts import ModelVersion, Snapshot
from mlg.core.errors import LifecycleError
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.record import (
    Recorder,
    edge,
    model_uri,
    node,
    run_uri,
    snapshot_uri,
    step_uri,
)


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
    return recorder.event(
        "mlg.dataset_version.created",
        key=key,
        subject=version,
        nodes=nodes,
        edges=edges,
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
    """Return the event that a run of a pipeline began; `triggered_by` may be a commit or alert."""
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
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step began; `inputs` are data and model versions."""
    attrs = {"step": step, "step_kind": step_kind, "state": "running", "code": code}
    return _step(recorder, "started", key, pipeline, run_id, step, attrs, inputs, (), at, cause)


def step_finished(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    seconds: float,
    inputs: Sequence[Uri] = (),
    outputs: Sequence[Uri] = (),
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step made its outputs; wall seconds."""
    attrs = {**(facts or {}), "state": "succeeded", "seconds": seconds}
    return _step(
        recorder, "finished", key, pipeline, run_id, step, attrs, inputs, outputs, at, cause
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
    """Return the event that an earlier step's outputs were taken; that step stays their maker."""
    attrs = {
        **(facts or {}),
        "step": step,
        "step_kind": step_kind,
        "state": "cached",
        "outputs": " ".join(outputs),
    }
    return _step(recorder, "cached", key, pipeline, run_id, step, attrs, inputs, (), at, cause)


def step_failed(
    recorder: Recorder,
    *,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    error: LifecycleError,
    inputs: Sequence[Uri] = (),
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a step failed, with the error in its own words."""
    attrs: dict[str, Attr] = {"state": "failed", **error.as_dict()}
    return _step(recorder, "failed", key, pipeline, run_id, step, attrs, inputs, (), at, cause)


def _step(
    recorder: Recorder,
    what: str,
    key: str,
    pipeline: str,
    run_id: str,
    step: str,
    attrs: Mapping[str, Attr],
    inputs: Sequence[Uri],
    outputs: Sequence[Uri],
    at: datetime | None,
    cause: EventId | None,
) -> Event:
    subject = step_uri(recorder, pipeline, run_id, step)
    edges = [edge(run_uri(recorder, pipeline, run_id), "triggered", subject)]
    edges += [edge(uri, "used", subject, provenance="observed") for uri in inputs]
    edges += [edge(subject, "produced", uri, provenance="observed") for uri in outputs]
    return recorder.event(
        f"mlg.step.{what}",
        key=key,
        subject=subject,
        nodes=[node(subject, attrs)],
        edges=edges,
        at=at,
        cause=cause,
    )


def model_registered(
    recorder: Recorder,
    *,
    key: str,
    model: ModelVersion,
    trained_on: Sequence[Uri],
    step: Uri | None = None,
    supersedes: Uri | None = None,
    warm_started_from: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a trained model got its version.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        model: What was trained.
        trained_on: URIs of the data versions that it learned from.
        step: The step that produced it.
        supersedes: The version that was the newest until now.
        warm_started_from: The version whose weights it started with.
        facts: More attributes of the version.
        at: When; None is now.
        cause: The event that led to it.
    """
    parent = recorder.uri("model", model.name)
    version = model_uri(recorder, model.name, model.version)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "model": model.name,
        "version": model.version,
        "artifact": model.artifact,
        "code": model.code,
        "seed": model.seed,
        **{f"param.{name}": value for name, value in model.params},
        **{f"metric.{name}": value for name, value in model.metrics},
    }
    edges = [edge(parent, "version_of", version)]
    edges += [edge(uri, "trained_on", version, provenance="observed") for uri in trained_on]
    if step is not None:
        edges.append(edge(step, "produced", version, provenance="observed"))
    if supersedes is not None and supersedes != version:
        edges.append(edge(supersedes, "supersedes", version))
    if warm_started_from is not None:
        edges.append(edge(warm_started_from, "warm_started_from", version))
    return recorder.event(
        "mlg.model_version.registered",
        key=key,
        subject=version,
        nodes=[
            node(parent, {}, name=model.name),
            node(version, attrs, name=f"{model.name}@{model.version}", digest=model.artifact),
        ],
        edges=edges,
        at=at,
        cause=cause,
    )


def evaluation_recorded(
    recorder: Recorder,
    *,
    key: str,
    model: str,
    version: str,
    evaluated_on: Sequence[Uri],
    metrics: Mapping[str, float],
    passed: bool,
    step: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a model version was judged; `facts` carry gates and baselines."""
    subject = recorder.uri("evaluation", model, version)
    judged = model_uri(recorder, model, version)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "passed": passed,
        **{f"metric.{name}": value for name, value in metrics.items()},
    }
    edges = [edge(uri, "evaluated_on", subject, provenance="observed") for uri in evaluated_on]
    edges += [edge(judged, "evaluated_on", subject), edge(judged, "checked_by", subject)]
    if step is not None:
        edges.append(edge(step, "produced", subject, provenance="observed"))
    return recorder.event(
        "mlg.evaluation.recorded",
        key=key,
        subject=subject,
        nodes=[node(subject, attrs), node(judged, {"passed": passed})],
        edges=edges,
        at=at,
        cause=cause,
    )


def model_packaged(
    recorder: Recorder,
    *,
    key: str,
    model: str,
    version: str,
    artifact: Digest,
    image: str = "",
    image_digest: Digest | None = None,
    step: Uri | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a version is ready to serve: its artifact, and its image if any."""
    subject = model_uri(recorder, model, version)
    nodes: list[NodeFact] = [
        node(subject, {"packaged": True, "artifact": artifact, "image": image})
    ]
    edges: list[EdgeFact] = []
    if image and image_digest is not None:
        built = recorder.uri("image", image, image_digest[:12])
        nodes.append(node(built, {"model_version": subject}, digest=image_digest))
        edges.append(edge(subject, "packaged_as", built))
        if step is not None:
            edges.append(edge(step, "produced", built, provenance="observed"))
    elif step is not None:
        edges.append(edge(subject, "used", step, provenance="observed"))
    return recorder.event(
        "mlg.model_version.packaged",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )
