"""The features that each version logs, from its artifact."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from mlg.core.errors import LifecycleError
from mlg.core.ports import ArtifactStore, Files
from mlg.core.traffic import version_of
from mlg.core.uris import Digest
from mlg.monitors.windows import Layout, layout_of
from mlg.workflows.state import read_wanted

_MOST_VERSIONS: Final = 50

logger = logging.getLogger("mlg.monitoring")


class Layouts:
    """Reads each version's layout once.

    Args:
        files: The wanted state.
        artifacts: The models.
    """

    def __init__(self, files: Files, artifacts: ArtifactStore) -> None:
        self._files, self._artifacts = files, artifacts
        self._layouts: dict[str, Layout] = {}

    def versions(self, service: str, known: Mapping[str, Digest]) -> dict[str, Digest]:
        """Return the newest versions that may have answered and whose features are known."""
        found = dict(known)
        for item in read_wanted(self._files, service).versions:
            found.setdefault(version_of(item.version), item.artifact)
        can = {
            version: digest for version, digest in found.items() if self._can(version, digest)
        }
        return dict(list(can.items())[-_MOST_VERSIONS:])

    def of(self, version: str, digest: Digest) -> Layout:
        """Return one version's layout.

        Raises:
            LifecycleError: The artifact is not there.
            OSError: It cannot be read.
            ValueError: It describes no features.
            KeyError: The same.
        """
        if version not in self._layouts:
            text = (self._artifacts.open(digest) / "model.json").read_text(encoding="utf-8")
            model: dict[str, Any] = json.loads(text)
            self._layouts[version] = layout_of(
                version, model["features"], model.get("levels", {})
            )
        return self._layouts[version]

    def _can(self, version: str, digest: Digest) -> bool:
        try:
            self.of(version, digest)
        except (LifecycleError, OSError, ValueError, KeyError) as error:
            logger.warning("the features of %s are not known: %s", version, error)
            return False
        return True
