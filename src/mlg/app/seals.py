"""Seals predictions: from segment files to a Parquet file under one Merkle root.

The order makes it exact across crashes: store the file, then write `seals/<service>.json`
(the commit, by rename), then the event, whose key is the root. A crash before the commit
leaves only an unused artifact; after it, the next round tells the event again.
"""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlg.adapters import seal_parquet
from mlg.adapters.seal_parquet import SealedRow
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.clock import parse_time
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import ArtifactStore, Cursor, Files, GraphStore
from mlg.core.uris import Digest, Uri
from mlg.graph import record_services
from mlg.graph.record import Recorder, deployment_uri, segment_uri
from mlg.serving.log import decode_prediction

_BATCH = 100_000


class SealedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed file of predictions."""

    service: str
    root: str
    digest: Digest
    rows: int
    first_id: str
    last_id: str
    first_at: str
    last_at: str
    versions: tuple[str, ...]
    policies: tuple[str, ...]


class _Seals(msgspec.Struct, kw_only=True):
    cursor: Cursor
    segments: list[SealedSegment] = []


class Seals:
    """Seals what was not yet sealed, and finds predictions in what was.

    Args:
        home: The instance's folder.
        files: Keeps which segments are sealed.
        artifacts: Keeps the sealed files.
        store: The event log.
        recorder: Makes events.
        deployment: Gives the newest deployment id of a service's version, or "".
    """

    def __init__(
        self,
        home: Path,
        files: Files,
        artifacts: ArtifactStore,
        store: GraphStore,
        recorder: Callable[[], Recorder],
        deployment: Callable[[str, str], str],
    ) -> None:
        self._home, self._files, self._artifacts = home, files, artifacts
        self._store, self._recorder, self._deployment = store, recorder, deployment
        self._lock = threading.Lock()

    def seal(self, service: str) -> int:
        """Seal everything that the service has logged until now; return the new rows."""
        with self._lock:
            seals = self._read(service)
            if seals.segments:
                self._tell(seals.segments[-1])
            stream = SegmentStream(self._home / "segments" / service)
            sealed = 0
            while True:
                batch = stream.read(seals.cursor, _BATCH)
                rows = [
                    decode_prediction(r.payload)
                    for r in batch.records
                    if r.kind == "prediction"
                ]
                if batch.cursor == seals.cursor:
                    return sealed
                segments = seals.segments
                if rows:
                    segments = [*segments, self._write(service, rows)]
                seals = _Seals(cursor=batch.cursor, segments=segments)
                self._files.write(_path(service), msgspec.json.encode(seals))
                if rows:
                    self._tell(segments[-1])
                    sealed += len(rows)

    def find(
        self, services: tuple[str, ...], prediction_id: str
    ) -> tuple[SealedSegment, SealedRow]:
        """Return the sealed row of a prediction and its segment, sealing only if needed.

        Raises:
            NotFoundError: No service logged such a prediction.
        """
        for first in (False, True):
            for service in services:
                if first:
                    self.seal(service)
                for segment in reversed(self._read(service).segments):
                    if segment.first_id <= prediction_id <= segment.last_id:
                        try:
                            path = self._artifacts.open(segment.digest)
                            return segment, seal_parquet.find(path, prediction_id)
                        except NotFoundError:
                            continue
        raise NotFoundError(
            f"no prediction {prediction_id}",
            where="segments",
            hint="prediction_id is in every answer and in the mlg-prediction-id header.",
        )

    def uri(self, segment: SealedSegment) -> Uri:
        """Return the graph's name of a sealed segment."""
        return segment_uri(self._recorder(), segment.service, segment.root)

    def _write(self, service: str, rows: list[dict[str, Any]]) -> SealedSegment:
        with tempfile.TemporaryDirectory(prefix="seal-", dir=self._home) as folder:
            seal = seal_parquet.seal(rows, Path(folder))
            digest = self._artifacts.put(seal.path)
        ids = [str(row["prediction_id"]) for row in rows]
        times = sorted(str(row["at"]) for row in rows)
        return SealedSegment(
            service=service,
            root=seal.root,
            digest=digest,
            rows=seal.count,
            first_id=min(ids),
            last_id=max(ids),
            first_at=times[0],
            last_at=times[-1],
            versions=tuple(sorted({str(row["model_version"] or "") for row in rows} - {""})),
            policies=tuple(sorted({str(row["policy"] or "") for row in rows} - {""})),
        )

    def _tell(self, segment: SealedSegment) -> None:
        recorder = self._recorder()
        deployments = [
            deployment_uri(recorder, segment.service, found)
            for version in segment.versions
            if (found := self._deployment(segment.service, version))
        ]
        event = record_services.segment_sealed(
            recorder,
            key=f"seal:{segment.service}:{segment.root}",
            service=segment.service,
            root=segment.root,
            digest=segment.digest,
            rows=segment.rows,
            location=f"artifacts/{segment.digest}",
            first_at=parse_time(segment.first_at),
            last_at=parse_time(segment.last_at),
            deployments=deployments,
        )
        self._store.append((event,))

    def _read(self, service: str) -> _Seals:
        content = self._files.read(_path(service))
        if content is None:
            return _Seals(cursor=Cursor(consumer="seal"))
        try:
            return msgspec.json.decode(content, type=_Seals)
        except msgspec.MsgspecError as error:
            raise BackendError(
                f"cannot be read: {error}",
                where=_path(service),
                hint="restore it from a backup.",
            ) from error


def _path(service: str) -> str:
    return f"seals/{service}.json"
