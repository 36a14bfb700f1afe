"""Each step in a process of its own, so that a crash hurts only the step."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec

from mlg.core import errors
from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.ports import StepRunner
from mlg.core.steps import StepCall, StepResult

_TAIL_LINES: Final = 40
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ARROW_NUM_THREADS",
)
_ERRORS: Final[dict[str, type[LifecycleError]]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LifecycleError)
}


class _Error(msgspec.Struct):
    error: str
    what: str
    where: str = ""
    hint: str = ""


class _Answer(msgspec.Struct):
    result: StepResult | None = None
    error: _Error | None = None


def _silent(_line: str) -> None:
    pass


class ProcessSteps:
    """Runs `python -m mlg.app.step` in its own process group, with pinned threads.

    The group is gone when `run` returns or raises. When the caller's process dies, the
    step notices that its standard input closed and ends with all that it started.
    """

    def __init__(
        self,
        *,
        store: Path,
        work: Path,
        clock: Clock,
        progress: Callable[[str], None] = _silent,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Take the places.

        Args:
            store: Folder of the artifact store.
            work: Folder for scratch files; made when missing.
            clock: Gives the event time of the run.
            progress: Receives each line that the step writes to standard error.
            environment: Variables to set beside this process's own.
        """
        self._store, self._work = store, work
        self._clock, self._progress = clock, progress
        self._environment = environment or {}

    def run(self, call: StepCall) -> StepResult:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._variables(call),
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(
                f"the step's process did not start: {error}",
                where=f"step {call.name}",
                hint="free memory and processes, then run again.",
            ) from error
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        try:
            said = self._talk(process, call, tail)
        finally:
            _end(process)
        return _result(call, said, process.returncode, tail)

    def _command(self) -> list[str]:
        now = rfc3339(self._clock.now())
        places = ["--store", str(self._store), "--work", str(self._work), "--now", now]
        return [sys.executable, "-m", "mlg.app.step", *places]

    def _variables(self, call: StepCall) -> dict[str, str]:
        threads = dict.fromkeys(_THREAD_VARIABLES, str(call.threads))
        fixed = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC"}
        return {**os.environ, **threads, **fixed, **self._environment}

    def _talk(
        self, process: subprocess.Popen[bytes], call: StepCall, tail: deque[str]
    ) -> bytes:
        assert process.stdin is not None  # noqa: S101  # pipes were asked for
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        reader = threading.Thread(target=self._read, args=(process.stderr, tail), daemon=True)
        reader.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(call) + b"\n")
            process.stdin.flush()
        said = process.stdout.read()
        process.wait()
        _kill_group(process)  # what the step left running would keep its pipes open
        reader.join()
        return said

    def _read(self, stderr: IO[bytes], tail: deque[str]) -> None:
        for line in stderr:
            text = line.decode(errors="replace").rstrip()
            tail.append(text)
            self._progress(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process's whole group and close its pipes."""
    _kill_group(process)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _result(call: StepCall, said: bytes, code: int, tail: deque[str]) -> StepResult:
    lines = said.splitlines()
    try:
        answer = msgspec.json.decode(lines[-1], type=_Answer) if lines else _Answer()
    except msgspec.DecodeError:
        answer = _Answer()
    if answer.error is not None:
        kind = _ERRORS.get(answer.error.error, BackendError)
        raise kind(answer.error.what, where=answer.error.where, hint=answer.error.hint)
    if answer.result is not None and code == 0:
        return answer.result
    ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    last = "; its last words: " + " | ".join(list(tail)[-5:]) if tail else ""
    raise BackendError(
        f"the step's process {ended} without an answer{last}",
        where=f"step {call.name}",
        hint="a SIGKILL most often means too little memory; run again, nothing was stored."
        if code == -signal.SIGKILL
        else "see the last words; run again, nothing was stored.",
    )


if TYPE_CHECKING:
    _: Callable[..., StepRunner] = ProcessSteps
