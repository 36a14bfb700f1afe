"""Recorded requests made of the training table, and the answers that a model gave to them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mlg.core.clock import parse_time
from mlg.core.predict import Interaction, Key, Query
from mlg.recsys.artifact import dumps
from mlg.recsys.events import Histories
from mlg.recsys.prepare import Prepared, moment
from mlg.recsys.recommender import Recommender
from mlg.recsys.roles import Roles

COUNT = 64
"""How many requests are recorded; at least 50 are asked for."""
HISTORY_MAX = 100
"""Newest events of a viewer's history that a recorded request carries."""


ANSWERS = "golden_answers.jsonl"
"""File of an artifact with the model's answers to its recorded requests."""


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


def answer_lines(model: Recommender, requests: Iterable[Mapping[str, Any]]) -> str:
    """Return the model's own answers to recorded requests, one canonical JSON object a line.

    No abstention, no exploration: items, scores and raw confidence, asked at the request's
    own time.
    """
    answers = (model.recommend(query_of(request)) for request in requests)
    return "".join(
        dumps(
            {
                "items": list(answer.items),
                "scores": list(answer.scores),
                "raw_confidence": answer.raw_confidence,
            }
        )
        + "\n"
        for answer in answers
    )


def query_of(request: Mapping[str, Any]) -> Query:
    """Return a recorded request as a replica reads it; a test holds the two together."""
    context = request["context"]
    history = context.get("history")
    return Query(
        user_id=request["user_id"],
        k=request["k"],
        at=parse_time(context["at"]),
        history=None if history is None else tuple(map(_event, history)),
        viewer=tuple(sorted(context["viewer"].items())),
    )


def _event(entry: Mapping[str, Any]) -> Interaction:
    return Interaction(
        item_id=entry["item_id"], at=parse_time(entry["at"]), value=entry.get("value")
    )
