"""A run's request, read as the pipeline room's plan."""

from functools import lru_cache

from mlg.app.images import host_digest
from mlg.core.ports import ArtifactStore
from mlg.core.steps import StepCall, StepResult
from mlg.core.uris import Digest
from mlg.manifest.load import manifest_from_source
from mlg.manifest.specs import ManifestSpec
from mlg.pipeline import plan as pipeline_plan
from mlg.pipeline.config import sha256
from mlg.workflows.train import TrainRequest


class Pipelines:
    """Orders the steps of a run and makes their calls, from what the request carries.

    Args:
        artifacts: Holds the folder that the manifest was applied from.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def order(self, request: TrainRequest) -> tuple[str, ...]:
        """Return the names of the steps in the order they run."""
        return tuple(step.name for step in pipeline_plan.steps(self._plan(request)))

    def call(
        self, request: TrainRequest, name: str, results: dict[str, StepResult]
    ) -> StepCall:
        """Return the call of one step."""
        return pipeline_plan.call_of(self._plan(request), name, results)

    def cache_key(self, call: StepCall) -> str:
        """Return the digest of everything that the result depends on."""
        key = pipeline_plan.cache_key(call)
        # an image also holds what the host has installed
        return sha256([key, host_digest()]) if call.kind == "package" else key

    def sources(self, request: TrainRequest) -> dict[str, str]:
        """Return the source URI of each dataset that comes from outside."""
        spec = _spec(request.manifest)
        return {name: dataset.source.uri for name, dataset in spec.datasets.items()}

    def _plan(self, request: TrainRequest) -> pipeline_plan.PipelinePlan:
        spec = _spec(request.manifest)
        return pipeline_plan.PipelinePlan(
            project=request.project,
            name=request.pipeline,
            spec=spec.pipelines[request.pipeline],
            datasets=spec.datasets,
            folder=self._artifacts.open(request.folder),
            folder_digest=request.folder,
            production=Digest(request.production) if request.production else None,
            threads=request.threads,
            params=request.params,
        )


@lru_cache(maxsize=8)
def _spec(source: str) -> ManifestSpec:
    return manifest_from_source(source).spec
