"""What the resolvers of one GraphQL request share: the graph, its deadline, the loader."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from strawberry.dataloader import DataLoader

from mlg.api.operations import ApiServices
from mlg.core.errors import LifecycleError
from mlg.core.ports import GraphReader
from mlg.core.reading import Direction
from mlg.core.uris import Uri
from mlg.graph.known import KnownGraphs
from mlg.graph.neighbours import Hops, neighbours_of
from mlg.graph.questions import WalkWords

MAX_S: Final = 10.0
"""Longest that a document is run, in seconds; looked at before each question."""


class DeadlineError(LifecycleError):
    """A document took too long."""

    code = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """As of when, and as known when, a part of an answer is told."""

    as_of: str | None = None
    known_at: str | None = None


NOW: Final = View()


@dataclass(frozen=True, slots=True, kw_only=True)
class HopsKey:
    """One step from one node."""

    uri: Uri
    direction: Direction
    view: View
    classes: tuple[str, ...]
    roles: tuple[str, ...]
    stop_at: tuple[str, ...]


class Ask:
    """The graph as one request asks it.

    Args:
        services: What the control plane hands to the API.
        known: Makes readers of earlier knowledge.
    """

    def __init__(self, services: ApiServices, known: KnownGraphs) -> None:
        self.services, self.known = services, known
        self._clock = services.clock
        self._until_s = self._clock.monotonic_s() + MAX_S
        self.loader: DataLoader[HopsKey, Hops] = DataLoader(load_fn=self._hops)
        self.batches = 0
        """How often steps were read; the steps of many nodes are one batch."""

    async def pause(self) -> None:
        """Let others of this request go on; called before each question.

        Raises:
            DeadlineError: The time is up.
        """
        await asyncio.sleep(0)
        if self._clock.monotonic_s() > self._until_s:
            raise DeadlineError(
                f"the document ran for more than {MAX_S:g} s and was given up",
                where="query",
                hint="ask with a smaller `first` and follow the cursors.",
            )

    def reader(self, view: View) -> GraphReader:
        """Return the graph, or the graph as it was known.

        Raises:
            ManifestError: `known_at` is wrong, or the log up to then is too long.
        """
        if view.known_at is None:
            return self.services.reader
        return self.known.at(view.known_at, self.services.store.head().seq)

    async def _hops(self, keys: list[HopsKey]) -> Sequence[Hops | BaseException]:
        """Read the steps of many nodes: one batch for each way of asking."""
        alike: dict[HopsKey, list[HopsKey]] = {}
        for key in keys:
            way = HopsKey(
                uri=Uri(""),
                direction=key.direction,
                view=key.view,
                classes=key.classes,
                roles=key.roles,
                stop_at=key.stop_at,
            )
            alike.setdefault(way, []).append(key)
        found: dict[HopsKey, Hops | BaseException] = {}
        for way, some in alike.items():
            await self.pause()
            found.update(self._batch(way, some))
        return [found[key] for key in keys]

    def _batch(
        self, way: HopsKey, keys: Sequence[HopsKey]
    ) -> dict[HopsKey, Hops | BaseException]:
        self.batches += 1
        try:
            options = WalkWords(
                as_of=way.view.as_of,
                classes=way.classes,
                roles=way.roles,
                stop_at=way.stop_at,
            ).options()
            read = neighbours_of(self.reader(way.view))
            told = read([key.uri for key in keys], way.direction, options)
        except LifecycleError as refused:
            return dict.fromkeys(keys, refused)
        return {key: told.get(key.uri, Hops()) for key in keys}
