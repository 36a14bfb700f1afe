"""Models that carry a viewer: in their table of viewers, or in a recorded request.

An artifact is named by its digest and signed, so it is never changed: one that serves is
listed for retraining and goes once it serves no more; others go at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from mlg.core.nodes import Node
from mlg.core.ports import ArtifactStore, Files, GraphReader, GraphStore
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, node
from mlg.graph.record_privacy import erasure_performed
from mlg.recsys.carried import carries
from mlg.workflows.packaged import read_packaged
from mlg.workflows.record import append_once
from mlg.workflows.rollouts import in_flight, read_rollout, read_swaps
from mlg.workflows.state import read_wanted

WAITING: Final = "erasures/models/waiting.json"
_PAGE: Final = 10_000


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """One model version, or an artifact that a step left, with something of the viewer."""

    uri: Uri
    artifacts: tuple[Digest, ...]
    """The model and its image."""
    carries: bool
    """Whether the artifact names him; else it only learned from tables that did."""
    trained: bool
    """Whether it was trained on a table with his rows."""
    serves: bool
    """Whether it serves, may soon, or is the way back."""
    named: bool = True
    """Whether `uri` is the model's own; else the step's that left the artifact."""


class _Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A model that goes once it serves no more."""

    erasure: str
    uri: Uri
    artifacts: tuple[Digest, ...]


class Carriers:
    """Finds the models that carry a viewer, and removes them when that is possible.

    Args:
        files: What serves, and what waits.
        artifacts: Where the models are.
        store: The event log.
        reader: Which models there are.
        recorder: Makes events.
        services: Every service that may serve something.
        forget: Removes what was built of a version's image.
    """

    def __init__(
        self,
        *,
        files: Files,
        artifacts: ArtifactStore,
        store: GraphStore,
        reader: GraphReader,
        recorder: Callable[[], Recorder],
        services: Callable[[], Iterable[str]],
        forget: Callable[[str], None] = lambda _version: None,
    ) -> None:
        self._forget = forget
        self._files, self._artifacts, self._store = files, artifacts, store
        self._reader, self._recorder, self._services = reader, recorder, services

    def of(self, viewer: str, tables: Sequence[Uri]) -> tuple[Carrier, ...]:
        """Return the models that name the viewer or learned from these tables.

        Raises:
            LifecycleError: An artifact or the graph cannot be read.
        """
        trained = {
            edge.dst
            for uri in tables
            for edge in self._reader.walk(
                uri, "down", WalkOptions(depth=1, roles=("trained_on",))
            ).edges
        }
        models, held = self._nodes("model_version"), self._held()
        found: list[Carrier] = []
        for model in models:
            digest = Digest(model.digest or "")
            there = self._carries(digest, viewer)
            if there or model.uri in trained:
                packaged = read_packaged(self._files, digest[:12])
                image = packaged.image_artifact if packaged else None
                found.append(
                    Carrier(
                        uri=model.uri,
                        artifacts=(digest, image) if image else (digest,),
                        carries=there,
                        trained=model.uri in trained,
                        serves=there and digest[:12] in held,
                    )
                )
        known = {Digest(model.digest or "") for model in models}
        for step in self._nodes("step"):
            digest = Digest(str(dict(step.attrs).get("artifact") or ""))
            if digest not in known and self._carries(digest, viewer):
                found.append(
                    Carrier(
                        uri=step.uri,
                        artifacts=(digest,),
                        carries=True,
                        trained=False,
                        serves=False,
                        named=False,
                    )
                )
            known.add(digest)
        return tuple(found)

    def take(self, erasure: str, carriers: Sequence[Carrier]) -> None:
        """Remove those that do not serve, and remember the others until they do not."""
        waiting = {one.uri: one for one in self._waiting()}
        for carrier in carriers:
            if carrier.serves:
                waiting[carrier.uri] = _Waiting(
                    erasure=erasure, uri=carrier.uri, artifacts=carrier.artifacts
                )
            elif carrier.carries:
                self._forget(carrier.artifacts[0][:12])
                for digest in carrier.artifacts:
                    self._artifacts.remove(digest)
        if len(waiting) > 0:
            self._files.write(WAITING, msgspec.json.encode(list(waiting.values())))

    def retire(self) -> int:
        """Remove what waited and serves no more; return how many models that were.

        Raises:
            LifecycleError: A file or the event log failed; it is tried again.
        """
        waiting = self._waiting()
        if not waiting:
            return 0
        held = self._held()
        gone = [one for one in waiting if one.artifacts[0][:12] not in held]
        for one in gone:
            self._forget(one.artifacts[0][:12])
            for digest in one.artifacts:
                self._artifacts.remove(digest)
            recorder = self._recorder()
            event = erasure_performed(
                recorder,
                key=f"erasure:{one.erasure}:{one.uri}",
                subject=one.uri,
                nodes=[node(one.uri, {"erased": True, "needs_retraining": False}, ended=True)],
                facts={"erasure": one.erasure, "models_removed": 1},
            )
            append_once(self._store, (event,))
        left = [one for one in waiting if one not in gone]
        self._files.write(WAITING, msgspec.json.encode(left))
        return len(gone)

    def _waiting(self) -> list[_Waiting]:
        content = self._files.read(WAITING)
        return [] if content is None else msgspec.json.decode(content, type=list[_Waiting])

    def _carries(self, digest: Digest, viewer: str) -> bool:
        if len(digest) != 64 or not self._artifacts.has(digest):
            return False
        folder = self._artifacts.open(digest)
        return folder.is_dir() and carries(folder, viewer)

    def _held(self) -> set[str]:
        """Return the versions that serve, may soon, or that a rollback brings back."""
        held: set[str] = set()
        for service in self._services():
            wanted = read_wanted(self._files, service)
            held |= {one.artifact[:12] for one in wanted.versions}
            stable = wanted.stable
            swaps, there = read_swaps(self._files, service), self._artifacts.has
            former = swaps.former(stable.version, there) if stable else None
            held |= {former.artifact[:12]} if former else set()
            rollout = read_rollout(self._files, service)
            if rollout is not None and in_flight(self._files, service):
                held |= {str(rollout.get("candidate"))[:12], str(rollout.get("stable"))[:12]}
        newest: dict[str, Node] = {}
        for model in self._nodes("model_version"):
            name = model.name.partition("@")[0]
            if name not in newest or model.valid_from > newest[name].valid_from:
                newest[name] = model
        return held | {(model.digest or "")[:12] for model in newest.values()}

    def _nodes(self, kind: str) -> list[Node]:
        nodes: list[Node] = []
        cursor: str | None = None
        while True:
            page = self._reader.nodes(NodeQuery(kinds=(kind,), limit=_PAGE, cursor=cursor))
            nodes += [found for found in page.nodes if found.valid_to is None]
            cursor = page.cursor
            if cursor is None:
                return nodes
