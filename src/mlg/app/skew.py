"""Skew of features: what replicas logged of known viewers against what the training code wrote.

The artifact holds the viewers' features as the training code computed them. A request that
brings no features of its own must be answered, and logged, with the same ones.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mlg.core.errors import LifecycleError
from mlg.core.ports import ArtifactStore
from mlg.core.uris import Digest
from mlg.recsys.columns import Floats
from mlg.recsys.viewers import viewers_from
from mlg.serving.log import hashed

_MOST_VIEWERS: Final = 50_000
_ROWS: Final = 500
_LEAST: Final = 100
_EACH: Final = 200
"""Rows of one reading that are compared: enough to tell, and quick."""

logger = logging.getLogger("mlg.skew")

_Known = tuple[int, dict[str, Floats]]
"""How many packed features are not the viewer's before them, and his by the log's key."""


class SkewWatch:
    """Compares the newest rows of each service.

    Args:
        artifacts: What the versions were trained to.
        key: Returns the key under which viewers are logged.
    """

    def __init__(self, artifacts: ArtifactStore, key: Callable[[], bytes]) -> None:
        self._artifacts, self._key = artifacts, key
        self._known: dict[str, _Known | None] = {}
        self._seen: dict[str, deque[bool]] = {}

    def share(
        self,
        service: str,
        predictions: Sequence[Mapping[str, Any]],
        versions: Mapping[str, Digest],
    ) -> float | None:
        """Return the share of the newest 500 comparable rows that differ, 0..1.

        Args:
            service: Whose rows.
            predictions: New rows of the log, features as lists.
            versions: Artifact by version.

        Returns:
            None before a hundred rows could be compared.
        """
        seen = self._seen.setdefault(service, deque(maxlen=_ROWS))
        for row in predictions[-_EACH:]:
            version = str(row.get("model_version"))
            if row.get("given") is not False or version not in versions:
                continue
            known = self._of(version, versions[version])
            mine = known[1].get(str(row.get("viewer"))) if known else None
            if known is None or mine is None:
                continue
            logged = np.asarray(row["features"][known[0] : known[0] + mine.size], np.float32)
            same = logged.shape == mine.shape and np.array_equal(logged, mine, equal_nan=True)
            seen.append(not same)
        return sum(seen) / len(seen) if len(seen) >= _LEAST else None

    def _of(self, version: str, digest: Digest) -> _Known | None:
        if version not in self._known:
            try:
                self._known[version] = self._read(digest)
            except (LifecycleError, OSError, ValueError, KeyError, pa.ArrowException) as error:
                logger.info("nothing to compare the features of %s with: %s", version, error)
                self._known[version] = None
        return self._known[version]

    def _read(self, digest: Digest) -> _Known | None:
        folder = self._artifacts.open(digest)
        model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        names: list[str] = model["features"]
        places = [place for place, name in enumerate(names) if name.startswith("viewer:")]
        table = folder / "users.arrow"
        if not places or not table.exists():
            return None
        with pa.ipc.open_file(pa.memory_map(str(table))) as reader:
            rows = reader.read_all().slice(0, _MOST_VIEWERS)
        viewers = viewers_from(rows, model["viewer_type"])
        if viewers.features.shape[1] != len(places) or places[-1] - places[0] >= len(places):
            return None
        key, features = self._key(), viewers.features.astype(np.float32)
        by_key = {hashed(key, one) or "": features[i] for i, one in enumerate(viewers.ids.ids)}
        return places[0], by_key
