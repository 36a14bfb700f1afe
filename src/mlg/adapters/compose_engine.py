"""A container engine by its socket, and Compose beside it: Docker's, or podman's.

Only starting a stack is Compose's; images, containers and networks are asked of the engine
itself (Docker's API, which podman speaks too), so that a stack of which nothing is known but
its label can be taken down.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from mlg.adapters.image_archive import image_archive
from mlg.core.errors import BackendError

IDLE_S: Final = 120
"""After how long without a question a podman service that was started here ends itself."""
_API: Final = "/v1.40"
_START_S: Final = 10.0
_ASK_S: Final = 60.0
_LOAD_S: Final = 120.0
_JSON: Final = "application/json"
_SHOWN: Final = 600
_SOCKETS: Final = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")


class ComposeEngine:
    """An engine that answers; `close` ends what was started to reach it.

    Args:
        socket_path: Where it listens.
        service: The podman service that was started for it, if one was.
    """

    def __init__(
        self, socket_path: str, service: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        self.socket_path, self._service = socket_path, service

    def __enter__(self) -> "ComposeEngine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Return what it says that it is, as `Podman Engine 4.3.1`."""
        told = self._ask("GET", "/version")
        parts: list[dict[str, Any]] = told.get("Components") or [{}]
        return f"{parts[0].get('Name', 'Engine')} {told.get('Version', '')}".strip()

    def load(self, layout: Path) -> str:
        """Load the image of an OCI layout; return the name that the engine gave it.

        It is sent piece by piece: an image with its base is half a gigabyte.

        Raises:
            BackendError: It is refused, or the engine does not answer.
        """
        archive = image_archive(layout)
        told = self._send(
            "POST", "/images/load", archive, "application/x-tar", timeout_s=_LOAD_S
        )
        _, found, name = told.decode(errors="replace").partition("Loaded image: ")
        if not found:
            raise self._failed(f"the image was not loaded: {told[:_SHOWN]!r}")
        return name.partition('"')[0].partition("\\n")[0].strip()

    def drop(self, image: str) -> None:
        """Remove an image's name; one that is not there, or is in use, is left alone."""
        with contextlib.suppress(BackendError):
            self._send("DELETE", f"/images/{quote(image, safe='')}")

    def up(self, folder: Path, project: str, deadline_s: float) -> None:
        """Create and start what `docker-compose.yaml` of a folder names.

        Raises:
            BackendError: Compose is not installed, refuses, or is not done in time.
        """
        argv = [*compose_command(), "--project-name", project, "--file"]
        argv += [str(folder / "docker-compose.yaml"), "up", "--detach", "--no-build"]
        env = {**os.environ, "DOCKER_HOST": f"unix://{self.socket_path}", "NO_COLOR": "1"}
        said = _run(argv, folder, env, deadline_s)
        if said is not None:
            raise BackendError(f"the containers did not start: {said}", where=argv[0])

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Return the containers with a label, `NAME=VALUE`, running or not.

        Raises:
            BackendError: The engine does not answer.
        """
        return self._ask("GET", f"/containers/json?all=true&filters={_filter(label)}")

    def pid(self, container: str) -> int:
        """Return the process of a container on this host; 0 where it has none here."""
        pid = int(self._ask("GET", f"/containers/{container}/json")["State"]["Pid"])
        try:
            mine = container[:12] in Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return 0
        return pid if mine else 0

    def runs(self, container: str) -> bool:
        """Return whether a container runs.

        Raises:
            BackendError: The engine does not answer.
        """
        return bool(self._ask("GET", f"/containers/{container}/json")["State"]["Running"])

    def last_words(self, container: str) -> str:
        """Return the end of what a container printed; empty when it cannot be had."""
        with contextlib.suppress(BackendError):
            path = f"/containers/{container}/logs?stdout=true&stderr=true&tail=3"
            return _plain(self._send("GET", path))[-_SHOWN:].strip()
        return ""

    def execute(self, container: str, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program within a running container; return its exit code and its last words.

        Raises:
            BackendError: The engine does not answer, or does not start it.
        """
        asked = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        made = self._told("POST", f"/containers/{container}/exec", asked)["Id"]
        said = self._send("POST", f"/exec/{made}/start", b'{"Detach":false,"Tty":false}', _JSON)
        code = self._ask("GET", f"/exec/{made}/json")["ExitCode"]
        return int(code), _plain(said)[-_SHOWN:].strip()

    def remove(self, label: str, project: str) -> int:
        """Remove the containers with a label and the project's networks; return how many.

        Raises:
            BackendError: The engine does not answer, or one stays.
        """
        found = left = self.containers(label)
        for one in found:  # they keep nothing, so nobody waits until they end by themselves
            with contextlib.suppress(BackendError):
                self._send("POST", f"/containers/{one['Id']}/kill")
        for _ in found:  # one whose network another shares goes after it
            for one in left:
                with contextlib.suppress(BackendError):
                    self._send("DELETE", f"/containers/{one['Id']}?force=true&v=true")
            if not (left := self.containers(label)):
                break
        marked = _filter(f"com.docker.compose.project={project}")
        for network in self._ask("GET", f"/networks?filters={marked}"):
            self._send("DELETE", f"/networks/{network['Name']}")
        if left:
            raise self._failed(f"{len(left)} containers stay")
        return len(found)

    def answers(self) -> bool:
        """Return whether an engine answers."""
        with contextlib.suppress(BackendError):
            return bool(self._send("GET", "/_ping", api="")) or True
        return False

    def close(self) -> None:
        """End the podman service that was started for this, and remove its socket."""
        if self._service is None:
            return
        self._service.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._service.wait(5.0)
        self._service.kill()
        self._service.wait()
        shutil.rmtree(Path(self.socket_path).parent, ignore_errors=True)

    def _ask(self, method: str, path: str) -> Any:
        return self._told(method, path)

    def _told(self, method: str, path: str, asked: object = None) -> Any:
        body = b"" if asked is None else json.dumps(asked).encode()
        told = self._send(method, path, body, _JSON if body else "")
        try:
            return json.loads(told)
        except ValueError as error:
            raise self._failed(f"it answers {told[:_SHOWN]!r}") from error

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        kind: str = "",
        api: str = _API,
        timeout_s: float = _ASK_S,
    ) -> bytes:
        connection = _UnixConnection(self.socket_path, timeout_s)
        headers = {"Content-Type": kind} if kind else {}
        try:
            connection.request(method, f"{api}{path}", body or None, headers)
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"it does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400 and not (method == "DELETE" and answer.status == 404):
            raise self._failed(
                f"status {answer.status}: {told[:_SHOWN].decode(errors='replace')}"
            )
        return told

    def _failed(self, what: str) -> BackendError:
        return BackendError(what, where=f"container engine {self.socket_path}")


def find_engine() -> ComposeEngine:
    """Return an engine that answers: DOCKER_HOST's, a socket's, or podman's, started for it.

    Raises:
        BackendError: There is none, and why.
    """
    told = os.environ.get("DOCKER_HOST", "")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    paths = [told.removeprefix("unix://")] if told.startswith("unix://") else list(_SOCKETS)
    if runtime and not told:
        paths += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    for path in paths:
        engine = ComposeEngine(path)
        if Path(path).exists() and engine.answers():
            return engine
    hint = "install Docker, or podman with docker-compose, or leave `compose` out."
    if told:
        raise BackendError(f"no container engine answers at {told}", where="DOCKER_HOST")
    if shutil.which("podman") is None:
        where = "container engine"
        raise BackendError("no container engine answers", where=where, hint=hint)
    return _podman()


def compose_command() -> tuple[str, ...]:
    """Return the words by which Compose is called here: the plugin, else the program.

    Raises:
        BackendError: Neither is installed.
    """
    if shutil.which("docker") is not None:
        plugin = ("docker", "compose")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [*plugin, "version"], capture_output=True, timeout=_START_S, check=False
            )
            if done.returncode == 0:
                return plugin
    if shutil.which("docker-compose") is not None:
        return ("docker-compose",)
    raise BackendError(
        "no docker-compose is installed",
        where="compose",
        hint="install docker-compose, or leave `compose` out.",
    )


def _podman() -> ComposeEngine:
    """Start podman's API on a socket of its own.

    Raises:
        BackendError: It does not answer in time, and what it said.
    """
    folder = Path(tempfile.mkdtemp(prefix="mlg-engine-"))
    path, log = str(folder / "podman.sock"), folder / "log"
    with log.open("wb") as said:
        service = subprocess.Popen(
            ["podman", "system", "service", f"--time={IDLE_S}", f"unix://{path}"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    engine = ComposeEngine(path, service)
    until_s = time.monotonic() + _START_S
    while service.poll() is None and time.monotonic() < until_s:
        if Path(path).exists() and engine.answers():
            return engine
        time.sleep(0.05)
    words = log.read_text(errors="replace")[-_SHOWN:].strip()
    engine.close()
    raise BackendError(
        f"podman's service does not answer: {words or 'it said nothing'}", where="podman"
    )


def _run(
    argv: Sequence[str], folder: Path, env: Mapping[str, str], deadline_s: float
) -> str | None:
    """Run to the end; return what went wrong, in its words, or None."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(max(0.0, deadline_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"not in {deadline_s:.0f} s"
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
    return None if code == 0 else f"exit code {code}: {words[-_SHOWN:]}"


def _plain(framed: bytes) -> str:
    """Return the text of a log whose lines come in frames of 8 bytes and content."""
    text = b""
    while len(framed) > 8 and framed[0] in {1, 2} and framed[1:4] == b"\0\0\0":
        size = int.from_bytes(framed[4:8], "big")
        text, framed = text + framed[8 : 8 + size], framed[8 + size :]
    return (text or framed).decode(errors="replace")


def _filter(label: str) -> str:
    return quote(json.dumps({"label": [label]}))


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("engine", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)
