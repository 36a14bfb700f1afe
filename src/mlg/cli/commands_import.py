"""Bringing in what other systems recorded: OpenLineage events from a file."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import typer

from mlg.cli.instance import HomeOption, JsonOption, connect, err, home_of, out, reported, show
from mlg.client.client import Client
from mlg.core.errors import ManifestError, NotFoundError

BATCH: Final = 500
BATCH_BYTES: Final = 900_000
LARGEST: Final = 1_048_574
"""Bytes of the largest event: what a request may have, without its brackets."""
TOLD: Final = 100
"""Most refused events that are told one by one."""

Placed = tuple[str, bytes]
"""Where an event stands in the file (`line 3`, `line 3, item 2`), and its JSON."""


@dataclass(slots=True)
class _Sum:
    """What became of the events so far."""

    accepted: int = 0
    refused: int = 0
    problems: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def refuse(self, place: str, what: str, where: str) -> None:
        self.refused += 1
        if len(self.problems) < TOLD:
            self.problems.append({"place": place, "what": what, "where": where})


def openlineage(
    file: Path = typer.Argument(
        help="Events as JSON, an array, or one per line (NDJSON); - reads standard input.",
        allow_dash=True,
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Send OpenLineage events to the control plane; the same ones again change nothing.

    Good events are stored also when others of the file are refused; exit code 1 says that
    some were.

    Example: mlg import openlineage events.ndjson
    """
    with reported(as_json):
        client = connect(home_of(home))
        if str(file) == "-":
            told = send(client, sys.stdin.buffer)
        else:
            with _opened(file) as stream:
                told = send(client, stream)
        document = {
            "accepted": told.accepted,
            "refused": told.refused,
            "problems": told.problems,
        }
        show(document, as_json, _print)
    if told.refused:
        raise typer.Exit(1)


def send(client: Client, stream: BinaryIO) -> _Sum:
    """Send every event of the stream in batches; tell on a terminal how far it is.

    Raises:
        LifecycleError: The control plane is not there, or failed; what was sent before stays.
    """
    told = _Sum()
    for batch in batches(_events(stream, told)):
        _send(client, batch, told)
        if sys.stderr.isatty():
            err.print(f"{told.accepted} events taken, {told.refused} refused", end="\r")
    return told


def batches(events: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Yield the events in parts that one request may carry.

    Examples:
        >>> [len(part) for part in batches([("line 1", b"{}")] * 1_001)]
        [500, 500, 1]
    """
    part: list[Placed] = []
    size = 0
    for event in events:
        if part and (len(part) == BATCH or size + len(event[1]) + 1 > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event[1]) + 1
    if part:
        yield part


def _send(client: Client, batch: list[Placed], told: _Sum) -> None:
    if len(batch) == 1 and len(batch[0][1]) > LARGEST:
        place, body = batch[0]
        told.refuse(place, f"an event may have {LARGEST} bytes, got {len(body)}", "$")
        return
    try:
        answer = client.lineage(b"[" + b",".join(body for _, body in batch) + b"]")
    except ManifestError as refused:
        if len(batch) == 1:  # no JSON by the server's reading
            told.refuse(batch[0][0], refused.what, refused.where)
            return
        for one in batch:
            _send(client, [one], told)
        return
    for (place, _), result in zip(batch, answer["results"], strict=True):
        if result["status"] == "accepted":
            told.accepted += 1
        else:
            told.refuse(place, result["what"], result["where"])


def _events(stream: BinaryIO, told: _Sum) -> Iterator[Placed]:
    """Yield the events of an NDJSON stream, or of one JSON document over many lines."""
    first = True
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            yield from _placed(line, f"line {number}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            if first:
                yield from _document(line + stream.read())
                return
            told.refuse(f"line {number}", f"expected JSON: {wrong}", "")
        first = False


def _document(content: bytes) -> Iterator[Placed]:
    try:
        yield from _placed(content, "document")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ManifestError(
            f"expected JSON, or JSON on each line: {wrong}",
            where="FILE",
            hint="write one OpenLineage event per line.",
        ) from wrong


def _placed(content: bytes, place: str) -> Iterator[Placed]:
    if content.lstrip()[:1] == b"[":
        items = msgspec.json.decode(content, type=list[msgspec.Raw])
        for number, item in enumerate(items, start=1):
            yield f"{place}, item {number}", bytes(item)
        return
    json_text = content.strip()
    msgspec.json.decode(json_text)
    yield place, json_text


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise NotFoundError(
            "no such file", where=str(file), hint="- reads standard input."
        ) from None
    except OSError as wrong:
        raise ManifestError(
            f"cannot be read: {wrong.strerror}", where=str(file), hint="name a file."
        ) from wrong


def _print(told: dict[str, Any]) -> None:
    out.print(f"{told['accepted']} events taken, {told['refused']} refused")
    for problem in told["problems"]:
        text = f"  {problem['place']}: {problem['where']}: {problem['what']}"
        out.print(text, markup=False, soft_wrap=True)
    if told["refused"] > len(told["problems"]):
        out.print(f"  and {told['refused'] - len(told['problems'])} more")
