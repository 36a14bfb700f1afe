"""From tables and roles to arrays: what every kind of model starts with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mlg.core.clock import rfc3339
from mlg.recsys.artifact import dumps
from mlg.recsys.columns import (
    Floats,
    Table,
    Tables,
    Vocabulary,
    column,
    from_us,
    table_of,
    times_us,
)
from mlg.recsys.events import Log, cut_us, log_of, vocabularies
from mlg.recsys.levels import Feature, feature_matrix, features_of
from mlg.recsys.roles import Roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything before the cut, as arrays."""

    viewers: Vocabulary
    items: Vocabulary
    log: Log
    cut: int
    """Microseconds; nothing at or after it was read."""
    events: Table
    """Rows of the interactions before the cut."""
    viewer_features: tuple[Feature, ...]
    viewer_matrix: Floats
    item_features: tuple[Feature, ...]
    item_matrix: Floats


def before(table: Table, at: np.ndarray[Any, Any], cut: int) -> Table:
    """Return the rows whose time is before the cut."""
    return cast("Table", cast("Any", table).filter(pa.array(at < cut)))


def _aligned(
    table: Table, key: str, names: tuple[str, ...], dataset: str, ids: Vocabulary
) -> tuple[tuple[Feature, ...], Floats]:
    """Return features and their matrix in the order of the ids; absent ids are NaN."""
    features = features_of(table, names, dataset)
    read = feature_matrix(table, features, dataset)
    codes = ids.encode(column(table, key, dataset))
    result = np.full((len(ids.ids), len(features)), np.nan)
    result[codes[codes >= 0]] = read[codes >= 0]
    return features, result


def prepare(tables: Tables, roles: Roles, params: Mapping[str, Any], name: str) -> Prepared:
    """Return the arrays of everything before the cut that `train_until` names.

    Raises:
        ContractError: A table or column is missing or of the wrong kind, or too few
            events lie before the cut.
        ManifestError: `train_until` is no share and no time.
    """
    inter = roles.interactions
    table = table_of(tables, inter.table)
    at = times_us(column(table, inter.at, inter.table), f"{inter.table}.{inter.at}")
    cut = cut_us(at, params.get("train_until", 0.8), name)
    events = before(table, at, cut)
    viewers, items = vocabularies({**tables, inter.table: events}, roles)
    log = log_of(events, roles, viewers, items)
    viewer_features: tuple[Feature, ...] = ()
    viewer_matrix = np.zeros((len(viewers.ids), 0))
    if roles.viewers and inter.viewer:
        role = roles.viewers
        viewer_features, viewer_matrix = _aligned(
            table_of(tables, role.table), role.key, role.features, role.table, viewers
        )
    item_features: tuple[Feature, ...] = ()
    item_matrix = np.zeros((len(items.ids), 0))
    if roles.items:
        own = roles.items
        item_features, item_matrix = _aligned(
            table_of(tables, own.table), own.key, own.features, own.table, items
        )
    return Prepared(
        viewers=viewers,
        items=items,
        log=log,
        cut=cut,
        events=events,
        viewer_features=viewer_features,
        viewer_matrix=viewer_matrix,
        item_features=item_features,
        item_matrix=item_matrix,
    )


def items_table(tables: Tables, roles: Roles, items: Vocabulary) -> Table:
    """Return one row an item, sorted: id, title and the declared features as they were."""
    kind = pa.int64() if items.whole else pa.string()
    columns: dict[str, Any] = {"id": pa.array(items.ids, type=kind)}
    if roles.items:
        role = roles.items
        own: Any = table_of(tables, role.table)
        codes = items.encode(column(own, role.key, role.table))
        row_of = np.full(len(items.ids), -1, dtype=np.int64)
        row_of[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
        take = pa.array(row_of, mask=row_of < 0)
        names = [*([role.title] if role.title else []), *role.features]
        for name in dict.fromkeys(names):
            if name != "id":
                columns[name] = own.column(name).take(take).combine_chunks()
    return cast("Table", pa.table(columns))


def describe(names: tuple[str, ...], rows: Floats, levels: Mapping[str, Any]) -> str:
    """Return `baseline.json`: how each logged feature was distributed in training.

    Args:
        names: Logged features.
        rows: Their values over training requests, shape ``(n, len(names))``.
        levels: Levels of text features by logged name.
    """
    features: dict[str, Any] = {}
    for place, name in enumerate(names):
        values = rows[:, place]
        known = values[np.isfinite(values)]
        entry: dict[str, Any] = {
            "n": int(values.size),
            "missing": int(values.size - known.size),
        }
        if name in levels:
            counts = np.bincount((known + 1).astype(np.int64), minlength=len(levels[name]) + 1)
            entry["levels"] = dict(zip(["", *levels[name]], counts.tolist(), strict=True))
        elif known.size:
            at = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]
            entry["mean"] = float(known.mean())
            entry["sd"] = float(known.std())
            entry["quantiles"] = dict(
                zip([f"{q:g}" for q in at], np.quantile(known, at).tolist(), strict=True)
            )
        features[name] = entry
    return dumps({"features": features})


def moment(at_us: int) -> str:
    """Return a time in microseconds as RFC 3339 text."""
    return rfc3339(from_us(at_us))
