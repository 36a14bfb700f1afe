"""An experiment on the real gateway: cells, holdout, kill -9, waiting rollouts, a way back."""

import json
import os
import signal
from typing import Any

from tests.chaos.test_kill_control import control_pid
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, Viewers, rollout
from tests.instance import Graph, check_arrows

EXPERIMENT = """
experiments:
  rows:
    service: front
    cells: {A: {version: previous, share: 40%}}
    metrics: {ctr: {min_effect: 5%}}
    holdout: 10%
    max_run: 3650d
"""


def done(cli: Cli) -> str:
    """Return the version that the newest rollout brought, once it is done."""
    newest = rollout(cli)
    return newest["candidate"] if newest["state"] == "done" else ""


def layers(cli: Cli) -> dict[str, tuple[str, int]]:
    wanted = json.loads((cli.home / "services" / "front" / "wanted.json").read_bytes())
    return {v["version"]: (v["layer"], v["bp"]) for v in wanted["versions"] if v.get("layer")}


def train(cli: Cli, text: str, days: int) -> str:
    params = f"seed: 1\n        params: {{popularity_days: {days}}}"
    (cli.folder / "mlg.yaml").write_text(text.replace("seed: 1", params))
    cli("apply", "--yes")
    return cli.json("run", "list", "--follow")["version"]


def experiment(cli: Cli) -> dict[str, Any]:
    return cli.json("experiment", "status", "rows")


if FULL:

    def test_an_experiment_runs_is_killed_goes_on_and_gives_way_to_a_way_back(cli: Cli) -> None:
        manifest = cli.folder / "mlg.yaml"
        text = manifest.read_text().replace(
            "  front: {model: list, replicas: 2, clock: request}",
            "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
            "    rollout: {swap_back: 1m}\n"
            "    confidence: {abstain_below: 0.01, explore: 0%}",
        )
        text += EXPERIMENT
        manifest.write_text(text)
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        first = cli.json("run", "list", "--follow")["version"]
        until(lambda: cli.json("status")["services"][0]["live"])
        with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
            second = train(cli, text, 30)
            until(
                lambda: (rollout(cli)["candidate"], rollout(cli)["state"]) == (second, "done")
            )
            assert experiment(cli)["phase"] == ""
            cli("experiment", "start", "rows", "--reason", "does the old one hold up?")
            until(lambda: experiment(cli)["phase"] == "running")
            cells = {
                f"{first}~rows.A": ("rows", 4_000),
                f"{second}~holdout": ("holdout", 1_000),
            }
            assert layers(cli) == cells
            until(lambda: experiment(cli)["cells"][0].get("viewers", 0) > 20)
            cli("experiment", "start", "rows", code=4)  # one at a time
            third = train(cli, text, 2)
            until(lambda: any("rollouts wait for it" in str(e) for e in Graph(cli).events()))
            assert rollout(cli)["candidate"] == second
            (waits,) = cli.json("rollout", "status", "front")["waiting"]
            assert (waits["version"], waits["waits_for"]) == (third, "experiment rows")

            os.kill(control_pid(cli), signal.SIGKILL)
            cli("up", "--wait", "--port", "0")
            assert experiment(cli)["phase"] == "running"
            assert layers(cli) == cells
            until(lambda: experiment(cli)["cells"][0]["viewers"] > 20)

            cli("rollout", "rollback", "front", "--reason", "seen it")
            until(lambda: experiment(cli)["phase"] == "stopped")
            assert "goes back" in experiment(cli)["reason"]
            # who was held out stays so, on what the way back brought
            until(lambda: layers(cli) == {f"{first}~holdout": ("holdout", 1_000)})
            until(
                lambda: (rollout(cli)["candidate"], rollout(cli)["state"]) == (third, "done"),
                60,
            )
            assert layers(cli) == {f"{first}~holdout": ("holdout", 1_000)}
        assert viewers.failed == []
        assert {first, second, third} <= set(viewers.versions)
        graph = Graph(cli)
        named = {n["name"] for n in graph.get("nodes", kind="experiment_cell")["nodes"]}
        assert named == {"A", "control", "holdout"}
        check_arrows(graph)
        kinds = [e["type"] for e in graph.events() if e["type"].startswith("mlg.experiment.")]
        assert kinds[0] == "mlg.experiment.begun"
        assert {"mlg.experiment.running", "mlg.experiment.stopped"} <= set(kinds)
