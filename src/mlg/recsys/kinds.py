"""The kinds of model: fitting by name, and loading whatever an artifact says it is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlg.core.errors import BackendError, ManifestError
from mlg.recsys.artifact import Fitted, read
from mlg.recsys.columns import Tables
from mlg.recsys.context_ranker import ContextRanker
from mlg.recsys.popularity import Popularity
from mlg.recsys.recommender import Recommender
from mlg.recsys.roles import Roles
from mlg.recsys.train_context import fit_context_ranker
from mlg.recsys.train_popularity import fit_popularity
from mlg.recsys.train_two_stage import fit_two_stage
from mlg.recsys.two_stage import TwoStage

KINDS = ("context_ranker", "popularity", "two_stage")

_FIT: dict[str, Callable[..., Fitted]] = {
    "context_ranker": fit_context_ranker,
    "popularity": fit_popularity,
    "two_stage": fit_two_stage,
}
_LOAD: dict[str, Callable[[Fitted], Recommender]] = {
    "context_ranker": ContextRanker,
    "popularity": Popularity,
    "two_stage": TwoStage,
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


def recommender(fitted: Fitted) -> Recommender:
    """Return the recommender of a fitted model, without a folder between.

    Raises:
        BackendError: The artifact's kind is unknown, or a part of it is missing.
    """
    kind = str(fitted.model.get("kind"))
    if kind not in _LOAD:
        raise BackendError(
            f"expected a model of kind {', '.join(KINDS)}, got {kind!r}",
            where="model.json",
            hint="use a version of mlg that knows this kind.",
        )
    try:
        return _LOAD[kind](fitted)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BackendError(
            f"the artifact of a {kind} model is not complete ({error!r})",
            where="model.json",
            hint="restore the artifact from its store, or train again.",
        ) from error


def load(folder: Path) -> Recommender:
    """Return the recommender in a folder, every file checked against `model.json`.

    Raises:
        BackendError: A file is missing or damaged, or the kind is unknown.
    """
    return recommender(read(folder))
