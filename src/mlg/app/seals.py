"""Seals predictions: from segment files to Parquet files, each under one Merkle root.

The order makes it exact across crashes: name the file in `seals/<service>.intent.json`, store
it, write `seals/<service>.json` (the commit, by rename), then the event, whose key is the
root. What a crash left is put right by `recover`: a file that was named and never committed
goes, an event that was not told is told.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters import seal_parquet
from mlg.adapters.seal_parquet import SealedRow
from mlg.adapters.segment_frames import find_record
from mlg.adapters.stream_segments import SegmentStream, segment_paths
from mlg.app.sealed import SealedSegment, hourly, rows_of, segment_of
from mlg.core.clock import parse_time
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import ArtifactStore, Cursor, Files, GraphStore, Record
from mlg.core.uris import Digest, Uri
from mlg.graph import record_services
from mlg.graph.record import Recorder, deployment_uri, segment_uri
from mlg.serving.log import decode_prediction
from mlg.workflows.record import append_once

LATE: Final = timedelta(minutes=1)
"""An hour closes so long after its end, for answers that were on their way."""

_ROWS: Final = 20_000
_BREATH_S: Final = 0.001
"""Between two batches, so that a question which waits comes first."""
_HINT: Final = "prediction_id is in every answer and in the mlg-prediction-id header."


class _Seals(msgspec.Struct, frozen=True, kw_only=True):
    cursor: Cursor
    segments: tuple[SealedSegment, ...] = ()
    fresh: int = 0
    """How many of the newest segments the graph may not know yet."""


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
        self._kept: dict[str, _Seals] = {}
        self._told: dict[str, int] = {}
        self.held = threading.RLock()
        """Whoever has it is alone with the sealed files and may change the log's."""

    def services(self) -> tuple[str, ...]:
        """Return every service that has logged anything, retired ones included."""
        folder = self._home / "segments"
        return tuple(sorted(p.name for p in folder.glob("*") if p.is_dir()))

    def folder(self, service: str) -> Path:
        """Return where the service's log files lie."""
        return self._home / "segments" / service

    def recover(self) -> None:
        """Put right what a killed process left: unknown files, and events not told."""
        with self.held:
            for left in self._home.glob("seal-*"):
                shutil.rmtree(left, ignore_errors=True)
            for service in self.services():
                self._settle(service)
                self._tell(service)

    def seal_closed(self, service: str, now: datetime) -> int:
        """Seal the hours, of event time, that are over; return the new rows.

        Of each log file the answers before its first one of an open hour are taken; what lies
        behind that one waits, and what comes late for an hour makes a segment of its own.
        """
        hour = (now - LATE).replace(minute=0, second=0, microsecond=0)
        return self._seal(service, lambda _, record: record.at >= hour)

    def seal(self, service: str) -> int:
        """Seal all that the service has logged until now, for an account of it; as above."""
        return self._seal(service, lambda _file, _record: False)

    def find(
        self, services: Sequence[str], prediction_id: str
    ) -> tuple[SealedSegment, SealedRow]:
        """Return the sealed row of a prediction and its segment.

        One that is not sealed yet is sealed with what its log file holds before it, no more.

        Raises:
            NotFoundError: No service logged such a prediction.
        """
        for service in services:
            if found := self._sealed(service, prediction_id):
                return found
        for service in services:
            with self.held:
                if place := self._logged(service, prediction_id):
                    self._seal(service, _through(place[0], prediction_id))
                if found := self._sealed(service, prediction_id):
                    return found
        raise NotFoundError(f"no prediction {prediction_id}", where="segments", hint=_HINT)

    def read(
        self, services: Sequence[str], prediction_id: str
    ) -> tuple[SealedSegment | None, dict[str, Any]]:
        """Return what was logged of a prediction, sealed or not; nothing is sealed for it.

        Returns:
            Its segment, if sealed, and its fields; no fields when it was erased.

        Raises:
            NotFoundError: No service logged such a prediction.
        """
        for service in services:
            if found := self._sealed(service, prediction_id):
                return found[0], seal_parquet.decoded(found[1])
        for service in services:
            if place := self._logged(service, prediction_id):
                return None, decode_prediction(place[1].payload)
        raise NotFoundError(f"no prediction {prediction_id}", where="segments", hint=_HINT)

    def uri(self, segment: SealedSegment) -> Uri:
        """Return the graph's name of a sealed segment."""
        return segment_uri(self._recorder(), segment.service, segment.root)

    def segments(self, service: str) -> tuple[SealedSegment, ...]:
        """Return the sealed segments, oldest first."""
        return self._read(service).segments

    def cursor(self, service: str) -> Cursor:
        """Return how far the service's log is sealed."""
        return self._read(service).cursor

    def path(self, segment: SealedSegment) -> Path:
        """Return a segment's file."""
        return self._artifacts.open(segment.digest)

    def newest(self, segment: SealedSegment) -> SealedSegment:
        """Return a segment as it is now: an erasure gives it another file."""
        segments = self._read(segment.service).segments
        return next(found for found in segments if found.root == segment.root)

    def erase(self, service: str, roots: Iterable[str], viewer: str | None) -> None:
        """Take a viewer's rows out of sealed segments, or all rows; the leaves stay.

        Doing it again changes nothing. The event is the caller's.

        Raises:
            BackendError: A file cannot be read or written; segments before it are done.
        """
        with self.held:
            self._settle(service)
            for root in roots:
                seals = self._read(service)
                old = next(found for found in seals.segments if found.root == root)
                with tempfile.TemporaryDirectory(prefix="seal-", dir=self._home) as folder:
                    path = self._artifacts.open(old.digest)
                    seal, erased = seal_parquet.erase(path, Path(folder), viewer)
                    if erased == old.erased:
                        continue
                    self._intend(service, [seal.digest, old.digest])
                    self._artifacts.put(seal.path)
                new = msgspec.structs.replace(old, digest=seal.digest, erased=erased)
                segments = tuple(new if s is old else s for s in seals.segments)
                self._commit(service, msgspec.structs.replace(seals, segments=segments))
                self._artifacts.remove(old.digest)

    def _seal(self, service: str, until: Callable[[str, Record], bool]) -> int:
        stream, sealed = SegmentStream(self.folder(service)), 0
        while True:
            with self.held:
                seals = self._read(service)
                batch = stream.read(seals.cursor, _ROWS, until=until)
                if batch.cursor == seals.cursor:
                    self._tell(service)
                    return sealed
                rows = rows_of(batch.records)
                made = self._write(service, hourly(rows)) if rows else ()
                segments = (*seals.segments, *made)
                fresh = len(segments) - self._told[service]
                self._commit(
                    service, _Seals(cursor=batch.cursor, segments=segments, fresh=fresh)
                )
                self._tell(service)
                sealed += len(rows)
            time.sleep(_BREATH_S)

    def _sealed(
        self, service: str, prediction_id: str
    ) -> tuple[SealedSegment, SealedRow] | None:
        while True:
            seals = self._read(service)
            for segment in reversed(seals.segments):
                if segment.first_id <= prediction_id <= segment.last_id:
                    try:
                        return segment, seal_parquet.find(self.path(segment), prediction_id)
                    except NotFoundError:
                        continue
                    except BackendError:
                        if self._read(service) is seals:
                            raise
            if self._read(service) is seals:
                return None
            # an erasure replaced a file meanwhile

    def _logged(self, service: str, prediction_id: str) -> tuple[str, Record] | None:
        """Return the file and the record of a prediction that is not sealed yet."""
        sealed = dict(self._read(service).cursor.positions)
        for path in reversed(segment_paths(self.folder(service))):
            try:
                with path.open("rb") as file:
                    file.seek(sealed.get(path.name, 0))
                    data = file.read()
            except OSError:
                continue
            if found := find_record(data, 0, "prediction", prediction_id):
                return path.name, found
        return None

    def _write(
        self, service: str, groups: Sequence[Sequence[dict[str, Any]]]
    ) -> tuple[SealedSegment, ...]:
        with tempfile.TemporaryDirectory(prefix="seal-", dir=self._home) as folder:
            seals = [
                seal_parquet.seal(rows, Path(folder) / str(number))
                for number, rows in enumerate(groups)
            ]
            self._intend(service, [seal.digest for seal in seals])
            for seal in seals:
                self._artifacts.put(seal.path)
        return tuple(
            segment_of(service, seal, rows) for seal, rows in zip(seals, groups, strict=True)
        )

    def _tell(self, service: str) -> None:
        """Record the segments that the graph may not know yet."""
        segments = self._read(service).segments
        for segment in segments[self._told[service] :]:
            self._tell_of(segment)
            self._told[service] += 1

    def _tell_of(self, segment: SealedSegment) -> None:
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
            policies=[
                recorder.uri("policy", segment.service, policy) for policy in segment.policies
            ],
        )
        append_once(self._store, (event,))

    def _intend(self, service: str, digests: Sequence[Digest]) -> None:
        """Name files that may be there for nothing if this process is killed now."""
        self._files.write(_intent(service), msgspec.json.encode(digests))

    def _settle(self, service: str) -> None:
        content = self._files.read(_intent(service))
        if content is None:
            return
        known = {segment.digest for segment in self._read(service).segments}
        for digest in msgspec.json.decode(content, type=list[Digest]):
            if digest not in known:
                self._artifacts.remove(digest)
        self._files.remove(_intent(service))

    def _commit(self, service: str, seals: _Seals) -> None:
        self._files.write(_path(service), msgspec.json.encode(seals))
        self._kept[service] = seals

    def _read(self, service: str) -> _Seals:
        found = self._kept.get(service)
        if found is None:
            with self.held:
                found = self._kept[service] = self._from_file(service)
                self._told[service] = len(found.segments) - found.fresh
        return found

    def _from_file(self, service: str) -> _Seals:
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


def _through(name: str, prediction_id: str) -> Callable[[str, Record], bool]:
    """Return what stops a reading after one prediction in its file, and at once elsewhere."""
    passed = False

    def stop(file: str, record: Record) -> bool:
        nonlocal passed
        if file != name or passed:
            return True
        passed = (record.kind, record.key) == ("prediction", prediction_id)
        return False

    return stop


def _path(service: str) -> str:
    return f"seals/{service}.json"


def _intent(service: str) -> str:
    return f"seals/{service}.intent.json"
