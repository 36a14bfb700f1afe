"""A target of lineage events in memory, for tests and the simulator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlg.core.errors import LifecycleError

if TYPE_CHECKING:
    from mlg.core.ports import LineageTarget


class MemoryLineageTarget:
    """Keeps what it was sent; raises `broken` instead while one is set."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.broken: LifecycleError | None = None
        self.closed = False

    def send(self, event: Mapping[str, Any]) -> None:
        if self.broken is not None:
            raise self.broken
        self.events.append(dict(event))

    def close(self) -> None:
        self.closed = True


if TYPE_CHECKING:
    _: LineageTarget = MemoryLineageTarget()
