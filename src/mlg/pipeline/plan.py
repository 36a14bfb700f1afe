"""A manifest's pipeline as calls: which step is next, with what, and under which key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlg.core.errors import ManifestError
from mlg.core.steps import StepCall, StepInput, StepResult
from mlg.core.uris import Digest
from mlg.manifest.order import SOURCE_PREFIX, OrderedStep, topological_steps
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import (
    EvaluateStep,
    PackageStep,
    PipelineSpec,
    PythonStep,
    SqlStep,
    TrainStep,
)
from mlg.pipeline.code import builtin_digest, python_digest, source_digest, sql_digest
from mlg.pipeline.config import (
    Config,
    EvaluateConfig,
    PackageConfig,
    SourceConfig,
    TableConfig,
    TrainConfig,
    canonical,
    config_of,
    sha256,
)

_KEY_FORMAT = 2
"""1 had no lineage of columns in its results."""
PRODUCTION = "production"
"""Name of the input that carries the artifact that serves now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePlan:
    """One pipeline of a manifest, and the copy of its folder that the run uses."""

    project: str
    name: str
    spec: PipelineSpec
    datasets: Mapping[str, DatasetSpec]
    folder: Path
    """Where the copy lies, to read code from."""
    folder_digest: Digest
    production: Digest | None = None
    """The artifact that serves now, for gates that compare with it."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Parameters of the train step that a run has instead of the manifest's."""
    threads: int = 2


def steps(plan: PipelinePlan) -> tuple[OrderedStep, ...]:
    """Return the steps in the order they run; a source comes after those that it refers to.

    Raises:
        ManifestError: `references` of two datasets lead in a circle.
        ValueError: An input is unknown or steps form a cycle (a checked manifest has neither).
    """
    ordered = topological_steps(plan.spec, plan.datasets)
    tables = [step for step in ordered if step.kind == "source"]
    placed: dict[str, OrderedStep] = {}

    def place(step: OrderedStep, trail: tuple[str, ...]) -> None:
        if step.out in trail:
            raise ManifestError(
                f"references lead in a circle: {' -> '.join((*trail, step.out))}",
                where=f"datasets.{step.out}.checks",
                hint="remove one of them.",
            )
        if step.out in placed:
            return
        referred = references(plan.datasets[step.out])
        for name in referred:
            place(_source(plan, name), (*trail, step.out))
        placed[step.out] = _source(plan, step.out)

    for step in tables:
        place(step, ())
    return (*placed.values(), *(step for step in ordered if step.kind != "source"))


def references(spec: DatasetSpec) -> tuple[str, ...]:
    """Return the datasets that a dataset's `references` checks name."""
    named = {check.references.dataset for check in spec.checks if check.references is not None}
    return tuple(sorted(named))


def call_of(plan: PipelinePlan, name: str, results: Mapping[str, StepResult]) -> StepCall:
    """Return the call of one step, given what earlier steps made, by step name.

    Raises:
        ManifestError: A SQL file or module is not there.
        ValueError: The step is unknown, or what it needs has not been made.
    """
    ordered = {step.name: step for step in steps(plan)}
    if name not in ordered:
        raise ValueError(f"no step {name!r}; there are {', '.join(ordered)}")
    step = ordered[name]
    makers = {other.out: other.name for other in ordered.values()}
    config, wanted, code, seed = _told(plan, step, ordered)
    inputs = tuple(_input(one, makers, results) for one in wanted)
    if step.kind == "evaluate" and plan.production is not None:
        inputs = (*inputs, StepInput(name=PRODUCTION, artifact=plan.production))
    return StepCall(
        project=plan.project,
        pipeline=plan.name,
        name=step.name,
        kind=step.kind,
        config=canonical(config),
        inputs=inputs,
        code=code,
        folder=plan.folder_digest,
        out=step.out,
        seed=seed,
        threads=plan.threads,
    )


def next_call(plan: PipelinePlan, results: Mapping[str, StepResult]) -> StepCall | None:
    """Return the call of the first step without a result; None at the end or a failed gate.

    Raises:
        ManifestError: A SQL file or module is not there.
    """
    for step in steps(plan):
        if step.name not in results:
            return call_of(plan, step.name, results)
        if not results[step.name].passed:
            return None
    return None


def cache_key(call: StepCall) -> Digest:
    """Return the digest of all that the call's result depends on.

    Configuration, content of the inputs, code and seed; not the folder (the code that runs
    is in `code`), nor who else uses a dataset. Calls with one key make the same thing.
    """
    return sha256(
        {
            "format": _KEY_FORMAT,
            "project": call.project,
            "pipeline": None if call.kind == "source" else call.pipeline,
            "kind": call.kind,
            "out": call.out,
            "config": _without_consumers(call),
            "inputs": [
                [item.name, item.artifact or (item.snapshot and item.snapshot.content_digest)]
                for item in call.inputs
            ],
            "code": call.code,
            "seed": call.seed,
            "threads": call.threads,
        }
    )


def _without_consumers(call: StepCall) -> str:
    if call.kind != "source":
        return call.config
    config = config_of(call, SourceConfig)
    return canonical(SourceConfig(dataset=config.dataset, spec=config.spec))


def _told(
    plan: PipelinePlan, step: OrderedStep, ordered: Mapping[str, OrderedStep]
) -> tuple[Config, tuple[str, ...], Digest, int]:
    """Return configuration, names of inputs, code digest and seed of one step."""
    spec, folder = step.spec, plan.folder
    if isinstance(spec, DatasetSpec):
        config = SourceConfig(
            dataset=step.out, spec=spec, consumers=_consumers(step.name, ordered)
        )
        return config, references(spec), source_digest(spec.source.uri, folder), 0
    if isinstance(spec, SqlStep):
        return TableConfig(step=spec), step.inputs, sql_digest(spec.sql, folder), 0
    if isinstance(spec, PythonStep):
        return TableConfig(step=spec), step.inputs, python_digest(spec.python, folder), 0
    if isinstance(spec, TrainStep):
        told = TrainConfig(step=_with_params(plan, spec))
        code = builtin_digest()
        if ":" in spec.model:
            code = sha256([code, python_digest(spec.model, folder)])
        return told, step.inputs, code, spec.seed
    train = _train_before(step, ordered)
    trained = ordered[train].spec
    assert isinstance(trained, TrainStep)  # noqa: S101  # `_train_before` saw to it
    trained = _with_params(plan, trained)
    if isinstance(spec, EvaluateStep):
        tables = tuple(n for n in dict.fromkeys((*step.inputs, *trained.inputs)) if n != train)
        config = EvaluateConfig(step=spec, train=trained, model_input=train)
        return config, (train, *tables), builtin_digest(), trained.seed
    modules = tuple(
        sorted(one.spec.python for one in ordered.values() if isinstance(one.spec, PythonStep))
    )
    code = sha256([builtin_digest(), [python_digest(one, folder) for one in modules]])
    return (
        PackageConfig(step=_package(spec), model_input=train, modules=modules),
        (train,),
        code,
        0,
    )


def _with_params(plan: PipelinePlan, spec: TrainStep) -> TrainStep:
    return msgspec.structs.replace(spec, params={**spec.params, **plan.params})


def _package(spec: object) -> PackageStep:
    assert isinstance(spec, PackageStep)  # noqa: S101  # the only kind left
    return spec


def _train_before(step: OrderedStep, ordered: Mapping[str, OrderedStep]) -> str:
    trains = [name for name in step.needs if ordered[name].kind == "train"]
    if len(trains) != 1:
        raise ManifestError(
            f"expected one train step among its inputs, found {len(trains)}",
            where=f"step {step.name}",
            hint="name it in `in:`.",
        )
    return trains[0]


def _consumers(name: str, ordered: Mapping[str, OrderedStep]) -> tuple[str, ...]:
    """Return every step that needs the step, directly or not, in the order they run."""
    reached = {name}
    for step in ordered.values():
        if reached & set(step.needs):
            reached.add(step.name)
    return tuple(one for one in ordered if one in reached and one != name)


def _source(plan: PipelinePlan, dataset: str) -> OrderedStep:
    spec = plan.datasets[dataset]
    named = references(spec)
    return OrderedStep(
        name=f"{SOURCE_PREFIX}{dataset}",
        kind="source",
        config="",
        inputs=named,
        needs=tuple(f"{SOURCE_PREFIX}{one}" for one in named),
        out=dataset,
        spec=spec,
    )


def _input(
    name: str, makers: Mapping[str, str], results: Mapping[str, StepResult]
) -> StepInput:
    result = results.get(makers[name])
    if result is None:
        raise ValueError(f"step {makers[name]!r} has not run, so there is no {name!r}")
    return StepInput(name=name, snapshot=result.snapshot, artifact=result.artifact)
