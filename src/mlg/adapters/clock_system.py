"""The machine's clock."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlg.core.clock import Clock


class SystemClock:
    """Wall time, and the monotonic clock for latency."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


if TYPE_CHECKING:
    _: Clock = SystemClock()
