"""Small files in a dict, for tests and the simulator."""

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlg.core.ports import Files


class MemoryFiles:
    """Keeps every file's content; lost when the process ends."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}

    def read(self, path: str) -> bytes | None:
        return self._contents.get(_checked(path))

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        self._contents[_checked(path)] = content
        self.modes[_checked(path)] = mode

    def list(self, folder: str) -> tuple[str, ...]:
        parent = _checked(folder)
        return tuple(
            sorted(path for path in self._contents if str(PurePosixPath(path).parent) == parent)
        )

    def remove(self, path: str) -> None:
        self._contents.pop(_checked(path), None)


def _checked(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise ValueError(f"expected a path below the home, got {path!r}")
    return str(pure)


if TYPE_CHECKING:
    _: Files = MemoryFiles()
