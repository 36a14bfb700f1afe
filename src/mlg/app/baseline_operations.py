"""Live baselines as people see them: the list, one as of now, one as it was kept."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from mlg.app.monitoring_state import Stored
from mlg.app.parts import Parts
from mlg.core.clock import rfc3339
from mlg.core.errors import NotFoundError
from mlg.core.nodes import Node
from mlg.core.ports import ArtifactStore, GraphReader
from mlg.core.reading import NodeQuery
from mlg.core.uris import Digest, Uri
from mlg.monitors.baseline_document import (
    Learning,
    document,
    edges_of,
    encoded,
    first_at,
    learnings,
    season_of,
)
from mlg.monitors.windows import REQUESTS

_MOST: Final = 10_000
_LISTED: Final = 20
"""Versions of a stream that are told, the newest."""
_SHORT: Final = 12


class BaselineOperations:
    """Implements the API's `Baselines`.

    Args:
        standings: The memory of each monitor that runs here, by name.
        reader: Knows the versions that were kept.
        artifacts: Has their documents.
    """

    def __init__(
        self,
        *,
        standings: Callable[[], Mapping[str, Stored]],
        reader: GraphReader,
        artifacts: ArtifactStore,
    ) -> None:
        self._standings, self._reader, self._artifacts = standings, reader, artifacts

    def baselines(self) -> dict[str, Any]:
        """Return each stream of each monitor, by name."""
        return {
            "baselines": [
                _row(name, stored, one)
                for name, stored in sorted(self._standings().items())
                for one in learnings(stored.monitor.charts)
            ]
        }

    def baseline(self, monitor: str, stream: str, version: str) -> dict[str, Any]:
        """Return what is usual of a stream, now or as it was kept, with its versions.

        Raises:
            NotFoundError: There is no such monitor, stream or version, or it still learns.
            BackendError: The document of a version is damaged.
        """
        stored = self._standings().get(monitor)
        versions = self._versions(monitor)
        if version and (stored is not None or versions):
            return self._kept(monitor, stream, version, versions)
        if stored is None:
            raise NotFoundError(
                f"no monitor {monitor[:120]!r}", where="monitor", hint=self._monitors()
            )
        one = _stream(monitor, stream, learnings(stored.monitor.charts))
        found = document(
            one.baseline,
            monitor=monitor,
            service=stored.spec.watch,
            stream=one.stream,
            edges=edges_of(stored.monitor.fold, one.stream),
        )
        digest = hashlib.sha256(encoded(found)).hexdigest()
        own = [node for node in versions if dict(node.attrs)["stream"] == one.stream]
        return {
            "monitor": monitor,
            "stream": one.stream,
            "version": digest[:_SHORT],
            "kept": any(node.digest == digest for node in own),
            "versions": [_version(node) for node in own[:_LISTED]],
            "baseline": found,
        }

    def _kept(
        self, monitor: str, stream: str, version: str, versions: list[Node]
    ) -> dict[str, Any]:
        own = [one for one in versions if stream in ("", dict(one.attrs)["stream"])]
        match = [one for one in own if (one.digest or "").startswith(version)]
        if len({one.digest for one in match}) != 1:
            newest = ", ".join((one.digest or "")[:_SHORT] for one in own[:5])
            raise NotFoundError(
                f"{'no' if not match else 'more than one'} version {version!r} of {monitor}",
                where="version",
                hint=f"the newest are {newest}" if newest else "none was kept yet",
            )
        (node, *_) = match
        found = json.loads(self._artifacts.open(Digest(node.digest or "")).read_bytes())
        same = [one for one in versions if dict(one.attrs)["stream"] == found["stream"]]
        return {
            "monitor": monitor,
            "stream": found["stream"],
            "version": (node.digest or "")[:_SHORT],
            "kept": True,
            "versions": [_version(one) for one in same[:_LISTED]],
            "baseline": found,
        }

    def _versions(self, monitor: str) -> list[Node]:
        """Return the kept versions of a monitor, newest first."""
        query = NodeQuery(kinds=("baseline",), attr=("monitor", monitor), limit=_MOST)
        found = [one for one in self._reader.nodes(query).nodes if one.digest]
        return sorted(found, key=_age, reverse=True)

    def _monitors(self) -> str:
        names = ", ".join(sorted(self._standings()))
        return f"known: {names}" if names else "the manifest in force has none."


def _stream(monitor: str, wanted: str, streams: tuple[Learning, ...]) -> Learning:
    by_name = {one.stream: one for one in streams}
    if not by_name:
        raise NotFoundError(
            f"{monitor} has seen no window yet", where="stream", hint="send it requests."
        )
    only = next(iter(by_name)) if len(by_name) == 1 else REQUESTS
    found = by_name.get(wanted or only)
    if found is None:
        raise NotFoundError(
            f"{monitor} has no stream {(wanted or only)[:120]!r}",
            where="stream",
            hint=f"known: {', '.join(by_name)}",
        )
    if not found.known:
        raise NotFoundError(
            f"{monitor}/{found.stream} still learns what is usual: "
            f"{found.windows} of {found.wanted} windows",
            where="stream",
            hint="it is known after the last of them.",
        )
    return found


def _row(name: str, stored: Stored, one: Learning) -> dict[str, Any]:
    usual = one.baseline.usual
    found: dict[str, Any] = {
        "monitor": name,
        "service": stored.spec.watch,
        "stream": one.stream,
        "state": "known" if usual else "learning",
        "windows": one.windows,
        "wanted": one.wanted,
        "season": None,
        "statistics": 0,
        "version": None,
        "since": None,
    }
    if usual is None:
        return found
    kept = stored.baselines.get(one.stream)
    return found | {
        "season": season_of(usual),
        "statistics": len(usual.metrics),
        "version": kept.digest[:_SHORT] if kept else None,
        "since": first_at(usual),
    }


def _version(node: Node) -> dict[str, Any]:
    attrs = dict(node.attrs)
    return {
        "version": (node.digest or "")[:_SHORT],
        "uri": node.uri,
        "reason": attrs.get("reason"),
        "windows": attrs.get("windows_learned"),
        "season": attrs.get("season"),
        "kept_at": rfc3339(node.valid_from),
        "until": rfc3339(node.valid_to) if node.valid_to else None,
    }


def _age(node: Node) -> tuple[datetime, int, Uri]:
    return node.valid_from, int(dict(node.attrs).get("windows_learned") or 0), node.uri


def baselines_of(parts: Parts) -> BaselineOperations:
    """Return the baselines of a control plane."""
    return BaselineOperations(
        standings=parts.monitoring.standings, reader=parts.reader, artifacts=parts.artifacts
    )
