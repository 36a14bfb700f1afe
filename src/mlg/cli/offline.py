"""Answers without a control plane: the files of an instance, read only."""

from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.keys_local import anchor_public_key, load_anchors
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.app.graphs import open_reader
from mlg.app.manifests import checked_manifest, plan_document
from mlg.cli.instance import connect, control_of
from mlg.core.clock import parse_time
from mlg.core.errors import LifecycleError, ManifestError, NotFoundError
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri
from mlg.graph import answers as shapes
from mlg.graph import audit
from mlg.graph.columns import named, of_column
from mlg.graph.diff import diff as compare
from mlg.graph.quality import quality as judge
from mlg.graph.unused import since_seconds
from mlg.graph.unused import unused as find_unused
from mlg.manifest.load import manifest_from_source
from mlg.workflows.state import read_applied


class Answers(Protocol):
    """Questions that a running control plane or the files of a stopped one answer."""

    def trace(self, uri: str, *, depth: int | None = None) -> dict[str, Any]:
        """Return everything above."""
        ...

    def impact(self, uri: str, *, depth: int | None = None) -> dict[str, Any]:
        """Return everything below."""
        ...

    def diff(self, a: str, b: str) -> dict[str, Any]:
        """Return what differs between two versions."""
        ...

    def unused(self, *, kinds: list[str], since: str, limit: int) -> dict[str, Any]:
        """Return what could be deprecated."""
        ...

    def quality(self, uri: str | None, *, kinds: list[str], limit: int) -> dict[str, Any]:
        """Return how well things are described."""
        ...

    def production(self, service: str, at: str | None = None) -> dict[str, Any]:
        """Return what served."""
        ...

    def search(self, text: str, *, kinds: list[str]) -> dict[str, Any]:
        """Return what matches."""
        ...


class FileAnswers:
    """Reads the graph's database itself; predictions need a running control plane."""

    def __init__(self, home: Path) -> None:
        self._reader = open_reader(home)

    def trace(self, uri: str, *, depth: int | None = None) -> dict[str, Any]:
        """Return everything above."""
        walk = self._reader.walk(self._node(uri), "up", WalkOptions(depth=depth))
        return msgspec.to_builtins(shapes.walk_answer(walk))

    def impact(self, uri: str, *, depth: int | None = None) -> dict[str, Any]:
        """Return everything below."""
        root = self._node(uri)
        walk = self._reader.walk(root, "down", of_column(root, WalkOptions(depth=depth)))
        return msgspec.to_builtins(shapes.walk_answer(walk))

    def diff(self, a: str, b: str) -> dict[str, Any]:
        """Return what differs between two versions."""
        return msgspec.to_builtins(compare(self._reader, Uri(a), Uri(b)))

    def unused(self, *, kinds: list[str], since: str, limit: int) -> dict[str, Any]:
        """Return what could be deprecated."""
        found = find_unused(
            self._reader,
            now=SystemClock().now(),
            kinds=kinds,
            since_s=since_seconds(since),
            limit=limit,
        )
        return msgspec.to_builtins(found)

    def quality(self, uri: str | None, *, kinds: list[str], limit: int) -> dict[str, Any]:
        """Return how well things are described."""
        found = judge(
            self._reader,
            now=SystemClock().now(),
            uri=None if uri is None else self._node(uri),
            kinds=kinds,
            limit=limit,
        )
        return msgspec.to_builtins(found)

    def production(self, service: str, at: str | None = None) -> dict[str, Any]:
        """Return what served."""
        try:
            when = parse_time(at) if at else SystemClock().now()
        except ValueError as error:
            raise ManifestError(str(error), where="--at") from error
        found = self._reader.production(service, when)
        return msgspec.to_builtins(shapes.production_answer(found))

    def search(self, text: str, *, kinds: list[str]) -> dict[str, Any]:
        """Return what matches."""
        found = self._reader.search(text, tuple(kinds))
        return msgspec.to_builtins(shapes.found_answer(found))

    def _node(self, uri: str) -> Uri:
        if not uri.startswith("mlg://") and "." in uri:
            uri = named(self._reader, uri) or uri
        return _stored(uri)


def _stored(uri: str) -> Uri:
    if not uri.startswith("mlg://") or uri.startswith("mlg://prediction/"):
        raise NotFoundError(
            f"a prediction is found by the control plane only: {uri}",
            hint="mlg up --wait, then ask again.",
        )
    return Uri(uri)


def answers(home: Path) -> Answers:
    """Return the running control plane's answers, or those of the files."""
    if control_of(home) is not None:
        client = connect(home)
        try:
            client.status()
        except LifecycleError:
            return FileAnswers(home)
        return client
    return FileAnswers(home)


def verify(home: Path) -> dict[str, Any]:
    """Check the event log in the files, whether or not a control plane runs."""
    files = LocalFiles(home)
    with open_reader(home) as reader:
        return audit.verify_chain(reader, load_anchors(files), anchor_public_key(files))


def plan_of(file: Path, home: Path) -> dict[str, Any]:
    """Return the plan against what the instance has applied, or against nothing."""
    manifest = checked_manifest(file)
    applied = read_applied(LocalFiles(home)) if home.exists() else None
    current = manifest_from_source(applied.source, applied.path) if applied else None
    return plan_document(manifest, current)


def launcher_of(home: Path) -> ProcessLauncher:
    """Return a launcher over the instance's process records."""
    return ProcessLauncher(LocalFiles(home), SystemClock(), Uuid7Ids(SystemClock()), home)


def status_of(home: Path) -> dict[str, Any]:
    """Return the control plane's status, or what the process records say without one."""
    control = control_of(home)
    if control is not None:
        try:
            return connect(home).status()
        except LifecycleError:
            pass
    if not home.exists():
        return {"services": [], "ports": {}, "pids": {}}
    states = [state for state in launcher_of(home).state() if state.alive]
    services = sorted({state.service for state in states if state.service})
    gateway = next((state.port for state in states if state.kind == "gateway"), 0)
    return {
        "services": [
            {
                "service": name,
                "live": False,
                "versions": [
                    {"version": version, "share_bp": 0}
                    for version in sorted(
                        {s.version for s in states if s.service == name and s.version}
                    )
                ],
                "health": "unsupervised",
            }
            for name in services
        ],
        "ports": {"gateway": gateway, "control": 0},
        "pids": {state.id: state.pid for state in states},
    }
