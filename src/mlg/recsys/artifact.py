"""The artifact of a model as a value, and as a folder whose files are checked."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import rfc8785

from mlg.core.errors import BackendError, RefusedError
from mlg.recsys.columns import Table

Array = np.ndarray[Any, Any]
FORMAT = 1
OWN = "own/"
"""Folder of an artifact with code and files of a class of the user's, kept as bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted model: everything that its folder holds, and what was measured."""

    model: dict[str, Any]
    """Content of `model.json`, without `files`."""
    arrays: Mapping[str, Array]
    """`arrays/NAME.npy`."""
    texts: Mapping[str, str]
    """Other files by name."""
    tables: Mapping[str, Table]
    """`NAME.arrow`."""
    blobs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Files under `own/`, by name."""
    folder: Path | None = None
    """Where it was read from; None for what was just fitted."""
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    facts: dict[str, str | int | float | bool | None] = field(
        default_factory=dict[str, str | int | float | bool | None]
    )

    def save(self, folder: Path) -> None:
        """Write the artifact into a folder; equal models give equal bytes.

        Raises:
            BackendError: A file could not be written.
        """
        try:
            digests: dict[str, str] = {}
            for name, content in self._contents():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                digests[name] = hashlib.sha256(content).hexdigest()
            document = {**self.model, "format": FORMAT, "files": digests}
            (folder / "model.json").write_bytes(rfc8785.dumps(document))
        except OSError as error:
            raise BackendError(
                f"the artifact could not be written: {error.strerror}",
                where=folder.name,
                hint="free some space, or check the folder's rights.",
            ) from error

    def _contents(self) -> list[tuple[str, bytes]]:
        files: list[tuple[str, bytes]] = []
        for name in sorted(self.arrays):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(self.arrays[name]), allow_pickle=False)
            files.append((f"arrays/{name}.npy", buffer.getvalue()))
        for name in sorted(self.tables):
            sink = io.BytesIO()
            table = cast("Any", self.tables[name])
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            files.append((f"{name}.arrow", sink.getvalue()))
        files.extend((name, self.texts[name].encode()) for name in sorted(self.texts))
        files.extend(sorted(self.blobs.items()))
        return files


def dumps(value: object) -> str:
    """Return canonical JSON text (RFC 8785)."""
    return rfc8785.dumps(cast("Any", value)).decode()


def loads(text: str) -> dict[str, Any]:
    """Return the JSON object of a text."""
    return cast("dict[str, Any]", json.loads(text))


def loads_lines(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a text, one a line."""
    return [loads(line) for line in text.splitlines() if line]


_HINT = "restore the artifact from its store, or train again."


def _description(folder: Path, expected: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the content of `model.json`, and the digests of the files that it names.

    Raises:
        BackendError: It cannot be read, or has another format.
        RefusedError: It is another one than expected.
    """
    try:
        content = (folder / "model.json").read_bytes()
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise RefusedError("the file was altered while it was checked", where="model.json")
        document = cast("dict[str, Any]", json.loads(content))
        files = cast("dict[str, str]", document.pop("files"))
        if document.get("format") != FORMAT:
            raise BackendError(
                f"expected artifact format {FORMAT}, got {document.get('format')!r}",
                where="model.json",
                hint=_HINT,
            )
    except FileNotFoundError as error:
        raise BackendError(
            "the artifact has no such file", where="model.json", hint=_HINT
        ) from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BackendError(
            f"the artifact's description cannot be read ({error!r})",
            where="model.json",
            hint=_HINT,
        ) from error
    return document, files


def read(folder: Path, expected: str | None = None) -> Fitted:
    """Return the artifact in a folder, each file checked against `model.json`.

    Args:
        folder: The artifact.
        expected: sha256 that `model.json` must have; None: any.

    Raises:
        BackendError: A file is missing, differs from its digest, or cannot be read.
        RefusedError: `model.json` is another one than expected.
    """
    document, files = _description(folder, expected)
    arrays: dict[str, Array] = {}
    texts: dict[str, str] = {}
    tables: dict[str, Table] = {}
    blobs: dict[str, bytes] = {}
    for name, digest in sorted(files.items()):
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise BackendError("a file of the artifact lies outside it", where=name, hint=_HINT)
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise BackendError(
                f"a file of the artifact is missing ({error.strerror})", where=name, hint=_HINT
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise BackendError(
                f"expected sha256 {digest[:12]}…, found {found[:12]}…: the file is damaged",
                where=name,
                hint=_HINT,
            )
        path = Path(name)
        if name.startswith(OWN):
            blobs[name] = content
        elif path.suffix == ".npy":
            arrays[path.stem] = np.load(io.BytesIO(content), allow_pickle=False)
        elif path.suffix == ".arrow":
            tables[path.stem] = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        else:
            texts[name] = content.decode()
    return Fitted(
        model=document, arrays=arrays, texts=texts, tables=tables, blobs=blobs, folder=folder
    )
