"""One step of a pipeline run as a value: what to do, with what, and what came of it."""

from dataclasses import dataclass
from typing import Literal

from mlg.core.artifacts import Column, Snapshot
from mlg.core.columns import ColumnLineage
from mlg.core.nodes import Attr
from mlg.core.uris import Digest

StepKind = Literal["source", "sql", "python", "train", "evaluate", "package"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInput:
    """One named input: a snapshot of a table, or the artifact that a step made."""

    name: str
    snapshot: Snapshot | None = None
    artifact: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """Everything a step needs; two equal calls give equal results, so it is the cache key."""

    project: str
    pipeline: str
    name: str
    kind: StepKind
    config: str
    """The step's specification, and for a source its dataset's, as canonical JSON text."""
    inputs: tuple[StepInput, ...]
    code: Digest
    """Digest of the code that runs: SQL text, or a module and all it imports beside it."""
    folder: Digest
    """The manifest's folder in the artifact store; `python:` and `sql:` resolve inside it."""
    out: str
    """Name of what the step makes: a dataset, or the step's own name."""
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step made; a failed step raises and makes nothing."""

    snapshot: Snapshot | None = None
    artifact: Digest | None = None
    metrics: tuple[tuple[str, float], ...] = ()
    facts: tuple[tuple[str, Attr], ...] = ()
    """What is worth keeping on the graph: rows dropped, parameters chosen, gate verdicts."""
    columns: tuple[Column, ...] = ()
    passed: bool = True
    """False when a gate of an `evaluate` step said no."""
    seconds: float = 0.0
    lineage: ColumnLineage | None = None
    """Where the columns of the table come from; None for what makes no table of others."""
