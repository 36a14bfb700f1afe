"""Fitting the popularity model: counting, and measuring the hit rate before the cut."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlg.core.errors import ManifestError
from mlg.recsys.artifact import Fitted, dumps
from mlg.recsys.columns import Tables
from mlg.recsys.golden import golden_lines
from mlg.recsys.popularity import list_document, popularity_list
from mlg.recsys.prepare import describe, items_table, moment, prepare
from mlg.recsys.roles import Roles

_KNOWN = frozenset(("k", "popularity_days", "repeat", "train_until"))


def fit_popularity(
    tables: Tables,
    roles: Roles,
    params: Mapping[str, Any],
    *,
    seed: int,
    name: str,
    progress: Callable[[str], None],
) -> Fitted:
    """Return the popularity list at the cut as a model.

    Args:
        tables: Tables by name.
        roles: Their parts; only interactions and items are read.
        params: `train_until` (0.8), `k` (10), `popularity_days` (7), `repeat` (false).
        seed: Draws the recorded requests.
        name: The model's name.
        progress: Told a line at each phase.

    Raises:
        ManifestError: A parameter is unknown.
        ContractError: A table or column is missing, or there are too few events.
    """
    unknown = sorted(set(params) - _KNOWN)
    if unknown:
        raise ManifestError(
            f"unknown parameter {unknown[0]!r}",
            where=name,
            hint=f"known: {', '.join(sorted(_KNOWN))}.",
        )
    ready = prepare(tables, roles, params, name)
    total = len(ready.log)
    held = int(total * 0.9375)
    k = int(params.get("k", 10))
    popular = popularity_list(
        ready.log.span(0, held),
        ready.log.span(held, total),
        ready.items,
        cut_us=ready.cut,
        days=float(params.get("popularity_days", 7.0)),
        k=k,
    )
    progress(f"{total} events of {len(ready.items.ids)} items counted")
    met = np.zeros((total, 1))
    if roles.interactions.viewer:
        order = np.argsort(ready.log.viewer, kind="stable")
        _, first, counts = np.unique(
            ready.log.viewer[order], return_index=True, return_counts=True
        )
        met[order, 0] = np.arange(total) - np.repeat(first, counts)
    names = ("history_length",)
    return Fitted(
        model={
            "kind": "popularity",
            "name": name,
            "item_type": "int" if ready.items.whole else "str",
            "features": list(names),
            "cut": moment(ready.cut),
            "k": k,
            "repeat": bool(params.get("repeat", False)),
            "item_ids": list(ready.items.ids),
        },
        arrays={},
        texts={
            "popularity.json": dumps(list_document(popular)),
            "golden.jsonl": golden_lines(ready, roles, k=k, seed=seed),
            "baseline.json": describe(names, met, {}),
        },
        tables={"items": items_table(tables, roles, ready.items)},
        metrics={"popularity_hit_rate": popular.hit_rate},
        facts={"cut": moment(ready.cut), "events": total, "items": len(ready.items.ids)},
    )
