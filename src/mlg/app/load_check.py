"""What a server checks before it loads a model, and how it tells that it refuses one.

A server that refuses leaves its reason in `refusals/<process id>.json` under its nonce, so
that a control plane that was not there when it ended still reads why.
"""

import argparse
import os
from pathlib import Path

import msgspec

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_signing import trusted_keys
from mlg.core.errors import RefusedError
from mlg.core.ports import Files
from mlg.core.processes import ProcessState
from mlg.serving.integrity import Checked, check_model, read_bundle

_FOLDER = "refusals"


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    nonce: str
    what: str
    where: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the check needs to know to a server's options."""
    parser.add_argument("--signature", type=Path, help="file of the artifact's signature")
    parser.add_argument("--digest", default="", help="digest that the artifact must have")
    parser.add_argument(
        "--unsigned", action="store_true", help="by hand only: load it without a check"
    )


def check(chosen: argparse.Namespace) -> Checked | None:
    """Return what was signed of the artifact; None if it is to be loaded unchecked.

    Raises:
        RefusedError: It is not what a trusted key signed; the reason was left for the
            control plane.
        BackendError: The trusted keys cannot be read, or the reason could not be left.
    """
    if chosen.unsigned:
        return None
    files = LocalFiles(chosen.home)
    path = _path(chosen.id)
    try:
        checked = check_model(
            chosen.artifact,
            read_bundle(chosen.signature),
            trusted_keys(files),
            digest=chosen.digest,
        )
    except RefusedError as error:
        nonce = os.environ.get("MLG_NONCE", "")
        refusal = _Refusal(nonce=nonce, what=error.what, where=error.where)
        files.write(path, msgspec.json.encode(refusal))
        raise
    files.remove(path)
    return checked


def refusal_of(files: Files, process: ProcessState) -> str:
    """Return why a process refused its model, in words; empty: it did not."""
    content = files.read(_path(process.id))
    if content is None:
        return ""
    try:
        refusal = msgspec.json.decode(content, type=_Refusal)
    except msgspec.MsgspecError:
        return ""  # what cannot be read counts as a crash
    if refusal.nonce != process.nonce:
        return ""
    return f"{refusal.where}: {refusal.what}" if refusal.where else refusal.what


def _path(process_id: str) -> str:
    return f"{_FOLDER}/{process_id}.json"
