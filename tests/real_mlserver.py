"""A real MLServer (SeldonIO) for tests, in an environment of its own below the user's cache.

It pins an old protobuf and wants FastAPI, so it does not go into ours; made once, from
`tests/mlserver.txt`.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlg.adapters.source_datasets import cache_root
from tests.conftest import until

LOCK = Path(__file__).parent / "mlserver.txt"
DEADLINE_S = 240.0

# a runtime as MLServer's documentation has it: items from the viewer's number on
RUNTIME = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
import numpy as np

class Ranker(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {one.name: one for one in payload.inputs}
        viewer = int(StringCodec.decode_input(given["user_id"])[0])
        k = int(NumpyCodec.decode_input(given["k"]).ravel()[0])
        items = [f"item-{viewer + n}" for n in range(k)]
        return InferenceResponse(model_name=self.name, outputs=[
            StringCodec.encode_output("item_id", items),
            NumpyCodec.encode_output("score", 0.5 ** np.arange(k, dtype=np.float64)),
        ])
"""


def interpreter() -> Path:
    """Return the Python of MLServer's environment, made at the first call; or skip."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    mark = hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()[:12]
    home = cache_root().parent / "tests"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"mlserver-{mark}"
    with (home / "mlserver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _make(folder)
    return folder / "bin" / "python"


def _make(folder: Path) -> None:
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    python = str(new / "bin" / "python")
    try:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(new)],
            check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps",
             "--no-compile", "--disable-pip-version-check", "-r", str(LOCK)],
            check=True, capture_output=True, timeout=DEADLINE_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as wrong:
        shutil.rmtree(new, ignore_errors=True)
        said = getattr(wrong, "stderr", b"") or b""
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        pytest.skip(f"MLServer cannot be installed: {' '.join(last)[:200] or wrong}")
    new.rename(folder)


@contextmanager
def model_server(folder: Path) -> Iterator[str]:
    """Run an MLServer with one model, `ranker`; yield its address. Skips without MLServer."""
    if not LOCK.exists():
        pytest.skip("tests/mlserver.txt, which pins MLServer, is not there")
    python = interpreter()
    models = folder / "models"
    models.mkdir()
    ports: list[int] = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    (models / "ranker.py").write_text(RUNTIME)
    settings = {
        "debug": False, "host": "127.0.0.1", "parallel_workers": 0, "http_port": ports[0],
        "grpc_port": ports[1], "metrics_port": ports[2],
    }  # fmt: skip
    (models / "settings.json").write_text(json.dumps(settings))
    model = {"name": "ranker", "implementation": "ranker.Ranker"}
    (models / "model-settings.json").write_text(json.dumps(model))
    with (folder / "mlserver.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), "-m", "mlserver.cli.main", "start", "."], cwd=models,
            env={**os.environ, "PYTHONPATH": str(models), "PYTHONWARNINGS": "ignore"},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{ports[0]}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "mlserver.log").read_text()
        try:
            with urllib.request.urlopen(f"{url}/v2/models/ranker/ready", timeout=2) as told:
                return told.status == 200
        except OSError:
            return False

    try:
        until(ready, 120.0)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(15)
