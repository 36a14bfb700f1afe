"""The event stream in a list; lost when the process ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlg.core.ports import Batch, Cursor, EventStream, Record

_PARTITION = "memory"


class MemoryStream:
    """Keeps records and cursors in memory, in one partition."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._cursors: dict[str, Cursor] = {}

    def append(self, records: Sequence[Record]) -> None:
        self._records.extend(records)

    def read(self, cursor: Cursor, limit: int = 10_000) -> Batch:
        start = dict(cursor.positions).get(_PARTITION, 0)
        records = tuple(self._records[start : start + limit])
        end = ((_PARTITION, start + len(records)),)
        return Batch(records=records, cursor=Cursor(consumer=cursor.consumer, positions=end))

    def committed(self, consumer: str) -> Cursor:
        return self._cursors.get(consumer, Cursor(consumer=consumer))

    def commit(self, cursor: Cursor) -> None:
        self._cursors[cursor.consumer] = cursor


if TYPE_CHECKING:
    _: EventStream = MemoryStream()
