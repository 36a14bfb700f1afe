"""Who answers a question: the running control plane, or the files of a stopped one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Unpack

from mlg.cli.instance import connect, control_of
from mlg.client.client import WalkHow
from mlg.core.errors import LifecycleError


class Answers(Protocol):
    """Questions that a running control plane or the files of a stopped one answer."""

    def trace(self, uri: str, **how: Unpack[WalkHow]) -> dict[str, Any]:
        """Return everything above."""
        ...

    def impact(self, uri: str, **how: Unpack[WalkHow]) -> dict[str, Any]:
        """Return everything below."""
        ...

    def why(self, uri: str, *, did_not: str | None = None) -> dict[str, Any]:
        """Return why a thing is as it is, or why something did not happen."""
        ...

    def diff(
        self, a: str, b: str, *, as_of: str | None = None, known_at: str | None = None
    ) -> dict[str, Any]:
        """Return what differs between two versions."""
        ...

    def unused(self, *, kinds: list[str], since: str, limit: int) -> dict[str, Any]:
        """Return what could be deprecated."""
        ...

    def quality(self, uri: str | None, *, kinds: list[str], limit: int) -> dict[str, Any]:
        """Return how well things are described."""
        ...

    def production(
        self, service: str, at: str | None = None, *, known_at: str | None = None
    ) -> dict[str, Any]:
        """Return what served."""
        ...

    def search(self, text: str, *, kinds: Sequence[str], limit: int) -> dict[str, Any]:
        """Return what matches."""
        ...

    def nodes(
        self,
        kinds: Sequence[str] = (),
        *,
        attr: tuple[str, str] | None = None,
        as_of: str | None = None,
        known_at: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """Return a page of nodes."""
        ...

    def events(
        self, after: int = 0, limit: int = 1_000, *, subject: str | None = None
    ) -> dict[str, Any]:
        """Return a page of events."""
        ...


def answers(home: Path) -> Answers:
    """Return the running control plane's answers, or those of the files."""
    if control_of(home) is not None:
        client = connect(home)
        try:
            client.status()
        except LifecycleError:
            return _files(home)
        return client
    return _files(home)


def _files(home: Path) -> Answers:
    from mlg.cli.offline import FileAnswers  # the graph's readers: a third of a second

    return FileAnswers(home)
