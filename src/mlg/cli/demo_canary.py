"""The demo's second version: a change of the manifest trains it, and it wins by canary."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mlg.cli.commands_manifest import follow_run
from mlg.cli.demo_story import Story, expect, wait_for
from mlg.cli.instance import err
from mlg.client.client import Client
from mlg.client.replay_plan import ReplayPlan

PASSES: Final = 4
"""Passes of one replay; more follow until the rollout has come to its end."""
PATIENCE_S: Final = 300.0
ENDED: Final = ("done", "rolled_back", "failed", "paused")

Plans = Callable[[int, int], ReplayPlan]
"""Gives the replay that starts at a pass and lasts so many."""


def second_version(
    story: Story, client: Client, work: Path, service: str, plans: Plans, first_pass: int
) -> None:
    """Train a second version and let real viewers decide on it, from 0.5 % to 100 %."""
    with story.step("a second version wins by canary") as line:
        manifest = work / "mlg.yaml"
        text = manifest.read_text()
        expect(
            "seed: 7" in text, "the manifest has a seed to change", where=str(manifest), hint=""
        )
        manifest.write_text(text.replace("seed: 7", "seed: 8"))
        client.apply(str(manifest))
        pipeline = client.nodes(kinds=["pipeline"])["nodes"][0]["name"]
        run = follow_run(client, client.run(pipeline)["run_id"], quiet=False)
        expect(
            run["state"] == "done",
            f"the run ended {run['state']}",
            where=run["run_id"],
            hint="",
        )
        seen = _until_ended(client, service, run["version"], plans, first_pass)
        rollout = client.rollout(service)
        expect(
            rollout["state"] == "done",
            f"the rollout is {rollout['state']}: {rollout['explanation']}",
            where=service,
            hint="mlg rollout status",
        )
        wait_for(
            lambda: _serves(client, service) == [(run["version"], 10_000)],
            "the second version has all the traffic",
            deadline_s=30,
            where=service,
        )
        nodes = client.nodes(kinds=["rollout"])["nodes"]
        mine = [n for n in nodes if n["uri"].endswith(rollout["rollout"])]
        steps = [
            n["attrs"]
            for n in client.nodes(kinds=["rollout_step"], limit=1_000)["nodes"]
            if n["uri"].endswith(f"@{rollout['rollout']}")
        ]
        shares = [a["share_bp"] for a in sorted(steps, key=lambda a: a["share_bp"])]
        way = ", ".join(f"{bp / 100:g} %" for bp in dict.fromkeys(shares) if bp)
        line.happened = (
            f"{run['version']}: {way} of the traffic; {seen['requests']} requests of "
            f"{seen['viewers']} viewers in {seen['passes']} passes, {seen['failed']} failed; "
            f"{_said(steps)}"
        )
        line.evidence = mine[0]["uri"] if mine else ""
        line.confirmed = (
            seen["failed"] == 0
            and bool(mine)
            and mine[0]["attrs"]["phase"] == "done"
            and {50, 500, 2_500, 10_000} <= set(shares)
        )


def _serves(client: Client, service: str) -> list[tuple[str, int]]:
    versions = client.production(service)["versions"]
    return [(v["model_version"].rpartition("@")[2], v["share_bp"]) for v in versions]


def _said(steps: list[dict[str, Any]]) -> str:
    """Return which gates could not come to a verdict, so that no one reads a win into them."""
    open_ = sorted(
        {
            name.removeprefix("gate.")
            for attrs in steps
            for name, text in attrs.items()
            if name.startswith("gate.") and str(text).startswith("INCONCLUSIVE")
        }
    )
    if not open_:
        return "every gate came to a verdict"
    return f"INCONCLUSIVE for want of viewers, and no reason for the win: {', '.join(open_)}"


def _until_ended(
    client: Client, service: str, version: str, plans: Plans, first_pass: int
) -> dict[str, Any]:
    """Replay pass after pass until the rollout has ended; return what the viewers saw."""
    from mlg.app.replay import Progress as Done
    from mlg.app.replay import Target, replay

    target = Target(host="127.0.0.1", port=client.status()["ports"]["gateway"], service=service)
    total: dict[str, Any] = {"requests": 0, "failed": 0, "viewers": 0, "passes": 0}
    wait_for(
        lambda: client.rollout(service)["candidate"] == version,
        "the rollout of the new version has begun",
        deadline_s=60,
        where=service,
    )
    until = time.monotonic() + PATIENCE_S
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(*columns, console=err) as bar:
        while client.rollout(service)["state"] not in ENDED and time.monotonic() < until:
            plan = plans(first_pass + total["passes"], PASSES)
            task = bar.add_task("viewers", total=len(plan), facts="")

            def show(done: Done, task: Any = task) -> None:
                now = client.rollout(service)
                facts = (
                    f"{done.per_second:.0f}/s  {done.failed} failed  "
                    f"{now['state']} {now['share_bp'] / 100:g} %"
                )
                bar.update(task, completed=done.done, facts=facts)

            summary = replay(plan, target, show)
            total["passes"] += PASSES
            total["viewers"] = max(total["viewers"], summary["viewers"] or summary["sessions"])
            for key in ("requests", "failed"):
                total[key] += summary[key]
    return total
