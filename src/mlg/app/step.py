"""One step in a process of its own: `python -m mlg.app.step --store DIR --work DIR --now TIME`.

The call comes as one line of JSON on standard input, which stays open: when it closes, the
parent is gone and the process ends. The answer is one line of JSON on standard output,
`{"result": …}` or `{"error": …}`; progress goes to standard error.
"""

import argparse
import contextlib
import ctypes
import importlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import msgspec

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.source_datasets import cache_root
from mlg.adapters.sources import Sources
from mlg.core.clock import ManualClock, parse_time
from mlg.core.errors import BackendError, LifecycleError
from mlg.core.nodes import Attr
from mlg.core.steps import StepCall, StepResult
from mlg.pipeline.run import run_step

_PR_SET_PDEATHSIG = 1
_MODEL_CODE = "model-code/"
"""`mlg.recsys.own_code.PLACE`, whose room a table step does not import."""


def main(argv: list[str] | None = None) -> int:
    """Run the step and return the process's exit code."""
    options = _options(argv)
    answer = _private_stdout()
    call = msgspec.json.decode(sys.stdin.buffer.readline(), type=StepCall)
    _die_with_parent()
    code = 0
    try:
        artifacts = LocalArtifacts(options.store)
        queries: list[str] = []
        engine = DuckDBEngine(
            artifacts,
            Sources(cache_root(), HttpNetwork()),
            clock=ManualClock(parse_time(options.now)),
            work=options.work,
            watch=queries.append,
        )
        result = run_step(
            call, engine=engine, artifacts=artifacts, work=options.work, progress=_progress
        )
        result = _with_image(call, result, artifacts, options.work)
        result = _with_lineage(call, result, artifacts, queries)
        said: dict[str, Any] = {"result": msgspec.to_builtins(result)}
    except LifecycleError as error:
        said, code = {"error": error.as_dict()}, error.exit_code
    except Exception as error:  # noqa: BLE001  # the edge of the process
        wrapped = _from_any(call, error)
        traceback.print_exc()
        said, code = {"error": wrapped.as_dict()}, wrapped.exit_code
    answer.write(msgspec.json.encode(said) + b"\n")
    answer.flush()
    return code


def _with_image(
    call: StepCall, result: StepResult, artifacts: LocalArtifacts, work: Path
) -> StepResult:
    """Return the result with the image of what a `package` step made."""
    if call.kind != "package" or result.artifact is None:
        return result
    began_s = time.perf_counter()
    images: Any = importlib.import_module("mlg.app.images")  # other steps do without
    digest, stored = images.pack(call, result.artifact, artifacts, work)
    seconds = round(time.perf_counter() - began_s, 3)
    _progress(f"{call.name}: image {digest[:12]} in {seconds:.1f} s")
    return replace(
        result,
        facts=(*result.facts, ("image_digest", digest), ("image_artifact", stored)),
        seconds=result.seconds + seconds,
    )


def _with_lineage(
    call: StepCall, result: StepResult, artifacts: LocalArtifacts, queries: list[str]
) -> StepResult:
    """Return the result with where its columns come from; a table is good without that."""
    if call.kind not in {"sql", "python"} or result.snapshot is None:
        return result
    columns: Any = importlib.import_module("mlg.pipeline.columns")  # sqlglot: 0.3 s to import
    try:
        lineage = columns.lineage_of(
            call, result.snapshot, artifacts.open(call.folder), queries[-1] if queries else ""
        )
    except Exception as error:  # noqa: BLE001  # whatever a query makes the parser do
        traceback.print_exc()
        made = [column.name for column in result.snapshot.schema]
        why = f"{type(error).__name__}: {error}"[:300]
        lineage = columns.unknown(why, columns.columns_of(call), made)
    facts: list[tuple[str, Attr]] = [("column_lineage", lineage.state)]
    if lineage.reason:
        facts.append(("column_lineage_reason", lineage.reason))
        _progress(f"{call.name}: lineage of columns is {lineage.state}: {lineage.reason}")
    return replace(result, lineage=lineage, facts=(*result.facts, *facts))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mlg.app.step")
    parser.add_argument("--store", type=Path, required=True, help="folder of artifacts")
    parser.add_argument("--work", type=Path, required=True, help="folder for scratch files")
    parser.add_argument("--now", required=True, help="event time of the run, RFC 3339")
    return parser.parse_args(argv)


def _private_stdout() -> IO[bytes]:
    """Return standard output for the answer alone; everyone else's goes to standard error."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answer


def _die_with_parent() -> None:
    """End this process and all that it starts when the parent goes, or on SIGTERM.

    The kernel sends SIGTERM when the thread that started this process ends; the pipe on
    standard input says the same where there is no such call. Either wakes one thread.
    """
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(sys.stdin.fileno(), awake), daemon=True).start()


def _watch(stdin: int, awake: int) -> None:
    """Wait for either sign, then end the whole process group."""
    while True:
        ready, _, _ = select.select([stdin, awake], [], [])
        if awake in ready and os.read(awake, 1)[0] == signal.SIGTERM:
            break
        if stdin in ready and not os.read(stdin, 1):
            break
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _from_any(call: StepCall, error: Exception) -> BackendError:
    """Return an unforeseen error, most often of the user's own function, with its place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"step {call.name}"
    places = (call.folder, _MODEL_CODE)
    ours = [frame for frame in frames if any(at in frame.filename for at in places)]
    if ours:
        at = call.folder if call.folder in ours[-1].filename else _MODEL_CODE
        name = ours[-1].filename.partition(at)[2].lstrip("/")
        place += f", {name}:{ours[-1].lineno} in {ours[-1].name}"
    elif isinstance(error, MemoryError):
        place += ", out of memory"
    return BackendError(
        f"{type(error).__name__}: {error}",
        where=place,
        hint="correct the function; the run's log has the whole traceback.",
    )


if __name__ == "__main__":
    sys.exit(main())
