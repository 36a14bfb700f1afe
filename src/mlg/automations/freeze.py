"""`mlg freeze`: while it holds, nothing acts by itself but a rollback."""

from datetime import datetime
from typing import Final

import msgspec

FREEZE_FILE: Final = "freeze.json"
"""Path below the home; the file is there while everything is frozen."""


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """Who stopped everything, when and why."""

    by: str
    at: datetime | None
    """Aware UTC; None when the file does not tell."""
    reason: str = ""


def freeze_to_bytes(freeze: Freeze) -> bytes:
    """Return the content of the freeze file."""
    return msgspec.json.encode(freeze)


def freeze_from_bytes(content: bytes | None) -> Freeze | None:
    """Return what the freeze file says; None when there is no file.

    A file that cannot be read freezes too: acting by mistake is worse than waiting.
    """
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Freeze)
    except (msgspec.DecodeError, RecursionError):
        return Freeze(by="unknown", at=None, reason=f"{FREEZE_FILE} could not be read")
