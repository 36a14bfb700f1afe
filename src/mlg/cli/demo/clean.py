"""Undisturbed traffic, as long as the demo's: nothing may alarm, and nothing be retrained."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlg.cli.commands_instance import end_all
from mlg.cli.demo.opening import released, stand_up, train
from mlg.cli.demo.story import Story, wait_for
from mlg.cli.demo.traffic import Traffic
from mlg.client.replay_plan import Emphasis

PASSES = 50
"""About as many requests as the whole demo makes."""
GROUP = ("occupation", "student")
SHARE = 0.6
SHIFTED_PASSES = 6


def clean(
    story: Story, folder: Path, seeds: int, fresh: Callable[[Path, str], Path], passes: int
) -> None:
    """Replay real viewers, drawn anew for each pass, to a new instance for each seed.

    Args:
        story: Gets one line a seed.
        folder: Each instance has a folder of its own in it; steps are shared by their cache.
        seeds: How many.
        fresh: Makes a folder with an example in it.
        passes: Passes of the held-out period for each seed.
    """
    former: Path | None = None
    for seed in range(1, seeds + 1):
        work = fresh(folder / f"seed-{seed}", "movies")
        if former is not None:
            for name in ("artifacts", "cache"):
                shutil.copytree(former / ".mlg" / name, work / ".mlg" / name)
        try:
            traffic, run = _one(story, work, seed, passes)
            if seed == seeds:
                _harmless(story, traffic, run, seed)
        finally:
            end_all(work / ".mlg")
        former = work


def _one(story: Story, work: Path, seed: int, passes: int) -> tuple[Traffic, dict[str, Any]]:
    quiet = Story(console=story.console)
    client = stand_up(quiet, work / ".mlg", work)
    run = train(quiet, client)
    service = released(quiet, client, run)
    traffic = Traffic(
        client=client, home=work / ".mlg", work=work, example="movies", service=service
    )
    with story.step(f"seed {seed}: the traffic is as usual") as line:
        summary = traffic.play(traffic.plan(run, passes, bootstrap=seed))
        wait_for(
            lambda: (
                sum(s["total"]["requests"] for s in client.live()["services"])
                >= summary["answered"]
            ),
            "every answer is in the log",
            deadline_s=120,
            where=service,
        )
        alerts = client.nodes(kinds=["alert", "incident"], limit=1_000)["nodes"]
        runs = client.runs()["runs"]
        line.happened = (
            f"{summary['requests']} requests of {summary['viewers']} viewers, "
            f"{summary['failed']} failed; {len(alerts)} alerts and incidents, "
            f"{len(runs) - 1} retrainings"
        )
        line.evidence = alerts[0]["uri"] if alerts else runs[0]["uri"]
        line.confirmed = not alerts and len(runs) == 1 and summary["failed"] == 0
    return traffic, run


def _harmless(story: Story, traffic: Traffic, run: dict[str, Any], seed: int) -> None:
    """Let a group grow that is served as well as everyone: recorded, and nothing retrained."""
    client = traffic.client
    with story.step(f"seed {seed}: {GROUP[0]} = {GROUP[1]} grows, nothing is lost") as line:
        emphasis = Emphasis(viewers=traffic.viewers(run, *GROUP), share=SHARE)
        summary = traffic.play(traffic.plan(run, SHIFTED_PASSES, emphasis))
        wait_for(
            lambda: bool(client.nodes(kinds=["incident"])["nodes"]),
            "the shift is found",
            deadline_s=30,
            where=traffic.service,
        )
        incident = client.nodes(kinds=["incident"])["nodes"][-1]
        attrs, runs = incident["attrs"], client.runs()["runs"]
        line.happened = (
            f"{summary['requests']} requests, hit rate {summary['hit_rate']['value']:.3f}; "
            f"slice {attrs.get('slice') or 'not named'}, taken for {attrs['cause']}: "
            f"{attrs.get('handled', '')}; {len(runs) - 1} retrainings"
        )
        line.evidence = incident["uri"]
        line.confirmed = attrs["action"] == "record" and len(runs) == 1
