"""What all specifications share: their base settings and the annotated field types."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of every specification: frozen, by keyword, no unknown keys.

    A field's `name=` is the YAML key; the attribute's own name adds the unit
    (`explore` in YAML is `explore_bp` here). `EXACTLY_ONE` in a class names
    keys of which one and only one must be given.
    """


Identifier = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        extra={"expected": "a name of letters, digits and _, like clean_ratings"},
    ),
]
"""Name of a table; SQL sees it unquoted."""

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        extra={"expected": "a name of letters, digits, - and _, like home-features"},
    ),
]
"""Name of anything else; it goes into URIs, paths and headers."""

ColumnName = Annotated[
    str, Meta(min_length=1, max_length=255, extra={"expected": "the name of a column"})
]
"""Any text: real tables have columns like `Children's`."""

Text = Annotated[str, Meta(min_length=1, extra={"expected": "a text that is not empty"})]

Owner = Annotated[
    str,
    Meta(
        pattern=r"^\S(.{0,253}\S)?$",
        extra={"expected": "a team as team:NAME, or a person, like ada@example.org"},
    ),
]
"""Who answers for a thing: `team:NAME`, else a person."""

Tags = Annotated[
    tuple[Text, ...], Meta(extra={"one_or_many": True, "expected": "a tag or a list of tags"})
]
"""Words to find and group things by."""

Bp = Annotated[int, Meta(ge=0, le=10_000, extra={"unit": "bp"})]
"""Share in basis points, written `0.5%`."""

AnyBp = Annotated[int, Meta(ge=0, extra={"unit": "bp"})]
"""Relative change in basis points, written `20%`; may be more than 100%."""

Seconds = Annotated[float, Meta(gt=0, extra={"unit": "s"})]
"""Duration in seconds, written `30m`."""

Milliseconds = Annotated[float, Meta(gt=0, extra={"unit": "ms"})]
"""Duration in milliseconds, written `150ms`."""

Bytes = Annotated[int, Meta(gt=0, extra={"unit": "bytes"})]
"""Size in bytes, written `1GiB`."""

SecondsBetween = Annotated[float, Meta(gt=0, extra={"unit": "rate"})]
"""Mean seconds between events, written `1/30d`."""

Ratio = Annotated[float, Meta(ge=0, le=1)]
"""A plain number from 0 to 1."""

Probability = Annotated[float, Meta(gt=0, lt=1)]
"""A plain number between 0 and 1, both excluded."""

Columns = Annotated[
    tuple[ColumnName, ...],
    Meta(min_length=1, extra={"one_or_many": True, "expected": "a list of columns"}),
]
"""Columns; one may be written without the list."""

Json = Any
"""Any JSON value, handed on as it is (msgspec knows no recursive type)."""
