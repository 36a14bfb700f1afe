"""Recorded requests made of the training table, for warm-up and golden tests."""

from typing import Any

import numpy as np

from mlg.core.predict import Key
from mlg.recsys.artifact import dumps
from mlg.recsys.events import Histories
from mlg.recsys.prepare import Prepared, moment
from mlg.recsys.roles import Roles

COUNT = 64
"""How many requests are recorded; at least 50 are asked for."""
HISTORY_MAX = 100
"""Newest events of a viewer's history that a recorded request carries."""


def golden_lines(ready: Prepared, roles: Roles, *, k: int, seed: int) -> str:
    """Return recorded requests, one canonical JSON object a line.

    Each is an event before the cut, drawn by the seed: the viewer, the time, his earlier
    events and his features. Every eighth is of a viewer without a history. Where the
    table has no viewer, a request carries the event's context columns.
    """
    rng = np.random.default_rng(seed)
    places = np.sort(rng.integers(0, len(ready.log), size=COUNT))
    if roles.interactions.viewer:
        histories = Histories(ready.log, len(ready.viewers.ids))
        lines = [
            _of_viewer(ready, histories, int(place), k=k, cold=number % 8 == 0)
            for number, place in enumerate(places)
        ]
    else:
        rows: Any = ready.events
        lines = [
            _of_context(
                rows.slice(int(ready.log.row[place]), 1).to_pylist()[0],
                int(ready.log.at[place]),
                roles,
                k,
            )
            for place in places
        ]
    return "".join(dumps(line) + "\n" for line in lines)


def _of_viewer(
    ready: Prepared, histories: Histories, place: int, *, k: int, cold: bool
) -> dict[str, Any]:
    viewer, at_us = int(ready.log.viewer[place]), int(ready.log.at[place])
    past = histories.before(viewer, at_us)
    user: Key | None = ready.viewers.ids[viewer]
    features: dict[str, Any] = {}
    for number, feature in enumerate(ready.viewer_features):
        value = float(ready.viewer_matrix[viewer, number])
        if np.isnan(value):
            features[feature.name] = None
        elif feature.levels is None:
            features[feature.name] = value
        else:
            features[feature.name] = feature.levels[int(value)] if value >= 0 else None
    history: list[dict[str, Any]] = []
    if cold:
        user = None
    else:
        for item, at, value in zip(
            past.items[-HISTORY_MAX:].tolist(),
            past.at[-HISTORY_MAX:].tolist(),
            past.value[-HISTORY_MAX:].tolist(),
            strict=True,
        ):
            entry: dict[str, Any] = {"item_id": ready.items.ids[item], "at": moment(at)}
            if not np.isnan(value):
                entry["value"] = value
            history.append(entry)
    context = {"at": moment(at_us), "history": history, "viewer": features}
    return {"user_id": user, "k": k, "context": context}


def _of_context(row: dict[str, Any], at_us: int, roles: Roles, k: int) -> dict[str, Any]:
    viewer = {name: row[name] for name in roles.interactions.context}
    return {"user_id": None, "k": k, "context": {"at": moment(at_us), "viewer": viewer}}
