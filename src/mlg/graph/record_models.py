"""Events of model versions: registered, judged, packaged, signed, refused."""

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
    image_signature: Digest | None = None,
    signature_key: str = "",
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
        attrs |= signature_facts(image_signature, signature_key)
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


def signature_facts(signature: Digest | None, key_id: str) -> dict[str, Attr]:
    """Return what a node says of its signature; nothing of one that has none.

    Examples:
        >>> signature_facts(Digest("ab"), "cd")
        {'signature_digest': 'ab', 'signature_key_id': 'cd'}
        >>> signature_facts(None, "cd")
        {}
    """
    if signature is None:
        return {}
    return {"signature_digest": signature, "signature_key_id": key_id}


def model_signed(
    recorder: Recorder,
    *,
    key: str,
    model: str,
    version: str,
    artifact: Digest,
    signature: Digest,
    key_id: str,
    reason: str,
    image: Uri | None = None,
    image_signature: Digest | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a version of before signatures got its own; `reason` says why."""
    subject = model_uri(recorder, model, version)
    attrs: dict[str, Attr] = {"artifact": artifact, **signature_facts(signature, key_id)}
    nodes = [node(subject, attrs)]
    if image is not None:
        nodes.append(node(image, signature_facts(image_signature, key_id)))
    return recorder.event(
        "mlg.model_version.signed",
        key=key,
        subject=subject,
        nodes=nodes,
        facts={"reason": reason},
        at=at,
        cause=cause,
    )


def model_refused(
    recorder: Recorder,
    *,
    key: str,
    model: str,
    version: str,
    reason: str,
    process_id: str,
    service: str,
    deployment: Uri | None = None,
    rollout: str = "",
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a server did not start with a version, as it failed its check.

    Args:
        recorder: Whose event.
        key: Idempotency key, for example the process's nonce.
        model: The model's name.
        version: Its version.
        reason: Which file, and what is wrong with it.
        process_id: `replica-home-3`.
        service: The service it was started for.
        deployment: What it was to run for.
        rollout: Id of the rollout under way; empty: there is none.
        at: When; None is now.
        cause: The event that led to it.
    """
    subject = model_uri(recorder, model, version)
    check = recorder.uri("health_check", process_id)
    facts: dict[str, Attr] = {
        "reason": reason,
        "process": process_id,
        "service": service,
        "deployment": deployment,
        "rollout": rollout or None,
    }
    seen: dict[str, Attr] = {
        "process": process_id,
        "service": service,
        "state": "refused",
        "verdict": "FAIL",
        "detail": reason,
    }
    edges = [edge(subject, "checked_by", check, provenance="observed")]
    if deployment is not None:
        edges.append(edge(deployment, "checked_by", check, provenance="observed"))
    return recorder.event(
        "mlg.model_version.refused",
        key=key,
        subject=subject,
        nodes=[node(subject, {}), node(check, seen, name=process_id)],
        edges=edges,
        facts=facts,
        at=at,
        cause=cause,
    )
