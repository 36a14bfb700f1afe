"""What a release is handed, and what it is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from mlg.core.clock import Clock
from mlg.core.ports import Files, GraphStore
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.workflows.rollouts import RolloutWatch
from mlg.workflows.state import WantedVersion


class Fleet(Protocol):
    """What makes the wanted state real."""

    def refresh(self) -> None:
        """Read the wanted state again and act on it."""
        ...

    def wait_ready(self, service: str, version: str, deadline_s: float) -> None:
        """Return once every wanted replica of the version is warm.

        Raises:
            BackendError: Not in time.
        """
        ...


class BackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The way back of a service from the version at 100 % to one that served before."""

    id: str
    """Of the workflow, the rollout and its deployment; the same id goes back once."""
    service: str
    model: str
    left: str
    former: WantedVersion
    reason: str
    by: str


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout of a version that was made before, because a person asks for it."""

    id: str
    """Of the workflow, the rollout and its deployment; the same id starts once."""
    service: str
    model: str
    artifact: Digest
    by: str
    reason: str = ""
    again: str = ""
    """Why one that was taken back may be tried again; empty: it may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePorts:
    """What a release needs from the world."""

    files: Files
    fleet: Fleet
    store: GraphStore
    clock: Clock
    watch: RolloutWatch
    recorder: Callable[[], Recorder]
