"""A provider of things in the same process, for tests and the simulator."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mlg.core.clock import Clock
from mlg.core.errors import BackendError
from mlg.core.nodes import Attr
from mlg.core.providers import Thing, Told
from mlg.core.uris import make_uri
from mlg.graph.record import edge

if TYPE_CHECKING:
    from mlg.core.ports import Provider

PLUGIN = "memory"


class MemoryProvider:
    """Tells runs that read data versions; each is put, changed and dropped by the test.

    Args:
        clock: When it was asked.
        namespace: Second part of its URIs.
    """

    def __init__(self, clock: Clock, namespace: str = "here") -> None:
        self._clock, self._namespace = clock, namespace
        self._lock = threading.Lock()
        self._runs: dict[str, tuple[dict[str, Attr], tuple[str, ...]]] = {}
        self.down = False
        """Whether it does not answer."""

    def put(self, id_: str, attrs: dict[str, Attr], reads: tuple[str, ...] = ()) -> None:
        """Let a run have these attributes, and data versions `name@digest` that it read."""
        with self._lock:
            self._runs[id_] = (dict(attrs), reads)

    def drop(self, id_: str) -> None:
        """Let it have the run no more."""
        with self._lock:
            self._runs.pop(id_, None)

    def types(self) -> tuple[str, ...]:
        return ("run",)

    def tell(self, thing: Thing) -> tuple[Told, ...]:
        if thing.type != "run":
            raise ValueError(f"expected a run, got {thing.type!r}")
        self._answer()
        with self._lock:
            found = self._runs.get(thing.id)
        return (self._told(thing, found),)

    def tell_all(self) -> Iterator[Told]:
        self._answer()
        with self._lock:
            listed = sorted(self._runs.items())
        for id_, found in listed:
            self._answer()
            yield self._told(Thing(type="run", id=id_), found)

    def _answer(self) -> None:
        if self.down:
            raise BackendError("the provider does not answer", where=self._namespace)

    def _told(
        self, thing: Thing, found: tuple[dict[str, Attr], tuple[str, ...]] | None
    ) -> Told:
        subject = make_uri("run", self._namespace, thing.id, provider=PLUGIN)
        told = Told(thing=thing, subject=subject, name=thing.id, observed_at=self._clock.now())
        if found is None:
            return replace(told, name="", gone=True)
        attrs, reads = found
        edges = tuple(
            edge(make_uri("dataset_version", self._namespace, *one.split("@"), provider=PLUGIN),
                 "used", subject)
            for one in reads
        )  # fmt: skip
        return replace(told, attrs=tuple(sorted(attrs.items())), edges=edges)


if TYPE_CHECKING:
    from mlg.core.clock import ManualClock

    _: Provider = MemoryProvider(ManualClock())
