"""Requests that wait together are ranked together."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlg.core.predict import Query, Ranked


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSize:
    """When a batch is full, and when it waits no longer."""

    most: int
    """Requests, >= 1."""
    deadline_ms: float
    """How long the first of them waits at most for others, > 0."""


class Batcher:
    """Collects queries until a batch is full or its first one has waited for the deadline.

    Args:
        rank_many: Returns an answer, or what went wrong, for each query in order.
        size: When it ranks.
        busy: How many requests are in hand; a batch that has all of them waits for no other.
    """

    def __init__(
        self,
        rank_many: Callable[[Sequence[Query]], Sequence[Ranked | Exception]],
        size: BatchSize,
        busy: Callable[[], int],
    ) -> None:
        self._rank_many, self._size, self._busy = rank_many, size, busy
        self._waiting: list[tuple[Query, asyncio.Future[Ranked]]] = []
        self._timer: asyncio.Handle | None = None

    async def rank(self, query: Query) -> Ranked:
        """Return the answer to the query once its batch was ranked.

        Raises:
            Exception: What went wrong with this query, as `rank_many` said it.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Ranked] = loop.create_future()
        self._waiting.append((query, answered))
        if len(self._waiting) >= self._size.most:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_soon(self._look, loop)
        return await answered

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once what came in this turn of the loop is here: rank it, or wait for the rest."""
        if len(self._waiting) >= self._busy():
            self._flush()
        else:
            self._timer = loop.call_later(self._size.deadline_ms / 1e3, self._flush)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # who left meanwhile needs no answer
        waiting = [(query, answered) for query, answered in waiting if not answered.done()]
        if not waiting:
            return
        answers = self._rank_many([query for query, _ in waiting])
        for (_, answered), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)
