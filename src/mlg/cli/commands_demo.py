"""`mlg demo`: the story of one recommender, each step confirmed by the graph."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mlg.cli.commands_instance import end_all, start_detached
from mlg.cli.commands_manifest import follow_run
from mlg.cli.demo_canary import second_version
from mlg.cli.demo_story import Story, expect, wait_for
from mlg.cli.instance import JsonOption, connect, emit, err, reported
from mlg.client.client import Client
from mlg.client.replay_plan import Replay, ReplayPlan
from mlg.core.errors import BackendError, ConflictError
from mlg.manifest.load import load_manifest
from mlg.manifest.specs_pipelines import TrainStep

MARK = ".mlg-demo"
VALUE_RANGE = {"movies": (1.0, 5.0), "fashion": (0.0, 1.0)}
"""Values that mean watched not at all and to the end; see docs/limits.md."""


def demo(
    example: str = typer.Option("movies", help="movies or fashion."),
    passes: int = typer.Option(3, help="How often the held-out period is replayed."),
    canary: bool = typer.Option(
        False, "--canary", help="Also train a second version that takes over step by step."
    ),
    keep: bool = typer.Option(False, "--keep", help="Leave everything running."),
    folder: Path = typer.Option(Path("mlg-demo"), "--dir", help="Where the demo works."),
    as_json: bool = JsonOption,
) -> None:
    """Train, serve and account for a recommender on real data, in minutes.

    The folder keeps the graph afterwards, so that trace, production and audit go on
    answering; a second demo starts it anew.

    Example: mlg demo --keep
    """
    with reported(as_json):
        work = _fresh(folder.resolve(), example)
        home = work / ".mlg"
        story = Story(console=err)
        for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell ignores Ctrl-C
            signal.signal(number, signal.default_int_handler)
        began = time.monotonic()
        try:
            _tell(story, work, home, example, passes, canary=canary)
        finally:
            story.close()
            if not keep or not story.confirmed:
                end_all(home)
        err.print(f"{time.monotonic() - began:.0f} s in all; the graph is kept in {home}")
        if keep:
            err.print(f"it goes on running; end it with: mlg down --home {home}")
        if as_json:
            emit({"confirmed": story.confirmed, "home": str(home), "steps": story.as_dicts()})
        raise typer.Exit(0 if story.confirmed else 1)


def _tell(
    story: Story, work: Path, home: Path, example: str, passes: int, *, canary: bool
) -> None:
    client = _start(story, home)
    _apply(story, client, work)
    run = _train(story, client)
    service, version = _released(story, client, run)
    plan = _plan(home, work, run, example, passes)
    seen = _viewers(story, client, service, version, plan)
    if canary:

        def plans(first_pass: int, count: int) -> ReplayPlan:
            return _plan(home, work, run, example, count, first_pass)

        second_version(story, client, work, service, plans, passes)
    _traced(story, client, seen["last_model_prediction_id"])
    _accounted(story, client, home, seen["last_model_prediction_id"])


def _start(story: Story, home: Path) -> Client:
    with story.step("mlg up") as line:
        control = start_detached(home, *_demo_ports())
        client = connect(home)
        status = client.status()
        gateways = [name for name in status["pids"] if name.startswith("gateway-")]
        expect(len(gateways) == 2, "two gateways run", where=str(home), hint="see run/.")
        line.happened = (
            f"control plane http://127.0.0.1:{control['port']}, two gateways on port "
            f"{control['gateway_port']}"
        )
        checks = client.nodes(kinds=["health_check"])["nodes"]
        line.evidence = checks[0]["uri"] if checks else ""
        line.confirmed = sum(n["attrs"]["state"] == "started" for n in checks) >= 2
        err.print(f"  live page: http://127.0.0.1:{control['port']}/")
    return client


def _demo_ports() -> tuple[int, int]:
    """Return the default ports if both are free, else free ones."""
    from mlg.adapters.launcher_process import check_port

    try:
        check_port(7070)
        check_port(7080)
    except BackendError:
        return 0, 0
    return 7070, 7080


def _apply(story: Story, client: Client, work: Path) -> None:
    with story.step("mlg apply") as line:
        done = client.apply(str(work / "mlg.yaml"))
        again = client.apply(str(work / "mlg.yaml"))
        expect(
            again["summary"] == "nothing to change",
            f"applying twice changes nothing, got {again['summary']!r}",
            where="mlg.yaml",
            hint="this is a defect: please report it.",
        )
        commits = client.nodes(kinds=["commit"])["nodes"]
        line.happened = done["summary"]
        line.evidence = commits[0]["uri"] if commits else ""
        line.confirmed = bool(commits) and commits[0]["digest"] == done["folder"]


def _train(story: Story, client: Client) -> dict[str, Any]:
    with story.step("mlg run") as line:
        pipelines = client.nodes(kinds=["pipeline"])["nodes"]
        started = client.run(pipelines[0]["name"])
        run = follow_run(client, started["run_id"], quiet=False)
        expect(
            run["state"] == "done",
            f"the run ended {run['state']}: {run.get('error', {}).get('what', '')}",
            where=run["run_id"],
            hint=run.get("error", {}).get("hint", ""),
        )
        evaluations = client.nodes(kinds=["evaluation"])["nodes"]
        judged = evaluations[0]["attrs"]
        line.happened = _figures(judged) + f"; model version {run['version']}"
        line.evidence = evaluations[0]["uri"]
        line.confirmed = judged["passed"] is True
    return run


def _figures(judged: dict[str, Any]) -> str:
    """Return the figures of the first metric beside its baselines."""
    shown = [
        f"{name.removeprefix('metric.')} {value:.4f}"
        for name, value in sorted(judged.items())
        if name.startswith("metric.") and isinstance(value, float)
    ]
    main = [text for text in shown if "ndcg@10" in text or "ips" in text or "auc" in text]
    return ", ".join((main or shown)[:6])


def _released(story: Story, client: Client, run: dict[str, Any]) -> tuple[str, str]:
    with story.step("release to 100 %") as line:
        services = client.nodes(kinds=["service"])["nodes"]
        service = services[0]["name"]
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
        found = client.nodes(kinds=["deployment"])["nodes"]
        line.evidence = found[0]["uri"]
        line.confirmed = versions[0]["model_version"].endswith(run["version"])
    return service, run["version"]


def _plan(
    home: Path,
    work: Path,
    run: dict[str, Any],
    example: str,
    passes: int,
    first_pass: int = 0,
) -> ReplayPlan:
    """Return the replay of the held-out period of the run's own training table."""
    from mlg.adapters.artifacts_local import LocalArtifacts
    from mlg.app.heldout import replay_plan

    artifacts = LocalArtifacts(home / "artifacts")
    spec = load_manifest(work / "mlg.yaml").spec
    train = next(
        step
        for step in spec.pipelines[run["pipeline"]].steps.values()
        if isinstance(step, TrainStep)
    )
    role = train.roles.interactions
    client = connect(home)
    snapshots = client.nodes(kinds=["feature_snapshot"])["nodes"]
    digest = next(n["digest"] for n in snapshots if n["attrs"]["dataset"] == role.table)
    return replay_plan(
        artifacts.open(digest),
        artifacts.open(run["artifact"]),
        role,
        Replay(
            passes=passes,
            first_pass=first_pass,
            value_range=VALUE_RANGE[example],
            hit_at_least=None if role.viewer else 1.0,
        ),
    )


def _viewers(
    story: Story, client: Client, service: str, version: str, plan: ReplayPlan
) -> dict[str, Any]:
    with story.step(
        f"real viewers, {plan.replay.passes} passes; one replica is killed"
    ) as line:
        victim = next(
            p for p in client.service_health(service)["replicas"] if p["version"] == version
        )
        summary = _replayed(client, service, plan, victim)
        expect(
            summary["failed"] == 0,
            f"{summary['failed']} of {summary['requests']} requests failed: "
            f"{summary['failures']}",
            where="gateway",
            hint="see gateway/gateway-1.access.log in the home.",
        )

        def crashed() -> dict[str, Any]:
            nodes = client.events(newest=1_000)["events"]
            found = [e for e in nodes if e["type"] == "mlg.process.crashed"]
            return next((e for e in found if e["subject"].endswith(victim["id"])), {})

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
            lambda: _logged(client) >= summary["answered"],
            "every answer is in the log",
            deadline_s=30,
            where=service,
        )
        line.happened = _traffic_text(summary)
        line.evidence = crashed()["subject"]
        line.confirmed = True
    return summary


def _logged(client: Client) -> int:
    """Return the answers that the control plane has read from the log."""
    return sum(service["total"]["requests"] for service in client.live()["services"])


def _replayed(
    client: Client, service: str, plan: ReplayPlan, victim: dict[str, Any]
) -> dict[str, Any]:
    from mlg.app.replay import Progress as Done
    from mlg.app.replay import Target, replay

    port = client.status()["ports"]["gateway"]
    killed = False
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("viewers", total=len(plan), facts="")

        def show(done: Done) -> None:
            nonlocal killed
            if not killed and done.done * 2 > done.total:
                killed = True
                psutil.Process(victim["pid"]).kill()
                bar.console.print(f"  {victim['id']} was killed (pid {victim['pid']})")
            facts = f"{done.per_second:.0f}/s  {done.failed} failed  {done.hits} hits"
            bar.update(task, completed=done.done, facts=facts)

        return replay(plan, Target(host="127.0.0.1", port=port, service=service), show)


def _traffic_text(summary: dict[str, Any]) -> str:
    hit_rate = summary["hit_rate"]
    parts = [
        f"{summary['requests']} requests, {summary['failed']} failed, "
        f"{summary['requests_per_second']:.0f}/s, p99 {summary['latency_ms']['p99']:.1f} ms",
        f"{summary['viewers'] or summary['sessions']} "
        f"{'viewers' if summary['viewers'] else 'impressions'}",
        f"hit rate {hit_rate['value']:.3f} ({hit_rate['low']:.3f} to {hit_rate['high']:.3f}): "
        "an item that this viewer really took later; it says nothing of items never shown",
    ]
    return "; ".join(parts)


def _traced(story: Story, client: Client, prediction_id: str) -> None:
    with story.step("mlg trace") as line:
        walk = client.trace(prediction_id)
        kinds = {node["kind"] for node in walk["nodes"]}
        needed = {"prediction", "model_version", "deployment", "step", "run", "dataset_version"}
        needed |= {"source", "commit", "prediction_segment"}
        sources = [node["name"] for node in walk["nodes"] if node["kind"] == "source"]
        line.happened = f"{walk['total']} nodes up to the sources: {', '.join(sorted(sources))}"
        line.evidence = walk["root"]
        line.confirmed = needed <= kinds
        if not line.confirmed:
            line.happened += f"; missing: {', '.join(sorted(needed - kinds))}"


def _accounted(story: Story, client: Client, home: Path, prediction_id: str) -> None:
    with story.step("mlg audit export, verify") as line:
        name, content = client.audit_export(prediction_id)
        bundles = home / "bundles"
        bundles.mkdir(exist_ok=True)
        (bundles / name).write_bytes(content)
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(bundles / name) as archive:
                archive.extractall(folder)
            checked = subprocess.run(
                [sys.executable, "-I", "verify.py"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        verified = client.audit_verify()
        exports = client.nodes(kinds=["audit_export"])["nodes"]
        line.happened = (
            f"bundle of {len(content):,} bytes, its own verify.py "
            f"{'agrees' if checked.returncode == 0 else 'says no: ' + checked.stdout[-200:]}; "
            f"log of {verified['events']} events "
            f"{'verifies' if verified['ok'] else 'is damaged'}"
        )
        line.evidence = exports[0]["uri"] if exports else ""
        line.confirmed = checked.returncode == 0 and verified["ok"] and bool(exports)


def _fresh(folder: Path, example: str) -> Path:
    """Return an empty working folder with the example in it.

    Raises:
        ConflictError: The folder holds something that is no demo.
    """
    if folder.exists():
        if not (folder / MARK).exists() and any(folder.iterdir()):
            raise ConflictError(
                "the folder holds something else", where=str(folder), hint="name another: --dir"
            )
        if (folder / ".mlg").exists():
            end_all(folder / ".mlg")
        for path in (folder / ".mlg" / "artifacts").rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)
    shutil.copytree(_example(example), folder)
    (folder / MARK).write_text(json.dumps({"example": example, "pid": os.getpid()}))
    return folder


def _example(name: str) -> Path:
    """Return the folder of an example: beside the source tree, or installed with the wheel.

    Raises:
        BackendError: It is in neither place.
    """
    source = Path(__file__).parents[3] / "examples" / name
    installed = Path(sysconfig.get_path("data")) / "share" / "mlg" / "examples" / name
    for path in (source, installed):
        if (path / "mlg.yaml").exists():
            return path
    raise BackendError(f"no example {name!r}", where=str(installed), hint="movies or fashion")
