"""Which files of the manifest's folder each pipeline is made of."""

from pathlib import Path

from mlg.app.manifests import Manifests
from mlg.core.errors import LifecycleError
from mlg.core.ports import ArtifactStore
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_pipelines import PipelineSpec, PythonStep, SqlStep, TrainStep
from mlg.pipeline.code import modules, source_file
from mlg.pipeline.plan import references


def files_by_pipeline(
    manifests: Manifests, artifacts: ArtifactStore
) -> dict[str, frozenset[str] | None]:
    """Return the files of each pipeline in force, relative to the manifest's folder.

    None stands for one whose files cannot be told: a module of it is missing, or is no
    Python. Every commit touches it, so its run says what is wrong.
    """
    applied, spec = manifests.applied(), manifests.spec()
    if applied is None or spec is None:
        return {}
    try:
        folder = artifacts.open(applied.folder)
    except LifecycleError:
        return dict.fromkeys(spec.pipelines)
    return files_in(folder, applied.path, spec)


def files_in(
    folder: Path, manifest: str, spec: ManifestSpec
) -> dict[str, frozenset[str] | None]:
    """Return the files of each pipeline of a manifest in its folder; see `files_by_pipeline`.

    Args:
        folder: The manifest's folder, or a copy of it.
        manifest: File name of the manifest; it is a file of every pipeline.
        spec: What it says.
    """
    found: dict[str, frozenset[str] | None] = {}
    for name, pipeline in spec.pipelines.items():
        try:
            found[name] = frozenset((manifest, *_files(pipeline, spec, folder)))
        except LifecycleError:
            found[name] = None
    return found


def _files(pipeline: PipelineSpec, spec: ManifestSpec, folder: Path) -> set[str]:
    files: set[str] = set()
    for step in pipeline.steps.values():
        if isinstance(step, SqlStep):
            files.add(Path(step.sql).as_posix())
        elif isinstance(step, PythonStep):
            files |= _modules(step.python, folder)
        elif isinstance(step, TrainStep) and ":" in step.model:
            files |= _modules(step.model, folder)
    for name in _datasets(pipeline, spec):
        file = source_file(spec.datasets[name].source.uri, folder)
        if file is not None and file.resolve().is_relative_to(folder.resolve()):
            files.add(file.resolve().relative_to(folder.resolve()).as_posix())
    return files


def _modules(target: str, folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in modules(target, folder).values()}


def _datasets(pipeline: PipelineSpec, spec: ManifestSpec) -> set[str]:
    """Return the datasets that a pipeline reads, and those that their checks refer to."""
    waiting = [one for step in pipeline.steps.values() for one in step.inputs]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in spec.datasets and name not in found:
            found.add(name)
            waiting += references(spec.datasets[name])
    return found
