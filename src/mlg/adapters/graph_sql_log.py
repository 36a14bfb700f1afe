"""The end of the event log: what may be appended to it, and appending it."""

from collections.abc import Sequence
from dataclasses import replace

from mlg.adapters.graph_sql_rows import Connection, insert_rows, matching
from mlg.core.clock import rfc3339
from mlg.core.errors import ConflictError
from mlg.core.events import Event, Revision
from mlg.core.uris import EventId, Uri
from mlg.graph.encode import chain_hash, content, encode

Encoded = tuple[Event, bytes, tuple[Uri, ...]]
"""An event, its canonical bytes, and what it names, sorted."""
Known = tuple[bytes, str, int]
"""Bytes, id and seq of the event that has a key."""


class LogTail:
    """Takes requests one after the other, each whole or not at all, then writes them together.

    Args:
        connection: Inside a write transaction.
        name: Of the database, for errors.
        head: Where the log stands.
    """

    def __init__(self, connection: Connection, name: str, head: Revision) -> None:
        self._connection, self._name = connection, name
        self.head = head
        self.taken: list[tuple[int, Event, tuple[Uri, ...]]] = []
        """Appended events with their seq, and what they name."""
        self._rows: list[tuple[object, ...]] = []
        self._keys: dict[str, Known] = {}
        self._ids: dict[str, str] = {}
        """Key by event id."""
        self._retold: dict[str, str] = {}
        """Id of the event in the log by the id of one that said the same again."""
        self._told_again: dict[str, str] = {}

    def look_up(self, events: Sequence[Event]) -> None:
        """Learn what the log knows of these events' keys, ids and causes."""
        keys, ids = [event.key for event in events], [event.id for event in events]
        for key, data, id_, seq in matching(
            self._connection,
            "SELECT key, data, id, seq FROM event"
            " WHERE key IN (SELECT value FROM json_each(?))",
            keys,
        ):
            self._keys[key] = (bytes(data), id_, seq)
        self._ids.update(
            matching(
                self._connection,
                "SELECT id, key FROM event WHERE id IN (SELECT value FROM json_each(?))",
                ids,
            )
        )
        causes = [event.cause for event in events if event.cause is not None]
        if causes:
            self._retold.update(
                matching(
                    self._connection,
                    "SELECT id, stored FROM retold"
                    " WHERE id IN (SELECT value FROM json_each(?))",
                    causes,
                )
            )

    def take(self, events: Sequence[Encoded], expect: Revision | None) -> Revision:
        """Append the events in memory, or none of them; return where the log stands then.

        Raises:
            ConflictError: A key or id is there with another act, or the head is not `expect`.
        """
        head, before = self.head, self.head
        taken: list[tuple[int, Event, tuple[Uri, ...]]] = []
        rows: list[tuple[object, ...]] = []
        keys: dict[str, Known] = {}
        ids: dict[str, str] = {}
        retold: dict[str, str] = {}
        for given, encoded, named in events:
            event, data = given, encoded
            known = keys.get(event.key) or self._keys.get(event.key)
            if known is not None:
                self._check_same(event, data, known)
                if known[1] != event.id:
                    retold[event.id] = known[1]
                continue
            if event.id in ids or event.id in self._ids:
                raise ConflictError(
                    f"the event id {event.id} is already there under another key",
                    where=event.key,
                    hint="make a new id for every event",
                )
            cause = event.cause and (retold.get(event.cause) or self._retold.get(event.cause))
            if cause:
                event = replace(event, cause=EventId(cause))
                data = encode(event)
            former, head = head, Revision(seq=head.seq + 1, hash=chain_hash(head.hash, data))
            keys[event.key] = (data, event.id, head.seq)
            ids[event.id] = event.key
            taken.append((head.seq, event, named))
            rows.append(_row(head, former, event, data))
        if expect is not None and before not in (head, expect):
            raise ConflictError(
                f"the log stands at {before.seq}, not at {expect.seq} as expected",
                where=self._name,
                hint="read again what you decided on, then repeat",
            )
        self.head = head
        self.taken += taken
        self._rows += rows
        self._keys.update(keys)
        self._ids.update(ids)
        self._retold.update(retold)
        self._told_again.update(retold)
        return head

    def write(self) -> None:
        """Write everything that was taken."""
        insert_rows(self._connection, "event", self._rows)
        if self._rows:
            self._connection.execute(
                "UPDATE log_head SET seq = ?, hash = ?",
                (self.head.seq, bytes.fromhex(self.head.hash)),
            )
        if self._told_again:
            self._connection.executemany(
                "INSERT INTO retold VALUES (?, ?) ON CONFLICT DO NOTHING",
                list(self._told_again.items()),
            )

    def _check_same(self, event: Event, data: bytes, known: Known) -> None:
        if content(known[0]) != content(data):
            raise ConflictError(
                f"the key {event.key!r} is event {known[2]} already, with other content",
                where=self._name,
                hint="a key names one act: use another key for another act",
            )


def _row(head: Revision, former: Revision, event: Event, data: bytes) -> tuple[object, ...]:
    return (
        head.seq, event.key, event.id, rfc3339(event.at), rfc3339(event.recorded_at),
        event.type, event.actor, event.subject, event.cause, bytes.fromhex(former.hash),
        bytes.fromhex(head.hash), data,
    )  # fmt: skip
