"""Erases answers past their time, and removes log files that nobody needs any more.

What is to be done is written down first (`retention/<service>.json`), then done, then told;
a round that was interrupted is finished by the next one, and told once.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from mlg.adapters.stream_segments import segment_paths
from mlg.app.seals import Seals
from mlg.core.clock import Clock, parse_time, rfc3339
from mlg.core.ports import Cursor, Files, GraphStore
from mlg.graph.record import Recorder
from mlg.graph.record_privacy import retention_applied, segment_fact
from mlg.manifest.specs_services import RetentionSpec
from mlg.workflows.record import append_once

FOLDER: Final = "retention"
_OPEN_FOR: Final = timedelta(hours=2)
"""A file written to within this time may be a writer's newest, whatever is declared."""


class _Due(msgspec.Struct, frozen=True, kw_only=True):
    """What one round does for one service."""

    id: str
    service: str
    before: str
    rows: int = 0
    roots: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Retention:
    """Applies each service's `retention`.

    Args:
        seals: The sealed predictions and the log's files.
        files: Keeps what is being done.
        clock: Against which age is measured: by when an answer was received.
        store: The event log.
        recorder: Makes events.
        spec: Gives the retention of a service; of one that is retired, the default.
        readers: Gives how far each reader of a service's log has come for good.
        busy: Tells whether somebody may go back in the service's log: its files stay.
    """

    def __init__(
        self,
        *,
        seals: Seals,
        files: Files,
        clock: Clock,
        store: GraphStore,
        recorder: Callable[[], Recorder],
        spec: Callable[[str], RetentionSpec],
        readers: Callable[[str], Sequence[Cursor]],
        busy: Callable[[str], bool],
    ) -> None:
        self._seals, self._files, self._clock = seals, files, clock
        self._store, self._recorder = store, recorder
        self._spec, self._readers, self._busy = spec, readers, busy

    def apply(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Erase what is due; return what it was, or would be.

        Returns:
            `{"services": [{"service", "before", "rows", "segments", "log_files"}]}`; services
            with nothing due are left out.

        Raises:
            LifecycleError: A file or the event log failed; the next round goes on.
        """
        done: list[dict[str, Any]] = []
        for service in self._seals.services():
            with self._seals.held:
                if not dry_run:
                    self._finish(service)
                due = self._due(service)
                if not due.roots and not due.files:
                    continue
                if not dry_run:
                    self._files.write(_path(service), msgspec.json.encode(due))
                    self._finish(service)
            done.append(
                {
                    "service": service,
                    "before": due.before,
                    "rows": due.rows,
                    "segments": len(due.roots),
                    "log_files": len(due.files),
                }
            )
        return {"services": done}

    def _due(self, service: str) -> _Due:
        spec, now = self._spec(service), self._clock.now()
        before = now - timedelta(seconds=spec.predictions_s)
        segments = [
            segment
            for segment in self._seals.segments(service)
            if segment.erased < segment.rows
            and parse_time(segment.last_received or segment.last_at) < before
        ]
        log_s = spec.predictions_s if spec.log_s is None else spec.log_s
        return _Due(
            id=self._recorder().ids.new_id(),
            service=service,
            before=rfc3339(before),
            rows=sum(segment.rows - segment.erased for segment in segments),
            roots=tuple(segment.root for segment in segments),
            files=self._read_files(service, now - max(_OPEN_FOR, timedelta(seconds=log_s))),
        )

    def _read_files(self, service: str, before: datetime) -> tuple[str, ...]:
        """Return the log files not written to since, sealed and read to their end by all."""
        if self._busy(service):
            return ()
        cursors = [self._seals.cursor(service), *self._readers(service)]
        reached = [dict(cursor.positions) for cursor in cursors]
        found: list[str] = []
        for path in segment_paths(self._seals.folder(service)):
            stat = path.stat()
            old = datetime.fromtimestamp(stat.st_mtime, UTC) < before
            if old and all(at.get(path.name, 0) >= stat.st_size for at in reached):
                found.append(path.name)
        return tuple(found)

    def _finish(self, service: str) -> None:
        content = self._files.read(_path(service))
        if content is None:
            return
        due = msgspec.json.decode(content, type=_Due)
        self._seals.erase(service, due.roots, None)
        for name in due.files:
            (self._seals.folder(service) / name).unlink(missing_ok=True)
        recorder = self._recorder()
        event = retention_applied(
            recorder,
            key=f"retention:{due.id}",
            service=service,
            before=parse_time(due.before),
            rows=due.rows,
            log_files=len(due.files),
            segments=[
                segment_fact(recorder, service, s.root, s.digest, s.erased)
                for s in self._seals.segments(service)
                if s.root in due.roots
            ],
        )
        append_once(self._store, (event,))
        self._files.remove(_path(service))


def _path(service: str) -> str:
    return f"{FOLDER}/{service}.json"
