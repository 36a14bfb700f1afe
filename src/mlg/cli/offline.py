"""Answers without a control plane: the files of an instance, read only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import msgspec

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_local import anchor_public_key, load_anchors
from mlg.app.graphs import beside, open_reader
from mlg.app.manifests import checked_manifest, plan_document
from mlg.client.client import WalkHow
from mlg.core.errors import NotFoundError
from mlg.core.events import Revision, StoredEvent
from mlg.core.ports import GraphReader
from mlg.core.reading import Direction, NodeQuery
from mlg.core.uris import Uri
from mlg.graph import answers as shapes
from mlg.graph import audit
from mlg.graph.columns import named, of_column
from mlg.graph.diff import diff as compare
from mlg.graph.encode import GENESIS, decode
from mlg.graph.known import KnownGraphs
from mlg.graph.quality import quality as judge
from mlg.graph.questions import (
    MAX_LIMIT,
    WalkWords,
    events_page,
    known_kinds,
    text_of,
    time_of,
    uri_of,
)
from mlg.graph.unused import since_seconds
from mlg.graph.unused import unused as find_unused
from mlg.graph.why_not import why_of
from mlg.manifest.load import manifest_from_source
from mlg.workflows.state import read_applied


class FileAnswers:
    """Reads the graph's database itself; predictions need a running control plane."""

    def __init__(self, home: Path) -> None:
        self._reader = open_reader(home)

    def trace(self, uri: str, **how: Unpack[WalkHow]) -> dict[str, Any]:
        """Return everything above."""
        return self._walked(uri, "up", how)

    def impact(self, uri: str, **how: Unpack[WalkHow]) -> dict[str, Any]:
        """Return everything below."""
        return self._walked(uri, "down", how)

    def why(self, uri: str, *, did_not: str | None = None) -> dict[str, Any]:
        """Return why a thing is as it is, or why something did not happen."""
        told = why_of(self._reader, self._reader, uri, did_not)
        return msgspec.to_builtins(told if told is not None else _stored(uri))

    def diff(
        self, a: str, b: str, *, as_of: str | None = None, known_at: str | None = None
    ) -> dict[str, Any]:
        """Return what differs between two versions."""
        reader, when = self._at(known_at), time_of("as_of", as_of)
        found = compare(reader, uri_of("a", a), uri_of("b", b), when)
        return msgspec.to_builtins(found)

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

    def production(
        self, service: str, at: str | None = None, *, known_at: str | None = None
    ) -> dict[str, Any]:
        """Return what served."""
        when = time_of("at", at) or SystemClock().now()
        found = self._at(known_at).production(text_of("service", service), when)
        return msgspec.to_builtins(shapes.production_answer(found))

    def search(self, text: str, *, kinds: Sequence[str], limit: int) -> dict[str, Any]:
        """Return what matches."""
        found = self._reader.search(text_of("q", text), known_kinds(kinds), limit + 1)
        told = shapes.found_answer(found[:limit], truncated=len(found) > limit)
        return msgspec.to_builtins(told)

    def nodes(
        self,
        kinds: Sequence[str] = (),
        *,
        attr: tuple[str, str] | None = None,
        as_of: str | None = None,
        known_at: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """Return a page of nodes."""
        query = NodeQuery(
            kinds=known_kinds(kinds),
            attr=attr,
            as_of=time_of("as_of", as_of),
            limit=limit,
            cursor=cursor,
        )
        return msgspec.to_builtins(shapes.page_answer(self._at(known_at).nodes(query)))

    def events(
        self, after: int = 0, limit: int = 1_000, *, subject: str | None = None
    ) -> dict[str, Any]:
        """Return a page of events."""
        about = None if subject is None else uri_of("subject", subject)
        head = self._reader.last_seq()
        page = events_page(self._logged, head, after, limit, about)
        last = self._reader.chain(head - 1, 1)
        digest = last[0].hash if last else GENESIS
        return msgspec.to_builtins(shapes.events_answer(page, Revision(seq=head, hash=digest)))

    def _walked(self, uri: str, direction: Direction, how: WalkHow) -> dict[str, Any]:
        words = WalkWords(
            depth=how.get("depth"),
            limit=how.get("limit", MAX_LIMIT),
            as_of=how.get("as_of"),
            kinds=how.get("kinds", ()),
            classes=how.get("classes", ()),
            roles=how.get("roles", ()),
            stop_at=how.get("stop_at", ()),
        )
        root, options = self._node(text_of("uri", uri)), words.options()
        if direction == "down":
            options = of_column(root, options)
        walk = self._at(how.get("known_at")).walk(root, direction, options)
        return msgspec.to_builtins(words.of_kinds(shapes.walk_answer(walk)))

    def _at(self, known_at: str | None) -> GraphReader:
        if known_at is None:
            return self._reader
        return KnownGraphs(self._logged).at(known_at, self._reader.last_seq())

    def _logged(self, after: int, limit: int) -> list[StoredEvent]:
        return [
            StoredEvent(
                seq=raw.seq, event=decode(raw.data), prev_hash=raw.prev_hash, hash=raw.hash
            )
            for raw in self._reader.chain(after, limit)
        ]

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


def verify(home: Path) -> dict[str, Any]:
    """Check the event log in the files, whether or not a control plane runs."""
    files = LocalFiles(home)
    with open_reader(home) as reader:
        anchors, key = load_anchors(files), anchor_public_key(files)
        return audit.verify_chain(reader, anchors, key, beside(home, reader))


def plan_of(file: Path, home: Path) -> dict[str, Any]:
    """Return the plan against what the instance has applied, or against nothing."""
    manifest = checked_manifest(file)
    applied = read_applied(LocalFiles(home)) if home.exists() else None
    current = manifest_from_source(applied.source, applied.path) if applied else None
    return plan_document(manifest, current)
