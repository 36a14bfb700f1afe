"""The demo as a user stops it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.conftest import until


def _of(folder: Path) -> list[psutil.Process]:
    """Return every living process whose command line names the folder."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline", "status"]):
        named = any(str(folder) in part for part in process.info["cmdline"] or ())
        if named and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


WHEN = ("starting", "running") if os.environ.get("MLG_FULL") else ("running",)


@pytest.mark.parametrize("when", WHEN)
def test_ctrl_c_leaves_no_process_and_no_port(tmp_path: Path, when: str) -> None:
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        [sys.executable, "-m", "mlg", "demo", "--example", "fashion", "--dir", str(folder)],
        env={**os.environ, "COLUMNS": "120"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = folder / ".mlg" / "control.json"
    until(lambda: told.exists() or demo.poll() is not None)
    if when == "running":
        steps = folder / ".mlg" / "cache"
        until(lambda: steps.exists() and any(steps.iterdir()))
    ports = json.loads(told.read_bytes())
    demo.send_signal(signal.SIGINT)
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert "interrupted" in said
    until(lambda: not _of(folder), 20)
    assert not _listens(ports["port"])
    assert not _listens(ports["gateway_port"])
