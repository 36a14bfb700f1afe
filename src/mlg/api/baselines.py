"""What the API needs of live baselines."""

from typing import Any, Protocol

from mlg.core.errors import NotFoundError

JsonObject = dict[str, Any]


class Baselines(Protocol):
    """What monitors hold for usual, now and in the versions that were kept."""

    def baselines(self) -> JsonObject:
        """Return `{"baselines"}`: each stream of each monitor, and how far it has come."""
        ...

    def baseline(self, monitor: str, stream: str, version: str) -> JsonObject:
        """Return `{"monitor", "stream", "version", "kept", "versions", "baseline"}`.

        Args:
            monitor: Of the manifest, or one that versions were kept of.
            stream: Empty: the requests, or the only one that there is.
            version: The first characters of a kept version's digest; empty: as of now.

        Raises:
            NotFoundError: There is no such monitor, stream or version, or it still learns.
        """
        ...


class NoBaselines:
    """Knows no monitor."""

    def baselines(self) -> JsonObject:
        """Return an empty list."""
        return {"baselines": []}

    def baseline(self, monitor: str, stream: str, version: str) -> JsonObject:
        """Refuse.

        Raises:
            NotFoundError: Always.
        """
        del stream, version
        raise NotFoundError(f"no monitor {monitor[:120]!r}", where="monitor")
