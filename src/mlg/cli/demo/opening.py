"""The demo's first steps: it stands, trains, releases, and answers real viewers."""

from pathlib import Path
from typing import Any

from mlg.cli.commands_instance import start_detached
from mlg.cli.commands_manifest import follow_run
from mlg.cli.demo.story import Story, expect, wait_for
from mlg.cli.demo.traffic import Traffic
from mlg.cli.instance import connect, err
from mlg.client.client import Client
from mlg.core.errors import BackendError


def stand_up(story: Story, home: Path, work: Path) -> Client:
    """Start the instance and apply the manifest."""
    with story.step("mlg up, mlg apply") as line:
        control = start_detached(home, *_demo_ports())
        client = connect(home)
        gateways = [name for name in client.status()["pids"] if name.startswith("gateway-")]
        expect(len(gateways) == 2, "two gateways run", where=str(home), hint="see run/.")
        err.print(f"  live page: http://127.0.0.1:{control['port']}/")
        done = client.apply(str(work / "mlg.yaml"))
        again = client.apply(str(work / "mlg.yaml"))
        expect(
            again["summary"] == "nothing to change",
            f"applying twice changes nothing, got {again['summary']!r}",
            where="mlg.yaml",
            hint="this is a defect: please report it.",
        )
        checks = client.nodes(kinds=["health_check"])["nodes"]
        commits = client.nodes(kinds=["commit"])["nodes"]
        line.happened = (
            f"control plane on port {control['port']}, two gateways on port "
            f"{control['gateway_port']}; {done['summary']}"
        )
        line.evidence = commits[0]["uri"] if commits else ""
        started = sum(n["attrs"]["state"] == "started" for n in checks)
        line.confirmed = (
            started >= 2 and bool(commits) and commits[0]["digest"] == done["folder"]
        )
    return client


def _demo_ports() -> tuple[int, int]:
    """Return the default ports if both are free, else free ones."""
    from mlg.adapters.loopback_ports import check_port

    try:
        check_port(7070)
        check_port(7080)
    except BackendError:
        return 0, 0
    return 7070, 7080


def train(story: Story, client: Client) -> dict[str, Any]:
    """Run the pipeline; return the finished run."""
    with story.step("mlg run: clean, check, features, train, evaluate, package") as line:
        pipeline = client.nodes(kinds=["pipeline"])["nodes"][0]["name"]
        run = finished(client, client.run(pipeline)["run_id"])
        evaluations = client.nodes(kinds=["evaluation"])["nodes"]
        judged = evaluations[0]["attrs"]
        line.happened = _figures(judged) + f"; model version {run['version']}"
        line.evidence = evaluations[0]["uri"]
        line.confirmed = judged["passed"] is True
    return run


def finished(client: Client, run_id: str) -> dict[str, Any]:
    """Return the run once it is done.

    Raises:
        BackendError: It ended otherwise.
    """
    run = follow_run(client, run_id, quiet=False)
    expect(
        run["state"] == "done",
        f"the run ended {run['state']}: {run.get('error', {}).get('what', '')}",
        where=run_id,
        hint=run.get("error", {}).get("hint", ""),
    )
    return run


def _figures(judged: dict[str, Any]) -> str:
    """Return the main figure beside the same of each baseline."""
    wanted = ("ndcg@10", "ips", "auc")
    shown = [
        f"{name.removeprefix('metric.')} {value:.4f}"
        for name, value in sorted(judged.items())
        if name.startswith("metric.") and isinstance(value, float)
    ]
    main = [text for text in shown if text.split(" ")[0].rpartition(".")[2] in wanted]
    return ", ".join((main or shown)[:6])


def released(story: Story, client: Client, run: dict[str, Any]) -> str:
    """Confirm that the first version has all the traffic; return the service's name."""
    with story.step("staging, release to 100 %") as line:
        service = client.nodes(kinds=["service"])["nodes"][0]["name"]
        serving = client.production(service)["versions"]
        status = {item["service"]: item for item in client.status()["services"]}[service]
        versions = [item for item in serving if item["share_bp"] == 10_000]
        expect(
            len(versions) == 1 and status["live"],
            "one version has all the traffic and answers through the gateway",
            where=service,
            hint="mlg status",
        )
        ready = sum(replica["ready"] for replica in status["replicas"])
        line.happened = f"{service}: {versions[0]['model_version']} on {ready} warm replicas"
        line.evidence = client.nodes(kinds=["deployment"])["nodes"][0]["uri"]
        line.confirmed = versions[0]["model_version"].endswith(run["version"])
    return service


def viewers(story: Story, traffic: Traffic, run: dict[str, Any], passes: int) -> None:
    """Let real viewers ask, kill a replica half way, and count what they saw."""
    client, service = traffic.client, traffic.service
    with story.step(f"real viewers, {passes} passes; one replica is killed") as line:
        victim = next(
            p
            for p in client.service_health(service)["replicas"]
            if p["version"] == run["version"]
        )
        summary = traffic.play(traffic.plan(run, passes), kill=victim)
        expect(
            summary["failed"] == 0,
            f"{summary['failed']} of {summary['requests']} requests failed: "
            f"{summary['failures']}",
            where="gateway",
            hint="see gateway/gateway-1.access.log in the home.",
        )

        def crashed() -> dict[str, Any]:
            found = client.events(newest=1_000)["events"]
            mine = [e for e in found if e["type"] == "mlg.process.crashed"]
            return next((e for e in mine if e["subject"].endswith(victim["id"])), {})

        def logged() -> int:
            return sum(s["total"]["requests"] for s in client.live()["services"])

        wait_for(
            lambda: bool(crashed()),
            "the crash is on the graph",
            deadline_s=20,
            where=victim["id"],
        )
        wait_for(
            lambda: client.service_health(service)["health"] == "healthy",
            "the killed replica is back",
            deadline_s=60,
            where=service,
        )
        wait_for(
            lambda: logged() >= summary["answered"],
            "every answer is in the log",
            deadline_s=30,
            where=service,
        )
        line.happened = _seen(summary)
        line.evidence = crashed()["subject"]
        line.confirmed = True


def _seen(summary: dict[str, Any]) -> str:
    hit_rate = summary["hit_rate"]
    who = "viewers" if summary["viewers"] else "impressions"
    return (
        f"{summary['requests']} requests, {summary['failed']} failed, "
        f"{summary['requests_per_second']:.0f}/s, p99 {summary['latency_ms']['p99']:.1f} ms; "
        f"{summary['viewers'] or summary['sessions']} {who}; "
        f"hit rate {hit_rate['value']:.3f} ({hit_rate['low']:.3f} to {hit_rate['high']:.3f}): "
        "an item that this viewer really took later; it says nothing of items never shown"
    )
