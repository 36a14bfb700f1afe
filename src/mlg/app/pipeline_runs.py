"""The request of a run: the manifest in force and what serves now, by value."""

from typing import Final
from uuid import UUID, uuid5

import msgspec

from mlg.app.manifests import Manifests
from mlg.core.errors import ConflictError, NotFoundError
from mlg.core.ports import ArtifactStore, Files
from mlg.core.uris import Digest
from mlg.workflows.sources import held
from mlg.workflows.state import read_wanted
from mlg.workflows.train import TrainRequest

NEW_SHARE: Final = 0.5
"""Of the events since the serving model's cut, the share that a healing run trains on."""
_OF_KEYS: Final = UUID("6d6c672d-7275-5e73-8f6f-662d6b657973")


def run_request(
    manifests: Manifests,
    files: Files,
    pipeline: str,
    run_id: str,
    *,
    asked_by_person: bool = False,
) -> TrainRequest:
    """Return the request of a run of the pipeline as the manifest in force has it.

    Args:
        manifests: Where it is.
        files: What serves now, and what is in quarantine.
        pipeline: Name.
        run_id: Id of the run.
        asked_by_person: Whether a person asks, who may train in a quarantine: it is how a
            repaired source is shown to be one.

    Raises:
        NotFoundError: Nothing is applied, or there is no such pipeline.
        ConflictError: An incident holds it in quarantine.
    """
    applied, spec = manifests.applied(), manifests.spec()
    if applied is None or spec is None or pipeline not in spec.pipelines:
        known = ", ".join(sorted(spec.pipelines)) if spec else "none: nothing is applied"
        raise NotFoundError(
            f"no pipeline {pipeline!r}", where="manifest", hint=f"there are: {known}"
        )
    services = tuple(sorted(n for n, s in spec.services.items() if s.model == pipeline))
    quarantine = None if asked_by_person else held(files, services)
    if quarantine:
        raise ConflictError(
            f"{pipeline} is in quarantine by incident {quarantine.incident}: "
            f"{quarantine.reason}",
            where=f"pipeline {pipeline}",
            hint=f"repair the source, then mlg run {pipeline} shows that it is.",
        )
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


def retraining_request(
    manifests: Manifests, files: Files, artifacts: ArtifactStore, service: str, run_id: str
) -> TrainRequest:
    """Return the request of a run that heals a service: it learns from what came since.

    Of the events since the serving model's cut, the first half trains and the second half
    judges: a share of all events would leave the changed traffic out where the past is long.

    Raises:
        LifecycleError: Nothing is applied, or no pipeline makes the service's model.
    """
    request = run_request(manifests, files, pipeline_of(manifests, service), run_id)
    stable = read_wanted(files, service).stable
    cut = _cut_of(artifacts, stable.artifact) if stable and stable.artifact else None
    if cut is None:
        return request
    return msgspec.structs.replace(
        request, params={"train_until": {"after": cut, "share": NEW_SHARE}}
    )


def _cut_of(artifacts: ArtifactStore, artifact: Digest) -> str | None:
    """Return the time up to which a model was trained; None where it does not say."""
    try:
        found: object = msgspec.json.decode(
            (artifacts.open(artifact) / "model.json").read_bytes()
        )
    except (OSError, msgspec.DecodeError):
        return None
    cut = found.get("cut") if isinstance(found, dict) else None
    return cut if isinstance(cut, str) else None


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
