"""Events of automations: what each rule answered, what it did, and freezes and hooks."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr, is_allowed
from mlg.core.uris import EventId, Uri, parse_uri
from mlg.graph.record import Recorder, edge, node


def automation_uri(recorder: Recorder, rule: str) -> Uri:
    """Return `automation promo-guard`."""
    return recorder.uri("automation", rule)


def automation_run_uri(recorder: Recorder, rule: str, key: str) -> Uri:
    """Return `automation_run promo-guard@<last part of the decision's key>`."""
    return recorder.uri("automation_run", rule, key.rpartition(":")[2])


def automation_decided(
    recorder: Recorder,
    *,
    key: str,
    rule: str,
    outcome: str,
    reason: str,
    subject: Uri,
    event_type: str,
    actions: Sequence[str] = (),
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a rule answered an event.

    Args:
        recorder: Whose event; its actor is the rule.
        key: The decision's key.
        rule: Name of the rule.
        outcome: `acts`, `proposed`, `observed`, `frozen`, `cooldown`, …
        reason: Why, in words.
        subject: What the event happened to.
        event_type: Its type.
        actions: Words of the actions in order, with why one is held back.
        at: When; None is now.
        cause: The event that was answered.
    """
    run, parent = automation_run_uri(recorder, rule, key), automation_uri(recorder, rule)
    attrs: dict[str, Attr] = {
        "rule": rule,
        "outcome": outcome,
        "reason": reason,
        "event_type": event_type,
        "of": subject,
        "actions": "; ".join(actions),
        "state": "running" if outcome == "acts" else "done",
    }
    edges = [edge(parent, "triggered", run)]
    if is_allowed(parse_uri(subject).kind, "triggered", "automation_run"):
        edges.append(edge(subject, "triggered", run, provenance="observed"))
    return recorder.event(
        "mlg.automation_run.decided",
        key=f"{key}:decided",
        subject=run,
        nodes=[node(parent, {}, name=rule), node(run, attrs)],
        edges=edges,
        at=at,
        cause=cause,
    )


def automation_acted(
    recorder: Recorder,
    *,
    key: str,
    rule: str,
    run: Uri,
    word: str,
    action: str,
    facts: Mapping[str, Attr] | None = None,
    triggered: Sequence[Uri] = (),
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that one action of a rule was begun, done, noted, or failed.

    Args:
        recorder: Whose event; its actor is the rule.
        key: The command's key.
        rule: Name of the rule.
        run: The rule's answer.
        word: `begun`, `acted`, `noted` or `failed`.
        action: `email`, `webhook`, …
        facts: What was done to whom; the error of one that failed.
        triggered: Runs and rollouts that came of it.
        at: When; None is now.
        cause: The event that was answered.

    Raises:
        ValueError: Unknown word.
    """
    if word not in {"begun", "acted", "noted", "failed"}:
        raise ValueError(f"unknown word of an action {word!r}")
    return recorder.event(
        f"mlg.automation_run.{word}",
        key=f"{key}:{word}",
        subject=run,
        edges=[edge(run, "triggered", uri, provenance="observed") for uri in triggered],
        facts={**(facts or {}), "rule": rule, "action": action},
        at=at,
        cause=cause,
    )


def automation_finished(
    recorder: Recorder,
    *,
    key: str,
    rule: str,
    run: Uri,
    done: int,
    failed: int,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that every action of an answer was tried."""
    attrs: dict[str, Attr] = {
        "state": "failed" if failed else "done",
        "actions_done": done,
        "actions_failed": failed,
    }
    return recorder.event(
        "mlg.automation_run.finished",
        key=f"{key}:finished",
        subject=run,
        nodes=[node(run, attrs)],
        facts={"rule": rule},
        at=at,
        cause=cause,
    )


def proposal_answered(
    recorder: Recorder,
    *,
    key: str,
    rule: str,
    act: bool,
    reason: str,
    cause: EventId | None = None,
) -> Event:
    """Return the event that a person let a proposal act, or turned it down.

    Args:
        recorder: Whose event; its actor is the person.
        key: The decision's key.
        rule: Name of the rule.
        act: Whether it may act.
        reason: Why, in the person's words.
        cause: The event that the rule answered.
    """
    run = automation_run_uri(recorder, rule, key)
    approval = recorder.uri("approval", rule, key.rpartition(":")[2])
    actor = recorder.uri("actor", recorder.actor)
    word = "approved" if act else "dismissed"
    told: dict[str, Attr] = {"verdict": word, "by": recorder.actor, "reason": reason}
    state: dict[str, Attr] = {"state": "running" if act else "dismissed"}
    return recorder.event(
        f"mlg.automation_run.{word}",
        key=f"{key}:answered",
        subject=run,
        nodes=[
            node(actor, {}, name=recorder.actor),
            node(approval, told),
            node(run, {**state, "approval": word}),
        ],
        edges=[edge(actor, "approved_by", approval), edge(approval, "triggered", run)],
        facts={"rule": rule, "reason": reason},
        cause=cause,
    )


def freeze_changed(
    recorder: Recorder, *, key: str, on: bool, reason: str, at: datetime | None = None
) -> Event:
    """Return the event that everything was frozen, or goes on."""
    subject = recorder.uri("policy", "freeze")
    attrs: dict[str, Attr] = {"frozen": on, "by": recorder.actor, "reason": reason}
    actor = recorder.uri("actor", recorder.actor)
    return recorder.event(
        f"mlg.freeze.{'set' if on else 'lifted'}",
        key=key,
        subject=subject,
        nodes=[
            node(subject, attrs, name="freeze"),
            node(actor, {}, name=recorder.actor),
        ],
        edges=[edge(actor, "caused", subject)],
        at=at,
    )


def hook_accepted(
    recorder: Recorder,
    *,
    key: str,
    repository: str,
    commit: str,
    facts: Mapping[str, Attr],
    runs: Mapping[str, str],
    at: datetime | None = None,
) -> Event:
    """Return the event that a genuine commit hook was followed.

    Args:
        recorder: Whose event.
        key: `hook:<id>`.
        repository: Of the commit.
        commit: Lower-case hex.
        facts: Branch, author, sender, whether its tests passed.
        runs: Run id by pipeline.
        at: When; None is now.
    """
    subject = recorder.uri("commit", repository or "repository", commit)
    nodes: list[NodeFact] = [node(subject, {**facts, "repository": repository})]
    edges: list[EdgeFact] = [
        edge(subject, "triggered", recorder.uri("run", pipeline, run_id), provenance="observed")
        for pipeline, run_id in sorted(runs.items())
    ]
    return recorder.event(
        "mlg.hook.accepted", key=key, subject=subject, nodes=nodes, edges=edges,
        facts={"runs": " ".join(runs.values())}, at=at,
    )  # fmt: skip


def hook_refused(
    recorder: Recorder, *, key: str, outcome: str, reason: str, hook_id: str = ""
) -> Event:
    """Return the event that a hook was not followed, and why."""
    return recorder.event(
        f"mlg.hook.{'replayed' if outcome == 'replayed' else 'refused'}",
        key=key,
        subject=recorder.uri("endpoint", "hooks"),
        facts={"outcome": outcome, "reason": reason, "hook_id": hook_id},
    )
