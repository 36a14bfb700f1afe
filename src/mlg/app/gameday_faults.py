"""How each fault of a game day is made and taken back, in a replica or by `faults.json`."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from mlg.core.errors import BackendError, ConflictError
from mlg.core.processes import ProcessState
from mlg.release.gameday import Drill

_ROOM_BYTES: Final = 128 << 20
"""How much a leaking process may still take."""
_WRONG: Final[dict[str, dict[str, Any]]] = {
    "crash-loop": {"fails_to_start": True},
    "errors": {"errors": 1.0},
    "nan": {"nan": 1.0},
    "short": {"short": 1.0},
    "slow": {"delay_ms": 200.0},
    "memory": {"keeps_bytes": 4 << 20},
}
"""What `faults.json` says of the version, by the fault's name."""


def inject(
    drill: Drill, target: ProcessState, home: Path, artifact: Path, undo: ExitStack
) -> None:
    """Make the fault; what takes it back is given to `undo`.

    Args:
        drill: Which fault.
        target: The process that is killed or stopped; its version is what answers wrongly.
        home: Home whose `services/<service>/faults.json` the version's replicas read.
        artifact: The model's folder, for `corrupt`: a copy that may be damaged.
        undo: Ends the fault when it is closed.

    Raises:
        ConflictError: Somebody's fault is on already.
        BackendError: The process is gone.
    """
    path = home / "services" / target.service / "faults.json"
    if drill.name in _WRONG:
        if path.exists():
            raise ConflictError(
                "a fault is on already",
                where=str(path.relative_to(home)),
                hint="remove the file, or end the other game day.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        undo.callback(path.unlink, missing_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode({target.version: _WRONG[drill.name]}))
        fresh.replace(path)
    if drill.name == "corrupt":
        _flip(artifact / "model.json", undo)
    if drill.name == "memory":
        _signalled(target, _limit)
    if drill.name == "hang":
        _signalled(target, lambda pid: os.kill(pid, signal.SIGSTOP))
    if drill.name in {"kill", "crash-loop", "corrupt", "gateway"}:
        _signalled(target, lambda pid: os.kill(pid, signal.SIGKILL))


def _flip(path: Path, undo: ExitStack) -> None:
    """Change one bit of the file; the old bytes come back at the end."""
    good = path.read_bytes()
    path.chmod(0o644)
    undo.callback(path.write_bytes, good)
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])


def _limit(pid: int) -> None:
    """Bound a running process to little more than it has, as the launcher does."""
    process = psutil.Process(pid)
    told = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    limit = int(told.split("VmData:")[1].split()[0]) * 1024 + _ROOM_BYTES
    process.rlimit(psutil.RLIMIT_DATA, (limit, limit))


def _signalled(target: ProcessState, act: Callable[[int], None]) -> None:
    """Do something to a process.

    Raises:
        BackendError: It is gone, or this system cannot do that.
    """
    try:
        act(target.pid)
    except (OSError, psutil.Error, AttributeError, IndexError) as error:
        raise BackendError(
            f"the fault could not be made: {error!r}", where=f"{target.id}, pid {target.pid}"
        ) from error
