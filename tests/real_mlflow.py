"""Real MLflow for tests: an environment of its own, a tracking server, and a writer.

MLflow does not install beside our own pins (it wants pyarrow below 26), so it gets a virtual
environment below the user's cache, made once from `tests/mlflow.txt`: about 230 MB.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.source_datasets import cache_root
from tests.conftest import until

HERE = Path(__file__).parent
LOCK = HERE / "mlflow.txt"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONWARNINGS": "ignore",
    "PYTHONDONTWRITEBYTECODE": "",  # 8 s of compiling, once and not each time
}
DEADLINE_S = 240.0


def interpreter() -> Path:
    """Return the Python of MLflow's environment, made at the first call; or skip."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    mark = hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()[:12]
    home = cache_root().parent / "tests"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"mlflow-{mark}"
    with (home / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _make(folder)
    return folder / "bin" / "python"


def _make(folder: Path) -> None:
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    base = [sys.executable, "-m"]
    python = str(new / "bin" / "python")
    try:
        subprocess.run(
            [*base, "venv", "--without-pip", str(new)], check=True, capture_output=True
        )
        subprocess.run(
            [*base, "pip", "--python", python, "install", "-q", "--no-deps", "--no-compile",
             "--disable-pip-version-check", "-r", str(LOCK)],
            check=True, capture_output=True, timeout=DEADLINE_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as wrong:
        shutil.rmtree(new, ignore_errors=True)
        said = getattr(wrong, "stderr", b"") or b""
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        pytest.skip(f"MLflow cannot be installed: {' '.join(last)[:200] or wrong}")
    new.rename(folder)


@contextmanager
def tracking_server(python: Path, folder: Path) -> Iterator[str]:
    """Run a tracking server over a SQLite file in the folder; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
    ]  # fmt: skip
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **QUIET}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(f"{url}/health") or process.poll() is not None, DEADLINE_S)
        assert process.poll() is None, (folder / "server.log").read_text()[-2_000:]
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


class Writer:
    """Writes registries by real MLflow, in a process that stays."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._log = (folder / "writer.log").open("wb")
        self._folder = folder
        self._process = subprocess.Popen(
            [str(python), str(HERE / "mlflow_writer.py")], cwd=folder,
            env={**os.environ, **QUIET}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True,
        )  # fmt: skip

    def __call__(self, do: str, uri: str) -> dict[str, Any]:
        """Do `serve`, `write` or `change`; return its address, or ids of what was written."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "uri": uri}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self._folder / "writer.log").read_text()[-2_000:]
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()
