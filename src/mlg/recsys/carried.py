"""Whether a model's artifact holds something of one viewer."""

import json
from pathlib import Path

import pyarrow as pa

from mlg.core.errors import BackendError

USERS = "users.arrow"
GOLDEN = "golden.jsonl"


def carries(folder: Path, viewer: str) -> bool:
    """Return whether the table of viewers or a recorded request names the viewer.

    What a model learned from his rows beside others' is in its arrays and cannot be told.

    Args:
        folder: The artifact.
        viewer: His key, as text.

    Raises:
        BackendError: A file cannot be read.
    """
    try:
        if (folder / USERS).is_file():
            with pa.ipc.open_file(pa.memory_map(str(folder / USERS))) as reader:
                ids = reader.read_all().column("id").to_pylist()
            if viewer in map(str, ids):
                return True
        if (folder / GOLDEN).is_file():
            lines = (folder / GOLDEN).read_text(encoding="utf-8").splitlines()
            users = [json.loads(line).get("user_id") for line in lines if line]
            return viewer in {str(user) for user in users if user is not None}
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
        raise BackendError(
            f"a model's artifact cannot be searched: {error}",
            where=folder.name,
            hint="restore it from a backup, or retire the version.",
        ) from error
    return False
