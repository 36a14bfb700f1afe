"""What a manifest says of its things: owners, descriptions, tags, how fresh they must be."""

from mlg.graph.record_catalogue import Described
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_pipelines import PipelineSpec, TrainStep


def described(spec: ManifestSpec | None, project: str) -> tuple[Described, ...]:
    """Return what a manifest says; a pipeline's model is owned and described as it is.

    Args:
        spec: The manifest; None says nothing.
        project: What is said of another project's things is left out.
    """
    if spec is None or spec.project != project:
        return ()
    found: list[Described] = []
    for name, dataset in spec.datasets.items():
        ages = [c.freshness.max_age_s for c in dataset.checks if c.freshness is not None]
        found.append(
            Described(
                kind="dataset",
                name=name,
                owner=dataset.owner,
                description=dataset.description,
                tags=dataset.tags,
                max_age_s=min(ages, default=None),
            )
        )
    for kind in ("pipeline", "model"):
        found += [
            Described(
                kind=kind,
                name=name,
                owner=pipeline.owner,
                description=pipeline.description,
                tags=pipeline.tags,
            )
            for name, pipeline in spec.pipelines.items()
            if kind == "pipeline" or _trains(pipeline)
        ]
    found += [
        Described(
            kind="service",
            name=name,
            owner=service.owner,
            description=service.description,
            tags=service.tags,
            depends_on=service.depends_on,
        )
        for name, service in spec.services.items()
    ]
    return tuple(found)


def _trains(pipeline: PipelineSpec) -> bool:
    return any(isinstance(step, TrainStep) for step in pipeline.steps.values())
