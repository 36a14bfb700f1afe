"""The demo's shift: one real group of viewers grows, and nobody but mlg acts."""

from datetime import datetime
from typing import Any, Final

from mlg.adapters.clock_system import SystemClock
from mlg.cli.demo.canary import SHARES, serves, until_ended, way_of
from mlg.cli.demo.story import Story, StoryStep, expect, wait_for
from mlg.cli.demo.traffic import Traffic
from mlg.client.client import Client
from mlg.client.replay_plan import Emphasis, ReplayPlan
from mlg.core.clock import parse_time

GROUP: Final = ("occupation", "programmer")
SHARE: Final = 0.8
"""Of all requests, once the group has grown."""
NEWER: Final = 0.5
"""The later half of the events that no model has seen: the healing trains on the first."""
USUAL_PASSES: Final = 4
"""Passes before the shift, so that the second version's own numbers have a usual."""
PASSES_MOST: Final = 12
WHILE_TRAINING_HZ: Final = 60.0
"""Viewers go on asking while the new model trains, on the same two cores."""


def shifted(story: Story, traffic: Traffic, run: dict[str, Any]) -> ReplayPlan:
    """Let a group grow until mlg has found it, and has begun to heal; return the traffic."""
    client = traffic.client
    with story.step(f"the traffic shifts: {GROUP[0]} = {GROUP[1]} grows") as line:
        traffic.play(traffic.plan(run, USUAL_PASSES), said=lambda: "as usual")
        expect(
            not _nodes(client, "incident"),
            "no incident opens while the traffic is as usual",
            where=traffic.service,
            hint="mlg why INCIDENT",
        )
        group = traffic.viewers(run, *GROUP)
        emphasis = Emphasis(viewers=group, share=SHARE)
        plan = traffic.plan(run, emphasis=emphasis, skip=NEWER)
        began, before = SystemClock().now(), traffic.requests
        incident: dict[str, Any] = {}
        for _ in range(PASSES_MOST):
            traffic.play(plan, said=lambda: "shifted")
            incident = next(iter(_nodes(client, "incident")), {})
            if _event(client, "mlg.incident.retraining_begun"):
                break
        expect(bool(incident), "the shift is found", where=traffic.service, hint="monitors/")
        _described(line, client, incident, began, traffic.requests - before)
        seen = len({p.viewer for p in plan})
        mine = len({p.viewer for p in plan if p.viewer in group})
        line.happened += f"; {seen} real viewers, {mine} of them in the group, none invented"
    return plan


def _described(
    line: StoryStep, client: Client, incident: dict[str, Any], began: datetime, requests: int
) -> None:
    attrs = incident["attrs"]
    opened = _event(client, "mlg.incident.opened")
    begun = _event(client, "mlg.incident.retraining_begun")
    policies = [e for e in _events(client) if e["type"] == "mlg.policy.changed"]
    slice_ = next(
        (n["attrs"]["slice"] for n in _nodes(client, "alert") if n["attrs"].get("slice")), ""
    )
    waited = (parse_time(opened["recorded_at"]) - began).total_seconds()
    line.happened = (
        f"found {waited:.1f} s after the shift began: {slice_ or 'no slice'}; taken for "
        f"{attrs.get('cause', '')}; within {requests} requests "
        f"{'a retraining was begun' if begun else 'nothing was retrained'}; "
        f"{len(policies)} changes of the live policy (confidence shown lower, more diversity)"
    )
    line.evidence = incident["uri"]
    line.confirmed = bool(begun) and f"{GROUP[0]} = {GROUP[1]}" in slice_ and bool(policies)


def healed(story: Story, traffic: Traffic, plan: ReplayPlan) -> None:
    """Wait, while viewers go on asking, until the healed version serves."""
    client, service = traffic.client, traffic.service
    with story.step("healed: retrained, released by canary, nobody touched anything") as line:
        before = (traffic.requests, traffic.failed)
        stable = serves(client, service)[0][0]
        version = _while_training(traffic, plan, stable)
        viewers = until_ended(traffic, version, plan)
        wait_for(
            lambda: bool(_event(client, "mlg.incident.healed")),
            "the incident is healed",
            deadline_s=60,
            where=service,
        )
        rollout = client.rollout(service)
        uri, words, shares = way_of(client, rollout["rollout"])
        incident = _nodes(client, "incident")[-1]
        edges = client.impact(incident["uri"])["edges"]
        by = [edge["dst"] for edge in edges if edge["role"] == "healed_by"]
        requests, failed = traffic.requests - before[0], traffic.failed - before[1]
        line.happened = (
            f"{version} serves instead of {stable}: {words}; {requests} requests of {viewers} "
            f"viewers, {failed} failed; hit rate {_rates(traffic)}: too few viewers to call it "
            "a gain or a loss"
        )
        line.evidence = uri
        line.confirmed = (
            failed == 0
            and serves(client, service) == [(version, 10_000)]
            and shares >= SHARES
            and len(by) >= 2
            and client.audit_verify()["ok"]
        )


def _while_training(traffic: Traffic, plan: ReplayPlan, stable: str) -> str:
    """Let viewers ask until the healing's run is over; return the version that it made."""
    client = traffic.client

    def state() -> dict[str, Any]:
        return client.runs()["runs"][0]

    while state()["state"] == "running":
        traffic.play(plan, per_second=WHILE_TRAINING_HZ, said=lambda: "a new model trains")
    run = state()
    expect(
        run["state"] == "done",
        f"the healing's run ended {run['state']}",
        where=run["run_id"],
        hint="mlg why INCIDENT",
    )
    version = str(client.run_status(run["run_id"])["version"])
    expect(
        version != stable,
        "the healing made another model",
        where=run["run_id"],
        hint="mlg why INCIDENT",
    )
    return version


def _rates(traffic: Traffic) -> str:
    arms = [arm for arm in traffic.last["arms"] if arm["served_by"] == "model"]
    return ", ".join(
        f"{a['hit_rate']['value']:.3f} of {a['model_version'].rpartition('@')[2][:12]} "
        f"({a['requests']} requests)"
        for a in arms
    )


def _nodes(client: Client, kind: str) -> list[dict[str, Any]]:
    return client.nodes(kinds=[kind], limit=1_000)["nodes"]


def _events(client: Client) -> list[dict[str, Any]]:
    return client.events(newest=1_000)["events"]


def _event(client: Client, type_: str) -> dict[str, Any]:
    """Return the first event of a type, or an empty one."""
    return next((e for e in _events(client) if e["type"] == type_), {})
