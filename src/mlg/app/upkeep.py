"""What a control plane does by itself on its files: seal hours that are over, erase the old.

One thread; each round is cheap when there is nothing to do. Everything it does can be
interrupted anywhere and is gone on with at the next start.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from mlg.app.seals import Seals
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError

_EVERY_S: Final = 15.0
_HOUR_S: Final = 3_600.0

logger = logging.getLogger("mlg.upkeep")


class Upkeep:
    """Seals, and applies retention, on a thread of its own.

    Args:
        seals: The sealed predictions.
        clock: For waiting.
        newest: Returns a service's event time, None before its first answer.
        begin: What to finish of a former process before anything else.
        hourly: Erases what is past its time, and goes on with what failed before.
    """

    def __init__(
        self,
        *,
        seals: Seals,
        clock: Clock,
        newest: Callable[[str], datetime | None],
        begin: Callable[[], None],
        hourly: Callable[[], None],
    ) -> None:
        self._seals, self._clock, self._newest = seals, clock, newest
        self._begin, self._hourly = begin, hourly
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def round(self) -> int:
        """Seal every hour that is over, once; return the number of answers."""
        sealed = 0
        for service in self._seals.services():
            now = self._newest(service)
            if now is not None:
                sealed += self._seals.seal_closed(service, now)
        return sealed

    def _run(self) -> None:
        begun, due_s = False, self._clock.monotonic_s()
        while not self._stop.is_set():
            begun = begun or self._tried(self._begin)
            self._tried(self.round)
            if self._clock.monotonic_s() >= due_s:
                self._tried(self._hourly)
                due_s = self._clock.monotonic_s() + _HOUR_S
            self._stop.wait(_EVERY_S)

    def _tried(self, job: Callable[[], object]) -> bool:
        """Return whether the job was done; one that fails stops no other."""
        try:
            job()
        except (LifecycleError, OSError, msgspec.MsgspecError) as error:
            logger.warning("upkeep is tried again: %s", error)
            return False
        return True
