"""What goes into one sealed segment: which answers, and what is kept of them beside it."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from mlg.adapters.seal_parquet import Seal
from mlg.core.clock import parse_time
from mlg.core.errors import LifecycleError
from mlg.core.ports import Record
from mlg.core.uris import Digest
from mlg.serving.log import decode_prediction

_FEW: Final = 1_000
"""Hours that close at the same time share a segment while they have fewer answers."""

logger = logging.getLogger("mlg.seals")


class SealedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed file of predictions."""

    service: str
    root: str
    digest: Digest
    rows: int
    first_id: str
    last_id: str
    first_at: str
    last_at: str
    versions: tuple[str, ...]
    policies: tuple[str, ...]
    last_received: str = ""
    """When the newest of them was received; empty in segments of earlier versions."""
    erased: int = 0
    """Rows of which only the leaf is left."""


def hourly(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the answers by hour of event time, oldest hour first; small hours share a group.

    Examples:
        >>> noon, one = ({"at": f"2026-01-02T{hour}:30:00Z"} for hour in (12, 13))
        >>> [len(group) for group in hourly([one, noon])]
        [2]
    """
    hours: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        hours.setdefault(str(row["at"])[:13], []).append(row)
    groups: list[list[dict[str, Any]]] = []
    for _, group in sorted(hours.items()):
        if groups and len(groups[-1]) + len(group) <= _FEW:
            groups[-1] += group
        else:
            groups.append(group)
    return groups


def rows_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the predictions among records; what cannot be sealed is left and logged."""
    rows: list[dict[str, Any]] = []
    for record in records:
        if record.kind != "prediction":
            continue
        try:
            row = decode_prediction(record.payload)
            whole = bool(bytes.fromhex(row["salt"]) and row["prediction_id"])
            parse_time(row["at"])
        except (LifecycleError, KeyError, TypeError, ValueError) as error:
            logger.warning("an answer cannot be sealed: %s", error)
            continue
        if whole:
            rows.append(row)
    return rows


def segment_of(service: str, seal: Seal, rows: Sequence[dict[str, Any]]) -> SealedSegment:
    """Return what is kept of a sealed file beside it."""
    ids = [str(row["prediction_id"]) for row in rows]
    times = [str(row["at"]) for row in rows]
    return SealedSegment(
        service=service,
        root=seal.root,
        digest=seal.digest,
        rows=seal.count,
        first_id=min(ids),
        last_id=max(ids),
        first_at=min(times),
        last_at=max(times),
        versions=tuple(sorted({str(row["model_version"] or "") for row in rows} - {""})),
        policies=tuple(sorted({str(row["policy"] or "") for row in rows} - {""})),
        last_received=max(str(row.get("received_at") or row["at"]) for row in rows),
    )
