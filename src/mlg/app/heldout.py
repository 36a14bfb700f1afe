"""The held-out events of a trained model, as viewers to replay."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlg.client.replay_plan import Interactions, Replay, ReplayPlan
from mlg.core.clock import parse_time
from mlg.core.errors import BackendError
from mlg.manifest.specs_pipelines import InteractionsRole
from mlg.recsys.events import cut_us as cut_after


def replay_plan(
    table: Path,
    model: Path,
    role: InteractionsRole,
    replay: Replay,
    skip: float = 0.0,
) -> ReplayPlan:
    """Return the requests that the viewers after the model's training cut would have made.

    Args:
        table: Parquet file of the interactions that the model was trained from.
        model: Folder of the model's artifact; its `cut` parts training from the future.
        role: What the table's columns mean.
        replay: How events become requests.
        skip: Share of the held-out events, from the first on, to leave out: a model that a
            healing trains on as much of them has not seen the others either.

    Raises:
        BackendError: The model names no cut, or nothing happened after it.
    """
    about: dict[str, Any] = json.loads((model / "model.json").read_bytes())
    cut_us = int(parse_time(about["cut"]).timestamp() * 1_000_000)
    columns = [role.item, role.at, role.value, *role.context]
    columns += [role.viewer] if role.viewer else []
    events = pq.read_table(table, columns=list(dict.fromkeys(columns)))
    at_us = events.column(role.at).cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    if skip:
        cut_us = cut_after(at_us, {"after": about["cut"], "share": skip}, table.name)
    later = at_us >= cut_us
    if not later.any():
        raise BackendError(
            "no event lies after the model's training cut", where=str(table.name),
            hint="lower `train_until` in the train step.",
        )  # fmt: skip
    return ReplayPlan(
        _interactions(events, at_us, later, role),
        _interactions(events, at_us, ~later, role),
        replay,
    )


def _interactions(events: Any, at_us: Any, rows: Any, role: InteractionsRole) -> Interactions:
    kept = events.filter(pa.array(rows))

    def column(name: str) -> Any:
        return np.asarray(kept.column(name).to_numpy(zero_copy_only=False))

    return Interactions(
        item=column(role.item),
        at_us=at_us[rows],
        value=np.asarray(pc.cast(kept.column(role.value), pa.float64()).to_numpy()),
        viewer=column(role.viewer) if role.viewer else None,
        context=tuple((name, column(name)) for name in role.context),
    )
