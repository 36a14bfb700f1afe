"""A push, and then nobody does anything: the commit's model has all of the traffic."""

import json
import os
from pathlib import Path

import pytest
from tests.conftest import Cli, until
from tests.e2e.test_canary import ROLLOUT, Viewers, rollout
from tests.e2e.test_hook import Repository, shim_path
from tests.instance import Graph, check_arrows

pytestmark = pytest.mark.skipif(
    os.environ.get("MLG_FULL") != "1", reason="minutes: set MLG_FULL=1"
)

ORDER = (
    "commit", "run", "step", "model_version", "image", "rollout", "health_check",
    "rollout_step",
)  # fmt: skip


def test_a_push_comes_to_production_with_nobody_doing_anything(
    cli: Cli, tmp_path: Path
) -> None:
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().replace("  list:\n", "  list:\n    on: {commit: main}\n", 1)
    manifest.write_text(
        text.partition("services:")[0]
        + "services:\n  front:\n    model: list\n    replicas: 1\n    clock: request\n"
        + "    confidence: {abstain_below: 0.01, explore: 0%}"
        + ROLLOUT
    )
    cli.env |= {"HOOK_SECRET": "s3cret", "MLG_HOOK_SECRET": "secret://env/HOOK_SECRET"}
    cli.env["PATH"] = shim_path(tmp_path)
    repository = Repository.of(cli, tmp_path)
    cli("up", "--wait", "--port", "0")
    cli(
        "hook", "install", str(repository.bare), "--work-tree", str(cli.folder),
        "--test", "test -f mlg.yaml", "--secret", "secret://env/HOOK_SECRET",
    )  # fmt: skip
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    until(lambda: cli.json("status")["services"][0]["live"])
    before = Graph(cli).events()[-1]["seq"]

    with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
        clean = (repository.clone / "sql" / "clean.sql").read_text()
        (repository.clone / "sql" / "clean.sql").write_text(
            clean.replace("FROM plays", "FROM plays WHERE stars > 1")
        )
        assert "stars > 1" in (repository.clone / "sql" / "clean.sql").read_text()
        said = repository.push("README.md", "# only good plays count\n")
        assert "runs started: 1" in said, said
        done = until(
            lambda: (
                found
                if (found := rollout(cli))["candidate"] != first
                and found["state"] in {"done", "swapped", "failed", "rolled_back", "paused"}
                else None
            ),
            300,
        )
    assert done["state"] in {"done", "swapped"}, done
    assert viewers.failed == []
    serving = cli.json("production", "front")["versions"]
    assert [(v["model_version"][-12:], v["share_bp"]) for v in serving] == [
        (done["candidate"], 10_000)
    ]

    found = cli.json("rollout", "timeline", "front")
    rows = found["rows"]
    firsts = [next(n for n, row in enumerate(rows) if row["kind"] == kind) for kind in ORDER]
    assert firsts == sorted(firsts), [row["kind"] for row in rows]
    assert rows[0]["words"].startswith(f"Commit {repository.git('rev-parse', 'HEAD')[:12]}")
    events = [row["event"] for row in rows]
    for event in ("mlg.model_version.packaged", "mlg.staging.ended", "mlg.rollout.swapped"):
        assert event in events, events
    # nobody did anything: since the push, only the hook and the machine acted
    graph = Graph(cli)
    actors = {e["actor"] for e in graph.events() if e["seq"] > before}
    people = {actor for actor in actors if actor.startswith("local:")}
    mine = [e["type"] for e in graph.events() if e["seq"] > before and e["actor"] in people]
    assert set(mine) <= {"mlg.manifest.applied", "mlg.things.described"}, mine  # the hook's
    check_arrows(graph)
    print(cli("rollout", "timeline", "front"))  # noqa: T201 (the table of docs/release.md)
    if kept := os.environ.get("MLG_TIMELINE"):
        Path(kept).write_text(json.dumps(found))
