"""The steps of a pipeline in the order in which they can run."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlg.core.steps import StepKind
from mlg.manifest.canonical import canonical_json
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import (
    EvaluateStep,
    PackageStep,
    PipelineSpec,
    PythonStep,
    SqlStep,
    StepSpec,
    TrainStep,
)

SOURCE_PREFIX = "source_"
"""Begins the name of the implicit step that takes a dataset's snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedStep:
    """One step of a run, with everything that its call needs from the manifest."""

    name: str
    """The step's name; `source_<dataset>` for the snapshot of a dataset."""
    kind: StepKind
    config: str
    """The step's (for a source: the dataset's) specification as canonical JSON."""
    inputs: tuple[str, ...]
    """Names of datasets and outputs, as the step's `in` gives them."""
    needs: tuple[str, ...]
    """Names of the steps that make the inputs, in the same order."""
    out: str
    """Name of what the step makes."""
    spec: StepSpec | DatasetSpec


def step_kind(step: StepSpec) -> StepKind:
    """Return the word for the step's kind."""
    kinds: dict[type[StepSpec], StepKind] = {
        SqlStep: "sql",
        PythonStep: "python",
        TrainStep: "train",
        EvaluateStep: "evaluate",
        PackageStep: "package",
    }
    return kinds[type(step)]


def step_out(name: str, step: StepSpec) -> str:
    """Return the name of what a step makes: its `out`, or its own name."""
    return (step.out or name) if isinstance(step, SqlStep | PythonStep) else name


def step_inputs(pipeline: PipelineSpec, step: StepSpec) -> tuple[str, ...]:
    """Return what a step reads; a package step without `in`: all train and evaluate steps."""
    if isinstance(step, PackageStep) and not step.inputs:
        models = sorted(n for n, s in pipeline.steps.items() if isinstance(s, TrainStep))
        tests = sorted(n for n, s in pipeline.steps.items() if isinstance(s, EvaluateStep))
        return (*models, *tests)
    return step.inputs


def find_cycle(needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return a cycle as names, the first again at the end; empty when there is none.

    Names that are needed but are no keys count as leaves.

    Examples:
        >>> find_cycle({"a": ("b",), "b": ("c",), "c": ("b",)})
        ('b', 'c', 'b')
    """
    done: set[str] = set()
    for root in needs:
        trail: dict[str, None] = {}
        pending: list[tuple[str, int]] = [(root, 0)]
        while pending:
            name, index = pending.pop()
            if index == 0:
                if name in done:
                    continue
                trail[name] = None
            below = needs.get(name, ())
            if index < len(below):
                pending.append((name, index + 1))
                child = below[index]
                if child in trail:
                    names = list(trail)
                    return (*names[names.index(child) :], child)
                pending.append((child, 0))
            else:
                done.add(name)
                trail.popitem()
    return ()


def topological_steps(
    pipeline: PipelineSpec, datasets: Mapping[str, DatasetSpec]
) -> tuple[OrderedStep, ...]:
    """Return the steps of a pipeline so that each comes after what it reads.

    Every dataset that a step reads gets one implicit `source` step. Steps that
    could run at the same time are in the order of their names, so equal manifests
    give equal orders.

    Raises:
        ValueError: An input is unknown or steps form a cycle (a checked manifest has neither).
    """
    maker = {step_out(name, step): name for name, step in pipeline.steps.items()}
    ordered: dict[str, OrderedStep] = {}
    inputs = {name: step_inputs(pipeline, step) for name, step in pipeline.steps.items()}
    for dataset in sorted({one for names in inputs.values() for one in names} - set(maker)):
        if dataset not in datasets:
            raise ValueError(f"input {dataset!r} is no dataset and no output of a step")
        spec = datasets[dataset]
        maker[dataset] = f"{SOURCE_PREFIX}{dataset}"
        ordered[maker[dataset]] = OrderedStep(
            name=maker[dataset],
            kind="source",
            config=canonical_json(spec),
            inputs=(),
            needs=(),
            out=dataset,
            spec=spec,
        )
    waiting = {name: tuple(maker[one] for one in names) for name, names in inputs.items()}
    while waiting:
        ready = sorted(
            n for n, needs in waiting.items() if all(one in ordered for one in needs)
        )
        if not ready:
            raise ValueError(f"steps form a cycle: {' -> '.join(find_cycle(waiting))}")
        name = ready[0]
        step = pipeline.steps[name]
        ordered[name] = OrderedStep(
            name=name,
            kind=step_kind(step),
            config=canonical_json(step),
            inputs=inputs[name],
            needs=waiting.pop(name),
            out=step_out(name, step),
            spec=step,
        )
    return tuple(ordered.values())
