"""What the processes of a replica hold, sampled while it is tested."""

import threading
from typing import Final

import psutil

_EVERY_S: Final = 0.25


class MemoryWatch:
    """Samples the proportional set size of a process and its children on a thread.

    Pages that replicas share (a mapped model) count in parts, so the figure is what one
    replica more costs. Use as a context manager.

    Args:
        pid: The process; 0 measures nothing.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._peak_bytes = pid, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-memory", daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def peak_bytes(self) -> int | None:
        """Return the largest sample, one taken now included; None when none could be taken."""
        self._sample()
        return self._peak_bytes or None

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        held = held_bytes(self._pid)
        self._peak_bytes = max(self._peak_bytes, held or 0)


def held_bytes(pid: int) -> int | None:
    """Return the proportional set size of a process and its children; None: not known."""
    if pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(int(one.memory_full_info().pss) for one in family)
    except (psutil.Error, OSError, AttributeError):
        return None


def runs(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
