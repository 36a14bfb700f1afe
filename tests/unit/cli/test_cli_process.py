"""A forked command is what a started one is, to whoever runs it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli_process import WIDTH, CliProcesses


@pytest.fixture(scope="module")
def processes() -> Iterator[CliProcesses]:
    made = CliProcesses()
    yield made
    made.close()


@pytest.mark.parametrize(
    "args",
    [("status",), ("drift", "arl", "--chart", "ewma", "--limit", "3"), ("plan", "--json")],
)
def test_it_says_and_returns_the_same(
    processes: CliProcesses, tmp_path: Path, args: tuple[str, ...]
) -> None:
    env = {**os.environ, "COLUMNS": WIDTH, "MLG_HOME": str(tmp_path / "home")}
    forked = processes.run(list(args), cwd=tmp_path, env=env, timeout=60)
    started = subprocess.run(
        [sys.executable, "-m", "mlg", *args], cwd=tmp_path, env=env, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        started.returncode, started.stdout, started.stderr
    )  # fmt: skip
    assert forked.stdout or forked.stderr


def test_one_that_takes_too_long_is_killed(processes: CliProcesses, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mlg.yaml")  # nobody ever writes into it
    env = {**os.environ, "COLUMNS": WIDTH}
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["plan"], cwd=tmp_path, env=env, timeout=0.5)
    assert processes.run(["--help"], cwd=tmp_path, env=env, timeout=60).returncode == 0
