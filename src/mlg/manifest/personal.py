"""What a manifest says of people: personal columns and their purposes, and viewers' keys."""

import json
from collections.abc import Iterable

from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_pipelines import PythonStep, RolesSpec, SqlStep, TrainStep


def personal_fields(spec: ManifestSpec) -> dict[str, str]:
    """Return by dataset the JSON text `[{"column", "purpose"}]` of its personal columns.

    Datasets without any are left out.

    Examples:
        >>> personal_fields(ManifestSpec(version=1, project="p"))
        {}
    """
    found: dict[str, str] = {}
    for name, dataset in sorted(spec.datasets.items()):
        columns = [
            {"column": column, "purpose": declared.personal}
            for column, declared in dataset.columns.items()
            if declared.personal is not None
        ]
        if columns:
            found[name] = json.dumps(columns, ensure_ascii=False)
    return found


def viewer_columns(spec: ManifestSpec) -> dict[str, tuple[str, ...]]:
    """Return by table the names of the columns that may name a viewer, sorted.

    A dataset's are those marked `viewer: true`, those that a train step's roles name, and
    those that a `references` check ties to one of these. A table that a step makes may have
    any of its inputs' under the same name, unless another input has a column of that name
    that names no viewer; what the roles say of it counts besides. A table without any is
    left out.
    """
    keys: dict[str, set[str]] = {
        name: {column for column, declared in dataset.columns.items() if declared.viewer}
        for name, dataset in spec.datasets.items()
    }
    for table, column in _roles(spec):
        keys.setdefault(table, set()).add(column)
    _referenced(spec, keys)
    others = {
        name: set(dataset.columns) - keys[name] for name, dataset in spec.datasets.items()
    }
    for pipeline in spec.pipelines.values():
        steps = [
            (step.out or name, step.inputs)
            for name, step in pipeline.steps.items()
            if isinstance(step, SqlStep | PythonStep)
        ]
        for _ in steps:  # at most as many rounds as steps: inputs may be written in any order
            for out, inputs in steps:
                taken = {c for name in inputs for c in others.get(name, set())}
                others.setdefault(out, set()).update(taken)
                known = {c for name in inputs for c in keys.get(name, set())}
                keys.setdefault(out, set()).update(known - taken)
    return {name: tuple(sorted(columns)) for name, columns in sorted(keys.items()) if columns}


def _roles(spec: ManifestSpec) -> Iterable[tuple[str, str]]:
    for pipeline in spec.pipelines.values():
        for step in pipeline.steps.values():
            if isinstance(step, TrainStep):
                yield from _named(step.roles)


def _named(roles: RolesSpec) -> Iterable[tuple[str, str]]:
    if roles.interactions.viewer is not None:
        yield roles.interactions.table, roles.interactions.viewer
    if roles.viewers is not None:
        yield roles.viewers.table, roles.viewers.key


def _referenced(spec: ManifestSpec, keys: dict[str, set[str]]) -> None:
    """Add the columns that must be there among the viewers of another dataset."""
    for name, dataset in spec.datasets.items():
        for check in dataset.checks:
            if check.references is None:
                continue
            there = keys.get(check.references.dataset, set())
            pairs = zip(check.references.columns, check.references.keys, strict=False)
            keys[name] |= {column for column, key in pairs if key in there}
