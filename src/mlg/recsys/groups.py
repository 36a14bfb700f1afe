"""How well each group of viewers is served: held-out hits, by declared feature."""

from typing import Any

import numpy as np
import pyarrow as pa

from mlg.recsys.baselines import LIST
from mlg.recsys.columns import Tables, column, table_of
from mlg.recsys.events import vocabularies
from mlg.recsys.results import Scored
from mlg.recsys.roles import Roles, present

MOST_LEVELS = 50
"""A feature with more levels than this makes no groups."""


def by_group(scored: Scored, tables: Tables, roles: Roles) -> dict[str, list[dict[str, Any]]]:
    """Return viewers, mean and sd of hit@10 at each level of each text feature of viewers.

    A viewer's score is the share of his held-out events whose item was among the first ten,
    so that each viewer counts once. A viewer without the feature is in no group.

    Args:
        scored: The model's outcomes; `cluster` is the viewer's code.
        tables: Arrow tables by name.
        roles: Which column plays which part.

    Returns:
        Feature -> `{"level", "n", "mean", "sd"}` of each level, sorted by level; nothing
        where viewers or their table are not known. `sd` is null of a single viewer.

    Raises:
        ContractError: A table or column is missing.
    """
    roles = present(roles, tables)
    if not roles.viewers or not roles.interactions.viewer or not scored.ranks.size:
        return {}
    codes, place = np.unique(scored.cluster, return_inverse=True)
    hit = (scored.ranks >= 1) & (scored.ranks <= LIST)
    counts = np.bincount(place)
    score = np.bincount(place, weights=hit) / counts
    table = table_of(tables, roles.viewers.table)
    viewers, _ = vocabularies(tables, roles)
    rows = viewers.encode(column(table, roles.viewers.key, roles.viewers.table))
    row_of = {int(code): number for number, code in enumerate(rows)}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in roles.viewers.features:
        levels = column(table, name, roles.viewers.table)
        if not (pa.types.is_string(levels.type) or pa.types.is_large_string(levels.type)):
            continue
        known: list[Any] = levels.to_pylist()
        own = [known[row_of[int(c)]] if int(c) in row_of else None for c in codes]
        there = sorted({level for level in own if level is not None})
        if len(there) <= MOST_LEVELS:
            found[name] = [_group(level, own, score) for level in there]
    return found


def _group(level: str, own: list[Any], score: Any) -> dict[str, Any]:
    mine = score[np.array([one == level for one in own])]
    sd = float(mine.std(ddof=1)) if mine.size > 1 else None
    return {"level": level, "n": int(mine.size), "mean": float(mine.mean()), "sd": sd}
