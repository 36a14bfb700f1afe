"""One step of any kind, from its call to its result."""

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlg.core.nodes import Attr
from mlg.core.ports import ArtifactStore, ExecutionEngine
from mlg.core.steps import StepCall, StepResult
from mlg.pipeline.config import TableConfig, config_of

Progress = Callable[[str], None]


def run_step(
    call: StepCall,
    *,
    engine: ExecutionEngine,
    artifacts: ArtifactStore,
    work: Path,
    progress: Progress,
) -> StepResult:
    """Run the step and return what it made.

    Args:
        call: What to do.
        engine: Runs steps that make tables.
        artifacts: Holds inputs; receives what is made.
        work: Folder for scratch files.
        progress: Receives lines for people.

    Raises:
        LifecycleError: The step failed; nothing of it is in force.
    """
    began_s = time.perf_counter()
    progress(f"{call.name}: {call.kind} of {call.pipeline} begins")
    work.mkdir(parents=True, exist_ok=True)
    result: StepResult
    if call.kind in {"source", "sql", "python"}:
        result = _table(call, engine)
    else:  # imported only now: a table step does not wait for the numerical libraries
        learn: Any = importlib.import_module("mlg.pipeline.learn")
        result = getattr(learn, call.kind)(call, artifacts, work, progress)
    seconds = round(time.perf_counter() - began_s, 3)
    progress(f"{call.name}: done in {seconds:.1f} s")
    return replace(result, seconds=seconds)


def _table(call: StepCall, engine: ExecutionEngine) -> StepResult:
    snapshot = engine.run(call)
    facts: list[tuple[str, Attr]] = [("rows", snapshot.rows)]
    facts += [
        (f"rows.{item.name}", item.snapshot.rows) for item in call.inputs if item.snapshot
    ]
    if call.kind != "source":
        tested = config_of(call, TableConfig).step.point_in_time is not None
        facts.append(("leak_test", "passed" if tested else "not declared"))
    return StepResult(snapshot=snapshot, facts=tuple(facts), columns=snapshot.schema)
