"""Features of several columns: tags, of which a row may carry many, and vectors.

A model logs them as columns `name[part]`: a tag a column (above 0: the row carries it;
`name[(unseen)]`: it carries one that training never saw), or a vector's places `name[0]`,
`name[1]`, … They are charted as one thing, never column by column.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

NORM: Final = ".norm"
"""After a vector's name: the column of its length, which is charted as any number."""
UNSEEN: Final = "(unseen)"
_PART: Final = re.compile(r"^(?P<name>.+)\[(?P<part>[^\[\]]+)\]$")

Shape = Literal["tags", "vector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Which columns make up a feature."""

    name: str
    shape: Shape
    columns: tuple[int, ...]
    parts: tuple[str, ...]
    """Tags, or places of the vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """One such feature over one window; two merge into that of both."""

    name: str
    shape: Shape
    parts: tuple[str, ...] = ()
    n: int = 0
    missing: int = 0
    """Rows without the feature; of a vector also those with a part that is not finite."""
    infinite: int = 0
    """Of them those with an infinite part."""
    counts: tuple[int, ...] = ()
    """Rows that carry each tag; their sum is no number of rows."""
    sums: tuple[float, ...] = ()
    """Of each place of the vector, over the rows that have it."""


def parts_of(names: Sequence[str]) -> dict[str, Group]:
    """Return the groups among names of columns, by name.

    Places from 0 without a gap, two or more, are a vector; all else in brackets are tags.

    Examples:
        >>> found = parts_of(["age", "genre[drama]", "genre[war]", "taste[0]", "taste[1]"])
        >>> [(one.name, one.shape, one.columns) for one in found.values()]
        [('genre', 'tags', (1, 2)), ('taste', 'vector', (3, 4))]
    """
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        if match := _PART.match(name):
            found.setdefault(match["name"], {})[match["part"]] = column
    return {name: _group(name, columns) for name, columns in found.items()}


def _group(name: str, columns: Mapping[str, int]) -> Group:
    places = [str(place) for place in range(len(columns))]
    if len(columns) > 1 and set(columns) == set(places):
        return Group(
            name=name, shape="vector", columns=tuple(columns[place] for place in places),
            parts=tuple(places),
        )  # fmt: skip
    return Group(name=name, shape="tags", columns=tuple(columns.values()), parts=tuple(columns))


def norms(x: Singles) -> Singles:
    """Return the length of each row; NaN where a part is missing, infinite where one is."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64)).astype(np.float32)
    return np.where(np.isinf(x).any(axis=1), np.float32(np.inf), length)


def grouped(group: Group, x: Singles) -> Grouped:
    """Return a group's summary of rows of its columns, shape ``(n, parts)``."""
    finite = np.isfinite(x)
    infinite = np.isinf(x).any(axis=1)
    if group.shape == "vector":
        whole: Bools = np.atleast_1d(finite.all(axis=1))
        sums = np.where(whole[:, np.newaxis], x, 0.0).sum(axis=0, dtype=np.float64)
        return Grouped(
            name=group.name, shape="vector", parts=group.parts, n=len(x),
            missing=int(len(x) - whole.sum()), infinite=int(infinite.sum()),
            sums=tuple(sums.tolist()),
        )  # fmt: skip
    known = finite.any(axis=1)
    carried = finite & (x > 0)
    return Grouped(
        name=group.name, shape="tags", parts=group.parts, n=len(x),
        missing=int(len(x) - known.sum()), infinite=int(infinite.sum()),
        counts=tuple(np.count_nonzero(carried, axis=0).tolist()),
    )  # fmt: skip


def merged(a: Grouped, b: Grouped) -> Grouped:
    """Return the summary of both windows' rows together.

    Raises:
        ValueError: The two are not of one feature.
    """
    if (a.name, a.shape, a.parts) != (b.name, b.shape, b.parts):
        raise ValueError(f"summaries of {a.name!r} and {b.name!r} do not merge")
    return replace(
        a,
        n=a.n + b.n,
        missing=a.missing + b.missing,
        infinite=a.infinite + b.infinite,
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        sums=tuple(x + y for x, y in zip(a.sums, b.sums, strict=True)),
    )
