"""Events of rollouts: begun, each transition with its gates, rolled back, called."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import EventId, Uri
from mlg.graph.record import Recorder, deployment_uri, edge, node
from mlg.graph.record_judged import (
    GateFigures,
    RollbackFigures,
    SwapFigures,
    gate_facts,
    moved_facts,
)


def rollout_uri(recorder: Recorder, service: str, rollout_id: str) -> Uri:
    """Return `rollout home@<rollout id>`."""
    return recorder.uri("rollout", service, rollout_id)


def rollout_step_uri(recorder: Recorder, service: str, rollout_id: str, number: int) -> Uri:
    """Return `rollout_step home/3@<rollout id>`; numbers count transitions from 1."""
    return recorder.uri("rollout_step", f"{service}/{number}", rollout_id)


def worst(gates: Mapping[str, str]) -> str:
    """Return the worst verdict of gates' words; ERROR is worse than FAIL.

    Examples:
        >>> worst({"errors": "PASS: 0 of 9", "ctr": "INCONCLUSIVE: 3 of 9"})
        'INCONCLUSIVE'
    """
    said = {text.partition(":")[0] for text in gates.values()}
    return next((v for v in ("ERROR", "FAIL", "INCONCLUSIVE") if v in said), "PASS")


def rollout_begun(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    candidate: str,
    stable: str | None,
    triggered_by: Uri | None = None,
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a version asks to take over a service.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: The service's name.
        rollout_id: Unique in the service; the deployment it makes has the same id.
        candidate: Version that comes.
        stable: Version that serves now; None before the first.
        triggered_by: The run that made it.
        facts: More attributes: its plan.
        at: When; None is now.
        cause: The event that led to it.
    """
    subject = rollout_uri(recorder, service, rollout_id)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "service": service,
        "candidate": candidate,
        "stable": stable,
        "phase": "pending",
        "share_bp": 0,
    }
    edges = [edge(subject, "triggered", deployment_uri(recorder, service, rollout_id))]
    nodes = [node(subject, attrs), node(deployment_uri(recorder, service, rollout_id), {})]
    if triggered_by is not None:
        edges.append(edge(triggered_by, "triggered", subject, provenance="observed"))
    return recorder.event(
        "mlg.rollout.begun",
        key=key,
        subject=subject,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )


def rollout_moved(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    number: int,
    before: str,
    after: str,
    share_bp: int,
    reason: str,
    by: str,
    gates: Mapping[str, str] | None = None,
    event_time: str = "",
    rolled_back_to: str | None = None,
    figures: Sequence[GateFigures] = (),
    judged_bp: int = 0,
    swap: SwapFigures | None = None,
    rollback: RollbackFigures | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event of one transition, with what each gate said.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: The service's name.
        rollout_id: Which rollout.
        number: Number of the transition, from 1.
        before: Phase before.
        after: Phase after.
        share_bp: The candidate's share from now on.
        reason: Why, in words.
        by: `mlg`, or who asked for it.
        gates: Verdict and evidence of each gate, in words, by name.
        event_time: Event time of the transition, RFC 3339.
        rolled_back_to: Deployment id that has the traffic again, when it went back.
        figures: The same gates with their figures: a node each.
        judged_bp: The candidate's share under which they were judged.
        swap: The version at 100 % changed by it.
        rollback: The traffic went back by it.
        at: When; None is now.
        cause: The event that led to it.
    """
    rollout = rollout_uri(recorder, service, rollout_id)
    step = rollout_step_uri(recorder, service, rollout_id, number)
    deployment = deployment_uri(recorder, service, rollout_id)
    attrs: dict[str, Attr] = {
        "service": service,
        "before": before,
        "after": after,
        "share_bp": share_bp,
        "reason": reason,
        "by": by,
        "event_time": event_time,
        **{f"gate.{name}": text for name, text in sorted((gates or {}).items())},
    }
    ended = after in {"done", "rolled_back", "failed"}
    latest: dict[str, Attr] = {"phase": after, "share_bp": share_bp, "reason": reason}
    nodes = [node(rollout, latest, ended=ended), node(step, attrs)]
    edges = [edge(rollout, "caused", step), edge(deployment, "checked_by", step)]
    if gates:
        check = recorder.uri("health_check", f"{service}/gates/{number}", rollout_id)
        judged = {f"gate.{name}": text for name, text in sorted(gates.items())}
        nodes.append(node(check, {"service": service, "verdict": worst(gates), **judged}))
        edges += [edge(end, "checked_by", check) for end in (step, deployment)]
    place: dict[str, Any] = {"service": service, "rollout_id": rollout_id, "number": number}
    said: dict[str, Attr] = {"share_bp": judged_bp, "event_time": event_time}
    more = [
        gate_facts(recorder, step, **place, figures=figures, said=said),
        moved_facts(
            recorder,
            step,
            **place,
            failed=[gate.name for gate in figures if gate.verdict == "FAIL"],
            said={"reason": reason, "by": by, "event_time": event_time},
            swap=swap,
            rollback=rollback,
        ),
    ]
    nodes += [fact for found, _ in more for fact in found]
    edges += [arrow for _, found in more for arrow in found]
    if rolled_back_to is not None:
        back = deployment_uri(recorder, service, rolled_back_to)
        edges.append(edge(rollout, "rolled_back_to", back, provenance="observed"))
        edges.append(edge(step, "rolled_back_to", back, provenance="observed"))
    return recorder.event(
        f"mlg.rollout.{after}",
        key=key,
        subject=rollout,
        nodes=nodes,
        edges=edges,
        facts={"reason": reason, "by": by, "share_bp": share_bp, "before": before},
        at=at,
        cause=cause,
    )


def rollout_held(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    phase: str,
    share_bp: int,
    reason: str,
    gates: Mapping[str, str] | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a rollout stays where it is, and for want of what.

    Args:
        recorder: Whose event.
        key: Idempotency key: the transition and the kind of reason, so that the same want
            seen again and again is one event.
        service: The service's name.
        rollout_id: Which rollout.
        phase: Where it stays.
        share_bp: The candidate's share there.
        reason: What it waits for, in words.
        gates: Verdict and evidence of each gate, in words, by name.
        cause: The event that led to it.
    """
    judged = {f"gate.{name}": text for name, text in sorted((gates or {}).items())}
    return recorder.event(
        "mlg.rollout.held",
        key=key,
        subject=rollout_uri(recorder, service, rollout_id),
        facts={
            **judged,
            "service": service,
            "phase": phase,
            "share_bp": share_bp,
            "reason": reason,
        },
        cause=cause,
    )


def rollout_told(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    reason: str,
    needs_person: bool,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a rollout has something to say, or needs a person."""
    return recorder.event(
        "mlg.rollout.called" if needs_person else "mlg.rollout.noted",
        key=key,
        subject=rollout_uri(recorder, service, rollout_id),
        facts={"reason": reason, "service": service},
        cause=cause,
    )


def rollout_asked(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    act: str,
    reason: str,
    facts: Mapping[str, Attr] | None = None,
) -> Event:
    """Return the event that somebody told a rollout something, or asked for one.

    Args:
        recorder: Whose event; its actor is who said it.
        key: Idempotency key.
        service: The service's name.
        rollout_id: Which rollout; that of a `start` begins later.
        act: `start`, `pause`, `resume`, `promote`, `approve` or `rollback`.
        reason: Why, in his words.
        facts: More of it: the version, why it was refused.
    """
    subject = rollout_uri(recorder, service, rollout_id)
    actor = recorder.uri("actor", recorder.actor)
    return recorder.event(
        "mlg.rollout.asked",
        key=key,
        subject=subject,
        nodes=[node(actor, {}, name=recorder.actor), node(subject, {"service": service})],
        edges=[edge(actor, "triggered", subject)] if act == "start" else [],
        facts={**(facts or {}), "act": act, "reason": reason, "by": recorder.actor},
    )


def rollout_approved(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    before: str,
    reason: str,
    share_bp: int,
    gates: Mapping[str, str] | None = None,
) -> Event:
    """Return the event that a person gave the approval that a rollout waited for.

    Args:
        recorder: Whose event; its actor is the person.
        key: Idempotency key.
        service: The service's name.
        rollout_id: Which rollout.
        before: What it was asked before: `canary` or `promote`.
        reason: Why, in the person's words.
        share_bp: The candidate's share at that time.
        gates: What each gate said at that time, by name.
    """
    subject = rollout_uri(recorder, service, rollout_id)
    actor = recorder.uri("actor", recorder.actor)
    approval = recorder.uri("approval", f"{service}/{before}", rollout_id)
    judged = {f"gate.{name}": text for name, text in sorted((gates or {}).items())}
    attrs: dict[str, Attr] = {
        "service": service, "verdict": "approved", "before": before, "by": recorder.actor,
        "reason": reason, "share_bp": share_bp, **judged,
    }  # fmt: skip
    return recorder.event(
        "mlg.rollout.approved",
        key=key,
        subject=subject,
        nodes=[
            node(actor, {}, name=recorder.actor),
            node(approval, attrs),
            node(subject, {"approved_by": recorder.actor}),
        ],
        edges=[edge(actor, "approved_by", approval), edge(approval, "triggered", subject)],
        facts={"reason": reason, "by": recorder.actor, "before": before, "share_bp": share_bp},
    )


def staging_ended(
    recorder: Recorder,
    *,
    key: str,
    service: str,
    rollout_id: str,
    number: int,
    model_version: Uri,
    verdict: str,
    reason: str,
    results: Mapping[str, str],
    figures: Mapping[str, Attr] | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that the battery of tests has judged a version.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        service: The service's name.
        rollout_id: Which rollout.
        number: Of the transition to staging.
        model_version: What was tested.
        verdict: PASS, FAIL, INCONCLUSIVE or ERROR.
        reason: Why, in words.
        results: Verdict and reason of each test, by name.
        figures: What was measured: `figure.TEST.NAME`, `report` (digest of the page), and
            under `staging.` when it ran and what it waited for.
        cause: The event that led to it.
    """
    check = recorder.uri("health_check", f"{service}/staging", rollout_id)
    rollout = rollout_uri(recorder, service, rollout_id)
    step = rollout_step_uri(recorder, service, rollout_id, number)
    attrs: dict[str, Attr] = {"service": service, "verdict": verdict, "reason": reason}
    attrs |= {f"test.{name}": text for name, text in sorted(results.items())}
    attrs |= figures or {}
    return recorder.event(
        "mlg.staging.ended",
        key=key,
        subject=check,
        nodes=[node(check, attrs), node(rollout, {"staging": verdict})],
        edges=[
            edge(model_version, "checked_by", check, provenance="observed"),
            edge(step, "checked_by", check, provenance="observed"),
            edge(rollout, "triggered", check),
        ],
        cause=cause,
    )
