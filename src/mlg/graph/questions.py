"""Questions in words, as REST, GraphQL and the command line ask them: checked, then asked.

What a caller writes is checked here once: unknown kinds, roles and classes are refused by
name, a time must have a zone, no text may hold what a database cannot keep.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from mlg.core.clock import parse_time
from mlg.core.errors import ManifestError
from mlg.core.events import StoredEvent
from mlg.core.nodes import KINDS, ROLE_CLASS, EdgeClass
from mlg.core.reading import EventPage, WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.answers import WalkAnswer

MAX_TEXT: Final = 4_096
"""Longest text of a question, in characters."""
MAX_LIMIT: Final = 10_000
"""Most nodes or events of one answer."""
MAX_DEPTH: Final = 1_000
"""Most hops that may be asked for; no depth at all is no limit."""
SCANNED: Final = 20_000
"""Most events that one question about a subject's events reads."""

CLASSES: Final[tuple[EdgeClass, ...]] = ("lineage", "causal", "version", "ownership")

_ALL: Final = 100_000
"""What a walk may come to when only some kinds of it are wanted."""
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

Pages = Callable[[int, int], Sequence[StoredEvent]]
"""Events with seq > the first number, at most the second, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkWords:
    """How far a walk goes, in the words of a caller."""

    depth: int | None = None
    limit: int = MAX_LIMIT
    as_of: str | None = None
    kinds: Sequence[str] = ()
    """Only nodes of these kinds are told; the walk goes through all of them."""
    classes: Sequence[str] = ()
    """Empty: lineage and causal."""
    roles: Sequence[str] = ()
    """Empty: every role of the classes."""
    stop_at: Sequence[str] = ()

    def options(self) -> WalkOptions:
        """Return the options of the walk to make; `of_kinds` then keeps what is wanted.

        Raises:
            ManifestError: Names the first word that is wrong.
        """
        self._check()
        wanted = self.classes or ("lineage", "causal")
        return WalkOptions(
            classes=tuple(name for name in CLASSES if name in wanted),
            roles=tuple(self.roles),
            stop_at=tuple(self.stop_at),
            depth=self.depth,
            as_of=time_of("as_of", self.as_of),
            limit=_ALL if self.kinds else self.limit,
        )

    def of_kinds(self, found: WalkAnswer) -> WalkAnswer:
        """Return the part of an answer that is of the wanted kinds, and the edges within it.

        `total` counts what is of these kinds; when the whole walk was cut it is the least
        number there is, and `truncated` says so.
        """
        if not self.kinds:
            return found
        nodes = [node for node in found.nodes if node.kind in self.kinds]
        kept = nodes[: self.limit]
        uris = {node.uri for node in kept}
        return msgspec.structs.replace(
            found,
            total=len(nodes),
            truncated=found.truncated or len(kept) < len(nodes),
            nodes=kept,
            edges=[edge for edge in found.edges if edge.src in uris and edge.dst in uris],
        )

    def _check(self) -> None:
        known_kinds(self.kinds)
        _known("classes", self.classes, CLASSES, "an edge class")
        _known("roles", self.roles, ROLE_CLASS, "an edge role")
        _known("stop_at", self.stop_at, ROLE_CLASS, "an edge role")
        _within("limit", self.limit, 1, MAX_LIMIT)
        if self.depth is not None:
            _within("depth", self.depth, 0, MAX_DEPTH)


def events_page(
    pages: Pages, head: int, after: int, limit: int, subject: Uri | None = None
) -> EventPage:
    """Return events in order, all of them or those about one subject.

    About a subject at most `SCANNED` events are read; `cursor` tells how far.

    Args:
        pages: Reads the log.
        head: Seq of the newest event.
        after: Seq after which to begin.
        limit: Most events to return.
        subject: Only events about it.
    """
    if subject is None:
        stored = tuple(pages(after, limit))
        last = stored[-1].seq if stored else after
        return EventPage(events=stored, cursor=last, truncated=last < head)
    found: list[StoredEvent] = []
    last, until = after, after + SCANNED
    while last < until and (page := pages(last, min(1_000, until - last))):
        for one in page:
            last = one.seq
            if one.event.subject == subject:
                found.append(one)
                if len(found) == limit:
                    return EventPage(events=tuple(found), cursor=last, truncated=last < head)
    return EventPage(events=tuple(found), cursor=last, truncated=last < head)


def text_of(name: str, text: str, most: int = MAX_TEXT) -> str:
    r"""Return the text, which every database and every answer can hold.

    Raises:
        ManifestError: It is too long, or holds NUL or half of a surrogate pair.

    Examples:
        >>> text_of("q", "ranker")
        'ranker'
    """
    if len(text) > most:
        raise ManifestError(
            f"expected at most {most} characters, got {len(text)}",
            where=name,
            hint="ask for less.",
        )
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ManifestError(
            "expected text without NUL and without halves of surrogate pairs",
            where=name,
            hint="percent-encode a URI's parts from UTF-8.",
        )
    return text


def uri_of(name: str, text: str) -> Uri:
    """Return a node's URI.

    Raises:
        ManifestError: The text is none.
    """
    try:
        parse_uri(text_of(name, text))
    except ValueError as wrong:
        raise ManifestError(
            str(wrong)[:300], where=name, hint="`mlg search` finds the URIs of things."
        ) from wrong
    return Uri(text)


def known_kinds(kinds: Sequence[str], name: str = "kind") -> tuple[str, ...]:
    """Return the kinds, all of which are known.

    Raises:
        ManifestError: One is not.
    """
    _known(name, kinds, KINDS, "a node kind")
    return tuple(kinds)


def attr_of(text: str | None) -> tuple[str, str] | None:
    """Return the name and the value of `name=value`.

    Raises:
        ManifestError: The text is not of this form.

    Examples:
        >>> attr_of("seed=7")
        ('seed', '7')
    """
    if text is None:
        return None
    name, _, value = text_of("attr", text).partition("=")
    if not name or not value:
        raise ManifestError(
            f"expected name=value, got {text[:60]!r}",
            where="attr",
            hint="for example attr=seed=7.",
        )
    return name, value


def time_of(name: str, text: str | None) -> datetime | None:
    """Return the time that a caller wrote.

    Raises:
        ManifestError: It is no RFC 3339 time with a zone, or before 1970.
    """
    if text is None:
        return None
    try:
        at = parse_time(text_of(name, text, 64))
    except (ValueError, OverflowError) as wrong:
        raise ManifestError(
            f"expected an RFC 3339 time with a zone, got {text[:60]!r}",
            where=name,
            hint="for example 2026-01-02T03:04:05Z.",
        ) from wrong
    if at < _EARLIEST:
        raise ManifestError(
            f"expected a time since 1970, got {text[:60]!r}",
            where=name,
            hint="nothing was recorded before.",
        )
    return at


def _known(where: str, given: Sequence[str], known: Collection[str], what: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ManifestError(
            f"expected {what}, got {unknown[0][:60]!r}",
            where=where,
            hint=f"one of {', '.join(sorted(known))}.",
        )


def _within(where: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ManifestError(
            f"expected {least} to {most}, got {value}", where=where, hint="ask in parts."
        )
