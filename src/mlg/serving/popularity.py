"""The popularity list as the artifact carries it; read without any model library."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import msgspec

from mlg.core.errors import BackendError
from mlg.core.predict import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredList:
    """`popularity.json`: items best first, their scores, and the measured hit rate."""

    items: tuple[Key, ...] = ()
    scores: tuple[float, ...] = ()
    hit_rate: float = 0.0

    def __post_init__(self) -> None:
        if len(self.items) != len(self.scores) or len(set(self.items)) != len(self.items):
            raise ValueError("expected one score an item and no item twice")
        if not 0.0 <= self.hit_rate <= 1.0 or not all(map(isfinite, self.scores)):
            raise ValueError("expected a hit rate in 0..1 and finite scores")


def load_list(artifact: Path | None) -> StoredList:
    """Return the popularity list of an artifact folder; an empty one without artifact.

    Raises:
        BackendError: The file is missing or damaged.
    """
    if artifact is None:
        return StoredList()
    path = artifact / "popularity.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoredList)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise BackendError(
            f"expected a popularity list, got: {error}",
            where=path.name,
            hint="train and package the model again; the stored artifact is damaged.",
        ) from error


def own_list(path: Path) -> StoredList:
    """Return a list that somebody wrote by hand: `["a", "b"]`, or the form of an artifact's.

    Ids alone get the scores 1/1, 1/2, 1/3, …; the hit rate of such a list is not known, 0.

    Raises:
        BackendError: The file is missing or is no such list.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[str | int] | StoredList)
        if isinstance(found, StoredList):
            return found
        scores = tuple(1.0 / n for n in range(1, len(found) + 1))
        return StoredList(items=tuple(found), scores=scores)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise BackendError(
            f"expected a list of item ids, got: {error}",
            where=path.name,
            hint='write them best first, like ["a", "b"].',
        ) from error
