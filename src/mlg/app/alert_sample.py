"""The sample of an alert: logged rows behind it, with what is personal masked."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isinf, isnan
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlg.adapters.segment_frames import frames
from mlg.adapters.stream_segments import segment_paths
from mlg.app.seals import Seals
from mlg.core.errors import BackendError, LifecycleError
from mlg.manifest.personal import personal_fields, viewer_columns
from mlg.manifest.specs import ManifestSpec
from mlg.monitors.alert import MOST_SAMPLE
from mlg.monitors.windows import Layout
from mlg.serving.log import decode_prediction

MASK: Final = "***"
"""What stands for a personal value; the same for all, so that it joins nothing."""

_PERSONS: Final = ("viewer", "session")
_SHOWN: Final = (
    "prediction_id", "at", "model_version", "served_by", "reason", "raw_confidence",
    "confidence",
)  # fmt: skip


def logged_rows(seals: Seals, service: str, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the logged rows of predictions, by id, sealed or not.

    One that was erased, or is past its retention, is not there.

    Raises:
        BackendError: A sealed file cannot be read.
    """
    left, found = set(wanted), dict[str, dict[str, Any]]()
    for segment in reversed(seals.segments(service)):
        inside = {one for one in left if segment.first_id <= one <= segment.last_id}
        if inside:
            rows = _sealed(seals.path(segment), inside)
            found |= rows
            left -= rows.keys()
    sealed = dict(seals.cursor(service).positions)
    for path in reversed(segment_paths(seals.folder(service))):
        if not left:
            break
        try:
            data = path.read_bytes()
        except OSError:  # retention took it meanwhile
            continue
        for _, _, record in frames(data, sealed.get(path.name, 0)):
            if record.kind == "prediction" and record.key in left:
                left.discard(record.key)
                try:
                    found[record.key] = decode_prediction(record.payload)
                except LifecycleError:
                    continue
    return found


def _sealed(path: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    try:
        table = pq.read_table(
            path,
            columns=["prediction_id", "row"],
            filters=[("prediction_id", "in", sorted(wanted))],
        )
        pairs = zip(
            table.column("prediction_id").to_pylist(),
            table.column("row").to_pylist(),
            strict=True,
        )
        return {str(name): msgspec.json.decode(row) if row else {} for name, row in pairs}
    except (OSError, KeyError, pa.ArrowException, msgspec.MsgspecError) as error:
        raise BackendError(
            f"the sealed segment cannot be read: {error}",
            where=path.name,
            hint="restore it from a backup of the home",
        ) from error


def personal_names(spec: ManifestSpec | None) -> frozenset[str]:
    """Return the names of the columns that are marked personal, or that name viewers."""
    if spec is None:
        return frozenset()
    marked = [one for text in personal_fields(spec).values() for one in json.loads(text)]
    keys = [column for columns in viewer_columns(spec).values() for column in columns]
    return frozenset((*(one["column"] for one in marked), *keys))


def sample_document(
    ids: Sequence[str],
    rows: Mapping[str, Mapping[str, Any]],
    layouts: Mapping[str, Layout],
    personal: frozenset[str],
) -> dict[str, Any]:
    """Return the sample as it is shown: at most 1,000 rows, personal values masked.

    Only known fields are shown. The viewer and the session are always masked, and each
    feature that has the name of a personal column, as it is or after `viewer:`. Features of a
    version whose layout is not known are not shown, because nobody can say which is personal.

    Args:
        ids: Of the sampled predictions.
        rows: What the log has of them; `{}` for one that was erased.
        layouts: By model version.
        personal: From `personal_names`.

    Returns:
        `{"rows", "gone", "masked"}`; `gone` counts the predictions that the log has no more.
    """
    shown: list[dict[str, Any]] = []
    masked: set[str] = set(_PERSONS)
    ids = tuple(ids)[:MOST_SAMPLE]
    for one in ids:
        row = rows.get(one)
        if not row:
            continue
        layout = layouts.get(str(row.get("model_version") or ""))
        features = {} if layout is None else _features(row, layout, personal, masked)
        shown.append(
            {
                **{name: row.get(name) for name in _SHOWN},
                **{name: MASK if row.get(name) else None for name in _PERSONS},
                "features": features,
            }
        )
    return {"rows": shown, "gone": len(ids) - len(shown), "masked": sorted(masked)}


def _features(
    row: Mapping[str, Any], layout: Layout, personal: frozenset[str], masked: set[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    values = row.get("features") or ()
    for feature, value in zip(layout.features, values, strict=False):
        if feature.name in personal or feature.name.partition(":")[2] in personal:
            masked.add(feature.name)
            found[feature.name] = MASK
        elif value is None or isnan(value):  # NaN is how the log says missing
            found[feature.name] = None
        elif feature.levels:
            place = int(value) if abs(value) < 2**31 else -1
            known = 0 <= place < len(feature.levels)
            found[feature.name] = feature.levels[place] if known else None
        else:
            found[feature.name] = str(value) if isinf(value) else value
    return found
