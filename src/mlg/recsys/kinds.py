"""The kinds of model: fitting by name, and loading whatever an artifact says it is."""

from collections.abc import Callable, Mapping
from typing import Any

from mlg.core.errors import ManifestError
from mlg.recsys.artifact import Fitted
from mlg.recsys.columns import Tables
from mlg.recsys.loading import KINDS, load, recommender
from mlg.recsys.roles import Roles
from mlg.recsys.train_context import fit_context_ranker
from mlg.recsys.train_popularity import fit_popularity
from mlg.recsys.train_two_stage import fit_two_stage

__all__ = ["KINDS", "fit", "load", "recommender"]

_FIT: dict[str, Callable[..., Fitted]] = {
    "context_ranker": fit_context_ranker,
    "popularity": fit_popularity,
    "two_stage": fit_two_stage,
}


def fit(
    kind: str,
    tables: Tables,
    roles: Roles,
    params: Mapping[str, Any],
    seed: int,
    name: str,
    progress: Callable[[str], None],
) -> Fitted:
    """Return a fitted model; equal inputs, seed and machine give equal artifacts.

    Args:
        kind: One of `KINDS`.
        tables: Arrow tables by the name that the roles use.
        roles: Which column plays which part.
        params: The kind's parameters; all kinds know `train_until` (share of the events,
            or a time; 0.8) and `k` (10).
        seed: Seed of all sampling.
        name: The model's name.
        progress: Told a line at each phase.

    Raises:
        ManifestError: The kind or a parameter is unknown.
        ContractError: A table or column is missing, or there are too few events.
    """
    if kind not in _FIT:
        raise ManifestError(
            f"unknown model {kind!r}", where=name, hint=f"known: {', '.join(KINDS)}."
        )
    return _FIT[kind](tables, roles, params, seed=seed, name=name, progress=progress)
