"""A thin event that was answered 202 is followed after `kill -9` of the control plane."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Cli, until

from mlg.client.client import Client

pytestmark = pytest.mark.skipif(
    not os.environ.get("MLG_FULL"),
    reason="starts two control planes; the queue's own test kills in every run",
)
URI = "mlg://run/mlflow/here/r1"


def store(folder: Path) -> Path:
    run = folder / "mlruns" / "1" / "r1"
    run.mkdir(parents=True)
    (run / "meta.yaml").write_text("run_id: r1\nexperiment_id: '1'\nstatus: 3\n")
    (run.parent / "meta.yaml").write_text("experiment_id: '1'\nname: one\n")
    return folder / "mlruns"


def test_a_thin_event_taken_before_kill_9_is_followed_after_it(cli: Cli) -> None:
    found = store(cli.folder)
    (cli.folder / "mlg.env.yaml").write_text(
        "providers: {mlflow: {url: ./mlruns, namespace: here, sweep_every_s: 0}}\n"
    )
    away = found.rename(found.with_suffix(".away"))
    cli("up", "--port", "0", "--wait")

    def control() -> dict[str, Any]:
        return json.loads((cli.home / "control.json").read_bytes())

    client = Client(f"http://127.0.0.1:{control()['port']}")
    answer = client.thin_events([{"provider": "mlflow", "type": "run", "id": "r1"}])
    assert answer["accepted"] == 1
    assert client.nodes(uri=URI)["nodes"] == []
    os.kill(control()["pid"], signal.SIGKILL)
    shutil.move(away, found)
    cli("up", "--port", "0", "--wait")
    client = Client(f"http://127.0.0.1:{control()['port']}")
    (node,) = until(lambda: client.nodes(uri=URI)["nodes"])
    assert node["attrs"]["outcome"] == "FINISHED"
