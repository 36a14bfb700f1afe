"""Whether the servers of one's own in a stack are healthy, before anything is tested.

They listen on 127.0.0.1 of a network that only their containers share, so they are asked from
within the container of the version under test, by its own Python: as that would ask them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from mlg.adapters.compose_engine import ComposeEngine
from mlg.core.clock import Clock
from mlg.core.errors import BackendError

_LOOK_S: Final = 0.25
_ASK: Final = """\
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=2) as answer:
        status = answer.status
except urllib.error.HTTPError as error:
    status = error.code
except OSError as error:
    sys.exit(f"no answer: {getattr(error, 'reason', error)}")
sys.exit(0 if status == 200 else f"it answers {status}")
"""


class OwnServers:
    """Asks the servers of one's own of one stack.

    Args:
        engine: Runs the question in a container.
        project: The stack.
        containers: Id by service.
        asker: Id of the container from which they are asked, and its Python.
        clock: For the deadline.
    """

    def __init__(
        self,
        engine: ComposeEngine,
        project: str,
        containers: Mapping[str, str],
        asker: tuple[str, str],
        clock: Clock,
    ) -> None:
        self._engine, self._project, self._containers = engine, project, containers
        self._asker, self._clock = asker, clock

    def wait(self, servers: Sequence[tuple[str, str]], until_s: float) -> None:
        """Return once each of the servers answers 200 at its address.

        Args:
            servers: Names, each with the address of its health.
            until_s: Clock's monotonic seconds after which that is too late.

        Raises:
            BackendError: One ended, or is not healthy in time, and what it says.
        """
        for name, url in servers:
            while why := self._asked(url):
                self._runs(name)
                if self._clock.monotonic_s() > until_s:
                    path = "/" + url.partition("//")[2].partition("/")[2]
                    raise self._failed(
                        f"{name} did not become healthy in time at {path}: {why}"
                    )
                self._clock.wait(_LOOK_S)

    def _asked(self, url: str) -> str:
        """Return why a server is not healthy, or nothing."""
        container, python = self._asker
        code, words = self._engine.execute(container, (python, "-c", _ASK, url))
        return "" if code == 0 else words or f"exit code {code}"

    def _runs(self, name: str) -> None:
        """Return if a server's container runs.

        Raises:
            BackendError: It ended, and its last words.
        """
        id_ = self._containers[name]
        if not self._engine.runs(id_):
            words = self._engine.last_words(id_) or "it said nothing"
            raise self._failed(f"the container of {name} ended: {words}")

    def _failed(self, what: str) -> BackendError:
        return BackendError(what, where=f"stack {self._project}")
