"""Every command that the README shows, run in order as one person would type them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlg.adapters.loopback_ports import free_port
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.source_datasets import cache_root
from mlg.adapters.sources import Sources
from mlg.core.errors import BackendError

ROOT = Path(__file__).parents[2]


def need(uri: str) -> None:
    try:
        Sources(cache_root(), HttpNetwork()).file(uri, ROOT, {})
    except BackendError as error:
        pytest.skip(f"no source of {uri} answers: {error}")


@pytest.mark.slow
@pytest.mark.example
@pytest.mark.timeout(600)
def test_the_tour_of_the_readme(tmp_path: Path) -> None:
    need("movielens-100k://ratings")
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]
    assert len(lines) >= 15
    control, gateway = free_port(), free_port()
    script = "\n".join(lines).replace("mlg up --wait", f"mlg up --wait --port {control}")
    script = script.replace(f"--port {control}", f"--port {control} --gateway-port {gateway}")
    script = script.replace("127.0.0.1:7080", f"127.0.0.1:{gateway}")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    activate = tmp_path / ".venv" / "bin"
    activate.mkdir(parents=True)
    (activate / "activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    env = {k: v for k, v in os.environ.items() if k != "MLG_HOME"}
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=560,
            check=False,
        )
    finally:
        subprocess.run(
            [sys.executable, "-m", "mlg", "down"],
            cwd=tmp_path / "examples" / "movies",
            env=env,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "movielens-100k://ratings" in done.stdout.replace("%3A", ":").replace("%2F", "/")


@pytest.mark.slow
@pytest.mark.example
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "example", ["fashion", *(["movies"] if os.environ.get("MLG_FULL") else [])]
)
def test_the_demo_of_each_example(tmp_path: Path, example: str) -> None:
    need(
        {"fashion": "open-bandit://random/all/items", "movies": "movielens-100k://items"}[
            example
        ]
    )
    done = subprocess.run(
        [sys.executable, "-m", "mlg", "demo", "--example", example, "--passes", "1",
         "--dir", str(tmp_path / "demo"), "--json"],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert '"confirmed": true' in done.stdout
