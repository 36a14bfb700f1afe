"""Tamper evidence: the chain of event hashes, and signed heads that anchor it."""

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from mlg.core.clock import rfc3339
from mlg.graph import merkle
from mlg.graph.encode import GENESIS, canonical

_PAGE: Final = 2_000
LONG: Final = 100_000
"""Events of a log that is worth a second process."""


class RawEvent(NamedTuple):
    """One row of the log as it lies there, unchecked; text as bytes, as it may be damaged."""

    seq: int
    data: bytes
    prev: bytes
    digest: bytes
    key: bytes | None = None
    id: bytes | None = None
    at: bytes | None = None
    recorded_at: bytes | None = None
    type: bytes | None = None
    actor: bytes | None = None
    subject: bytes | None = None
    cause: bytes | None = None

    @property
    def prev_hash(self) -> str:
        """Return the chain hash before this event, as hex."""
        return self.prev.hex()

    @property
    def hash(self) -> str:
        """Return the chain hash of this event, as hex."""
        return self.digest.hex()


class Link(NamedTuple):
    """One row of the log without its content."""

    seq: int
    digest: bytes
    id: str
    subject: str


class _Header(msgspec.Struct):
    """What the database says of an event beside its bytes, read out of the bytes."""

    key: str
    id: str
    at: str
    recorded_at: str
    type: str
    actor: str
    subject: str
    cause: str | None


_HEADER: Final = msgspec.json.Decoder(_Header)


class ChainLog(Protocol):
    """The log as bytes, for those who do not trust the store that holds it."""

    def chain(self, after: int = 0, limit: int = 1_000) -> tuple[RawEvent, ...]:
        """Return events with seq > `after` in order of seq, unchecked; empty at the end."""
        ...

    def links(self, after: int = 0, limit: int = 1_000) -> tuple[Link, ...]:
        """Return the same without content, so that a million are read in a second."""
        ...

    def last_seq(self) -> int:
        """Return the seq of the newest event that was ever appended."""
        ...

    def seqs_of(self, ids: Collection[str], subjects: Collection[str]) -> tuple[int, ...]:
        """Return the seq of each event with one of the ids or subjects, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A signed head: this log had this many events, with this last hash and this root."""

    seq: int
    hash: str
    """Chain hash of event `seq`."""
    root: str
    """Merkle root (RFC 6962) over the chain hashes of events 1 to `seq`, as hex."""
    at: str
    """RFC 3339."""
    public_key: str
    """Ed25519 public key, hex."""
    signature: str
    """Ed25519 over the canonical JSON of the other fields, hex."""


def chain_events(log: ChainLog) -> Iterator[RawEvent]:
    """Yield the whole log, a page at a time."""
    after = 0
    while page := log.chain(after, _PAGE):
        yield from page
        after = page[-1].seq


def chain_links(log: ChainLog) -> Iterator[Link]:
    """Yield the whole log without its content, a page at a time."""
    after = 0
    while page := log.links(after, 10 * _PAGE):
        yield from page
        after = page[-1].seq


def public_key_of(private_key: bytes) -> bytes:
    """Return the 32 public bytes of a 32-byte Ed25519 private key."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def make_anchor(
    log: ChainLog,
    *,
    at: datetime,
    private_key: bytes,
    root: Callable[[int], bytes] | None = None,
) -> Anchor | None:
    """Return a signed head over the whole log, or None when the log is empty.

    Args:
        log: The event log.
        at: When it is signed.
        private_key: 32 bytes, Ed25519.
        root: Gives the Merkle root over the first events, for example `LogTree.root`;
            None reads every event's hash, about a second a million events.

    Raises:
        ValueError: The log has no events where its head says so.
    """
    seq = log.last_seq()
    if not seq:
        return None
    head = log.links(seq - 1, 1)
    if not head or head[0].seq != seq:
        raise ValueError(f"event {seq}, the head of the log, is not there")
    hashes = (link.digest for link in chain_links(log) if link.seq <= seq)
    found = merkle.Frontier().extend(hashes).root if root is None else root(seq)
    signed = {
        "seq": seq,
        "hash": head[0].digest.hex(),
        "root": found.hex(),
        "at": rfc3339(at),
        "public_key": public_key_of(private_key).hex(),
    }
    signature = sign(canonical(signed), private_key)
    return msgspec.convert({**signed, "signature": signature.hex()}, Anchor)


def sign(content: bytes, private_key: bytes) -> bytes:
    """Return the 64 bytes of an Ed25519 signature; the same content gives the same."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(content)


def signed_by(content: bytes, signature: bytes, public_key: bytes) -> bool:
    """Return whether this key signed this content."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def anchor_path(anchor: Anchor) -> str:
    """Return where the anchor is kept, relative to the home."""
    return f"anchors/{anchor.seq:012d}.json"


def encode_anchor(anchor: Anchor) -> bytes:
    """Return the anchor as canonical JSON bytes."""
    return canonical(msgspec.to_builtins(anchor))


def decode_anchor(content: bytes) -> Anchor:
    """Return the anchor that the bytes hold.

    Raises:
        ValueError: The bytes are no anchor.
    """
    try:
        return msgspec.json.decode(content, type=Anchor)
    except msgspec.MsgspecError as error:
        raise ValueError(f"these bytes are no anchor: {error}") from error


def signature_holds(anchor: Anchor, public_key: bytes) -> bool:
    """Return whether this key signed this anchor."""
    fields: dict[str, Any] = msgspec.to_builtins(anchor)
    signature = fields.pop("signature")
    try:
        given = bytes.fromhex(signature)
    except ValueError:
        return False
    return anchor.public_key == public_key.hex() and signed_by(
        canonical(fields), given, public_key
    )


def covering_anchor(anchors: Iterable[Anchor], seq: int) -> Anchor | None:
    """Return the oldest anchor that covers event `seq`, or None."""
    covering = [anchor for anchor in anchors if anchor.seq >= seq]
    return min(covering, key=lambda anchor: anchor.seq, default=None)


class Span(NamedTuple):
    """A part of the log: what follows event `after`, up to event `upto`."""

    after: int
    upto: int
    last: bytes
    """Chain hash of event `after`."""


class Beside(Protocol):
    """Checks a span elsewhere, while the one before it is checked here."""

    def start(self, span: Span) -> None:
        """Begin with a span."""
        ...

    def result(self) -> bytes | None:
        """Return the hash of the span's last event; None when it is not as it should be."""
        ...


def check_span(log: ChainLog, span: Span) -> bytes | None:
    """Return the hash of a span's last event, or None when anything in it is wrong."""
    count, last = span.after, span.last
    while count < span.upto:
        page = log.chain(count, min(_PAGE, span.upto - count))
        if not page:
            return None
        for raw in page:
            if _damage(raw, count + 1, last) is not None:
                return None
            count, last = raw.seq, raw.digest
    return last


def _halves_hold(
    log: ChainLog, anchors: Sequence[Anchor], beside: Beside, upto: int
) -> dict[str, Any] | None:
    """Return that the log is whole, after both halves were checked at once; else None."""
    half = upto * 11 // 20  # the other process has to start first
    middle = log.links(half - 1, 1)
    if not middle or middle[0].seq != half:
        return None
    beside.start(Span(half, upto, middle[0].digest))
    first = check_span(log, Span(0, half, bytes.fromhex(GENESIS)))
    second = beside.result()
    if first != middle[0].digest or second is None:
        return None
    if anchors and not _anchors_hold(log, anchors):
        return None
    ends = (upto, log.last_seq())
    whole = ends[0] == ends[1] and all(anchor.seq <= upto for anchor in anchors)
    return {"ok": True, "events": upto, "first_bad": None} if whole else None


def _anchors_hold(log: ChainLog, anchors: Sequence[Anchor]) -> bool:
    """Return whether the log, whose links are known to hold, is the one that was signed."""
    waiting = {anchor.seq: anchor for anchor in anchors}
    tree, leaves = merkle.Frontier(), list[bytes]()
    for link in chain_links(log):
        if not waiting:
            break
        leaves.append(link.digest)
        anchor = waiting.pop(link.seq, None)
        if anchor is not None or len(leaves) >= _PAGE:
            tree, leaves = tree.extend(leaves), []
        if anchor is not None and (anchor.hash, anchor.root) != (
            link.digest.hex(), tree.root.hex(),
        ):  # fmt: skip
            return False
    return not waiting


def verify_chain(
    log: ChainLog,
    anchors: Sequence[Anchor],
    public_key: bytes | None,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Return `{"ok", "events", "first_bad": {"seq", "reason"} | None}` for the whole log.

    Checks that no event is missing, moved or altered; that what the database says of
    an event beside its bytes agrees with them; that the log reaches every anchor with
    the hash and root that were signed; and that nothing after the newest was cut off.

    Args:
        log: The log to check.
        anchors: Signed heads, in any order.
        public_key: Who must have signed them; None only where there are no anchors.
        beside: Checks the second half of a long log at the same time. When anything is not
            as it should be, the log is read again in order, which tells what and where.
    """
    signed = sorted(anchors, key=lambda anchor: anchor.seq)
    for anchor in signed:
        if public_key is None or not signature_holds(anchor, public_key):
            return _bad(0, anchor.seq, "the anchor at this event is not signed by our key")
    if beside is not None and (upto := log.last_seq()) >= LONG:
        whole = _halves_hold(log, signed, beside, upto)
        if whole is not None:
            return whole
    waiting = {anchor.seq: anchor for anchor in signed}
    tree, last, count = merkle.Frontier(), bytes.fromhex(GENESIS), 0
    leaves: list[bytes] = []
    for raw in chain_events(log):
        reason = _damage(raw, count + 1, last)
        if reason is not None:
            return _inserted(log, raw, last) or _bad(count, count + 1, reason)
        count, last = raw.seq, raw.digest
        if waiting:
            leaves.append(last)
        anchor = waiting.pop(count, None)
        if anchor is not None or len(leaves) >= _PAGE:
            tree, leaves = tree.extend(leaves), []
        if anchor is not None and (anchor.hash, anchor.root) != (last.hex(), tree.root.hex()):
            return _bad(count, count, "the chain up to here is not the one that was signed")
    return _ended(log, count, waiting)


def _ended(log: ChainLog, count: int, waiting: Iterable[int]) -> dict[str, Any]:
    """Return the verdict over a log that holds up to its end: is that where it should end?"""
    appended = log.last_seq()  # read last: whoever appends now moves it first
    if count > appended:
        return _bad(
            appended, appended + 1, f"inserted: the log has {count}, {appended} were appended"
        )
    ends = [*waiting, appended]
    if max(ends) > count:
        return _bad(
            count, count + 1, f"missing: the log ends at {count}, it once had {max(ends)}"
        )
    return {"ok": True, "events": count, "first_bad": None}


def _inserted(log: ChainLog, raw: RawEvent, last: bytes) -> dict[str, Any] | None:
    """Return what was put in before an event that follows an earlier one; else None."""
    whole = hashlib.sha256(raw.prev + raw.data).digest() == raw.digest
    if raw.prev == last or not whole:
        return None
    start = bytes.fromhex(GENESIS)
    earlier = itertools.chain([(0, start)], ((one.seq, one.digest) for one in chain_links(log)))
    for seq, digest in earlier:
        if seq + 1 >= raw.seq:
            return None
        if digest == raw.prev:
            return _bad(seq, seq + 1, f"inserted: event {raw.seq} follows event {seq}")
    return None


def _damage(raw: RawEvent, expected_seq: int, last: bytes) -> str | None:
    """Return what is wrong with one event, or None."""
    if raw.seq != expected_seq:
        return f"missing: the next event in the log is {raw.seq}"
    if raw.prev != last:
        return (
            "it does not follow the event before it: that one was altered, or one was dropped "
            "between them, or they were reordered"
        )
    if hashlib.sha256(last + raw.data).digest() != raw.digest:
        return "its content is not what its hash says"
    try:
        said = _HEADER.decode(raw.data)
    except msgspec.MsgspecError as error:
        return f"these bytes are no event: {error}"
    cause = said.cause
    if (
        said.key.encode(), said.id.encode(), said.at.encode(), said.recorded_at.encode(),
        said.type.encode(), said.actor.encode(), said.subject.encode(),
        None if cause is None else cause.encode(),
    ) != raw[4:]:  # fmt: skip
        return _column_damage(raw, said)
    return None


def _column_damage(raw: RawEvent, said: _Header) -> str | None:
    for name in _Header.__struct_fields__:
        held: bytes | None = getattr(raw, name)
        value = None if held is None else held.decode(errors="replace")
        if getattr(said, name) != value:
            return f"the column {name} says {value!r}, the event says {getattr(said, name)!r}"
    return None


def _bad(events: int, seq: int, reason: str) -> dict[str, Any]:
    return {"ok": False, "events": events, "first_bad": {"seq": seq, "reason": reason}}
