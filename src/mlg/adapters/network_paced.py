"""Outgoing HTTP with at most so many requests a second."""

import threading
from typing import TYPE_CHECKING

from mlg.core.clock import Clock
from mlg.core.ports import Network, Reply


class PacedNetwork:
    """Lets each request wait for its turn; turns are evenly spaced, and none is saved up.

    Args:
        network: Takes the requests.
        clock: For the turns.
        per_s: Requests a second, > 0.
    """

    def __init__(self, network: Network, clock: Clock, per_s: float) -> None:
        if not per_s > 0:
            raise ValueError(f"expected more than 0 requests a second, got {per_s}")
        self._network, self._clock, self._gap_s = network, clock, 1.0 / per_s
        self._lock = threading.Lock()
        self._next_s = float("-inf")

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        timeout_s: float = 5.0,
    ) -> Reply:
        with self._lock:
            now_s = self._clock.monotonic_s()
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + self._gap_s
        if turn_s > now_s:
            self._clock.wait(turn_s - now_s)
        return self._network.request(
            method, url, body=body, headers=headers, timeout_s=timeout_s
        )


if TYPE_CHECKING:
    from mlg.adapters.network_memory import MemoryNetwork
    from mlg.core.clock import ManualClock

    _: Network = PacedNetwork(MemoryNetwork(), ManualClock(), 1.0)
