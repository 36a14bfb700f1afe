"""What a model of one's own is fitted to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mlg.core.predict import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Tables of a train step, without what happened at or after the cut."""

    tables: Mapping[str, Any]
    """Arrow tables by the names of `in:`; rows of interactions and item statistics at or
    after the cut are left out."""
    roles: Mapping[str, Mapping[str, Any]]
    """`roles:` of the step: part -> what it is -> name of the table or column."""
    cut: datetime
    """Aware UTC; nothing at or after it is in the tables."""
    items: tuple[Key, ...]
    """The catalogue, sorted; other items may not be recommended."""
    k: int
    """Items that an answer has when nobody says otherwise."""
    seed: int
    """Where all randomness starts."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`params:` of the step."""
