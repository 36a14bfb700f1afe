"""Kill -9 of the control plane keeps what people asked of alerts, on a running instance."""

import os
import signal

import pytest
from tests.chaos.test_kill_control import control_pid, events
from tests.conftest import Cli


@pytest.mark.skipif(not os.environ.get("MLG_FULL"), reason="40 s: set MLG_FULL=1")
def test_a_silence_and_a_maintenance_window_outlive_a_kill(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    silence = cli.json(
        "alerts", "silence", "--kind", "input_drift", "--until", "2h", "--reason", "new feed"
    )
    work = cli.json("alerts", "maintenance", "--all", "--to", "1h", "--reason", "disks")
    os.kill(control_pid(cli), signal.SIGKILL)
    cli("up", "--wait", "--port", "0")
    found = cli.json("alerts", "list")
    assert [one["id"] for one in found["silences"]] == [silence["id"]]
    assert [one["id"] for one in found["maintenance"]] == [work["id"]]
    over = cli.json("alerts", "unsilence", silence["id"])
    assert (over["lifted_by"], over["by"]) == (silence["by"], silence["by"])
    told = [e["type"] for e in events(cli) if e["type"].startswith(("mlg.sil", "mlg.maint"))]
    assert told == ["mlg.silence.set", "mlg.maintenance.set", "mlg.silence.lifted"]
    unknown = cli("alerts", "ack", "front:1/input_drift", code=3)
    assert "mlg alerts list --all" in unknown
