"""A baseline as a file: counts of its windows, sampled rows, and how tables are read by it."""

import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from mlg.adapters.table_frame import Known, Reading
from mlg.core.errors import BackendError, ManifestError
from mlg.monitors.frame import Column, Frame, Sample, Windows

FORMAT: Final = 1
_META: Final = "meta"
_ARRAYS: Final = ("n", "missing", "infinite", "total", "squares", "counts")


class _Texts(msgspec.Struct, kw_only=True):
    """Texts of one column that are known."""

    texts: list[str] | None
    many: bool


class _Meta(msgspec.Struct, kw_only=True):
    """All of a baseline that is no array."""

    format: int
    rows: int
    time: str | None
    columns: dict[str, Column]
    types: dict[str, tuple[str, str]]
    known: dict[str, _Texts]
    reading_notes: dict[str, str]
    frame_notes: dict[str, str]
    sampled: int


def is_baseline(path: Path) -> bool:
    """Return whether a file is a baseline, by what it holds."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return f"{_META}.npy" in file.namelist()


def write_baseline(path: Path, frame: Frame, reading: Reading) -> None:
    """Write a baseline, by rename; its arrays as numpy's, the rest as JSON.

    Raises:
        BackendError: It could not be written; what was there before stays.
    """
    meta = _Meta(
        format=FORMAT,
        rows=frame.rows,
        time=reading.time,
        columns=frame.columns,
        types=reading.types,
        known={
            name: _Texts(
                texts=None if known.texts is None else known.texts.to_pylist(), many=known.many
            )
            for name, known in reading.known.items()
        },
        reading_notes=reading.notes,
        frame_notes=frame.notes,
        sampled=frame.sample.rows,
    )
    arrays: dict[str, Any] = {_META: np.frombuffer(msgspec.json.encode(meta), dtype=np.uint8)}
    for at, name in enumerate(frame.columns):
        windows = frame.windows[name]
        arrays |= {f"{at}.{what}": getattr(windows, what) for what in _ARRAYS}
        for sample in (frame.sample.numbers, frame.sample.codes):
            if name in sample:
                arrays[f"{at}.sample"] = sample[name]
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, **arrays)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BackendError(
            f"the baseline cannot be written: {error.strerror}", where=str(path)
        ) from error


def read_baseline(path: Path) -> tuple[Frame, Reading]:
    """Return what `write_baseline` wrote.

    Raises:
        ManifestError: The file is damaged, or of a newer form.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = msgspec.json.decode(file[_META].tobytes(), type=_Meta)
            if meta.format != FORMAT:
                raise ManifestError(
                    f"the baseline has format {meta.format}, this mlg reads {FORMAT}",
                    where=str(path),
                    hint="make it anew: mlg drift baseline TABLE --out FILE",
                )
            return _frame(meta, file), _reading(meta)
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        msgspec.MsgspecError,
    ) as error:
        raise ManifestError(
            "the baseline is damaged",
            where=str(path),
            hint="make it anew: mlg drift baseline TABLE --out FILE",
        ) from error


def _frame(meta: _Meta, file: Any) -> Frame:
    windows: dict[str, Windows] = {}
    numbers: dict[str, Any] = {}
    codes: dict[str, Any] = {}
    for at, (name, column) in enumerate(meta.columns.items()):
        windows[name] = Windows(**{what: file[f"{at}.{what}"] for what in _ARRAYS})
        if column.kind == "number":
            numbers[name] = file[f"{at}.sample"]
        elif column.kind == "text":
            codes[name] = file[f"{at}.sample"]
    return Frame(
        rows=meta.rows,
        columns=meta.columns,
        windows=windows,
        sample=Sample(numbers=numbers, codes=codes, rows=meta.sampled),
        notes=meta.frame_notes,
    )


def _reading(meta: _Meta) -> Reading:
    return Reading(
        columns=meta.columns,
        known={
            name: Known(
                None if known.texts is None else pa.array(known.texts, pa.string()), known.many
            )
            for name, known in meta.known.items()
        },
        time=meta.time,
        types=meta.types,
        notes=meta.reading_notes,
    )
