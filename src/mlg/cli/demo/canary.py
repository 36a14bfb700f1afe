"""The demo's second version: a commit trains it, and real viewers let it win, or not."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final

from mlg.adapters.clock_system import SystemClock
from mlg.automations.hooks import signature
from mlg.cli.demo.opening import finished
from mlg.cli.demo.story import Story, expect, wait_for
from mlg.cli.demo.traffic import Traffic
from mlg.client.client import Client
from mlg.client.replay_plan import ReplayPlan

PATIENCE_S: Final = 300.0
ENDED: Final = ("done", "rolled_back", "failed", "paused")
SHARES: Final = {50, 500, 2_500, 10_000}
HOOK_KEY: Final = ".hook.secret"
"""Hidden, so that applying the folder does not store it."""


def second_version(
    story: Story, traffic: Traffic, work: Path, first: dict[str, Any]
) -> dict[str, Any]:
    """Let a commit train a second version, and real viewers decide on it; return its run."""
    client, service = traffic.client, traffic.service
    with story.step("a commit trains a second version, which wins by canary") as line:
        commit, run_id = _commit(client, work)
        run = finished(client, run_id)
        before = (traffic.requests, traffic.failed)
        seen = until_ended(traffic, run["version"], traffic.plan(first))
        rollout = client.rollout(service)
        expect(
            rollout["state"] == "done",
            f"the rollout is {rollout['state']}: {rollout['explanation']}",
            where=service,
            hint="mlg rollout status",
        )
        wait_for(
            lambda: serves(client, service) == [(run["version"], 10_000)],
            "the second version has all the traffic",
            deadline_s=30,
            where=service,
        )
        uri, words, shares = way_of(client, rollout["rollout"])
        up = {node["uri"] for node in client.trace(_run_uri(client, run_id))["nodes"]}
        requests, failed = traffic.requests - before[0], traffic.failed - before[1]
        line.happened = (
            f"commit {commit[:12]} trained {run['version']}; {words}; {requests} requests of "
            f"{seen} viewers, {failed} failed"
        )
        line.evidence = uri
        line.confirmed = (
            failed == 0 and shares >= SHARES and any(one.endswith(commit) for one in up)
        )
    return run


def _commit(client: Client, work: Path) -> tuple[str, str]:
    """Change the manifest as a commit would, and tell of it as CI does; return commit, run."""
    manifest = work / "mlg.yaml"
    text = manifest.read_text()
    expect("seed: 7" in text, "the manifest has a seed to change", where=str(manifest), hint="")
    manifest.write_text(text.replace("seed: 7", "seed: 8"))
    client.apply(str(manifest))
    commit = hashlib.sha1(manifest.read_bytes(), usedforsecurity=False).hexdigest()
    body = json.dumps(
        {
            "repository": "demo/movies",
            "ref": "refs/heads/main",
            "commit": commit,
            "author": "demo",
            "tests_passed": True,
        }
    ).encode()
    secret = (work / HOOK_KEY).read_text()
    told = client.commit_hook(body, signature(secret, body, SystemClock().now()))
    expect(
        len(told["runs"]) == 1,
        f"the commit starts one run, got: {told['reason']}",
        where="hooks/commit",
        hint="on: {commit: main} in the pipeline",
    )
    return commit, told["runs"][0]


def _run_uri(client: Client, run_id: str) -> str:
    runs = client.nodes(kinds=["run"], limit=1_000)["nodes"]
    return next(node["uri"] for node in runs if node["uri"].endswith(f"@{run_id}"))


def until_ended(traffic: Traffic, version: str, plan: ReplayPlan) -> int:
    """Replay pass after pass until the rollout of a version has ended; return its viewers."""
    client, service = traffic.client, traffic.service
    wait_for(
        lambda: client.rollout(service)["candidate"] == version,
        "the rollout of the new version has begun",
        deadline_s=60,
        where=service,
    )
    now: dict[str, Any] = {}

    def said() -> str:
        now.update(client.rollout(service))
        return f"{now['state']} {now['share_bp'] / 100:g} %"

    said()
    viewers = 0
    until = time.monotonic() + PATIENCE_S
    while now["state"] not in ENDED and time.monotonic() < until:
        viewers = max(viewers, traffic.play(plan, said=said)["viewers"])
        said()
    return viewers


def serves(client: Client, service: str) -> list[tuple[str, int]]:
    """Return each version that serves, with its share."""
    versions = client.production(service)["versions"]
    return [(v["model_version"].rpartition("@")[2], v["share_bp"]) for v in versions]


def way_of(client: Client, rollout: str) -> tuple[str, str, set[int]]:
    """Return the node of a rollout, its shares and open gates in words, and the shares."""
    nodes = client.nodes(kinds=["rollout"], limit=1_000)["nodes"]
    mine = next(n for n in nodes if n["uri"].endswith(f"@{rollout}"))
    steps = [
        n["attrs"]
        for n in client.nodes(kinds=["rollout_step"], limit=1_000)["nodes"]
        if n["uri"].endswith(f"@{rollout}")
    ]
    shares = sorted({int(attrs["share_bp"]) for attrs in steps} - {0})
    way = ", ".join(f"{bp / 100:g} %" for bp in shares)
    confirmed = set(shares) if mine["attrs"]["phase"] in {"done", "swapped"} else set[int]()
    return mine["uri"], f"{way} of the traffic; {_open_gates(steps)}", confirmed


def _open_gates(steps: list[dict[str, Any]]) -> str:
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
