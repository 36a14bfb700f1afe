"""Events and a graph of a made project."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from mlg.core.events import Event, NodeFact
from mlg.core.uris import EventId, Uri, make_uri
from mlg.manifest.load import Manifest, parse_manifest

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

HEAD = """\
version: 1
project: movies
services:
  home: {adopt: "http://h:1"}
  other: {adopt: "http://h:2"}
pipelines:
  ranker:
    on: {commit: main}
    steps: {clean: {python: "m:f", in: [rows]}}
datasets: {rows: {source: {uri: x.csv}, columns: {a: {type: int64}}}}
automations:
"""


@pytest.fixture
def at() -> datetime:
    return AT


@pytest.fixture
def event() -> Callable[..., Event]:
    """Make an event; the keyword `attrs` gives its subject's attributes."""

    def made(
        type_: str = "mlg.alert.opened",
        *,
        kind: str = "alert",
        name: str = "a1",
        key: str = "k1",
        attrs: dict[str, Any] | None = None,
        project: str = "movies",
        **more: Any,
    ) -> Event:
        subject = more.pop("subject", None) or make_uri(kind, project, name)
        data = more.pop("data", {})
        fields: dict[str, Any] = {
            "id": EventId(f"id-{key}"),
            "at": AT,
            "recorded_at": AT,
            "actor": "system:monitors",
            **more,
        }
        return Event(
            key=key,
            type=type_,
            subject=Uri(subject),
            nodes=(NodeFact(uri=Uri(subject), attrs=tuple(sorted((attrs or {}).items()))),),
            data=tuple(sorted(data.items())),
            **fields,
        )

    return made


@pytest.fixture
def manifest() -> Callable[[str], Manifest]:
    """Read a manifest whose `automations:` are given, indented by two."""

    def read(rules: str) -> Manifest:
        return parse_manifest(HEAD + rules, "films.yaml")

    return read
