"""Checks the end of a long log in a process beside the one that checks its beginning.

    python -m mlg.adapters.graph_sqlite_check FILE AFTER UPTO LAST

Checks events AFTER + 1 to UPTO of a graph's file, where LAST is the chain hash of event AFTER
as hex. Prints the chain hash of event UPTO, or nothing when something is wrong: what, and
where, is told by whoever checks the whole log in order.
"""

import subprocess
import sys
from pathlib import Path

from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.graph.audit import Span, check_span


class BesideCheck:
    """Checks a span of a file in a process of its own.

    Args:
        path: The graph's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[str] | None = None

    @property
    def started(self) -> bool:
        """Whether it was asked."""
        return self._process is not None

    def start(self, span: Span) -> None:
        """Begin with a span."""
        words = (str(self._path), str(span.after), str(span.upto), span.last.hex())
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def result(self) -> bytes | None:
        """Return the hash of the span's last event; None when it is not as it should be."""
        if self._process is None:
            return None
        said, _ = self._process.communicate()
        found = said.strip() if self._process.returncode == 0 else ""
        return bytes.fromhex(found) if found else None


def main() -> None:
    """Check what the arguments say."""
    path, after, upto, last = sys.argv[1:]
    with SqliteGraphReader(Path(path)) as log:
        found = check_span(log, Span(int(after), int(upto), bytes.fromhex(last)))
    sys.stdout.write(found.hex() if found else "")


if __name__ == "__main__":
    main()
