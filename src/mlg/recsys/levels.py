"""Columns of a table as features: numbers stay numbers, text becomes level codes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mlg.core.errors import ContractError
from mlg.core.nodes import Attr
from mlg.recsys.columns import Floats, Table, column, is_number, numbers

LEVELS_MAX = 200
"""Most levels that a text column keeps; rarer ones are one level, `other` (code -1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """How one column is read; JSON-ready."""

    name: str
    levels: tuple[str, ...] | None = None
    """Levels of a text column in code order; None for a number."""

    def read(self, value: Attr) -> float:
        """Return the value as a number; NaN when missing, -1 for a level never seen.

        A text that is no number, in a column of numbers, is missing.
        """
        if value is None:
            return float("nan")
        if self.levels is not None:
            try:
                return float(self.levels.index(str(value)))
            except ValueError:
                return -1.0
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return float("nan")


def features_of(table: Table, names: tuple[str, ...], dataset: str) -> tuple[Feature, ...]:
    """Return how each named column is read; levels are those seen, in sorted order.

    Raises:
        ContractError: A column is missing, or of a kind that is neither number nor text.
    """
    found: list[Feature] = []
    for name in names:
        values = column(table, name, dataset)
        if is_number(values.type):
            found.append(Feature(name=name))
            continue
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            raise ContractError(
                f"expected numbers or text, got {values.type}",
                where=f"{dataset}.{name}",
                hint="leave the column out of `features`, or cast it.",
            )
        counted = Counter(text for text in values.to_pylist() if text is not None)
        pairs = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        kept = sorted(level for level, _ in pairs[:LEVELS_MAX])
        found.append(Feature(name=name, levels=tuple(kept)))
    return tuple(found)


def feature_matrix(table: Table, features: tuple[Feature, ...], dataset: str) -> Floats:
    """Return the columns as numbers, shape ``(rows, features)``; as `Feature.read` does.

    Raises:
        ContractError: A column is missing.
    """
    result = np.full((table.num_rows, len(features)), np.nan)
    for place, feature in enumerate(features):
        values = column(table, feature.name, dataset)
        if feature.levels is None:
            result[:, place] = numbers(values)
            continue
        codes = {level: float(code) for code, level in enumerate(feature.levels)}
        result[:, place] = [
            np.nan if text is None else codes.get(text, -1.0)
            for text in values.cast(pa.string()).to_pylist()
        ]
    return result
