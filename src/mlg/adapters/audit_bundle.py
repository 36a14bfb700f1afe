"""Audit bundles on disk: a folder, or a .zip where the name ends so."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlg.core.errors import BackendError, ConflictError
from mlg.graph import bundle_verify
from mlg.graph.bundle import verify_bundle, zip_bytes


def write_bundle(files: Iterable[tuple[str, bytes]], target: Path) -> Path:
    """Write the bundle, durable, and return where; a `.zip` is written whole or not at all.

    Raises:
        ConflictError: The folder is there and holds something else.
        BackendError: It could not be written.
    """
    listed = tuple(files)
    try:
        if target.suffix == ".zip":
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(target.name + ".writing")
            _write(beside, zip_bytes(listed))
            beside.replace(target)
            return target
        known = {name.partition("/")[0] for name, _ in listed}
        if target.exists() and any(file.name not in known for file in target.iterdir()):
            raise ConflictError(
                "the folder holds other files",
                where=target.name,
                hint="name a new folder, or a file ending in .zip",
            )
        target.mkdir(parents=True, exist_ok=True)
        for name, content in listed:
            (target / name).parent.mkdir(exist_ok=True)
            _write(target / name, content)
    except OSError as error:
        raise BackendError(
            f"the bundle could not be written: {error.strerror}",
            where=target.name,
            hint="check the folder's rights and the free disk space",
        ) from error
    return target


def read_bundle(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle, folder or .zip, for `bundle.verify_bundle`.

    Raises:
        BackendError: There is no readable bundle.
    """
    found, damage = _read(path)
    if damage:
        raise BackendError(
            f"the bundle cannot be read: {damage[0]}",
            where=path.name,
            hint="give the folder or .zip that mlg audit export wrote",
        )
    return found


def verified(path: Path, public_key: bytes | None = None) -> dict[str, Any]:
    """Return what `bundle.verify_bundle` says of a folder or .zip; its archive is checked too.

    Raises:
        BackendError: There is nothing to read.
    """
    files, damage = _read(path)
    found = verify_bundle(files, public_key)
    if found["ok"] and damage:
        return {**found, "ok": False, "problems": damage}
    return found if files else {**found, "ok": False, "problems": damage}


def _read(path: Path) -> tuple[dict[str, bytes], list[str]]:
    try:
        return bundle_verify.read(path)
    except OSError as error:
        raise BackendError(
            f"the bundle cannot be read: {error.strerror}",
            where=path.name,
            hint="give the folder or .zip that mlg audit export wrote",
        ) from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
