"""The schema half of a contract: checked against metadata, before any row is read."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlg.core.artifacts import Column
from mlg.core.errors import ContractError
from mlg.manifest.specs_data import ColumnSpec

_TEXT_READS: Final[dict[str, frozenset[str]]] = {
    "float64": frozenset({"int64", "float32"}),
    "float32": frozenset({"int64", "float64"}),
    "int32": frozenset({"int64"}),
    "int16": frozenset({"int64"}),
    "int8": frozenset({"int64"}),
    "uint64": frozenset({"int64"}),
    "uint32": frozenset({"int64"}),
    "uint16": frozenset({"int64"}),
    "uint8": frozenset({"int64"}),
    "boolean": frozenset({"int64"}),
    "timestamp": frozenset({"date"}),
}
"""Types of a text file are guesses: those on the right may be read as the one on the left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One way in which a table's columns are not what the contract says."""

    dataset: str
    column: str
    expected: str
    found: str | None
    """None when the column is not there."""
    nearest: str | None = None
    """The column that was perhaps meant, with its type."""
    breaks: tuple[str, ...] = ()
    """Steps that cannot run because of it."""

    def message(self) -> str:
        """Return the breach in one sentence.

        Examples:
            >>> Breach(dataset="r", column="a", expected="int64", found="string").message()
            "column 'a': expected int64, found string"
        """
        found = "no such column" if self.found is None else self.found
        near = f" (nearest: {self.nearest})" if self.nearest else ""
        return f"column {self.column!r}: expected {self.expected}, found {found}{near}"


def type_word(type_text: str) -> str:
    """Return the contract's word for an engine's type text.

    Scales and zones of timestamps are dropped: stored times are UTC microseconds.

    Examples:
        >>> type_word("timestamp('UTC', 6)"), type_word("!int64"), type_word("timestamp(6)")
        ('timestamp', 'int64', 'timestamp')
    """
    return re.sub(r"^timestamp\(.*\)$", "timestamp", type_text.removeprefix("!"))


def schema_breaches(
    dataset: str,
    expected: Mapping[str, ColumnSpec],
    found: Sequence[Column],
    *,
    consumers: tuple[str, ...] = (),
    guessed: bool = False,
) -> tuple[Breach, ...]:
    """Return every declared column that is missing or has another type; empty when all hold.

    Args:
        dataset: Name for the messages.
        expected: The contract's columns.
        found: Columns by the source's metadata.
        consumers: Steps that depend on the dataset.
        guessed: Types are guesses from a text file, so wider readings are allowed.
    """
    there = {column.name: type_word(column.type) for column in found}
    breaches: list[Breach] = []
    for name, spec in expected.items():
        wanted = type_word(spec.type)
        if name in there and _readable(wanted, there[name], guessed=guessed):
            continue
        near = None if name in there else _nearest(name, there)
        breaches.append(
            Breach(
                dataset=dataset,
                column=name,
                expected=wanted,
                found=there.get(name),
                nearest=near,
                breaks=consumers,
            )
        )
    return tuple(breaches)


def schema_error(dataset: str, breaches: Sequence[Breach]) -> ContractError:
    """Return one error that names every breach, what it breaks and what to do."""
    messages = [breach.message() for breach in breaches]
    near = next((breach for breach in breaches if breach.nearest), None)
    if near:
        hint = f"if {near.nearest} is what was meant, say so under datasets.{dataset}.columns"
    else:
        hint = f"correct the source, or datasets.{dataset}.columns in the manifest"
    return ContractError(
        in_one_text(messages) + _broken(breaches[0].breaks),
        where=f"dataset {dataset}",
        hint=f"{hint}.",
    )


def in_one_text(messages: Sequence[str]) -> str:
    """Return one message as it is, several as a list."""
    if len(messages) == 1:
        return messages[0]
    return f"{len(messages)} breaches of the contract:" + "".join(
        f"\n  - {message}" for message in messages
    )


def _broken(steps: Iterable[str]) -> str:
    names = ", ".join(steps)
    return f"; steps that cannot run: {names}" if names else ""


def _readable(wanted: str, found: str, *, guessed: bool) -> bool:
    if wanted == found:
        return True
    if not guessed:
        return False
    return wanted == "string" or found in _TEXT_READS.get(wanted, ())


def _nearest(name: str, there: Mapping[str, str]) -> str | None:
    by_plain = {_plain(other): other for other in there}
    close = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=0.6)
    if not close:
        return None
    other = by_plain[close[0]]
    return f"{other!r} {there[other]}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
