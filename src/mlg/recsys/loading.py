"""Loading whatever an artifact says it is; apart from fitting, which a replica never does."""

from collections.abc import Callable
from pathlib import Path

from mlg.core.errors import BackendError
from mlg.recsys.artifact import Fitted, read
from mlg.recsys.context_ranker import ContextRanker
from mlg.recsys.own import OwnModel
from mlg.recsys.popularity import Popularity
from mlg.recsys.recommender import Recommender
from mlg.recsys.two_stage import TwoStage

KINDS = ("context_ranker", "popularity", "two_stage")

_LOAD: dict[str, Callable[[Fitted], Recommender]] = {
    "context_ranker": ContextRanker,
    "own": OwnModel,
    "popularity": Popularity,
    "two_stage": TwoStage,
}


def recommender(fitted: Fitted) -> Recommender:
    """Return the recommender of a fitted model, without a folder between.

    Raises:
        BackendError: The artifact's kind is unknown, or a part of it is missing.
    """
    kind = str(fitted.model.get("kind"))
    if kind not in _LOAD:
        raise BackendError(
            f"expected a model of kind {', '.join(_LOAD)}, got {kind!r}",
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


def load(folder: Path, expected: str | None = None) -> Recommender:
    """Return the recommender in a folder, every file checked against `model.json`.

    Args:
        folder: The artifact.
        expected: sha256 that `model.json` must have; None: any.

    Raises:
        BackendError: A file is missing or damaged, or the kind is unknown.
    """
    return recommender(read(folder, expected))
