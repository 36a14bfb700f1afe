"""The narrow interfaces between the rooms and the world.

Four methods at most; synchronous (async processes call them in threads); every
write is idempotent; nothing in a signature belongs to one backend.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from mlg.core.artifacts import Column, Snapshot
from mlg.core.events import Event, Revision, StoredEvent
from mlg.core.nodes import Node
from mlg.core.predict import Query, Ranked
from mlg.core.processes import ProcessSpec, ProcessState
from mlg.core.providers import Enrichment, EnrichmentCounts, Thing, Told
from mlg.core.reading import Direction, NodePage, NodeQuery, Production, Walk, WalkOptions
from mlg.core.steps import StepCall, StepResult
from mlg.core.traffic import Attempts, ServiceEndpoints, TrafficSplit
from mlg.core.training import Training
from mlg.core.uris import Digest, EventId, Uri


class GraphStore(Protocol):
    """The append-only event log; its projections follow in the same transaction."""

    def append(self, events: Sequence[Event], *, expect: Revision | None = None) -> Revision:
        """Append all events or none; durable when it returns.

        An event whose key and content are already there is skipped.

        Raises:
            ConflictError: A key is there with other content, or the head is not `expect`.
            BackendError: The store could not write; nothing of the call is in force.
        """
        ...

    def submit(
        self, events: Sequence[Event], *, expect: Revision | None = None
    ) -> "Future[Revision]":
        """Do what `append` does, without waiting: its result or error comes by the future.

        Raises:
            BackendError: The store is closed.
        """
        ...

    def events(self, after: int = 0, limit: int = 1_000) -> tuple[StoredEvent, ...]:
        """Return events with seq > `after`, in order; empty at the end."""
        ...

    def head(self) -> Revision:
        """Return the newest event's place."""
        ...

    def rebuild(self) -> int:
        """Make the projections again from the log; return the events read."""
        ...


class GraphReader(Protocol):
    """Questions to the graph; never blocked by the writer."""

    def walk(self, root: Uri, direction: Direction, options: WalkOptions) -> Walk:
        """Return everything up (causes) or down (effects) from the root.

        Raises:
            NotFoundError: The root is not in the graph.
        """
        ...

    def nodes(self, query: NodeQuery) -> NodePage:
        """Return nodes in URI order; an unknown URI gives an empty page."""
        ...

    def production(self, service: str, at: datetime) -> Production:
        """Return the versions that took traffic of the service at the time."""
        ...

    def search(
        self, text: str, kinds: tuple[str, ...] = (), limit: int = 50
    ) -> tuple[Node, ...]:
        """Return nodes whose name, URI or attributes match every word, best first.

        The beginning of a word matches it.
        """
        ...


class GraphHistory(Protocol):
    """What the log says of a few things, without reading the log."""

    def told(
        self, uris: Sequence[Uri], ids: Sequence[EventId] = (), limit: int = 40
    ) -> tuple[StoredEvent, ...]:
        """Return the events about these things and those of these ids, in the log's order.

        An event is about a thing when it happened to it, or says something of its node. Of
        each thing come the first and the newest `limit` of either sort. Of more than 500
        things or 5,000 ids the rest are left out; what is not known gives nothing.
        """
        ...


class ArtifactStore(Protocol):
    """Files and folders under the digest of their content."""

    def put(self, path: Path) -> Digest:
        """Store a file or folder (copied, read-only); the same content twice is stored once.

        Raises:
            BackendError: It could not be read or stored; nothing partial is visible.
        """
        ...

    def open(self, digest: Digest) -> Path:
        """Return a local read-only path of the content, verified against the digest.

        Raises:
            NotFoundError: No such digest.
            BackendError: The stored bytes do not match the digest.
        """
        ...

    def has(self, digest: Digest) -> bool:
        """Return whether the digest is stored."""
        ...

    def remove(self, digest: Digest) -> None:
        """Remove the content for good, as an erasure asks; an unknown digest is no error.

        Raises:
            BackendError: It could not be removed; it is there as before, or not at all.
        """
        ...

    def locate(self, digest: Digest) -> Path:
        """Return the local path that the content has, unread: who loads it checks it.

        Raises:
            NotFoundError: That is no digest.
        """
        ...


class ExecutionEngine(Protocol):
    """Runs one table-making step."""

    def run(self, call: StepCall) -> Snapshot:
        """Run a `source`, `sql` or `python` step and store its table.

        Raises:
            ContractError: An input does not keep its contract.
            BackendError: The engine failed; no snapshot was stored.
        """
        ...

    def schema(self, snapshot: Snapshot) -> tuple[Column, ...]:
        """Return the columns of a stored snapshot, read from its metadata only."""
        ...


class StepRunner(Protocol):
    """Runs one step of any kind, apart from the caller, so that a crash hurts only the step."""

    def run(self, call: StepCall) -> StepResult:
        """Run the step and return what it made.

        Raises:
            LifecycleError: The step failed, in its own words; nothing of it is in force.
        """
        ...


class TrafficRouter(Protocol):
    """The gateway's routing."""

    def place(self, endpoints: ServiceEndpoints) -> None:
        """Make these endpoints known and return once each version has a healthy one.

        Versions that left `endpoints` are dropped only when no traffic goes to them.

        Raises:
            BackendError: They did not become healthy in time; the former ones stay in force.
        """
        ...

    def apply(self, split: TrafficSplit) -> None:
        """Send the shares to versions that were placed; the former split stays on failure.

        Raises:
            NotFoundError: A version of the split was not placed.
            BackendError: The gateway refused; the former split stays in force.
        """
        ...

    def observed(self, service: str) -> TrafficSplit | None:
        """Return the split in force, or None."""
        ...

    def attempts(self, service: str) -> tuple[Attempts, ...]:
        """Return attempts per version since counting began; retries count one by one.

        The numbers never fall, also when a gateway, a replica or the control plane restarts.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry of an event stream."""

    kind: str
    """`prediction` or `feedback`."""
    key: str
    """Deduplication key: the prediction's id, or (prediction_id, item_id, event)."""
    at: datetime
    payload: bytes
    """MessagePack map, by the writer's schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far one consumer has read; opaque text per partition."""

    consumer: str
    positions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records in order per partition, and the cursor to commit once they took effect."""

    records: tuple[Record, ...]
    cursor: Cursor
    gaps: int = 0
    """Records known to be lost: a torn or damaged frame was skipped."""


class EventStream(Protocol):
    """Durable log of predictions and feedback, at least once."""

    def append(self, records: Sequence[Record]) -> None:
        """Write all records; they survive the death of this process when it returns.

        Raises:
            BackendError: They could not be written (the caller counts the gap and goes on).
        """
        ...

    def read(self, cursor: Cursor, limit: int = 10_000) -> Batch:
        """Return records after the cursor; an empty batch when there are none."""
        ...

    def committed(self, consumer: str) -> Cursor:
        """Return the consumer's committed cursor; the beginning when it has none."""
        ...

    def commit(self, cursor: Cursor) -> None:
        """Remember that everything up to the cursor took effect."""
        ...


class Launcher(Protocol):
    """Starts processes that outlive the caller."""

    def start(self, spec: ProcessSpec) -> ProcessState:
        """Start the process, or return the one that runs under this id and digest.

        One with `handover` takes over from the one that runs under another digest; that one
        ends itself, or with the next `stop` of the id.

        Raises:
            BackendError: It could not be started, or another digest runs under its id; no new
                process and no port is left.
        """
        ...

    def stop(self, id: str, *, grace_s: float = 5.0) -> None:  # noqa: A002
        """End the process, its group and its record; unknown ids are no error."""
        ...

    def state(self) -> tuple[ProcessState, ...]:
        """Return every recorded process, adopted ones included, sorted by id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something to tell a person or a system."""

    channel: str
    to: str
    subject: str
    body: str


class Notifier(Protocol):
    """Sends messages; the key makes a repeated send one message."""

    def send(self, message: Message, key: str) -> None:
        """Send once per key.

        Raises:
            BackendError: It was not taken; the same key may be sent again.
        """
        ...


class LineageTarget(Protocol):
    """Whoever is told of our runs, in OpenLineage's words."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Send one event; the same one may be sent again.

        Raises:
            ManifestError: The target will never take this event.
            BackendError: It was not taken; the event may be sent again.
        """
        ...

    def close(self) -> None:
        """Send what is under way, for a short time, and let go of the connections."""
        ...


class Secrets(Protocol):
    """Turns `secret://env/NAME` or `secret://file/PATH` into the secret, at use."""

    def resolve(self, ref: str) -> str:
        """Return the secret's text; never stored, never logged.

        Raises:
            NotFoundError: There is no such secret.
        """
        ...


class Ids(Protocol):
    """Where new ids come from."""

    def new_id(self) -> str:
        """Return a UUIDv7 as text; later ids sort after earlier ones."""
        ...


class Files(Protocol):
    """Small files of the instance, by path relative to its home."""

    def read(self, path: str) -> bytes | None:
        """Return the content, or None when there is no such file."""
        ...

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Replace the file atomically and durably (write beside, fsync, rename)."""
        ...

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the paths of the files in a folder, sorted; empty when it is not there."""
        ...

    def remove(self, path: str) -> None:
        """Remove the file; a missing one is no error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer; status 0 when there was none (refused, reset, late)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Network(Protocol):
    """Outgoing HTTP."""

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        timeout_s: float = 5.0,
    ) -> Reply:
        """Return the answer; a failed connection is status 0, not an error."""
        ...


class Provider(Protocol):
    """Knows one source of truth, and tells the state of its things."""

    def types(self) -> tuple[str, ...]:
        """Return the types of things that thin events may name, sorted."""
        ...

    def tell(self, thing: Thing) -> tuple[Told, ...]:
        """Return the thing's present state, and that of what changes together with it.

        A thing that the source does not have is told as gone. A type that `types` does not
        have is a ValueError.

        Raises:
            BackendError: The source does not answer, or answers what nobody understands.
        """
        ...

    def tell_all(self) -> Iterator[Told]:
        """Yield the state of everything, in the source's pages.

        Raises:
            BackendError: As in `tell`; what was yielded before stands.
        """
        ...


class EnrichmentQueue(Protocol):
    """Which things were asked for, and what became of each; one row a thing."""

    def ask(self, provider: str, things: Sequence[Thing], at: datetime) -> None:
        """Make the things due; durable when it returns. One that is due already stays one.

        Raises:
            BackendError: It could not be written; none of the call is remembered.
        """
        ...

    def due(self, provider: str, at: datetime, limit: int) -> tuple[Enrichment, ...]:
        """Return what is due at the time, the longest due first."""
        ...

    def settle(self, outcomes: Sequence[Enrichment]) -> None:
        """Write what became of things; one that was asked for again meanwhile stays due."""
        ...

    def standings(
        self, provider: str = "", state: str = "", limit: int = 100
    ) -> tuple[tuple[EnrichmentCounts, ...], tuple[Enrichment, ...]]:
        """Return counts by provider, and things in that state, sorted by provider and thing.

        Empty texts stand for every provider and state; the counts are of every state.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """A recommender of one's own: what mlg needs to train, ship and serve it."""

    @classmethod
    def fit(cls, training: Training) -> Self:
        """Return a model fitted to the tables; equal tables and seed give equal models."""
        ...

    def recommend(self, query: Query) -> Ranked:
        """Return at most `query.k` items, best first, without those already seen."""
        ...

    def save(self, folder: Path) -> None:
        """Write the artifact (no pickle) into an empty folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, checking it; raises BackendError when it is damaged."""
        ...
