"""What a step is told, as one JSON document a kind: `StepCall.config` in typed form."""

import hashlib
from typing import Any, TypeVar

import msgspec
import rfc8785

from mlg.core.steps import StepCall
from mlg.core.uris import Digest
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import (
    EvaluateStep,
    PackageStep,
    PythonStep,
    SqlStep,
    TrainStep,
)


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset to read, and who depends on it."""

    dataset: str
    spec: DatasetSpec
    consumers: tuple[str, ...] = ()
    """Steps that use the dataset, directly or not; named when its contract breaks."""


class TableConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A `sql` or `python` step."""

    step: SqlStep | PythonStep


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A `train` step."""

    step: TrainStep


class EvaluateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An `evaluate` step, with the train step whose model it judges."""

    step: EvaluateStep
    train: TrainStep
    model_input: str
    """Name of the input that carries the model's artifact."""


class PackageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A `package` step."""

    step: PackageStep
    model_input: str
    modules: tuple[str, ...] = ()
    """`module:function` of each `python:` step of the pipeline; their code goes along."""


Config = SourceConfig | TableConfig | TrainConfig | EvaluateConfig | PackageConfig
_C = TypeVar("_C", SourceConfig, TableConfig, TrainConfig, EvaluateConfig, PackageConfig)


def canonical(value: Any) -> str:
    """Return JSON-ready data as canonical JSON text (RFC 8785).

    Examples:
        >>> canonical({"b": 1, "a": (2,)})
        '{"a":[2],"b":1}'
    """
    return rfc8785.dumps(msgspec.to_builtins(value)).decode()


def sha256(value: Any) -> Digest:
    """Return the sha256 of the canonical JSON of a value."""
    return Digest(hashlib.sha256(canonical(value).encode()).hexdigest())


def config_of(call: StepCall, type: type[_C]) -> _C:  # noqa: A002
    """Return the call's configuration in typed form.

    Raises:
        ValueError: It is not of this type; calls are made by `mlg.pipeline.plan`.
    """
    try:
        return msgspec.json.decode(call.config, type=type)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"config of step {call.name!r} is no {type.__name__}: {error}"
        ) from error
