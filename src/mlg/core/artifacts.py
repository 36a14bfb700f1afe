"""Immutable things with a digest: snapshots of tables, and versions of models."""

from dataclasses import dataclass
from datetime import datetime

from mlg.core.nodes import Attr
from mlg.core.uris import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column as the engine sees it."""

    name: str
    type: str
    """Ibis' word for the type, for example `int64`, `float64`, `string`, `timestamp`."""
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One immutable version of a table, stored under the digest of its bytes."""

    dataset: str
    digest: Digest
    """sha256 of the stored Parquet file."""
    content_digest: Digest
    """Order-independent hash of the rows: equal tables on two engines have equal ones."""
    schema: tuple[Column, ...]
    rows: int
    as_of: datetime
    location: str
    """A name inside the artifact store, never an absolute path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One trained model: what it is, and what it was made from."""

    name: str
    version: str
    """First 12 characters of the artifact's digest."""
    artifact: Digest
    trained_on: tuple[Digest, ...]
    code: Digest
    params: tuple[tuple[str, Attr], ...]
    metrics: tuple[tuple[str, float], ...]
    seed: int
