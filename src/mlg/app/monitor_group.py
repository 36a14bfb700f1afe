"""Where monitors read and remember: in this home alone, or together with other hosts.

Together, each monitor has one owner among the hosts that are alive. Its memory and its place
in the stream are one file that only the last to have seen it can replace, so that a record
counts once even while two hosts both hold themselves for the owner: the second to write is
refused, forgets what it counted, and reads what the first one wrote.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from mlg.adapters.files_nats import NatsFiles
from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.segment_frames import FrameBatch, batch_of
from mlg.adapters.stream_nats import NatsStream
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor, EventStream, Files
from mlg.monitors.turns import Hosts, alive, observed, owner_of

HOSTS: Final = "hosts"
"""Folder of the hosts' beats."""
BEAT_S: Final = 1.0
SILENT_S: Final = 5.0
"""A host that was silent for so long is taken to be dead."""

logger = logging.getLogger("mlg.monitoring")


class MonitorGroup(Protocol):
    """Who runs which monitor, and where its memory is."""

    memory: Files
    """Keeps `monitors/<name>.json`."""

    def frames(self, service: str, cursor: Cursor, limit: int) -> FrameBatch:
        """Return what the service's monitors read next."""
        ...

    def readers(self, service: str, own: list[Cursor]) -> list[Cursor]:
        """Return who still needs the home's segment files, given where monitors are."""
        ...

    def beat(self) -> frozenset[str]:
        """Say that this host is alive, and return which ones are: what turns depend on.

        Raises:
            LifecycleError: The others cannot be heard.
        """
        ...

    def mine(self, monitor: str) -> bool:
        """Return whether this host runs the monitor, as of the last beat."""
        ...

    def leave(self) -> None:
        """Hand this host's monitors over."""
        ...


class Alone:
    """This home's own files and segments; every monitor is this host's."""

    def __init__(self, home: Path, files: Files) -> None:
        self._home, self.memory = home, files

    def frames(self, service: str, cursor: Cursor, limit: int) -> FrameBatch:
        """Return frames of the service's segment files."""
        return SegmentStream(self._home / "segments" / service).read_frames(cursor, limit)

    def readers(self, service: str, own: list[Cursor]) -> list[Cursor]:  # noqa: ARG002
        """Return where the monitors are."""
        return own

    def beat(self) -> frozenset[str]:
        """Return the one host there is."""
        return frozenset({"here"})

    def mine(self, monitor: str) -> bool:  # noqa: ARG002
        """Return True."""
        return True

    def leave(self) -> None:
        """Do nothing."""


class Together:
    """Several hosts over one NATS server.

    Args:
        connection: To the server.
        host: Name of this process, unlike that of any other that is alive.
        clock: For beats.
        namespace: Of the instance on the server.
        silent_s: After which a silent host is taken to be dead.
        shipped: Tells how far this home's segments were copied to the server.
    """

    def __init__(
        self,
        connection: NatsConnection,
        host: str,
        clock: Clock,
        *,
        namespace: str = "mlg",
        silent_s: float = SILENT_S,
        shipped: Callable[[str], Cursor] = lambda _: Cursor(consumer="ship"),
    ) -> None:
        self._connection, self._namespace = connection, namespace
        self._host, self._clock, self._silent_s = host, clock, silent_s
        self.memory: Files = NatsFiles(connection, namespace=namespace)
        self._shipped = shipped
        self._beats: Files = NatsFiles(connection, namespace=f"{namespace}_hosts")
        self._streams: dict[str, NatsStream] = {}
        self._hosts = Hosts()
        self._alive: frozenset[str] = frozenset()
        self._beat, self._beaten_s = 0, float("-inf")

    def frames(self, service: str, cursor: Cursor, limit: int) -> FrameBatch:
        """Return records of the service's stream in JetStream as the frames they would be."""
        return batch_of(self.stream(service).read(cursor, limit))

    def stream(self, service: str) -> EventStream:
        """Return the service's stream in JetStream."""
        if service not in self._streams:
            self._streams[service] = NatsStream(
                self._connection, service, namespace=self._namespace
            )
        return self._streams[service]

    def readers(self, service: str, own: list[Cursor]) -> list[Cursor]:  # noqa: ARG002
        """Return where the copy is: monitors read that one."""
        return [self._shipped(service)]

    def beat(self) -> frozenset[str]:
        """Beat once a second, and look at the others' beats.

        Raises:
            BackendError: The server does not answer.
        """
        now_s = self._clock.monotonic_s()
        if now_s - self._beaten_s < BEAT_S:
            return self._alive
        self._beat += 1
        mine = f"{HOSTS}/{self._host}"
        self._beats.read(mine)  # a former process of this name may have left one
        self._beats.write(mine, msgspec.json.encode(self._beat))
        beats: dict[str, int] = {}
        for path in self._beats.list(HOSTS):
            content = self._beats.read(path)
            if content is not None:
                beats[path.removeprefix(f"{HOSTS}/")] = msgspec.json.decode(content, type=int)
        self._hosts = observed(self._hosts, beats, now_s)
        self._beaten_s = now_s
        before, self._alive = self._alive, alive(self._hosts, now_s, self._silent_s)
        if before != self._alive:
            logger.info("hosts that run monitors: %s", ", ".join(sorted(self._alive)))
        return self._alive

    def mine(self, monitor: str) -> bool:
        """Return whether this host is the monitor's owner among those alive."""
        return owner_of(monitor, self._alive) == self._host

    def leave(self) -> None:
        """Take this host's beat away, so that the others do not wait for it."""
        self._alive = frozenset()
        try:
            self._beats.remove(f"{HOSTS}/{self._host}")
        except LifecycleError:
            logger.warning("the other hosts could not be told that this one leaves")
