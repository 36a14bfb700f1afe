"""Processes of this machine that outlive the one that started them."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
import psutil

from mlg.adapters import detached
from mlg.adapters.loopback_ports import check_port, free_port, refuse_port
from mlg.adapters.process_limits import bound_to, cores_of, limit
from mlg.core.clock import Clock
from mlg.core.errors import BackendError
from mlg.core.ports import Files, Ids
from mlg.core.processes import ProcessKind, ProcessSpec, ProcessState

if TYPE_CHECKING:
    from mlg.core.ports import Launcher

_FOLDER: Final = "run"
_POLL_S: Final = 0.01
_EXIT_S: Final = 0.5
_LARGEST_LOG: Final = 16 << 20
_HANDED_DOWN: Final = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV")
_HANDED_DOWN_BY_PREFIX: Final = (
    "LC_",
    "LD_",
    "PYTHON",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "MLG_",
    "OTEL_",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What `run/<id>.json` keeps of a process."""

    id: str
    kind: ProcessKind
    service: str
    version: str
    digest: str
    pid: int
    mark: str
    """Start time of the pid, in a form that survives clock changes and reboots."""
    port: int
    nonce: str
    started_at: datetime
    argv: tuple[str, ...]
    memory_bytes: int | None = None
    health_path: str = ""
    cores: tuple[int, ...] = ()
    """Cores that it is bound to; empty: none in particular."""
    epoch: int = 0
    """How many lives before this one handed over to the next."""
    former_pid: int = 0
    """Who handed over to it; 0: nobody."""
    former_mark: str = ""


class ProcessLauncher:
    """Starts each process in a session of its own, with its log and a record in `run/`.

    The working folder is the home. Of the environment only what a process needs to run is
    handed down (and `MLG_…`), so that the operator's secrets stay with the control plane.

    Args:
        files: The home's files; take `run/<id>.json`.
        clock: Start times, and waiting.
        ids: Nonces.
        home: The folder of the instance; takes `run/<id>.log`.
        env: What may be handed down; this process' environment unless given.
    """

    def __init__(
        self,
        files: Files,
        clock: Clock,
        ids: Ids,
        home: Path,
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._files, self._clock, self._ids, self._home = files, clock, ids, home
        self._env = dict(os.environ if env is None else env)
        self._lock = threading.RLock()
        self._exits: dict[int, int] = {}

    def start(self, spec: ProcessSpec) -> ProcessState:
        with self._lock:
            there = self._entry(spec.id)
            if there is not None and self._alive(there):
                if there.digest == spec.digest:
                    return self._state(there)
                if not spec.handover or self._former_alive(there):
                    raise BackendError(
                        f"{spec.id} runs under another digest (pid {there.pid})",
                        where=spec.id,
                        hint="stop it first",
                    )
            elif there is not None:
                self.stop(spec.id)
                there = None
            listening = self._listening(spec)
            try:
                entry = self._spawn(spec, listening, epoch=there.epoch + 1 if there else 0)
            finally:
                if listening is not None:
                    listening.close()
            kept = (
                replace(entry, former_pid=there.pid, former_mark=there.mark) if there else entry
            )
            try:
                limit(entry.pid, spec)
                self._files.write(_record(spec.id), msgspec.json.encode(kept), mode=0o600)
            except BaseException:
                self._end(entry, grace_s=0.0)  # and not the one before it, which goes on
                raise
            return self._state(kept)

    def stop(self, id: str, *, grace_s: float = 5.0) -> None:  # noqa: A002 (the port's word)
        entry = self._entry(id)
        if entry is not None:
            self._end(entry, grace_s=grace_s)
            self._files.remove(_record(id))

    def state(self) -> tuple[ProcessState, ...]:
        with self._lock:
            states = map(self._state, self._entries())
            return tuple(sorted(states, key=lambda state: state.id))

    def _entries(self) -> list[_Entry]:
        names = [Path(p).stem for p in self._files.list(_FOLDER) if p.endswith(".json")]
        return [entry for name in names if (entry := self._entry(name)) is not None]

    def _listening(self, spec: ProcessSpec) -> socket.socket | None:
        """Bind the port: for the process, or only to see that it is free."""
        if not spec.listen:
            held = [s for s in self.state() if s.alive and s.port == spec.port]
            if spec.port and not held:
                check_port(spec.port)
            return None
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", spec.port))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            refuse_port(spec.port, error)
        return listening

    def _spawn(
        self, spec: ProcessSpec, listening: socket.socket | None, *, epoch: int
    ) -> _Entry:
        # who binds its own port is told a free one: should another process take it first,
        # this one ends and is started again on the next
        port = listening.getsockname()[1] if listening else spec.port or free_port()
        nonce = self._ids.new_id()
        env = {
            name: value
            for name, value in self._env.items()
            if name in _HANDED_DOWN or name.startswith(_HANDED_DOWN_BY_PREFIX)
        }
        env |= dict(spec.env) | {"MLG_NONCE": nonce, "MLG_PORT": str(port)}
        if listening is not None:
            env["MLG_LISTEN_FD"] = str(listening.fileno())
        cores = cores_of(spec, self._bound())
        told = {"{nonce}": nonce, "{port}": str(port), "{epoch}": str(epoch)}
        argv = [_filled(word, told) for word in spec.argv]
        try:
            with self._log(spec.id) as log, bound_to(cores):
                begin = _begun_detached if spec.handover else _begun
                fds = (listening.fileno(),) if listening else ()
                pid = begin(argv, env, spec.folder or self._home, log, fds)
        except OSError as error:
            raise BackendError(
                f"could not be started: {error.strerror or error}",
                where=spec.id,
                hint=f"can {spec.argv[0]} be run by hand?",
            ) from error
        return _Entry(
            id=spec.id,
            kind=spec.kind,
            service=spec.service,
            version=spec.version,
            digest=spec.digest,
            pid=pid,
            mark=_mark(pid) or "",
            port=port,
            nonce=nonce,
            started_at=self._clock.now(),
            argv=spec.argv,
            memory_bytes=spec.memory_bytes,
            health_path=spec.health_path,
            cores=cores,
            epoch=epoch,
        )

    def _bound(self) -> list[int]:
        """Return the cores of every process that runs and is bound to some."""
        return [core for e in self._entries() if e.cores and self._alive(e) for core in e.cores]

    def _log(self, name: str) -> BinaryIO:
        path = self._home / _FOLDER / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LARGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def _entry(self, name: str) -> _Entry | None:
        content = self._files.read(_record(name))
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=_Entry)
        except msgspec.MsgspecError as error:
            raise BackendError(
                f"record of a process is damaged: {error}",
                where=_record(name),
                hint="end the process by hand if it runs, then remove the file",
            ) from error

    def _state(self, entry: _Entry) -> ProcessState:
        alive = self._alive(entry)
        if not alive:
            self._await_exit(entry.pid)
        return ProcessState(
            id=entry.id,
            kind=entry.kind,
            service=entry.service,
            version=entry.version,
            digest=entry.digest,
            pid=entry.pid,
            port=entry.port,
            nonce=entry.nonce,
            started_at=entry.started_at,
            alive=alive,
            exit_code=None if alive else self._exits.get(entry.pid),
            health_path=entry.health_path,
            handing_over=self._former_alive(entry),
        )

    def _former_alive(self, entry: _Entry) -> bool:
        if not entry.former_pid:
            return False
        self._reap(entry.former_pid)
        return entry.former_mark != "" and _mark(entry.former_pid) == entry.former_mark

    def _alive(self, entry: _Entry) -> bool:
        self._reap(entry.pid)
        return entry.mark != "" and _mark(entry.pid) == entry.mark

    def _reap(self, pid: int) -> bool:
        """Take the exit code of a child that ended; return whether it is one that has not.

        Others' children are not ours to reap.
        """
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return False
        if ended:
            self._exits[pid] = os.waitstatus_to_exitcode(status)
        return not ended

    def _await_exit(self, pid: int) -> None:
        """Wait a moment for the exit code of a child whose last threads are still ending.

        Its first thread is a zombie before the whole process can be reaped.
        """
        deadline_s = self._clock.monotonic_s() + _EXIT_S
        while self._reap(pid) and self._clock.monotonic_s() < deadline_s:
            self._clock.wait(_POLL_S)

    def _end(self, entry: _Entry, *, grace_s: float) -> None:
        """End the whole group: the leader by its recorded start time, orphans by the group."""
        if self._alive(entry) and grace_s > 0:
            _signal_group(entry.pid, signal.SIGTERM)
            deadline_s = self._clock.monotonic_s() + grace_s
            while self._alive(entry) and self._clock.monotonic_s() < deadline_s:
                self._clock.wait(_POLL_S)
        # a pid is not given away while its group has members: with the leader gone and the
        # pid unused, whatever is in the group is what the leader left behind
        if self._alive(entry) or not psutil.pid_exists(entry.pid):
            _signal_group(entry.pid, signal.SIGKILL)
        while self._alive(entry):
            self._clock.wait(_POLL_S)
        if self._former_alive(entry):
            former = replace(entry, pid=entry.former_pid, mark=entry.former_mark, former_pid=0)
            self._end(former, grace_s=grace_s)


def _begun(
    argv: list[str], env: dict[str, str], cwd: Path | str, log: BinaryIO, fds: tuple[int, ...]
) -> int:
    """Start a program in a session of its own, and return its pid.

    Raises:
        OSError: It cannot be run.
    """
    process = subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=fds,
    )
    # it outlives this object and is reaped by its pid, so Popen must not wait for it
    process.returncode = 0
    return process.pid


def _begun_detached(
    argv: list[str], env: dict[str, str], cwd: Path | str, log: BinaryIO, fds: tuple[int, ...]
) -> int:
    """Start a program that does not end with who started it; its exit code stays unknown.

    Raises:
        OSError: It cannot be run.
    """
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as told:
        try:
            helper = [sys.executable, "-I", "-S", detached.__file__, str(writes), *argv]
            first = _begun(helper, env, cwd, log, (writes, *fds))
        finally:
            os.close(writes)
        answer = told.read().split()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(first, 0)
    if len(answer) != 1:
        number = int(answer[1]) if answer else errno.ECHILD
        raise OSError(number, os.strerror(number))
    return int(answer[0])


def _filled(word: str, told: Mapping[str, str]) -> str:
    for name, value in told.items():
        word = word.replace(name, value)
    return word


def _mark(pid: int) -> str | None:
    """Return boot and start time of a running process, or None for none and for a zombie.

    In ticks since boot: `create_time` is wall time, and moves when the clock is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _mark_elsewhere(pid)
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _mark_elsewhere(pid: int) -> str | None:
    """The same on systems without /proc."""
    try:
        process = psutil.Process(pid)
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return None if ended else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _record(name: str) -> str:
    return f"{_FOLDER}/{name}.json"


if TYPE_CHECKING:
    from mlg.adapters.files_memory import MemoryFiles
    from mlg.adapters.ids_uuid7 import Uuid7Ids
    from mlg.core.clock import ManualClock

    _: Launcher = ProcessLauncher(MemoryFiles(), ManualClock(), Uuid7Ids(ManualClock()), Path())
