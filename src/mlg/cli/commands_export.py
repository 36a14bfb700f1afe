"""Telling others what the graph knows: our runs as OpenLineage events."""

import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import typer

from mlg.cli.instance import HomeOption, JsonOption, err, fail, home_of, out, reported, show
from mlg.core.clock import parse_time
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import GraphReader
from mlg.graph.audit import ChainLog, chain_events
from mlg.graph.encode import decode
from mlg.graph.openlineage_emit import emitted

_TOLD_EVERY = 200


class _Graph(GraphReader, ChainLog, Protocol):
    """The questions of the graph and its log."""


def openlineage(
    to: Path = typer.Argument(
        Path("-"),
        help="File to write, one event a line; - prints them.",
        allow_dash=True,
    ),
    since: str | None = typer.Option(None, "--since", help="From this time on, RFC 3339."),
    until: str | None = typer.Option(None, "--until", help="Before this time, RFC 3339."),
    send: bool = typer.Option(
        False, "--send", help="Send them by the OpenLineage client's configuration instead."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Write the runs of the log as OpenLineage events, or send them again.

    Reads the graph itself; no control plane needs to run.

    Example: mlg export openlineage runs.ndjson --since 2026-11-01T00:00:00Z
    """
    if as_json and str(to) == "-" and not send:
        fail(
            ManifestError(
                "events on standard output leave no room for the --json answer",
                where="--json",
                hint="name a file.",
            ),
            as_json=True,
        )
    with reported(as_json):
        start, end = _time(since, "--since"), _time(until, "--until")
        from mlg.app.emitting import own_version
        from mlg.app.graphs import open_reader

        with open_reader(home_of(home)) as graph:
            events = _events(graph, start, end, own_version())
            if send:
                document = {"events": _send(events), "to": "OpenLineage client"}
            elif str(to) == "-":
                for event in events:
                    sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
                return
            else:
                document = {"events": _write(to, events), "to": str(to)}
        show(document, as_json, lambda d: out.print(f"{d['events']} events to {d['to']}"))


def _time(text: str | None, option: str) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError as error:
        raise ManifestError(
            str(error), where=option, hint="for example 2026-11-01T00:00:00Z."
        ) from error


def _events(
    graph: _Graph, start: datetime | None, end: datetime | None, version: str
) -> Iterator[dict[str, Any]]:
    """Yield what others are told of the log's events, in its order."""
    count = 0
    for raw in chain_events(graph):
        event = decode(raw.data)
        if (start is not None and event.at < start) or (end is not None and event.at >= end):
            continue
        told = emitted(event, graph, version=version)
        if told is not None:
            count += 1
            if count % _TOLD_EVERY == 0 and sys.stderr.isatty():
                err.print(f"{count} events", end="\r")
            yield told


def _write(path: Path, events: Iterator[dict[str, Any]]) -> int:
    count = 0
    try:
        with path.open("wb") as sink:
            for event in events:
                sink.write(msgspec.json.encode(event) + b"\n")
                count += 1
    except OSError as error:
        raise BackendError(
            f"cannot be written: {error.strerror}", where=str(path), hint="name another file."
        ) from error
    return count


def _send(events: Iterator[dict[str, Any]]) -> int:
    from mlg.adapters.lineage_openlineage import OpenLineageTarget, is_configured

    if not is_configured(os.environ, Path.cwd(), Path.home(), 0):
        raise ManifestError(
            "no OpenLineage target is configured",
            where="--send",
            hint="set OPENLINEAGE_URL, or write openlineage.yml.",
        )
    target, count = OpenLineageTarget(), 0
    try:
        for event in events:
            target.send(event)
            count += 1
    finally:
        target.close()
    return count
