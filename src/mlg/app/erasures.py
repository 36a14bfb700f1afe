"""Erases one viewer: his answers, his rows in stored tables, and models that carry him.

What is there is looked for first and written down (`erasures/<id>.json`, for this user only);
each step can be done twice; the event comes last and then the file goes. So an erasure that
was begun is finished by the next start, and told once. The file is the only place that names
the viewer, and only until then.
"""

import hmac
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.seal_parquet import viewer_rows
from mlg.adapters.segment_erase import Place, erase_places, viewer_places
from mlg.app.carriers import Carrier, Carriers
from mlg.app.seals import Seals
from mlg.core.errors import ManifestError, NotFoundError
from mlg.core.nodes import Attr, Node
from mlg.core.ports import ArtifactStore, Files, GraphReader, GraphStore
from mlg.core.reading import NodeQuery
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, node
from mlg.graph.record_privacy import erasure_performed, segment_fact, snapshot_redacted
from mlg.manifest.personal import viewer_columns
from mlg.manifest.specs import ManifestSpec
from mlg.pipeline.redact import columns_there, rows_of_viewer, write_without
from mlg.pipeline.snapshot import content_digest
from mlg.serving.log import hashed
from mlg.workflows.record import append_once

FOLDER: Final = "erasures"
_ROUNDS: Final = 3
_SNAPSHOTS: Final = ("dataset_version", "feature_snapshot")
_PAGE: Final = 10_000


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One stored table with rows of the viewer."""

    uri: Uri
    digest: Digest
    columns: tuple[str, ...]
    rows: int


class Found(msgspec.Struct, kw_only=True):
    """What there is of one viewer."""

    log: dict[str, list[Place]] = {}
    """Frames of the log by service."""
    sealed: dict[str, dict[str, int]] = {}
    """Rows by service and Merkle root."""
    tables: list[Table] = []
    carriers: list[Carrier] = []
    bundles: list[str] = []
    not_searched: list[str] = []
    """Tables that a pipeline made and in which no column is known to name viewers."""
    sources: list[str] = []
    """Where tables with viewers are read from: a source that still has him brings him back."""

    def add(self, other: "Found") -> bool:
        """Take what another search found besides; return whether there was anything."""
        new = bool(other.log or other.sealed or other.tables or other.bundles)
        for service, places in other.log.items():
            self.log[service] = [*dict.fromkeys([*self.log.get(service, []), *places])]
        for service, roots in other.sealed.items():
            mine = self.sealed.setdefault(service, {})
            for root, rows in roots.items():
                mine[root] = mine.get(root, 0) + rows
        known = {table.uri for table in self.tables}
        self.tables += [table for table in other.tables if table.uri not in known]
        carried = {carrier.uri for carrier in self.carriers}
        self.carriers += [one for one in other.carriers if one.uri not in carried]
        self.bundles = [*dict.fromkeys([*self.bundles, *other.bundles])]
        return new


class _Erasure(msgspec.Struct, kw_only=True):
    """One erasure that was begun."""

    id: str
    viewer: str
    service: str
    """Empty: everything."""
    reason: str
    actor: str
    found: Found


class Erasures:
    """Erases viewers, one at a time.

    Args:
        home: The instance's folder.
        files: Keeps what was begun.
        seals: The sealed predictions and the log's files.
        artifacts: Stored tables and models.
        store: The event log.
        reader: Which tables and models there are.
        recorder: Makes events in the name of an actor.
        spec: The manifest in force.
        key: Gives the key under which viewers are logged.
        forget: Tells those who remember the log by viewer to forget one hash.
        carriers: Models that carry viewers.
    """

    def __init__(
        self,
        *,
        home: Path,
        files: Files,
        seals: Seals,
        artifacts: ArtifactStore,
        store: GraphStore,
        reader: GraphReader,
        recorder: Callable[[str], Recorder],
        spec: Callable[[], ManifestSpec | None],
        key: Callable[[], bytes],
        forget: Callable[[str], None],
        carriers: Carriers,
    ) -> None:
        self._home, self._files, self._seals, self._artifacts = home, files, seals, artifacts
        self._store, self._reader, self._recorder = store, reader, recorder
        self._spec, self._key, self._forget = spec, key, forget
        self._carriers = carriers
        self._lock = threading.Lock()

    def erase(
        self, viewer: str, service: str, reason: str, actor: str, *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Erase a viewer and return the counts; of a dry run, what would be erased.

        Args:
            viewer: His id, as text.
            service: Only his answers by this service; empty: everything there is of him.
            reason: Why; kept on the graph, so it must not name him.
            actor: Who asks.
            dry_run: Only look.

        Raises:
            NotFoundError: There is no such service.
            ManifestError: The viewer is empty, or the reason names him.
            LifecycleError: A file or a store failed; what was begun goes on at the next start.
        """
        if not viewer.strip():
            raise ManifestError("expected the id of a viewer, got nothing", where="viewer")
        if viewer in reason.split():
            raise ManifestError(
                "the reason names the viewer, and the graph keeps it for good",
                where="reason",
                hint="name the request instead, like 'ticket 4711'.",
            )
        if service and service not in self._known():
            raise NotFoundError(
                f"no service {service!r}", where="service", hint=", ".join(self._known())
            )
        with self._lock:
            recorder = self._recorder(actor)
            erasure = _Erasure(
                id=recorder.ids.new_id(),
                viewer=viewer,
                service=service,
                reason=reason,
                actor=actor,
                found=self._look(viewer, service),
            )
            if dry_run:
                return {"erasure": None, "dry_run": True, **self._counts(erasure)}
            self._keep(erasure)
            return self._perform(erasure)

    def resume(self) -> int:
        """Finish the erasures that were begun; return their number.

        Raises:
            LifecycleError: One could not be finished; it stays begun.
        """
        with self._lock:
            self._sweep()
            begun = [p for p in self._files.list(FOLDER) if p.endswith(".json")]
            for path in begun:
                content = self._files.read(path)
                if content is not None:
                    self._perform(msgspec.json.decode(content, type=_Erasure))
            self._carriers.retire()
            return len(begun)

    def _sweep(self) -> None:
        """Remove what a killed process was writing."""
        for left in self._home.glob("erase-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in (self._home / FOLDER).glob(".*.new"):
            left.unlink(missing_ok=True)

    def _known(self) -> tuple[str, ...]:
        spec = self._spec()
        return tuple(sorted({*(spec.services if spec else ()), *self._seals.services()}))

    def _keep(self, erasure: _Erasure) -> None:
        content = msgspec.json.encode(erasure)
        self._files.write(f"{FOLDER}/{erasure.id}.json", content, mode=0o600)

    def _perform(self, erasure: _Erasure) -> dict[str, Any]:
        """Do what was found, look again for what came meanwhile, and tell."""
        for _ in range(_ROUNDS):
            self._do(erasure)
            more = self._look(erasure.viewer, erasure.service)
            if not erasure.found.add(more):
                break
            self._keep(erasure)
        counts = self._counts(erasure)
        append_once(self._store, (self._event(erasure, counts),))
        self._files.remove(f"{FOLDER}/{erasure.id}.json")
        return {"erasure": erasure.id, "dry_run": False, **counts}

    def _do(self, erasure: _Erasure) -> None:
        found, viewer = erasure.found, self._hash(erasure.viewer)
        for service in sorted({*found.log, *found.sealed}):
            with self._seals.held:
                places = found.log.get(service, [])
                erase_places(self._seals.folder(service), places, viewer)
                self._seals.erase(service, found.sealed.get(service, {}), viewer)
        self._forget(viewer)
        for table in found.tables:
            self._redact(erasure, table)
        for name in found.bundles:
            (self._home / "bundles" / name).unlink(missing_ok=True)
        self._carriers.take(erasure.id, found.carriers)

    def _redact(self, erasure: _Erasure, table: Table) -> None:
        """Put a table without the viewer in the place of one with him."""
        if not self._artifacts.has(table.digest):
            return  # done before
        page = self._reader.nodes(NodeQuery(uri=table.uri))
        old = self._artifacts.open(table.digest)
        with tempfile.TemporaryDirectory(prefix="erase-", dir=self._home) as folder:
            path = Path(folder) / "table.parquet"
            rows = write_without(old, table.columns, erasure.viewer, path)
            digest, content = self._artifacts.put(path), content_digest(path)
        event = snapshot_redacted(
            self._recorder(erasure.actor),
            key=f"erasure:{erasure.id}:{table.digest}",
            old=page.nodes[0],
            digest=digest,
            content_digest=content,
            rows=rows,
        )
        append_once(self._store, (event,))
        self._artifacts.remove(table.digest)

    def _look(self, viewer: str, service: str) -> Found:
        found = Found()
        name = self._hash(viewer)
        for one in (service,) if service else self._seals.services():
            self._look_in_log(found, one, name)
        if not service:
            self._look_in_tables(found, viewer)
            found.carriers = list(self._carriers.of(viewer, [t.uri for t in found.tables]))
            found.bundles = self._bundles(name)
        return found

    def _look_in_log(self, found: Found, service: str, name: str) -> None:
        ids: set[str] = set()
        for segment in self._seals.segments(service):
            if segment.erased == segment.rows:
                continue
            with self._seals.held:  # retention may be replacing the file
                rows = viewer_rows(self._seals.path(self._seals.newest(segment)), name)
            ids.update(rows)
            if rows:
                found.sealed.setdefault(service, {})[segment.root] = len(rows)
        places, _ = viewer_places(self._seals.folder(service), name, ids)
        if places:
            found.log[service] = places

    def _look_in_tables(self, found: Found, viewer: str) -> None:
        spec = self._spec()
        columns = viewer_columns(spec) if spec else {}
        declared = spec.datasets if spec else {}
        found.sources = sorted(d.source.uri for n, d in declared.items() if n in columns)
        silent: set[str] = set()
        for snapshot in self._snapshots():
            dataset = str(dict(snapshot.attrs).get("dataset"))
            digest = Digest(snapshot.digest or "")
            if not self._artifacts.has(digest):
                continue
            path = self._artifacts.open(digest)
            there = columns_there(path, columns.get(dataset, ()))
            if not there and dataset not in declared:
                silent.add(dataset)
            rows = rows_of_viewer(path, there, viewer) if there else 0
            if rows:
                found.tables.append(
                    Table(uri=snapshot.uri, digest=digest, columns=there, rows=rows)
                )
        found.not_searched = sorted(silent)

    def _snapshots(self) -> list[Node]:
        nodes: list[Node] = []
        cursor: str | None = None
        while True:
            query = NodeQuery(kinds=_SNAPSHOTS, limit=_PAGE, cursor=cursor)
            page = self._reader.nodes(query)
            nodes += [n for n in page.nodes if n.valid_to is None and len(n.digest or "") == 64]
            cursor = page.cursor
            if cursor is None:
                return nodes

    def _bundles(self, name: str) -> list[str]:
        """Return the exported bundles in the home that hold the viewer's answer."""
        folder = self._home / "bundles"
        paths = sorted(p for p in folder.glob("*.zip") if name.encode() in p.read_bytes())
        return [path.name for path in paths]

    def _hash(self, viewer: str) -> str:
        return hashed(self._key(), viewer) or ""

    def _counts(self, erasure: _Erasure) -> dict[str, Any]:
        found = erasure.found
        return {
            "service": erasure.service or None,
            "log_records": sum(map(len, found.log.values())),
            "sealed_rows": sum(sum(roots.values()) for roots in found.sealed.values()),
            "segments": sum(map(len, found.sealed.values())),
            "tables": [{"uri": t.uri, "rows": t.rows} for t in found.tables],
            "bundles": len(found.bundles),
            "models_removed": [c.uri for c in found.carriers if c.carries and not c.serves],
            "models_needing_retraining": [c.uri for c in found.carriers if c.serves],
            "models_trained_on_it": [c.uri for c in found.carriers if c.trained],
            "not_searched": found.not_searched,
            "sources": found.sources,
        }

    def _event(self, erasure: _Erasure, counts: Mapping[str, Any]) -> Any:
        recorder, found = self._recorder(erasure.actor), erasure.found
        segments = [
            segment_fact(recorder, service, s.root, s.digest, s.erased)
            for service, roots in sorted(found.sealed.items())
            for s in self._seals.segments(service)
            if s.root in roots
        ]
        models = [
            node(c.uri, {"needs_retraining": True})
            if c.serves or not c.carries
            else node(c.uri, {"erased": True, "needs_retraining": False}, ended=True)
            for c in found.carriers
            if c.named
        ]
        tag = hmac.digest(self._key(), f"mlg.erasure\0{erasure.viewer}".encode(), "sha256")
        facts: dict[str, Attr] = {
            name: json.dumps(value) if isinstance(value, list) else value
            for name, value in counts.items()
        }
        facts |= {
            "erasure": erasure.id,
            "reason": erasure.reason,
            "viewer_tag": tag.hex(),
            "table_rows": sum(table.rows for table in found.tables),
        }
        subject = (
            recorder.uri("service", erasure.service)
            if erasure.service
            else recorder.uri("actor", recorder.actor)
        )
        return erasure_performed(
            recorder,
            key=f"erasure:{erasure.id}",
            subject=subject,
            facts=facts,
            nodes=(*segments, *models),
        )
