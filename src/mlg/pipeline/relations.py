"""Tables while a query is read: their columns, and where each comes from."""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlglot import exp

from mlg.core.columns import ROWS, ColumnSource, LineageSubtype

Sources = frozenset[ColumnSource]
NONE: Final[Sources] = frozenset()
HIDDEN: Final = ColumnSource(table="", column="", type="DIRECT", subtype="TRANSFORMATION")
"""A source outside the inputs: a table that the code made itself."""

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_STRENGTH: Final = {"IDENTITY": 0, "TRANSFORMATION": 1, "AGGREGATION": 2}


class UnreadableQueryError(ValueError):
    """A query uses something whose columns cannot be told; the message says what."""


class HiddenTableError(UnreadableQueryError):
    """A query shows all columns of a table that is no input."""


def key(name: str) -> str:
    """Return what DuckDB compares of a name: letters A to Z count as a to z, quoted or not.

    Examples:
        >>> key("Größe"), key("ÄRA")
        ('größe', 'Ära')
    """
    return name.translate(_LOWER)


def changed(sources: Sources, to: LineageSubtype) -> Sources:
    """Return the sources of an expression over these: values are at least so changed."""
    return frozenset(
        one
        if one.type == "INDIRECT" or one == HIDDEN or _STRENGTH[one.subtype] >= _STRENGTH[to]
        else replace(one, subtype=to)
        for one in sources
    )


def deciding(sources: Sources, by: LineageSubtype) -> Sources:
    """Return the sources as what decides: their values are not in the result."""
    return frozenset(
        one if one == HIDDEN else replace(one, type="INDIRECT", subtype=by) for one in sources
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table in a query."""

    columns: tuple[tuple[str, Sources], ...] = ()
    rows: Sources = NONE
    """What decides which rows it has."""
    others: Sources | None = None
    """Sources of a column by any other name; None where all columns are known."""

    def find(self, name: str) -> Sources | None:
        """Return the sources of a column, or None when there is none of the name."""
        wanted = key(name)
        found = next((told for known, told in self.columns if key(known) == wanted), None)
        return found if found is not None else self.others

    @property
    def known(self) -> tuple[tuple[str, Sources], ...]:
        """All columns.

        Raises:
            HiddenTableError: The table is no input, so it is not known which there are.
            UnreadableQueryError: It is not known which there are.
        """
        if self.others is not None and HIDDEN in self.others:
            raise HiddenTableError("it shows a table that is no input of the step")
        if self.others is not None:
            raise UnreadableQueryError("`*` over a table whose columns are not known")
        return self.columns

    def renamed(self, names: Sequence[str]) -> "Relation":
        """Return the table with its first columns called so.

        Raises:
            UnreadableQueryError: There are more names than columns.
        """
        if not names:
            return self
        columns = list(self.columns)
        if self.others is not None:
            columns += [("", self.others)] * (len(names) - len(columns))
        if len(names) > len(columns):
            raise UnreadableQueryError("more names than columns")
        fresh = [(name, told) for name, (_, told) in zip(names, columns, strict=False)]
        return replace(self, columns=(*fresh, *columns[len(names) :]))


def base(table: str, columns: Iterable[str]) -> Relation:
    """Return an input of the step as a table of a query."""
    return Relation(
        columns=tuple((name, frozenset((_plain(table, name),))) for name in columns),
        rows=frozenset((_plain(table, ROWS),)),
    )


def _plain(table: str, column: str) -> ColumnSource:
    return ColumnSource(table=table, column=column, type="DIRECT", subtype="IDENTITY")


FOREIGN: Final = Relation(rows=frozenset((HIDDEN,)), others=frozenset((HIDDEN,)))
"""A table that is no input of the step."""


@dataclass(slots=True, kw_only=True)
class Scope:
    """What names mean at one place of a query."""

    tables: Mapping[str, Relation]
    """Inputs and common table expressions, by key."""
    outer: "Scope | None" = None
    places: list[tuple[str, Relation]] = field(default_factory=list[tuple[str, Relation]])
    """What FROM names: alias and table."""
    merged: dict[str, Sources] = field(default_factory=dict[str, Sources])
    """Columns that USING made one, by key."""
    doubled: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    """(place, key) of columns that `*` leaves out, because USING showed them already."""
    aliases: dict[str, Sources] = field(default_factory=dict[str, Sources])
    """Names that SELECT gave, by key."""
    windows: dict[str, exp.Expr] = field(default_factory=dict[str, exp.Expr])
    parameters: frozenset[str] = frozenset()
    """Keys of the names that lambdas around the place bind."""

    def star(self, only: str | None = None) -> list[tuple[str, Sources]]:
        """Return what `*` or `only.*` stands for, in order.

        Raises:
            UnreadableQueryError: There is no such table, or its columns are not known.
        """
        found: list[tuple[str, Sources]] = []
        seen = False
        for place, (alias, relation) in enumerate(self.places):
            if only is not None and key(alias) != key(only):
                continue
            seen = True
            for name, told in relation.known:
                if only is None and (place, key(name)) in self.doubled:
                    continue
                own = told if only is not None else self.merged.get(key(name), told)
                found.append((name, own))
        if not seen:
            raise UnreadableQueryError(f"no table {only!r}" if only else "`*` without FROM")
        return found

    def column(self, parts: Sequence[str]) -> Sources:
        """Return the sources of a name of one or more parts; further ones are struct fields.

        Raises:
            UnreadableQueryError: Nothing has this name.
        """
        found = self._here(parts)
        if found is None and self.outer is not None:
            return self.outer.column(parts)
        if found is None:
            raise UnreadableQueryError(f"no column {'.'.join(parts)!r}")
        return found

    def _here(self, parts: Sequence[str]) -> Sources | None:
        if key(parts[0]) in self.parameters:
            return NONE
        for length in range(len(parts) - 1, 0, -1):  # table.column, db.table.column, …
            for alias, relation in self.places:
                if key(alias) != key(parts[length - 1]):
                    continue
                found = relation.find(parts[length])
                if found is not None:
                    deeper = length + 1 < len(parts)
                    return changed(found, "TRANSFORMATION") if deeper else found
        found = self._bare(parts[0])
        if found is None or len(parts) == 1:
            return found
        return changed(found, "TRANSFORMATION")

    def _bare(self, name: str) -> Sources | None:
        wanted = key(name)
        if wanted in self.merged:
            return self.merged[wanted]
        named = [
            told
            for _, relation in self.places
            for known, told in relation.columns
            if key(known) == wanted
        ]
        if named:
            return NONE.union(*named)
        if wanted in self.aliases:
            return self.aliases[wanted]
        maybe = [r.others for _, r in self.places if r.others is not None]
        if maybe:
            return NONE.union(*maybe, self._outside(name))
        whole = [relation for alias, relation in self.places if key(alias) == wanted]
        if whole:
            told = [told for _, told in whole[0].known]
            return changed(NONE.union(*told), "TRANSFORMATION")
        return None

    def _outside(self, name: str) -> Sources:
        """Return what an outer query has by this name, if anything."""
        try:
            return NONE if self.outer is None else self.outer.column((name,))
        except UnreadableQueryError:
            return NONE
