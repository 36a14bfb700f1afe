"""The newest requests of a service, from its log and from the viewers that versions know.

Viewers' ids are joined with the log in memory only, for as long as a test asks; nothing of
them is kept or told.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mlg.adapters.stream_segments import SegmentStream, segment_paths
from mlg.core.errors import LifecycleError
from mlg.core.ports import Cursor
from mlg.core.predict import Key
from mlg.release.staging_requests import MOST, LiveRequests, live_requests
from mlg.serving.log import decode_prediction, hashed

_TAIL_BYTES: Final = 4 << 20
"""Of each file its end is read: some thousand answers."""
_FILES: Final = 8
_BATCH: Final = 10_000

logger = logging.getLogger("mlg.staging")


class LogRequests:
    """Makes the newest requests of a service again.

    Args:
        home: The instance's folder.
        key: Returns the key under which viewers are logged.
    """

    def __init__(self, home: Path, key: Callable[[], bytes]) -> None:
        self._home, self._key = home, key

    def __call__(self, service: str, artifacts: Sequence[Path]) -> LiveRequests:
        """Return the requests behind the newest answers; never raises.

        Args:
            service: Whose.
            artifacts: Folders of the versions that will be asked, for the viewers they know.
        """
        try:
            rows = newest_rows(self._home / "segments" / service)
            if not rows:
                return LiveRequests(why="the log has none")
            known = [ids for folder in artifacts if (ids := known_viewers(folder)) is not None]
            wanted = {str(row["viewer"]) for row in rows if row.get("viewer") is not None}
            found = matched(self._key(), known, wanted)
        except (LifecycleError, OSError, ValueError, KeyError, pa.ArrowException) as error:
            logger.warning("the log's requests cannot be made again: %s", error)
            return LiveRequests(why=f"the log cannot be read: {error}")
        return live_requests(rows, found, knows=bool(known))


def newest_rows(folder: Path, most: int = MOST) -> list[dict[str, Any]]:
    """Return the newest answers of a service's log, oldest first.

    Raises:
        BackendError: The log cannot be read.
        OSError: A file went meanwhile.
    """
    sizes = {path: path.stat() for path in segment_paths(folder)}
    newest = sorted(sizes, key=lambda path: sizes[path].st_mtime_ns)[-_FILES:]
    ends = {path.name: stat.st_size for path, stat in sizes.items()}
    starts = {path.name: max(0, sizes[path].st_size - _TAIL_BYTES) for path in newest}
    cursor = Cursor(consumer="staging", positions=tuple(sorted({**ends, **starts}.items())))
    stream, rows = SegmentStream(folder), list[tuple[Any, bytes]]()
    while True:
        batch = stream.read(cursor, _BATCH)
        rows += [(one.at, one.payload) for one in batch.records if one.kind == "prediction"]
        if batch.cursor == cursor or len(batch.records) < _BATCH:
            break
        cursor = batch.cursor
    rows.sort(key=lambda row: row[0])
    return [decode_prediction(payload) for _, payload in rows[-most:]]


def known_viewers(artifact: Path) -> list[Key] | None:
    """Return the ids of the viewers that a version knows; None where it keeps none.

    Raises:
        OSError: The table cannot be read.
        ArrowException: It is none.
    """
    table = artifact / "users.arrow"
    if not table.exists():
        return None
    with pa.memory_map(str(table)) as mapped, pa.ipc.open_file(mapped) as reader:
        ids: list[Key] = reader.read_all().column("id").to_pylist()
    return ids


def matched(
    key: bytes, known: Iterable[Iterable[Key]], wanted: Iterable[str]
) -> dict[str, Key]:
    """Return the ids of the wanted viewers by their hash, for those who are known."""
    left, found = set(wanted), dict[str, Key]()
    for one in _each(known):
        if not left:
            break
        if (name := hashed(key, one) or "") in left:
            found[name] = one
            left.remove(name)
    return found


def _each(known: Iterable[Iterable[Key]]) -> Iterator[Key]:
    for ids in known:
        yield from ids
