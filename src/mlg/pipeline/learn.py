"""Steps that make and judge a model: train, evaluate, package."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from mlg.core.clock import parse_time
from mlg.core.errors import BackendError
from mlg.core.nodes import Attr
from mlg.core.ports import ArtifactStore
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest
from mlg.manifest.specs_pipelines import RolesSpec
from mlg.pipeline.code import modules
from mlg.pipeline.config import (
    EvaluateConfig,
    PackageConfig,
    TrainConfig,
    canonical,
    config_of,
)
from mlg.pipeline.gates import gate_facts, list_lengths
from mlg.recsys import evaluate as evaluating
from mlg.recsys import kinds
from mlg.recsys.golden import ANSWERS, answer_lines
from mlg.recsys.groups import by_group
from mlg.recsys.results import Evaluation
from mlg.recsys.roles import Roles, roles_from
from mlg.recsys.train_own import fit_own

CANDIDATE = "candidate"
"""Name of the model under evaluation, beside the baselines and `production`."""

Progress = Callable[[str], None]


def train(
    call: StepCall, artifacts: ArtifactStore, work: Path, progress: Progress
) -> StepResult:
    """Fit the model and store its artifact.

    Raises:
        LifecycleError: A table, column, parameter or kind is wrong, or storing failed.
    """
    step = config_of(call, TrainConfig).step
    tables, roles = _tables(call, artifacts), _roles(step.roles)
    if ":" in step.model:
        project = artifacts.open(call.folder)
        files = modules(step.model, project, key="model").values()
        code = {path.relative_to(project).as_posix(): path.read_bytes() for path in files}
        fitted = fit_own(
            step.model, code, tables, roles, step.params,
            seed=call.seed, name=call.pipeline, progress=progress,
        )  # fmt: skip
    else:
        fitted = kinds.fit(
            step.model, tables, roles, step.params, call.seed, call.pipeline, progress
        )
    with tempfile.TemporaryDirectory(dir=work, prefix="train-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        fitted.save(folder)
        artifact = artifacts.put(folder)
    return StepResult(
        artifact=artifact,
        metrics=_finite(fitted.metrics.items()),
        facts=(("model", step.model), *sorted(fitted.facts.items())),
    )


def evaluate(
    call: StepCall, artifacts: ArtifactStore, work: Path, progress: Progress
) -> StepResult:
    """Measure the model on what it has not seen, beside its baselines, and judge the gates.

    A model that serves now is an input named `production`; both are then judged on the same
    rows, all after the training cut of either.

    Raises:
        LifecycleError: A table, an artifact or a gate is wrong.
    """
    config = config_of(call, EvaluateConfig)
    folders = {
        CANDIDATE if item.name == config.model_input else item.name: artifacts.open(
            item.artifact
        )
        for item in call.inputs
        if item.artifact is not None
    }
    cut = max(_cut(folder) for folder in folders.values())
    progress(f"{call.name}: events from {cut.date()} on, models {', '.join(folders)}")
    tables, roles = _tables(call, artifacts), _roles(config.train.roles)
    # the candidate last: of two classes of the user's, its code stays importable
    loaded = {name: kinds.load(folder) for name, folder in reversed(folders.items())}
    evaluation = evaluating.prequential(
        {name: loaded[name] for name in folders},
        tables,
        roles,
        cut,
        list_lengths(config.step.gates),
        call.seed,
        call.threads,
    )
    passed, gates = gate_facts(evaluation, config.step.gates, CANDIDATE)
    for name, verdict in gates:
        progress(f"{call.name}: {name} {verdict}")
    groups = by_group(evaluation.scored[CANDIDATE], tables, roles)
    facts: list[tuple[str, Attr]] = [
        ("cut", evaluation.cut),
        ("events", evaluation.events),
        ("viewers", evaluation.viewers),
        ("report", _report(evaluation, groups, artifacts, work)),
        *gates,
    ]
    return StepResult(metrics=_finite(_figures(evaluation)), facts=tuple(facts), passed=passed)


def package(
    call: StepCall, artifacts: ArtifactStore, work: Path, progress: Progress
) -> StepResult:
    """Store the model with its answers to recorded requests and the code of its features.

    Raises:
        LifecycleError: An artifact or module is missing, or storing failed.
    """
    config = config_of(call, PackageConfig)
    (model,) = (item.artifact for item in call.inputs if item.artifact is not None)
    project = artifacts.open(call.folder)
    files = {path for one in config.modules for path in modules(one, project).values()}
    with tempfile.TemporaryDirectory(dir=work, prefix="package-") as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(artifacts.open(model), folder, copy_function=shutil.copyfile)
        for path in sorted(files):
            copy = folder / "code" / path.relative_to(project)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        answered = _answer(folder)
        artifact = artifacts.put(folder)
    progress(f"{call.name}: {len(files)} modules and {answered} answers beside the model")
    return StepResult(
        artifact=artifact,
        facts=(
            ("golden_answers", answered),
            ("image", config.step.image),
            ("modules", len(files)),
            ("model", model),
        ),
    )


def _answer(folder: Path) -> int:
    """Write down the model's answers to its recorded requests; return how many."""
    model = kinds.load(folder)
    (folder / ANSWERS).write_text(answer_lines(model, model.golden), encoding="utf-8")
    return len(model.golden)


def _tables(call: StepCall, artifacts: ArtifactStore) -> dict[str, Any]:
    """Return the Arrow table of each input that is one."""
    return {
        item.name: pq.read_table(artifacts.open(item.snapshot.digest), memory_map=False)
        for item in call.inputs
        if item.snapshot is not None
    }


def _roles(spec: RolesSpec) -> Roles:
    given = {
        part: {key: value for key, value in fields.items() if value not in (None, [], ())}
        for part, fields in msgspec.to_builtins(spec).items()
        if fields is not None
    }
    return roles_from(given)


def _cut(folder: Path) -> datetime:
    """Return the time up to which a model was trained.

    Raises:
        BackendError: The artifact does not say it.
    """
    try:
        document = msgspec.json.decode((folder / "model.json").read_bytes())
        return parse_time(document["cut"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"the model does not say up to when it was trained: {error!r}",
            where=f"{folder.name}/model.json",
            hint="train it again.",
        ) from error


def _figures(evaluation: Evaluation) -> Iterable[tuple[str, float]]:
    """Return figures by name: `ndcg@10`, `ndcg@10.low`, `ndcg@10.cold`, `production.…`."""
    for name, segments in evaluation.results.items():
        prefix = "" if name == CANDIDATE else f"{name}."
        for segment, figures in segments.items():
            suffix = "" if segment == "all" else f".{segment}"
            for metric, found in figures.items():
                yield f"{prefix}{metric}{suffix}", found.value
                if segment == "all":
                    yield f"{prefix}{metric}.low", found.low
                    yield f"{prefix}{metric}.high", found.high


def _finite(figures: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(
        sorted((name, float(value)) for name, value in figures if math.isfinite(value))
    )


def _report(
    evaluation: Evaluation, groups: Mapping[str, Any], artifacts: ArtifactStore, work: Path
) -> Digest:
    """Store the whole evaluation as JSON and return its digest."""
    document = {**evaluation.as_dict(), "groups": groups}
    with tempfile.TemporaryDirectory(dir=work, prefix="report-") as scratch:
        path = Path(scratch) / "evaluation.json"
        path.write_text(canonical(_plain(document)), encoding="utf-8")
        return artifacts.put(path)


def _plain(value: object) -> object:
    """Return the value with NaN as null, which JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
