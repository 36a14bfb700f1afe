"""Small files that several hosts share, in a bucket of NATS JetStream.

A file is replaced only by who has seen its newest content: of two hosts that both believe a
file to be theirs, one writes and the other is told so. Content is compressed; what is longer
than a message is kept in parts under the digest of the whole, and becomes the file by one
message at last.
"""

import contextlib
import hashlib
import re
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mlg.adapters.nats_connection import NatsConnection
from mlg.core.errors import BackendError, ConflictError
from mlg.core.ports import Files

if TYPE_CHECKING:
    from nats.aio.client import Client

PART_BYTES: Final = 512 * 1024
_KEY: Final = re.compile(r"[A-Za-z0-9_=/-][A-Za-z0-9._=/-]*(?<!\.)")
_PARTS: Final = "=parts"
_WRONG_REVISION: Final = (10071, 10164)


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What a file's key holds."""

    digest: str
    """SHA-256 of the content before compression."""
    parts: int = 0
    """Of them so many under keys of their own; 0: here."""
    content: bytes = b""


class NatsFiles:
    """Files in one bucket; each object is one holder that knows what it has seen.

    `write` and `remove` raise ConflictError where another holder has written since this one
    last read or wrote the file; `read` takes the newest.

    Args:
        connection: To the server; shared, and closed by whoever made it.
        namespace: Keeps several instances on one server apart.
    """

    def __init__(self, connection: NatsConnection, *, namespace: str = "mlg") -> None:
        self._connection, self._bucket = connection, f"{namespace}_files"
        self._seen: dict[str, tuple[int, _Head]] = {}

    def read(self, path: str) -> bytes | None:
        key = _key(path)
        return self._connection.run(lambda client: self._read(client, key))

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:  # noqa: ARG002
        key = _key(path)
        self._connection.run(lambda client: self._write(client, key, content))

    def list(self, folder: str) -> tuple[str, ...]:
        parent = _key(folder)
        keys = self._connection.run(self._keys)
        return tuple(sorted(key for key in keys if str(PurePosixPath(key).parent) == parent))

    def remove(self, path: str) -> None:
        key = _key(path)
        self._connection.run(lambda client: self._remove(client, key))

    async def _read(self, client: "Client", key: str) -> bytes | None:
        from nats.js.errors import KeyNotFoundError

        bucket = await self._opened(client)
        for _ in range(3):
            try:
                entry = await bucket.get(key)
            except KeyNotFoundError:
                self._seen.pop(key, None)
                return None
            try:
                head = msgspec.msgpack.decode(entry.value or b"", type=_Head)
                packed = head.content
                for at in range(head.parts):
                    packed += (await bucket.get(_part(key, head, at))).value or b""
                content = zlib.decompress(packed)
            except KeyNotFoundError:
                continue  # its parts went with a newer write
            except (msgspec.MsgspecError, zlib.error) as error:
                raise self._damaged(key, str(error)) from error
            if hashlib.sha256(content).hexdigest() != head.digest:
                raise self._damaged(key, "its digest is another")
            self._seen[key] = (entry.revision or 0, head)
            return content
        raise self._damaged(key, "its parts are gone")

    async def _write(self, client: "Client", key: str, content: bytes) -> None:
        from nats.js.errors import KeyWrongLastSequenceError

        bucket = await self._opened(client)
        packed = zlib.compress(content, 1)
        head = _Head(digest=hashlib.sha256(content).hexdigest(), content=packed)
        revision, former = self._seen.get(key, (0, None))
        if len(packed) > PART_BYTES:
            parts = range(0, len(packed), PART_BYTES)
            head = _Head(digest=head.digest, parts=len(parts))
            if former is None or former.digest != head.digest:
                for at, begin in enumerate(parts):
                    await bucket.put(_part(key, head, at), packed[begin : begin + PART_BYTES])
        body = msgspec.msgpack.encode(head)
        try:
            if revision:
                written = await bucket.update(key, body, last=revision)
            else:
                written = await bucket.create(key, body)
        except KeyWrongLastSequenceError as error:
            self._seen.pop(key, None)
            raise self._taken(key) from error
        self._seen[key] = (written, head)
        if former is not None and former.digest != head.digest:
            await self._drop(client, key, former)

    async def _remove(self, client: "Client", key: str) -> None:
        from nats.js.errors import APIError, KeyNotFoundError

        bucket = await self._opened(client)
        known = self._seen.pop(key, None)
        try:
            entry = await bucket.get(key)
            if known is not None and entry.revision != known[0]:
                raise self._taken(key)
            await bucket.delete(key, last=entry.revision)
        except KeyNotFoundError:
            return
        except APIError as error:
            if error.err_code not in _WRONG_REVISION:
                raise
            raise self._taken(key) from error
        with contextlib.suppress(msgspec.MsgspecError):  # a damaged one names no parts
            head = msgspec.msgpack.decode(entry.value or b"", type=_Head)
            await self._drop(client, key, head)

    async def _drop(self, client: "Client", key: str, head: _Head) -> None:
        """Remove the parts of a former content, and every trace of them."""
        for at in range(head.parts):
            subject = f"$KV.{self._bucket}.{_part(key, head, at)}"
            await client.jetstream().purge_stream(f"KV_{self._bucket}", subject=subject)

    async def _keys(self, client: "Client") -> tuple[str, ...]:
        from nats.js.errors import NoKeysError

        bucket = await self._opened(client)
        try:
            return tuple(key for key in await bucket.keys() if not key.startswith(_PARTS))
        except NoKeysError:
            return ()

    async def _opened(self, client: "Client") -> Any:
        from nats.js.errors import BucketNotFoundError

        context = client.jetstream()
        try:
            return await context.key_value(self._bucket)
        except BucketNotFoundError:
            return await context.create_key_value(bucket=self._bucket, history=1)

    def _taken(self, key: str) -> ConflictError:
        return ConflictError(
            f"expected to be the last to have written {key}, but another host was",
            where=self._bucket,
            hint="that host goes on; this one reads it again.",
        )

    def _damaged(self, key: str, said: str) -> BackendError:
        return BackendError(
            f"expected the content of {key}, got a damaged one: {said}",
            where=self._bucket,
            hint="delete the key; its owner begins anew.",
        )


def _part(key: str, head: _Head, at: int) -> str:
    return f"{_PARTS}/{key}/{head.digest[:32]}/{at}"


def _key(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not _KEY.fullmatch(str(pure)):
        raise ValueError(f"expected a path below the home, of plain letters, got {path!r}")
    return str(pure)


if TYPE_CHECKING:
    _: Files = NatsFiles(NatsConnection(""))
