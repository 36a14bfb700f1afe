"""`mlg` as a process of its own that need not import anything: forked from one that has.

A command takes 0.7 s, of which 0.6 s are imports. `make test` runs hundreds, so they are forked
from a process that has imported `mlg.cli.main` and done nothing else: each has its own
arguments, folder, environment, streams and exit code. `make e2e` and `make chaos` start every
one anew.
"""

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = "200"
"""Columns of the terminal: the console reads them as it is made, which is before the fork."""
USED = (
    "mlg.adapters.audit_bundle",
    "mlg.cli.offline",
    "mlg.cli.processes",
    "typer._adapters",  # pydantic, at the first option
)
"""What most commands import as they run."""
_MOST_BYTES = 128 * 1024


class CliProcesses:
    """Forks commands, also several at once, until it is closed."""

    def __init__(self) -> None:
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            code = f"from tests.cli_process import main; main({theirs.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "COLUMNS": WIDTH},
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def run(
        self, args: list[str], *, cwd: Path, env: dict[str, str], timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run `mlg` with these arguments to its end, as `subprocess.run` would.

        Raises:
            subprocess.TimeoutExpired: It did not end in time, and was killed.
        """
        assert env["COLUMNS"] == WIDTH
        asked = json.dumps({"args": args, "cwd": str(cwd), "env": env}).encode()
        assert len(asked) < _MOST_BYTES
        ours, theirs = socket.socketpair()
        with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with theirs, self._lock:
                fds = [theirs.fileno(), out.fileno(), err.fileno()]
                socket.send_fds(self._wire, [asked], fds)
            ours.settimeout(timeout)
            pid = _number(ours)
            try:
                code = _number(ours)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["mlg", *args], timeout) from None
            out.seek(0)
            err.seek(0)
            said = (out.read().decode(), err.read().decode())
        return subprocess.CompletedProcess(["mlg", *args], code, *said)

    def close(self) -> None:
        """End the process that forks."""
        self._wire.close()
        self._process.wait(10)


def _number(wire: socket.socket) -> int:
    found = wire.recv(4, socket.MSG_WAITALL)
    assert len(found) == 4, "the process that forks commands has ended"
    return int.from_bytes(found, "big", signed=True)


def main(number: int) -> None:
    """Fork a watcher, and from it a command, for each message until the other end closes."""
    command = _imported()
    wire = socket.socket(fileno=number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers are reaped by the kernel
    while True:
        asked, fds, _, _ = socket.recv_fds(wire, _MOST_BYTES, 3)
        if not asked:
            return
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    wire.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        _watch(pid, socket.socket(fileno=fds[0]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(fds[1], 1)
    os.dup2(fds[2], 2)
    for fd in fds:
        os.close(fd)
    call = json.loads(asked)
    os.environ.clear()
    os.environ.update(call["env"])
    os.chdir(call["cwd"])
    sys.argv = ["mlg", *call["args"]]
    command()


def _imported() -> Callable[[], None]:
    """Import what most commands need, put the commands together, and return what runs one."""
    import typer

    from mlg.cli.main import app

    for name in USED:
        importlib.import_module(name)
    command = typer.main.get_command(app)  # what `app()` would do in each of them
    gc.freeze()
    assert threading.active_count() == 1, "a fork would lose threads"
    return command


def _watch(pid: int, teller: socket.socket) -> None:
    """Tell the command's process id, and its exit code when it has ended."""
    teller.sendall(pid.to_bytes(4, "big", signed=True))
    _, status = os.waitpid(pid, 0)
    teller.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)
