"""What happened to the fleet, kept until it could be recorded."""

from collections import deque
from collections.abc import Callable

from mlg.core.errors import LifecycleError
from mlg.core.processes import ProcessState
from mlg.core.traffic import TrafficSplit
from mlg.release.fleet import Command, CrashLoop, Place, Split, Start, Stop

Recorder = Callable[[str, ProcessState | None, str], None]
"""Takes what happened, to whom, and the detail; see `Supervisor`."""


class Telling:
    """Tells a recorder in order; what cannot be recorded now waits, the fleet does not.

    Args:
        recorder: Takes what happened.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._untold: deque[tuple[str, ProcessState | None, str]] = deque(maxlen=10_000)
        self._failures: dict[str, str] = {}

    @property
    def failing(self) -> bool:
        """Whether something failed that has not worked since."""
        return bool(self._failures)

    def tell(self, kind: str, process: ProcessState | None, detail: str) -> None:
        """Keep what happened for the next `record`."""
        self._untold.append((kind, process, detail))

    def tell_once(self, what: str, detail: str) -> None:
        """Keep a failure, but not the same one again at every look."""
        if self._failures.get(what) != detail:
            self._failures[what] = detail
            self.tell("failed", None, f"{what}: {detail}")

    def worked(self, what: str) -> None:
        """Forget that something failed: it did not now."""
        self._failures.pop(what, None)

    def record(self) -> None:
        """Record what is kept, until the recorder fails."""
        while self._untold:
            try:
                self._recorder(*self._untold[0])
            except LifecycleError:
                return
            self._untold.popleft()


def subject_of(command: Command) -> str:
    """Name what a command acts on, without what may differ at the next try."""
    match command:
        case Start(group=group) | CrashLoop(group=group):
            return " ".join(("start", group.kind, group.service, group.version)).strip()
        case Stop(id=name):
            return f"stop {name}"
        case Place(endpoints=endpoints):
            return f"place {endpoints.service}"
        case Split(split=split):
            return f"split {split.service}"


def as_text(split: TrafficSplit) -> str:
    """Return a split in words."""
    return ", ".join(f"{share.version} {share.bp} bp" for share in split.everything)
