"""Keys of an instance, kept in its home with mode 0600."""

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
    found: list[Anchor] = []
    for path in files.list("anchors"):
        content = files.read(path)
        if content is None or not path.endswith(".json"):
            continue
        try:
            found.append(decode_anchor(content))
        except ValueError as error:
            raise BackendError(
                str(error), where=path, hint="restore this file from a backup of the home"
            ) from error
    return tuple(sorted(found, key=lambda anchor: anchor.seq))


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
