"""Events of model versions: registered, judged, packaged."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlg.core.artifacts import ModelVersion
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.record import Recorder, edge, image_uri, model_uri, node


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
    image_artifact: Digest | None = None,
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
        built = image_uri(recorder, image, image_digest)
        attrs: dict[str, Attr] = {"model_version": subject, "image_digest": image_digest}
        if image_artifact is not None:
            attrs["artifact"] = image_artifact
        nodes.append(node(built, attrs, digest=image_digest))
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
