"""Events of deployments, traffic, policies, processes and sealed predictions."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.predict import ServingPolicy
from mlg.core.traffic import FULL_BP
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.record import Recorder, deployment_uri, edge, node, segment_uri


def deployment_started(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    deployment_id: str,
    model_version: Uri,
    image_digest: str,
    image: Uri | None = None,
    share_bp: int = FULL_BP,
    health: str = "healthy",
    replaces: Uri | None = None,
    triggered_by: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    model_facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a version began to serve; with `replaces`, a swap in one moment.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: The service's name.
        deployment_id: Unique in the service.
        model_version: What serves.
        image_digest: Digest of the image, or of the artifact where no image was built.
        image: The image, where one was built.
        share_bp: Part of the traffic, 0 to 10,000.
        health: `healthy`, `degraded`, `crash_loop` or `unknown`.
        replaces: The deployment that stops serving at the same moment.
        triggered_by: The run, rollout or commit that led to it.
        facts: More attributes of the deployment.
        model_facts: What the model version is, where no registration said so before.
        at: When; None is now.
        cause: The event that led to it.

    Raises:
        ValueError: The share is outside 0 to 10,000.
    """
    _check_share(share_bp)
    subject = deployment_uri(recorder, service, deployment_id)
    owner = recorder.uri("service", service)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "service": service,
        "model_version": model_version,
        "image_digest": image_digest,
        "share_bp": share_bp,
        "health": health,
    }
    nodes = [node(owner, {}, name=service), node(subject, attrs)]
    if model_facts is not None:
        nodes.append(node(model_version, model_facts))
    edges = [
        edge(owner, "version_of", subject),
        edge(model_version, "deployed_as", subject),
        edge(subject, "served_by", owner),
    ]
    if image is not None:
        edges.append(edge(image, "deployed_as", subject))
    if replaces is not None and replaces != subject:
        nodes.append(node(replaces, {"share_bp": 0, "replaced_by": subject}, ended=True))
        edges.append(edge(replaces, "supersedes", subject))
    if triggered_by is not None:
        edges.append(edge(triggered_by, "triggered", subject, provenance="observed"))
    return recorder.event(
        "mlg.deployment.started",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )


def deployment_ended(
    recorder: Recorder,
    *,
    key: str,
    deployment: Uri,
    reason: str,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a deployment takes no traffic any more and is gone."""
    attrs: dict[str, Attr] = {"share_bp": 0, "end_reason": reason}
    return recorder.event(
        "mlg.deployment.ended",
        key=key,
        subject=deployment,
        nodes=[node(deployment, attrs, ended=True)],
        at=at,
        cause=cause,
    )


def shares_changed(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    shares: Mapping[Uri, int],
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that traffic moved between a service's deployments, in one moment.

    Raises:
        ValueError: A share is outside 0 to 10,000, or they do not add up to 10,000.
    """
    for share_bp in shares.values():
        _check_share(share_bp)
    if sum(shares.values()) != FULL_BP:
        raise ValueError(f"shares of {service!r} must sum to {FULL_BP}, got {dict(shares)}")
    return recorder.event(
        "mlg.deployment.share_changed",
        key=key,
        subject=recorder.uri("service", service),
        nodes=[node(uri, {"share_bp": bp}) for uri, bp in sorted(shares.items())],
        at=at,
        cause=cause,
    )


def health_changed(
    recorder: Recorder,
    *,
    key: str,
    deployment: Uri,
    health: str,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a deployment's health is another than before."""
    return recorder.event(
        "mlg.deployment.health_changed",
        key=key,
        subject=deployment,
        nodes=[node(deployment, {"health": health})],
        facts=facts,
        at=at,
        cause=cause,
    )


def policy_changed(
    recorder: Recorder,
    *,
    key: str,
    policy: ServingPolicy,
    previous: str | None = None,
    reason: str = "",
    caused_by: Uri | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a service serves under another policy version."""
    subject = recorder.uri("policy", policy.service, policy.version)
    owner = recorder.uri("service", policy.service)
    attrs: dict[str, Attr] = {
        "service": policy.service,
        "abstain_below": policy.abstain_below,
        "explore_bp": policy.explore_bp,
        "drift_severity": policy.drift_severity,
        "diversity": policy.diversity,
        "seeding": policy.seeding,
        "layout": policy.layout,
        "reason": reason,
    }
    nodes = [node(subject, attrs)]
    edges = [edge(owner, "version_of", subject), edge(subject, "served_by", owner)]
    if policy.layout:
        layout = recorder.uri("layout", policy.service, policy.layout)
        nodes.append(node(layout, {"service": policy.service}, name=policy.layout))
        edges.append(edge(layout, "served_by", owner))
    if previous is not None and previous != policy.version:
        old = recorder.uri("policy", policy.service, previous)
        nodes.append(node(old, {}, ended=True))
        edges += [
            edge(old, "supersedes", subject),
            edge(old, "served_by", owner, ended=True),
        ]
    if caused_by is not None:
        edges.append(edge(caused_by, "caused", subject, provenance="observed"))
    return recorder.event(
        "mlg.policy.changed",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )


def segment_sealed(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    root: str,
    digest: Digest,
    rows: int,
    location: str,
    first_at: datetime,
    last_at: datetime,
    deployments: Sequence[Uri] = (),
    policies: Sequence[Uri] = (),
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that predictions were sealed under one Merkle root.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: Whose predictions.
        root: Merkle root over the salted leaves, hex.
        digest: sha256 of the Parquet file.
        rows: Number of predictions.
        location: A name inside the artifact store or the home, never an absolute path.
        first_at: Event time of the first prediction.
        last_at: Event time of the last.
        deployments: Which deployments answered.
        policies: Which policy versions were in force.
        facts: More attributes of the segment.
        at: When; None is now.
        cause: The event that led to it.

    Raises:
        ValueError: The location is an absolute path.
    """
    if location.startswith("/"):
        raise ValueError(f"location must be relative to the home, got {location!r}")
    subject = segment_uri(recorder, service, root)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "service": service,
        "merkle_root": root,
        "rows": rows,
        "location": location,
        "first_at": rfc3339(first_at),
        "last_at": rfc3339(last_at),
    }
    return recorder.event(
        "mlg.prediction_segment.sealed",
        key=key,
        subject=subject,
        nodes=[node(subject, attrs, digest=digest)],
        edges=[
            edge(uri, "served_by", subject, provenance="observed")
            for uri in (*deployments, *policies)
        ],
        at=at,
        cause=cause,
    )


def service_restarted(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that someone had a service's replicas replaced, one after the other."""
    subject = recorder.uri("service", service)
    actor = recorder.uri("actor", recorder.actor)
    return recorder.event(
        "mlg.service.restarted",
        key=key,
        subject=subject,
        nodes=[node(actor, {}, name=recorder.actor)],
        edges=[edge(actor, "triggered", subject)],
        facts={"service": service, "by": recorder.actor},
        at=at,
        cause=cause,
    )


def gateways_restarted(
    recorder: Recorder,
    *,
    key: str,
    gateways: Sequence[str],
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that someone had the gateways hand over, one after the other.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        gateways: Their process ids, at least one.
        at: When; None is now.
        cause: The event that led to it.
    """
    found = [recorder.uri("health_check", name) for name in gateways]
    actor = recorder.uri("actor", recorder.actor)
    return recorder.event(
        "mlg.gateway.restarted",
        key=key,
        subject=found[0],
        nodes=[node(actor, {}, name=recorder.actor)],
        edges=[edge(actor, "triggered", one) for one in found],
        facts={"gateways": ", ".join(gateways), "by": recorder.actor},
        at=at,
        cause=cause,
    )


def process_changed(
    recorder: Recorder,
    *,
    key: str,
    process_id: str,
    state: str,
    service: str = "",
    deployment: Uri | None = None,
    exit_code: int | None = None,
    restarts: int = 0,
    detail: str = "",
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a process started, crashed, stopped, or crashes in a loop.

    Args:
        recorder: Whose event.
        key: Idempotency key, for example the process's nonce and the state.
        process_id: `replica-home-3`.
        state: `started`, `crashed`, `stopped` or `crash_looped`.
        service: The service it answers for.
        deployment: What it runs; a crash loop is its health too.
        exit_code: How it ended; negative is a signal.
        restarts: How often it was restarted so far.
        detail: One line for a person: the end of its log.
        at: When; None is now.
        cause: The event that led to it.

    Raises:
        ValueError: Unknown state.
    """
    if state not in {"started", "crashed", "stopped", "crash_looped"}:
        raise ValueError(f"unknown process state {state!r}")
    subject = recorder.uri("health_check", process_id)
    attrs: dict[str, Attr] = {
        "process": process_id,
        "service": service,
        "state": state,
        "verdict": "PASS" if state in {"started", "stopped"} else "FAIL",
        "exit_code": exit_code,
        "restarts": restarts,
        "detail": detail,
    }
    nodes, edges = [node(subject, attrs, name=process_id)], []
    if deployment is not None:
        edges.append(edge(deployment, "checked_by", subject, provenance="observed"))
        if state == "crash_looped":
            nodes.append(node(deployment, {"health": "crash_loop"}))
    return recorder.event(
        f"mlg.process.{state}",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )


def _check_share(share_bp: int) -> None:
    if not 0 <= share_bp <= FULL_BP:
        raise ValueError(f"a share must be 0 to {FULL_BP} bp, got {share_bp}")
