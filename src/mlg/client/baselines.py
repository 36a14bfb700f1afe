"""The client's calls about live baselines."""

from typing import Any

from mlg.client.wire import Wire

JsonObject = dict[str, Any]


class BaselineCalls(Wire):
    """What monitors hold for usual."""

    def baselines(self) -> JsonObject:
        """Return `{"baselines"}`: each stream of each monitor, and how far it has come."""
        return self._get("baselines")

    def baseline(
        self, monitor: str, *, stream: str | None = None, version: str | None = None
    ) -> JsonObject:
        """Return what is usual of a stream, with its kept versions.

        Args:
            monitor: Of the manifest, or one that versions were kept of.
            stream: None: the requests, or the only one that there is.
            version: The first characters of a kept version's digest; None: as of now.
        """
        return self._get("baselines/one", monitor=monitor, stream=stream, version=version)
