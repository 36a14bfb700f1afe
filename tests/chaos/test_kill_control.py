"""Kill -9 of the control plane in each phase of a run; one short pass in `make test`."""

import json
import os
import signal
import urllib.request
from collections import Counter
from typing import Any

import pytest
from tests.conftest import Cli, until

PHASES = ("source_plays", "clean", "train", "evaluate", "package", "release")
SHORT = ("train",)


def events(cli: Cli) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{cli.control()['port']}/api/v1/events?limit=1000"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())["events"]


def control_pid(cli: Cli) -> int:
    return int(cli.control()["pid"])


@pytest.mark.parametrize("phase", PHASES if os.environ.get("MLG_FULL") else SHORT)
def test_a_killed_control_plane_ends_where_it_would_have(cli: Cli, phase: str) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    run_id = cli.json("run", "list")["run_id"]

    def reached() -> bool:
        begun = {e["subject"] for e in events(cli) if e["type"] == "mlg.step.started"}
        deployed = any(e["type"] == "mlg.deployment.started" for e in events(cli))
        return deployed if phase == "release" else any(f"%2F{phase}@" in s for s in begun)

    until(reached)
    survivors = {k: v for k, v in cli.pids().items() if k.startswith("gateway")}
    os.kill(control_pid(cli), signal.SIGKILL)
    cli("up", "--wait", "--port", "0")

    def ended() -> Any:
        url = f"http://127.0.0.1:{cli.control()['port']}/api/v1/runs/{run_id}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            run = json.loads(answer.read())
        return run if run["state"] != "running" else None

    run = until(ended, 120)
    assert run["state"] == "done", run
    seen = events(cli)
    keys = Counter(event["key"] for event in seen)
    assert max(keys.values()) == 1
    finished = Counter(e["subject"] for e in seen if e["type"] == "mlg.step.finished")
    assert set(finished.values()) == {1}
    assert sum(e["type"] == "mlg.model_version.registered" for e in seen) == 1
    assert sum(e["type"] == "mlg.deployment.started" for e in seen) == 1
    assert [v["share_bp"] for v in cli.json("production", "front")["versions"]] == [10_000]
    assert cli.json("audit", "verify")["ok"]
    pids = cli.pids()
    assert {name: pids.get(name) for name in survivors} == survivors


if os.environ.get("MLG_FULL"):  # in `make test` viewers go on asking in test_kill_heal.py

    def test_replicas_answer_while_the_control_plane_is_dead(cli: Cli) -> None:
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        cli.json("run", "list", "--follow")
        gateway = cli.json("status")["ports"]["gateway"]
        before = cli.pids()
        os.kill(control_pid(cli), signal.SIGKILL)
        request = urllib.request.Request(
            f"http://127.0.0.1:{gateway}/v1/services/front/recommend",
            data=b'{"user_id": 1}',
            headers={"content-type": "application/json"},
        )
        for _ in range(50):
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert json.loads(answer.read())["served_by"] == "model"
        cli("up", "--wait", "--port", "0")
        after = cli.pids()
        assert {k: v for k, v in after.items() if k != "control"} == {
            k: v for k, v in before.items() if k != "control"
        }
        port = cli.json("status")["ports"]["control"]

        def counted() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/live") as answer:
                services = json.loads(answer.read())["services"]
                return [s["total"]["requests"] for s in services] == [50]

        until(counted, 20)
