"""Sealed predictions: one Parquet file a segment, under one Merkle root."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlg.core.clock import rfc3339
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.uris import Digest
from mlg.graph import merkle
from mlg.graph.bundle import SealedRow
from mlg.graph.bundle_quality import Shown

_OWN: Final = ("prediction_id", "salt", "leaf", "row")
_STAYS: Final = ("prediction_id", "leaf")
"""Columns that an erasure leaves: they say nothing of the viewer."""
_SAFE_INT: Final = 2**53 - 1
_GROUP: Final = 4_096
"""Rows of one part of a file: so many are read to find one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What came of sealing: put it on the graph with `record_services.segment_sealed`."""

    path: Path
    """`<folder>/<first 12 of root>.parquet`."""
    root: str
    """Merkle root (RFC 6962) over the leaves in row order, hex."""
    digest: Digest
    """sha256 of the file."""
    count: int


def plain(value: object) -> Any:
    """Return a decoded value as JSON can hold it exactly.

    Times become RFC 3339, bytes hex, NaN and infinities null, integers beyond 2**53 - 1 text.

    Raises:
        ValueError: A value of some other type.
    """
    if isinstance(value, str):
        return value
    match value:
        case None | bool():
            return value
        case int():
            return int(value) if abs(value) <= _SAFE_INT else str(int(value))
        case float():
            return float(value) if abs(value) < float("inf") else None
        case bytes():
            return value.hex()
        case datetime():
            return rfc3339(value)
        case Mapping():
            return {str(name): plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return _plain_list(cast("Sequence[object]", value))
        case _:
            raise ValueError(f"a prediction cannot hold a {type(value).__name__}")


def _plain_list(values: Sequence[object]) -> list[Any]:
    """Return the values as `plain` does; quickly where they are all of one kind."""
    kinds = set(map(type, values))
    if kinds == {float} and all(map(isfinite, cast("Sequence[float]", values))):
        return list(values)
    if kinds <= {str}:
        return list(values)
    return [plain(inner) for inner in values]


def leaf_of(salt: bytes, row: bytes) -> bytes:
    """Return sha256(salt + row)."""
    return hashlib.sha256(salt + row).digest()


def seal(rows: Sequence[Mapping[str, object]], folder: Path) -> Seal:
    """Write predictions as one durable Parquet file and return its Merkle root.

    The same rows give the same root and file name, so sealing again changes nothing.
    The column `row` is the truth; the others repeat it for queries.

    Args:
        rows: Decoded predictions in order of the log. Each has `prediction_id` and
            `salt` (bytes or hex); viewers only as keyed hashes.
        folder: Where the file goes; made when it is not there.

    Raises:
        ValueError: There are no rows, or one has no id or no salt.
        BackendError: The file could not be written; nothing of it is left.
    """
    if not rows:
        raise ValueError("there is nothing to seal")
    ids, salts, texts, cleaned = list[str](), list[bytes](), list[bytes](), list[Any]()
    for row in rows:
        salt, prediction_id = row.get("salt"), row.get("prediction_id")
        if isinstance(salt, str):
            salt = bytes.fromhex(salt)
        if not isinstance(salt, bytes) or not salt or not prediction_id:
            raise ValueError("a prediction without `prediction_id` or `salt` cannot be sealed")
        found = plain({name: value for name, value in row.items() if name != "salt"})
        ids.append(str(prediction_id))
        salts.append(salt)
        # the bytes are the truth and are never made again, so any fixed form will do
        texts.append(msgspec.json.encode(found, order="sorted"))
        cleaned.append(found)
    leaves = [leaf_of(salt, text) for salt, text in zip(salts, texts, strict=True)]
    root = merkle.Frontier().extend(leaves).root.hex()
    columns: dict[str, Any] = {
        "prediction_id": pa.array(ids, pa.string()),
        **_columns(cleaned),
        "salt": pa.array(salts, pa.binary()),
        "leaf": pa.array(leaves, pa.binary(32)),
        "row": pa.array(texts, pa.binary()),
    }
    table = pa.table(columns).replace_schema_metadata(
        {"mlg.merkle_root": root, "mlg.format": "1"}
    )
    path = folder / f"{root[:12]}.parquet"
    return Seal(path=path, root=root, digest=_write(table, path), count=len(rows))


def find(path: Path, prediction_id: str) -> SealedRow:
    """Return one prediction of a sealed file, with all leaves.

    Raises:
        NotFoundError: The prediction is not in this file.
        BackendError: The file cannot be read, or does not keep its root.
    """
    table = _read(path, ["prediction_id", "leaf"])
    leaves = tuple(bytes(leaf) for leaf in table.column("leaf").to_pylist())
    ids: list[str] = table.column("prediction_id").to_pylist()
    if prediction_id not in ids:
        raise NotFoundError(
            f"prediction {prediction_id} is not in this segment",
            where=path.name,
            hint="mlg trace names the segment of a prediction",
        )
    index = ids.index(prediction_id)
    row, salt = _row_at(path, index)
    declared = (table.schema.metadata or {}).get(b"mlg.merkle_root", b"").decode()
    found = merkle.Frontier().extend(leaves).root.hex()
    if found != declared or (row and leaf_of(salt, row) != leaves[index]):
        raise BackendError(
            f"the sealed segment does not keep its Merkle root {declared[:12]}",
            where=path.name,
            hint="the file was altered: restore it from a backup, then mlg audit verify",
        )
    return SealedRow(
        prediction_id=prediction_id,
        row=row,
        salt=salt,
        leaf=leaves[index],
        index=index,
        leaves=leaves,
    )


def viewer_rows(path: Path, viewer: str) -> tuple[str, ...]:
    """Return the ids of the rows of one viewer, by the hash under which the log knows him.

    Raises:
        BackendError: The file cannot be read.
    """
    table = _read(path, ["prediction_id", "row"])
    ids = table.column("prediction_id").to_pylist()
    of_viewer = _of(viewer, table.column("row").to_pylist())
    return tuple(found for found, his in zip(ids, of_viewer, strict=True) if his)


def erase(path: Path, folder: Path, viewer: str | None) -> tuple[Seal, int]:
    """Write the sealed file anew without one viewer's rows; None erases every row.

    Of an erased row its place, its id and its leaf stay, so the root and the proofs of
    other rows stand; its salt goes, so nobody can try what it said. Equal input gives equal
    bytes.

    Args:
        path: The sealed file; it stays as it is.
        folder: Where the new one goes.
        viewer: The hash under which the log knows the viewer.

    Returns:
        The file and the number of rows that are erased in it, older erasures included.

    Raises:
        BackendError: The file cannot be read or written.
    """
    table = _read(path, None)
    texts: list[bytes | None] = table.column("row").to_pylist()
    his = _of(viewer, texts) if viewer else [True] * len(texts)
    gone = [text is None or one for text, one in zip(texts, his, strict=True)]
    kept = pa.array([None if one else place for place, one in enumerate(gone)], pa.int64())
    for place, name in enumerate(table.column_names):
        if name not in _STAYS:
            column = table.column(name).combine_chunks().take(kept)
            table = table.set_column(place, table.schema.field(name), column)
    root = (table.schema.metadata or {}).get(b"mlg.merkle_root", b"").decode()
    target = folder / f"{root[:12]}.parquet"
    seal = Seal(path=target, root=root, digest=_write(table, target), count=table.num_rows)
    return seal, sum(gone)


def _of(viewer: str, rows: Sequence[bytes | None]) -> list[bool]:
    named = f'"viewer":"{viewer}"'.encode()
    return [row is not None and named in row for row in rows]


def prediction_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a sealed file in order.

    Raises:
        BackendError: The file cannot be read.
    """
    return tuple(_read(path, ["prediction_id"]).column("prediction_id").to_pylist())


def shown(paths: Iterable[Path]) -> tuple[Shown, ...]:
    """Return what sealed files say was shown, by model version and way of serving.

    Rows that were erased count nowhere.

    Raises:
        BackendError: A file cannot be read.
    """
    answers: Counter[tuple[str, str]] = Counter()
    items: dict[tuple[str, str], Counter[str]] = {}
    for path in paths:
        table = _read(path, ["row"])
        for content in table.column("row").to_pylist():
            if not content:
                continue
            row = msgspec.json.decode(content, type=_ShownRow)
            served = (row.model_version or "", row.served_by)
            answers[served] += 1
            items.setdefault(served, Counter()).update(map(str, row.items))
    return tuple(
        Shown(model_version=version, served_by=way, answers=count, items=items[version, way])
        for (version, way), count in sorted(answers.items())
    )


class _ShownRow(msgspec.Struct):
    items: list[str | int] = []
    served_by: str = ""
    model_version: str | None = None


def decoded(row: SealedRow) -> dict[str, Any]:
    """Return the prediction's fields; empty when it was erased."""
    return msgspec.json.decode(row.row, type=dict[str, Any]) if row.row else {}


def _row_at(path: Path, index: int) -> tuple[bytes, bytes]:
    """Return row and salt of one prediction, reading only the part of the file with it."""
    try:
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            if index < count:
                part = file.read_row_group(number, columns=["row", "salt"])
                found = [part.column(name)[index].as_py() or b"" for name in ("row", "salt")]
                return found[0], found[1]
            index -= count
    except (OSError, KeyError, pa.ArrowException) as error:
        _unreadable(path, error)
    return b"", b""


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a column for each field that has one type in all rows."""
    names = dict.fromkeys(name for row in rows for name in row)
    found: dict[str, Any] = {}
    for name in names:
        if name in _OWN:
            continue
        with contextlib.suppress(
            pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError
        ):
            found[name] = pa.array([row.get(name) for row in rows])
    return found


def _write(table: Any, path: Path) -> Digest:
    beside = path.with_suffix(".writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, beside, compression="zstd", row_group_size=_GROUP)
        with beside.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, pa.ArrowException) as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise BackendError(
            f"the segment could not be sealed: {error}",
            where=path.name,
            hint="free disk space; the predictions stay in their segment files",
        ) from error
    return Digest(digest)


def _read(path: Path, columns: list[str] | None) -> Any:
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, KeyError, pa.ArrowException) as error:
        _unreadable(path, error)


def _unreadable(path: Path, error: Exception) -> NoReturn:
    raise BackendError(
        f"the sealed segment cannot be read: {error}",
        where=path.name,
        hint="restore it from a backup of the home",
    ) from error
