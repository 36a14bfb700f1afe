"""The request of a run: the manifest in force and what serves now, by value."""

from typing import Final
from uuid import UUID, uuid5

from mlg.app.manifests import Manifests
from mlg.core.errors import NotFoundError
from mlg.core.ports import Files
from mlg.workflows.state import read_wanted
from mlg.workflows.train import TrainRequest

_OF_KEYS: Final = UUID("6d6c672d-7275-5e73-8f6f-662d6b657973")


def run_request(manifests: Manifests, files: Files, pipeline: str, run_id: str) -> TrainRequest:
    """Return the request of a run of the pipeline as the manifest in force has it.

    Raises:
        NotFoundError: Nothing is applied, or there is no such pipeline.
    """
    applied, spec = manifests.applied(), manifests.spec()
    if applied is None or spec is None or pipeline not in spec.pipelines:
        known = ", ".join(sorted(spec.pipelines)) if spec else "none: nothing is applied"
        raise NotFoundError(
            f"no pipeline {pipeline!r}", where="manifest", hint=f"there are: {known}"
        )
    services = tuple(sorted(n for n, s in spec.services.items() if s.model == pipeline))
    stable = [read_wanted(files, name).stable for name in services]
    return TrainRequest(
        run_id=run_id,
        project=spec.project,
        pipeline=pipeline,
        manifest=applied.source,
        folder=applied.folder,
        services=services,
        production=next((item.artifact for item in stable if item), ""),
    )


def run_id_of(key: str) -> str:
    """Return the id of the run that an act with this key starts, always the same one.

    Examples:
        >>> run_id_of("hook:1") == run_id_of("hook:1") != run_id_of("hook:2")
        True
    """
    return str(uuid5(_OF_KEYS, key))


def pipeline_of(manifests: Manifests, service: str) -> str:
    """Return the pipeline whose model a service serves.

    Raises:
        NotFoundError: Nothing is applied, or no pipeline makes the service's model.
    """
    spec = manifests.spec()
    pipeline = spec.services[service].model if spec and service in spec.services else None
    if spec is None or pipeline is None or pipeline not in spec.pipelines:
        raise NotFoundError(
            f"no pipeline makes the model of {service!r}",
            where="manifest",
            hint="a service that mlg does not train cannot be healed by training.",
        )
    return pipeline
