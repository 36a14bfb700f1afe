"""Keeps what monitors hold for usual: a document in the store, a version on the graph."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlg.app.monitoring_state import KeptBaseline, Stored
from mlg.core.nodes import Attr
from mlg.core.ports import ArtifactStore, GraphStore
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, model_uri
from mlg.graph.record_baselines import baseline_kept, baseline_uri
from mlg.monitors.alert import Command
from mlg.monitors.baseline_document import document, edges_of, encoded
from mlg.monitors.evaluate import QUALITY
from mlg.monitors.monitor import Observed
from mlg.monitors.windows import REQUESTS
from mlg.workflows.record import append_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Which versions a monitor's alerts are found against."""

    newest: Mapping[str, KeptBaseline]
    """Kept last, by stream; they stand as long as an incident is open."""
    opened: Mapping[str, Mapping[str, KeptBaseline]]
    """Of each incident that opened at this look, by its key."""

    def uris(self, recorder: Recorder, monitor: str, command: Command) -> dict[str, Uri]:
        """Return the versions that an incident's signals are compared with, by stream."""
        own = self.opened.get(command.incident.key, self.newest)
        return {
            stream: baseline_uri(recorder, monitor, stream, one.digest)
            for stream, one in own.items()
        }


class Baselines:
    """Keeps versions of baselines; the same content of a stream is told once.

    Args:
        artifacts: Their documents.
        store: The event log.
        recorder: Makes events.
    """

    def __init__(
        self, artifacts: ArtifactStore, store: GraphStore, recorder: Callable[[], Recorder]
    ) -> None:
        self._artifacts, self._store, self._recorder = artifacts, store, recorder

    def keep(self, name: str, stored: Stored, model: str, seen: Observed) -> Against:
        """Keep the versions that differ from those kept last, in order.

        Keys hold the digest: windows that are read again after a crash say nothing new.

        Args:
            name: The monitor.
            stored: Its memory.
            model: The model whose versions its streams are named after.
            seen: What the newest windows brought.

        Raises:
            BackendError: A document or an event could not be written; what was, stands.
        """
        newest, opened = dict(stored.baselines), dict[str, dict[str, KeptBaseline]]()
        for version in seen.baselines:
            stream, usual = version.stream, version.baseline.usual
            before = newest.get(stream)
            if usual is not None and (before is None or not before.is_of(usual)):
                found = document(
                    version.baseline,
                    monitor=name,
                    service=stored.spec.watch,
                    stream=stream,
                    edges=edges_of(seen.monitor.fold, stream),
                )
                digest = _put(found, self._artifacts)
                recorder = self._recorder()
                event = baseline_kept(
                    recorder,
                    key=f"monitor:{name}@{stored.born}:baseline:{stream}:{digest[:12]}",
                    monitor=name,
                    service=stored.spec.watch,
                    stream=stream,
                    digest=digest,
                    reason=version.reason,
                    model_version=_model_version(recorder, model, stream),
                    previous=before.digest if before else None,
                    facts=_facts(found),
                )
                append_once(self._store, (event,))
                newest[stream] = KeptBaseline(
                    digest=digest,
                    first_s=usual.first_s,
                    learned=usual.learned,
                    columns=usual.columns,
                )
            if version.incident and stream in newest:
                opened.setdefault(version.incident, {})[stream] = newest[stream]
        return Against(newest=newest, opened=opened)


def _model_version(recorder: Recorder, model: str, stream: str) -> Uri | None:
    version = stream.removeprefix(QUALITY)
    if stream == REQUESTS or not version:
        return None
    return model_uri(recorder, model, version)


def _facts(found: Mapping[str, Any]) -> dict[str, Attr]:
    return {
        "windows_learned": found["windows_learned"],
        "statistics": len(found["statistics"]),
        "season": found["season"],
        "first_at": found["first_at"],
        "last_at": found["last_at"],
    }


def _put(found: dict[str, Any], artifacts: ArtifactStore) -> Digest:
    with tempfile.TemporaryDirectory(prefix="mlg-baseline-") as beside:
        path = Path(beside) / "baseline.json"
        path.write_bytes(encoded(found))
        return artifacts.put(path)
