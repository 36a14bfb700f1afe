"""A disk that fills up under a whole instance: said, recorded, and nothing half done."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Cli, until
from tests.e2e.test_tiny import ask, events


@pytest.fixture
def small(tmp_path: Path, tiny: Path) -> Iterator[Cli]:
    """An instance whose home is a file system of 24 MB."""
    cli = Cli(tiny)
    cli.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(cli.home)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield cli
        cli("down", code=None)
    finally:
        subprocess.run(["umount", "-l", str(cli.home)], check=True)


def _fill(home: Path) -> Path:
    """Write until nothing more fits; return the file."""
    filler = home / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
                file.flush()
        except OSError:
            os.truncate(filler, os.path.getsize(filler) // 4_096 * 4_096)
    return filler


@pytest.mark.skipif(
    not os.environ.get("MLG_FULL"), reason="make e2e runs it; each store has its own full disk"
)
def test_a_full_disk_stops_a_run_and_nothing_else(small: Cli) -> None:
    cli = small
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")
    assert first["state"] == "done"
    manifest = cli.folder / "mlg.yaml"
    good = manifest.read_text()

    filler = _fill(cli.home)
    manifest.write_text(good.replace("replicas: 2", "replicas: 1"))
    said = cli("apply", "--yes", code=5)
    assert "disk" in said.lower() or "space" in said.lower()
    # who is served goes on being served, by the version of before
    assert ask(cli, "/v1/services/front/recommend", {"user_id": 3})["items"]
    filler.unlink()

    until(lambda: cli("apply", "--yes", code=None) and not cli.json("plan")["changes"])
    again = cli.json("run", "list", "--follow")
    assert again["state"] == "done"
    assert again["artifact"] == first["artifact"]
    assert cli.json("audit", "verify")["ok"]
    # what could not be written then is on the graph now
    refused = [e["data"]["what"] for e in events(cli) if e["type"] == "mlg.failure.recorded"]
    assert any("disk" in what or "space" in what for what in refused)
