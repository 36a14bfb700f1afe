"""Known viewers in an artifact: their features, and their history at the cut."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mlg.recsys.columns import Floats, Table, Vocabulary, from_ids
from mlg.recsys.events import Histories


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewers:
    """Viewers by code."""

    ids: Vocabulary
    features: Floats
    """As `levels.feature_matrix` reads them, shape ``(viewers, V)``."""
    histories: Histories


def viewers_table(ids: Vocabulary, features: Floats, histories: Histories) -> Table:
    """Return one row a viewer: id, features, and items, times and values of his history.

    Items are codes, times microseconds; the lists are oldest first.
    """
    kind = pa.int64() if ids.whole else pa.string()
    offsets = pa.array(histories.offsets - histories.offsets[0], pa.int32())
    start = int(histories.offsets[0])
    lists = {
        name: pa.ListArray.from_arrays(offsets, pa.array(values[start:]))
        for name, values in (
            ("items", histories.items),
            ("at", histories.at),
            ("value", histories.value),
        )
    }
    width = features.shape[1]
    flat = pa.array(np.ascontiguousarray(features).reshape(-1))
    rows = pa.FixedSizeListArray.from_arrays(flat, width) if width else None
    columns: dict[str, Any] = {"id": pa.array(ids.ids, type=kind), **lists}
    if rows is not None:
        columns["features"] = rows
    return cast("Table", pa.table(columns))


def viewers_from(table: Table, kind: str) -> Viewers:
    """Return the viewers of an artifact's table; `kind` is `int` or `str`."""
    arrow: Any = table

    def flat(name: str) -> Any:
        return arrow.column(name).combine_chunks()

    keys = table.column("id").to_pylist()
    count = len(keys)
    items = flat("items")
    histories = Histories.of(
        items=np.asarray(items.flatten().to_numpy(), dtype=np.int32),
        at=np.asarray(flat("at").flatten().to_numpy(), dtype=np.int64),
        value=np.asarray(flat("value").flatten().to_numpy(zero_copy_only=False), dtype=float),
        offsets=np.asarray(items.offsets.to_numpy(), dtype=np.int64),
    )
    if "features" in table.column_names and count:
        values = flat("features").flatten().to_numpy(zero_copy_only=False)
        features = np.asarray(values, dtype=np.float64).reshape(count, -1)
    else:
        features = np.zeros((count, 0))
    return Viewers(
        ids=from_ids(keys, whole=kind == "int"), features=features, histories=histories
    )
