"""Sends lineage events by the standard OpenLineage client, as its own configuration says.

The client is imported when it is needed: it takes most of a second and is an extra.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlg.core.errors import BackendError, LifecycleError, ManifestError

if TYPE_CHECKING:
    from mlg.core.ports import LineageTarget

CLOSE_S: Final = 2.0
_NEVER_TAKEN: Final = frozenset((400, 413, 422))
_FILE: Final = "openlineage.yml"
_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))


def is_configured(env: Mapping[str, str], folder: Path, user_home: Path, own_port: int) -> bool:
    """Return whether someone asked for lineage events, in one of the client's own ways.

    Args:
        env: `OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG`, `OPENLINEAGE__…` and
            `OPENLINEAGE_DISABLED`, as the client reads them.
        folder: The working folder, where `openlineage.yml` may lie.
        user_home: The user's home, where `.openlineage/openlineage.yml` may lie.
        own_port: Port of our own API: events for others are not sent to ourselves.
    """
    if env.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    url = env.get("OPENLINEAGE_URL", "")
    if url and not _is_own(url, own_port):
        return True
    if any(name.startswith("OPENLINEAGE__TRANSPORT") for name in env):
        return True
    named = env.get("OPENLINEAGE_CONFIG")
    places = [folder / _FILE, user_home / ".openlineage" / _FILE]
    return any(path.is_file() for path in ([Path(named)] if named else []) + places)


class OpenLineageTarget:
    """The client and the transport that its configuration names: HTTP, file, Kafka, others.

    Raises:
        BackendError: The package is not installed.
        ManifestError: Its configuration is wrong, or names no transport.
    """

    def __init__(self) -> None:
        try:
            self._events: Any = importlib.import_module("openlineage.client.event_v2")
            self._parents: Any = importlib.import_module(
                "openlineage.client.facet_v2"
            ).parent_run
            client: Any = importlib.import_module("openlineage.client").OpenLineageClient
        except ImportError as missing:
            raise BackendError(
                "the OpenLineage client is configured, but it is not installed",
                where="openlineage-python",
                hint="pip install 'mlg[openlineage]', or set OPENLINEAGE_DISABLED=true.",
            ) from missing
        try:
            self._client: Any = client()
        except ImportError as missing:
            raise BackendError(
                f"the transport's own package is not installed: {missing}",
                where="transport",
                hint="pip install 'openlineage-python[kafka]' for Kafka.",
            ) from missing
        except (RuntimeError, ValueError, TypeError, KeyError) as wrong:
            raise ManifestError(
                f"the OpenLineage client's configuration is wrong: {wrong}",
                where="openlineage.yml",
                hint="see the OpenLineage client's documentation of its transports.",
            ) from wrong
        self.kind = str(self._client.transport.kind)
        """Name of the transport in use: `http`, `file`, `kafka`, …"""

    def send(self, event: Mapping[str, Any]) -> None:
        try:
            self._client.emit(self._typed(event))
        except _failures() as failed:
            raise _translated(failed, self.kind) from failed

    def close(self) -> None:
        self._client.close(CLOSE_S)

    def _typed(self, event: Mapping[str, Any]) -> Any:
        """Return the event as the client's own type; facets stay as they are.

        The Kafka transport reads the parent facet's attributes, so that one is typed too.
        """
        kinds = self._events
        run, job = event["run"], event["job"]
        facets = dict(run["facets"])
        if "parent" in facets:
            facets["parent"] = self._parent(facets["parent"])
        return kinds.RunEvent(
            eventTime=event["eventTime"],
            eventType=kinds.RunState(event["eventType"]),
            producer=event["producer"],
            run=kinds.Run(runId=run["runId"], facets=facets),
            job=kinds.Job(
                namespace=job["namespace"], name=job["name"], facets=dict(job["facets"])
            ),
            inputs=[
                kinds.InputDataset(
                    namespace=one["namespace"],
                    name=one["name"],
                    facets=one["facets"],
                    inputFacets=one.get("inputFacets", {}),
                )
                for one in event["inputs"]
            ],
            outputs=[
                kinds.OutputDataset(
                    namespace=one["namespace"],
                    name=one["name"],
                    facets=one["facets"],
                    outputFacets=one.get("outputFacets", {}),
                )
                for one in event["outputs"]
            ],
        )

    def _parent(self, told: Mapping[str, Any]) -> Any:
        kinds, root = self._parents, told["root"]
        return kinds.ParentRunFacet(
            run=kinds.Run(**told["run"]),
            job=kinds.Job(**told["job"]),
            root=kinds.Root(run=kinds.RootRun(**root["run"]), job=kinds.RootJob(**root["job"])),
            producer=told["_producer"],
        )


def _failures() -> tuple[type[Exception], ...]:
    """Return what the client's own transports raise; its HTTP errors are OSErrors."""
    known = (OSError, RuntimeError, ValueError, TypeError, KeyError, BufferError)
    kafka: Any = sys.modules.get("confluent_kafka")
    return (*known, kafka.KafkaException) if kafka else known


def _translated(failed: Exception, kind: str) -> LifecycleError:
    """Return a transport's error as ours, without its words: they may hold a password."""
    status = getattr(getattr(failed, "response", None), "status_code", None)
    words = f"status {status}" if status else type(failed).__name__
    if status in _NEVER_TAKEN:
        return ManifestError(f"the target refused the event with {words}", where=kind)
    return BackendError(
        f"the event was not taken: {words}",
        where=f"OpenLineage transport {kind}",
        hint="it is sent again; see the target.",
    )


def _is_own(url: str, port: int) -> bool:
    try:
        parts = urlsplit(url)
        asked = parts.port or 80
    except ValueError:  # the client says what is wrong with it
        return False
    return parts.hostname in _LOOPBACK and asked == port


if TYPE_CHECKING:
    _: LineageTarget = OpenLineageTarget()
