"""The viewer of a game day: asks at a constant rate and keeps who answered."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any, Final, Literal

import msgspec

from mlg.core.clock import Clock
from mlg.core.errors import BackendError
from mlg.core.ports import Network
from mlg.release.gameday import LEAST_AFTER, Probe

RATE_HZ: Final = 4.0
"""Few enough that a replica which takes 200 ms an answer still keeps up."""
TOO_LATE_S: Final = 1.0
"""An answer that took longer is no answer."""
_HEADERS: Final = (("content-type", "application/json"),)


class Prober:
    """Asks the recorded requests of the model that it answers itself while all is well.

    Args:
        network: Reaches the gateway, or a replica.
        clock: Monotonic seconds.
        url: Where to ask.
        bodies: Recorded requests.
    """

    def __init__(
        self, network: Network, clock: Clock, url: str, bodies: Sequence[bytes]
    ) -> None:
        self._network, self._clock, self._url = network, clock, url
        self._bodies = list(bodies)
        self._lengths: dict[bytes, int] = {}
        self._found: list[tuple[float, Literal["model", "fallback", "nobody"]]] = []
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> "Prober":
        """Learn what good answers look like, then begin to ask.

        Raises:
            BackendError: The model answers none of the requests while all is well.
        """
        for body in self._bodies[:50]:
            answer = self._answer(body)
            if answer is not None and answer["served_by"] == "model":
                self._lengths[body] = len(answer["items"])
        if not self._lengths:
            raise BackendError(
                "the model answers none of its recorded requests before the fault",
                where=self._url,
                hint="see mlg status; does it abstain on all of them?",
            )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ask no more; returns when the last answer is there."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()

    def probes(self, began_s: float) -> list[Probe]:
        """Return every probe in order of its time, told from a moment on."""
        with self._lock:
            found = sorted(self._found)
        return [Probe(at_s=at_s - began_s, served_by=who) for at_s, who in found]

    def steady(self) -> bool:
        """Whether the newest probes were all answered by the model."""
        with self._lock:
            newest = sorted(self._found)[-LEAST_AFTER:]
        return len(newest) == LEAST_AFTER and all(who == "model" for _, who in newest)

    def _run(self) -> None:
        began_s = self._clock.monotonic_s()
        with ThreadPoolExecutor(max_workers=12, thread_name_prefix="probe") as pool:
            for number, body in enumerate(cycle(self._lengths)):
                due_s = began_s + number / RATE_HZ
                if self._ending.wait(max(0.0, due_s - self._clock.monotonic_s())):
                    return
                pool.submit(self._one, body, due_s)

    def _one(self, body: bytes, due_s: float) -> None:
        answer = self._answer(body)
        late = self._clock.monotonic_s() - due_s > TOO_LATE_S
        who: Literal["model", "fallback", "nobody"] = "nobody"
        if answer is not None and not late:
            if answer["served_by"] == "fallback":
                who = "fallback"
            elif len(answer["items"]) == self._lengths[body]:
                who = "model"
        with self._lock:
            self._found.append((due_s, who))

    def _answer(self, body: bytes) -> dict[str, Any] | None:
        """Return a good status' answer, or None."""
        reply = self._network.request(
            "POST", self._url, body=body, headers=_HEADERS, timeout_s=TOO_LATE_S
        )
        if reply.status != 200:
            return None
        try:
            return msgspec.json.decode(reply.body)
        except msgspec.DecodeError:
            return None
