"""What every test may use: a runner of the command line, and a tiny project to run."""

import atexit
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from hypothesis import settings

from tests.cli_process import CliProcesses

# `make test` looks at fewer made-up cases than `make e2e` and `make chaos`
settings.register_profile("short", max_examples=25)
settings.register_profile("full", max_examples=200)
settings.load_profile("full" if os.environ.get("MLG_FULL") else "short")

TINY = Path(__file__).parent / "projects" / "tiny"


def pytest_collection_finish() -> None:
    """Leave what the imports made out of every later garbage collection."""
    gc.collect()
    gc.freeze()


FULL = os.environ.get("MLG_FULL") == "1"


@cache
def cli_processes() -> CliProcesses:
    """Return what forks commands for all tests of this process."""
    processes = CliProcesses()
    atexit.register(processes.close)
    return processes


class Cli:
    """Runs `mlg` as a user would, in a process of its own, on one home."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / ".mlg"
        self.env = {**os.environ, "MLG_HOME": str(self.home), "COLUMNS": "200"}

    def __call__(self, *args: str, code: int | None = 0, timeout: float = 240) -> str:
        done = (
            self._started(args, timeout)
            if FULL
            else cli_processes().run(list(args), cwd=self.folder, env=self.env, timeout=timeout)
        )
        if code is not None:
            assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout + ("" if code == 0 else done.stderr)

    def _started(self, args: tuple[str, ...], timeout: float) -> "CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "mlg", *args],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *args: str, code: int | None = 0) -> Any:
        return json.loads(self(*args, "--json", code=code))

    def control(self) -> dict[str, Any]:
        """Return what the control plane wrote of itself: port, gateway_port, pid, ready."""
        return json.loads((self.home / "control.json").read_bytes())

    def pids(self) -> dict[str, int]:
        return self.json("status")["pids"]


def until(fact: Callable[[], Any], deadline_s: float = 60.0) -> Any:
    """Return the first true value of the fact, asked again and again."""
    end = time.monotonic() + deadline_s
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < end, "the fact did not hold in time"
        time.sleep(0.05)


def make_tiny(folder: Path) -> Path:
    """Copy the tiny project and write its data: 60 viewers, 30 items, 1,500 plays."""
    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    rows = ["viewer,item,stars,second"]
    for n in range(1_500):
        viewer, item = n * 7 % 60, (n * n + n // 60) % 30
        rows.append(f"{viewer},{item},{1 + (viewer + item) % 5},{1_700_000_000 + n * 600}")
    (folder / "plays.csv").write_text("\n".join(rows) + "\n")
    sizes = [f"{item},{item % 3}" for item in range(30)]
    (folder / "things.csv").write_text("\n".join(["item,size", *sizes]) + "\n")
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny(tmp_path / "tiny")


@pytest.fixture
def cli(tiny: Path) -> Iterator[Cli]:
    run = Cli(tiny)
    yield run
    run("down", code=None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a real PostgreSQL, up to the database's name."""
    from tests.postgres import server

    with server() as url:
        yield url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """The URL of a real NATS server with JetStream."""
    from tests.jetstream import server

    with server() as one:
        yield one.url
