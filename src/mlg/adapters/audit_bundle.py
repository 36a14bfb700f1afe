"""Audit bundles on disk: a folder, or a .zip where the name ends so."""

import os
from collections.abc import Iterable
from pathlib import Path

from mlg.core.errors import BackendError, ConflictError
from mlg.graph import bundle_verify
from mlg.graph.bundle import zip_bytes


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
    try:
        found, damage = bundle_verify.read(path)
    except OSError as error:
        damage, found = [str(error.strerror)], {}
    if damage:
        raise BackendError(
            f"the bundle cannot be read: {damage[0]}",
            where=path.name,
            hint="give the folder or .zip that mlg audit export wrote",
        )
    return found


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
