"""`datasets:` where tables come from, and the contract that each must keep."""

from typing import Annotated, ClassVar

from msgspec import Meta, field

from mlg.manifest.specs_base import (
    ColumnName,
    Columns,
    Identifier,
    Json,
    Owner,
    Seconds,
    Spec,
    Tags,
    Text,
)

Scalar = str | int | float | bool
Bound = float | None


class SourceSpec(Spec, frozen=True, kw_only=True):
    """Where a dataset is read from."""

    uri: Text
    """`scheme://…` of a known source, or a path beside the manifest (csv, parquet)."""
    options: dict[str, Json] = field(default_factory=dict[str, Json])
    """Settings of the reader, handed on as they are, for example `{delim: ";"}`."""


class ColumnSpec(Spec, frozen=True, kw_only=True):
    """What one column must be."""

    type: Annotated[
        str,
        Meta(
            pattern=r"^(u?int(8|16|32|64)|float(32|64)|string|boolean|date|time|uuid|json|binary"
            r"|timestamp(\('[A-Za-z0-9_+/-]+'\))?|decimal(\(\d+,\s?\d+\))?|array<.+>|map<.+>"
            r"|struct<.+>)$",
            extra={"expected": "a column type, like int64, float64, string or timestamp"},
        ),
    ]
    """Ibis' word for the type: `int64`, `float64`, `string`, `boolean`, `timestamp`, …"""
    nullable: bool = True
    """False: a missing value breaks the contract."""
    range: tuple[Bound, Bound] | None = None
    """Smallest and largest value, both included; `null` is no limit."""
    values: Annotated[tuple[Scalar, ...], Meta(min_length=1)] | None = None
    """The only values allowed (a missing one is `nullable`'s business)."""
    description: str = ""
    """What the column means, for readers and for the graph."""
    viewer: bool = False
    """True: the column names the viewer whom a row is about; an erasure looks for him here."""
    personal: Text | None = None
    """What the column's personal data are used for, kept on the graph for audits."""


class RowsCheck(Spec, frozen=True, kw_only=True):
    """How many rows a dataset has."""

    min: Annotated[int, Meta(ge=0)] = 1
    """Fewer rows break the contract."""
    max: Annotated[int, Meta(ge=0)] | None = None
    """More rows break the contract."""


class FreshnessCheck(Spec, frozen=True, kw_only=True):
    """How old the newest row may be."""

    column: ColumnName
    """The time column whose newest value counts."""
    max_age_s: Seconds = field(name="max_age")
    """Age at the time of the run, by the instance's clock."""


class ReferencesCheck(Spec, frozen=True, kw_only=True):
    """Values that must be there in another dataset."""

    columns: Columns
    """Columns of this dataset."""
    dataset: Identifier
    """The other dataset."""
    keys: Columns
    """Columns of the other dataset, in the same order."""


class ValuesCheck(Spec, frozen=True, kw_only=True):
    """The set that a column's values come from."""

    column: ColumnName
    """The column."""
    allowed: Annotated[tuple[Scalar, ...], Meta(min_length=1)] = field(name="in")
    """The values allowed."""


class CheckSpec(Spec, frozen=True, kw_only=True):
    """One check of a whole dataset; exactly one key."""

    EXACTLY_ONE: ClassVar = ("unique", "rows", "freshness", "references", "values")

    unique: Columns | None = None
    """Columns that together identify a row."""
    rows: RowsCheck | None = None
    """How many rows there are."""
    freshness: FreshnessCheck | None = None
    """How old the newest row may be."""
    references: ReferencesCheck | None = None
    """Values that must exist in another dataset."""
    values: ValuesCheck | None = None
    """The set that a column's values come from."""


class DatasetSpec(Spec, frozen=True, kw_only=True):
    """One table from outside, with its contract."""

    source: SourceSpec
    """Where it is read from."""
    columns: Annotated[dict[ColumnName, ColumnSpec], Meta(min_length=1)]
    """The contract: each column that is used; others in the source are dropped."""
    checks: tuple[CheckSpec, ...] = ()
    """Checks of the whole table."""
    description: str = ""
    """What the table is, for readers and for the graph."""
    owner: Owner | None = None
    """Who answers for it: `team:NAME`, or a person."""
    tags: Tags = ()
    """Words to find and group it by, kept on the graph."""
