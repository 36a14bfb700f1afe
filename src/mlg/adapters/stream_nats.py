"""The event stream in NATS JetStream: one stream a service, on the server's disk.

A message holds up to 1,000 records in the frames of segment files, so that a damaged one is
told from a whole one and a message a record does not have to be paid for. A position is
`sequence << 16 | record`, under a name that holds when the server made the stream: one that
was made anew is read from its beginning. Cursors are kept in a bucket of the same server.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.segment_frames import framed, scan
from mlg.core.errors import BackendError, ConflictError
from mlg.core.ports import Batch, Cursor, EventStream, Record

if TYPE_CHECKING:
    from nats.aio.client import Client

CHUNK: Final = 1_000
"""Records of a message at most."""
CHUNK_BYTES: Final = 512 * 1024
"""Bytes of a message of several records at most: half of what a server takes by default."""
WINDOW_S: Final = 120.0
"""Seconds for which the server knows a message again and takes it once."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_CONSUMER: Final = re.compile(r"[A-Za-z0-9._-]+")
_INDEX_BITS: Final = 16
_READ_BYTES: Final = 8 << 20
_MARK: Final = "Mlg-Mark"
_WRONG_SEQUENCE: Final = (10071, 10164)


class _Stored(NamedTuple):
    sequence: int
    data: bytes


class NatsStream:
    """Predictions and feedback of one service, for readers on any host.

    Args:
        connection: To the server; shared, and closed by whoever made it.
        service: Letters, digits, `_` and `-`.
        writer: Who appends, of the same letters; None reads only.
        namespace: Keeps several instances on one server apart.
        max_age_s: After which the server forgets a message; 0 keeps it.

    Raises:
        ValueError: A name has other letters.
    """

    def __init__(
        self,
        connection: NatsConnection,
        service: str,
        writer: str | None = None,
        *,
        namespace: str = "mlg",
        max_age_s: float = 0.0,
    ) -> None:
        for name in (service, namespace, writer or "none"):
            if not _NAME.fullmatch(name):
                raise ValueError(f"expected letters, digits, _ and -, got {name!r}")
        self._connection, self._service, self._writer = connection, service, writer
        self._name = f"{namespace}_{service}"
        self._bucket = f"{namespace}_cursors"
        self._subjects = f"{namespace}.events.{service}.*"
        self._subject = f"{namespace}.events.{service}.{writer}"
        self._max_age_s = max_age_s
        self._there = False

    def append(self, records: Sequence[Record]) -> None:
        if self._writer is None:
            raise BackendError("this stream was opened for reading", where=self._name)
        bodies = [body for body, _ in _chunks(records)]
        self._connection.run(lambda client: self._publish(client, bodies))

    def read(self, cursor: Cursor, limit: int = 10_000) -> Batch:
        return self._connection.run(lambda client: self._read(client, cursor, limit))

    def committed(self, consumer: str) -> Cursor:
        key = self._key(consumer)
        content = self._connection.run(lambda client: self._kept(client, key))
        if content is None:
            return Cursor(consumer=consumer)
        try:
            return msgspec.json.decode(content, type=Cursor)
        except msgspec.MsgspecError as error:
            raise BackendError(
                f"expected a cursor, got: {error}",
                where=f"{self._bucket}: {key}",
                hint="delete the key to read from the beginning; effects carry their keys.",
            ) from error

    def commit(self, cursor: Cursor) -> None:
        key, content = self._key(cursor.consumer), msgspec.json.encode(cursor)
        self._connection.run(lambda client: self._keep(client, key, content))

    # --- what a shipper needs beside the port

    def shipped(self) -> tuple[Cursor | None, int]:
        """Return the mark of this writer's newest message, and the message's number.

        Returns:
            None and 0 before the first one.

        Raises:
            BackendError: The server failed, or the mark is damaged.
        """
        return self._connection.run(self._shipped)

    def ship(self, records: Sequence[Record], mark: Cursor, after: int) -> int:
        """Write a message of these records; return its number.

        Args:
            records: At most `CHUNK`, of at most `CHUNK_BYTES` unless it is one.
            mark: Kept in the same message: where the records' source is to be read on.
            after: Number of this writer's newest message; the server takes no other's place.

        Raises:
            ConflictError: Another process ships under this name, or this one was written
                without its answer coming back; `shipped` says from where to go on.
            BackendError: The server failed; the records may or may not be written.
            ValueError: The records are too many for a message.
        """
        bodies = list(_chunks(records))
        if len(bodies) > 1:
            raise ValueError(f"expected records of one message, got {len(records)}")
        body = bodies[0][0] if bodies else b""
        return self._connection.run(lambda client: self._ship(client, body, mark, after))

    def place(self) -> str:
        """Return the stream's name and when it was made: one made anew is another place.

        Raises:
            BackendError: The server failed.
        """
        return self._connection.run(self._place)

    async def _place(self, client: "Client") -> str:
        return f"{self._name}@{_made(await self._ensure(client))}"

    async def _shipped(self, client: "Client") -> tuple[Cursor | None, int]:
        from nats.js.errors import NotFoundError

        await self._ensure(client)
        try:
            found = await client.jetstream().get_last_msg(self._name, self._subject)
        except NotFoundError:
            return None, 0
        text = (found.headers or {}).get(_MARK, "")
        try:
            mark = msgspec.json.decode(text, type=Cursor)
        except msgspec.MsgspecError as error:
            raise BackendError(
                f"expected a mark, got: {error}",
                where=f"{self._name}: message {found.seq}",
                hint="did another program write under this host's subject?",
            ) from error
        return mark, int(found.seq or 0)

    async def _ship(self, client: "Client", body: bytes, mark: Cursor, after: int) -> int:
        from nats.js.errors import APIError, NoStreamResponseError

        if not self._there:
            await self._ensure(client)
        headers = {
            _MARK: msgspec.json.encode(mark).decode(),
            "Nats-Expected-Last-Subject-Sequence": str(after),
        }
        try:
            taken = await client.jetstream().publish(
                self._subject, body, stream=self._name, headers=headers
            )
        except NoStreamResponseError:
            self._there = False
            raise
        except APIError as error:
            if error.err_code not in _WRONG_SEQUENCE:
                raise
            raise ConflictError(
                f"expected message {after} to be the newest: {error.description}",
                where=self._subject,
                hint="does another process ship under this host's name?",
            ) from error
        return taken.seq

    # --- the port, on the loop

    async def _publish(self, client: "Client", bodies: Sequence[bytes]) -> None:
        if not self._there:
            await self._ensure(client)
        context = client.jetstream()
        waiting: list[asyncio.Future[Any]] = []
        try:
            for body in bodies:
                key = hashlib.sha256(body).hexdigest()[:32]
                sent = await context.publish_async(
                    self._subject, body, stream=self._name, headers={"Nats-Msg-Id": key}
                )
                waiting.append(sent)
            await asyncio.gather(*waiting)
        except BaseException:
            self._there = False  # somebody may have removed it
            for one in waiting:
                one.cancel()
            raise

    async def _read(self, client: "Client", cursor: Cursor, limit: int) -> Batch:
        about = await self._ensure(client)
        place = f"{self._name}@{_made(about)}"
        given = dict(cursor.positions).get(place, 0)
        begin, index = given >> _INDEX_BITS, given & (1 << _INDEX_BITS) - 1
        # a server that lost its newest messages gives their numbers to others
        last = about.state.last_seq
        if begin > last:
            begin, index = last, 0
        records: list[Record] = []
        gaps = 0
        expected = begin + (index == 0) if begin else about.state.first_seq
        at = begin if index else begin + 1
        end = (begin << _INDEX_BITS) | index
        while len(records) < limit and at <= last:
            room = limit - len(records)
            messages = await self._batch(client, at, min(room, CHUNK))
            if not messages:
                break
            for one in messages:
                if len(records) >= limit:
                    break
                skip = index if one.sequence == begin else 0
                if expected < one.sequence and begin:
                    gaps += one.sequence - expected
                found = scan(one.data, skip + limit - len(records), final=True)
                records += found.records[skip:]
                gaps += found.gaps
                whole = found.end >= len(one.data)
                end = (one.sequence << _INDEX_BITS) | (0 if whole else len(found.records))
                expected = at = one.sequence + 1
        return Batch(
            records=tuple(records),
            cursor=Cursor(consumer=cursor.consumer, positions=((place, end),) if end else ()),
            gaps=gaps,
        )

    async def _batch(self, client: "Client", at: int, most: int) -> list[_Stored]:
        """Return stored messages from a number on, by one question and no consumer to keep.

        Raises:
            BackendError: The server cannot read so.
        """
        found: list[_Stored] = []
        ended = asyncio.get_running_loop().create_future()

        async def take(message: Any) -> None:
            headers = message.headers or {}
            status = headers.get("Status")
            if status is None:
                found.append(_Stored(int(headers["Nats-Sequence"]), message.data))
            elif not ended.done():
                ended.set_result((status, headers.get("Description", "")))

        inbox = client.new_inbox()
        heard = await client.subscribe(inbox, cb=take)
        try:
            asked = {
                "seq": at,
                "batch": most,
                "max_bytes": _READ_BYTES,
                "next_by_subj": self._subjects,
            }
            to = f"$JS.API.DIRECT.GET.{self._name}"
            await client.publish(to, json.dumps(asked).encode(), reply=inbox)
            status, said = await ended
        finally:
            await heard.unsubscribe()
        if status not in {"204", "404"}:
            raise BackendError(
                f"the stream cannot be read: {status} {said}",
                where=self._name,
                hint="the server is 2.11 or newer, and the stream allows direct reads?",
            )
        return found

    async def _ensure(self, client: "Client") -> Any:
        """Return the stream as it is, made where it is not there."""
        from nats.js.api import StorageType, StreamConfig
        from nats.js.errors import NotFoundError

        context = client.jetstream()
        if self._there:
            try:
                return await context.stream_info(self._name)
            except NotFoundError:
                self._there = False
        wanted = StreamConfig(
            name=self._name,
            subjects=[self._subjects],
            storage=StorageType.FILE,
            duplicate_window=WINDOW_S,
            max_age=self._max_age_s,
            allow_direct=True,
        )
        try:
            about = await context.stream_info(self._name)
        except NotFoundError:
            about = await context.add_stream(wanted)
        self._there = True
        return about

    def _key(self, consumer: str) -> str:
        if not _CONSUMER.fullmatch(consumer):
            raise ValueError(f"expected a file name as consumer, got {consumer!r}")
        return f"{self._service}/{consumer}/at"

    async def _kept(self, client: "Client", key: str) -> bytes | None:
        from nats.js.errors import BucketNotFoundError, KeyNotFoundError

        try:
            bucket = await client.jetstream().key_value(self._bucket)
            return (await bucket.get(key)).value
        except (BucketNotFoundError, KeyNotFoundError):
            return None

    async def _keep(self, client: "Client", key: str, content: bytes) -> None:
        from nats.js.errors import BucketNotFoundError

        context = client.jetstream()
        try:
            bucket = await context.key_value(self._bucket)
        except BucketNotFoundError:
            bucket = await context.create_key_value(bucket=self._bucket, history=1)
        await bucket.put(key, content)


def _made(about: Any) -> str:
    """Return when a stream was made, so that one of the same name made later is another."""
    return str(about.created)


def _chunks(records: Sequence[Record]) -> Iterator[tuple[bytes, int]]:
    """Yield the bodies of messages, and how many records each holds."""
    body, count = bytearray(), 0
    for record in records:
        frame = framed(record)
        if count and (count == CHUNK or len(body) + len(frame) > CHUNK_BYTES):
            yield bytes(body), count
            body, count = bytearray(), 0
        body += frame
        count += 1
    if count:
        yield bytes(body), count


def fits(records: Sequence[Record]) -> bool:
    """Return whether records make one message at most."""
    return len(list(_chunks(records))) <= 1


if TYPE_CHECKING:
    _: EventStream = NatsStream(NatsConnection(""), "")
