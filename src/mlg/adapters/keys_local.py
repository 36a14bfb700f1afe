"""Keys of an instance, kept in its home with mode 0600."""

import bisect
import secrets
from typing import Final, NoReturn

from mlg.core.errors import BackendError
from mlg.core.ports import Files
from mlg.graph.audit import Anchor, decode_anchor, public_key_of

ANCHOR_KEY: Final = "keys/anchor.key"
ANCHOR_PUBLIC_KEY: Final = "keys/anchor.pub"
VIEWER_KEY: Final = "keys/viewer.key"


def anchor_key(files: Files) -> bytes:
    """Return the 32-byte Ed25519 private key that signs heads; made at the first call.

    Raises:
        BackendError: It is damaged, or it is gone although anchors exist.
    """
    return _key(files, ANCHOR_KEY, public=True, needed_by="anchors")


def anchor_public_key(files: Files) -> bytes | None:
    """Return the 32 public bytes, hex in `keys/anchor.pub`; None when no key was made yet.

    Raises:
        BackendError: The file is damaged.
    """
    content = files.read(ANCHOR_PUBLIC_KEY)
    if content is None:
        return None
    try:
        found = bytes.fromhex(content.decode().strip())
    except ValueError:
        _damaged(ANCHOR_PUBLIC_KEY)
    if len(found) != 32:
        _damaged(ANCHOR_PUBLIC_KEY)
    return found


def viewer_key(files: Files) -> bytes:
    """Return the 32 bytes that viewer ids are HMACed with; made at the first call.

    Raises:
        BackendError: It is damaged, or it is gone although segments exist.
    """
    return _key(files, VIEWER_KEY, public=False, needed_by="segments")


def load_anchors(files: Files) -> tuple[Anchor, ...]:
    """Return every anchor of the home, oldest first.

    Raises:
        BackendError: One is damaged.
    """
    names = [name for name in files.list("anchors") if name.endswith(".json")]
    found = [anchor for name in names if (anchor := _anchor(files, name)) is not None]
    return tuple(sorted(found, key=lambda anchor: anchor.seq))


def anchor_over(files: Files, seq: int) -> Anchor | None:
    """Return the oldest anchor that covers event `seq`, or None; only its file is read.

    Raises:
        BackendError: It is damaged.
    """
    # their names are the numbers of their events, with zeros before, so they sort
    names = [name for name in files.list("anchors") if name.endswith(".json")]
    place = bisect.bisect_left(names, f"anchors/{seq:012d}.json")
    return _anchor(files, names[place]) if place < len(names) else None


def newest_anchor(files: Files) -> Anchor | None:
    """Return the newest anchor, or None; only its file is read.

    Raises:
        BackendError: It is damaged.
    """
    names = [name for name in files.list("anchors") if name.endswith(".json")]
    return _anchor(files, names[-1]) if names else None


def _anchor(files: Files, path: str) -> Anchor | None:
    content = files.read(path)
    if content is None:
        return None
    try:
        return decode_anchor(content)
    except ValueError as error:
        raise BackendError(
            str(error), where=path, hint="restore this file from a backup of the home"
        ) from error


def _key(files: Files, path: str, *, public: bool, needed_by: str) -> bytes:
    found = files.read(path)
    if found is None:
        if files.list(needed_by):
            raise BackendError(
                f"the key is gone, but {needed_by}/ was made with it",
                where=path,
                hint="restore the key from a backup of the home; a new one cannot stand in",
            )
        found = secrets.token_bytes(32)
        files.write(path, found, mode=0o600)
        if public:
            text = public_key_of(found).hex() + "\n"
            files.write(ANCHOR_PUBLIC_KEY, text.encode(), mode=0o644)
    if len(found) != 32:
        _damaged(path)
    return found


def _damaged(path: str) -> NoReturn:
    raise BackendError(
        "expected a key of 32 bytes", where=path, hint="restore it from a backup of the home"
    )
