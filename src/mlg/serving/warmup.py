"""Recorded requests before the first viewer's: caches filled, code touched, model proved."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

from mlg.core.clock import Clock
from mlg.core.errors import BackendError, LifecycleError
from mlg.serving.requests import ClockMode, parse_recommend
from mlg.serving.service import Service

_WINDOW: Final = 20
_FLAT: Final = 1.1
"""Latency is flat when the median of the last window is at most this times the former's."""


def is_flat(seconds: list[float]) -> bool:
    """Return whether latency stopped falling: two whole windows, medians within a tenth.

    Examples:
        >>> is_flat([1.0] * 40), is_flat([2.0] * 20 + [1.0] * 20), is_flat([1.0] * 39)
        (True, False, False)
    """
    if len(seconds) < 2 * _WINDOW:
        return False
    former = median(seconds[-2 * _WINDOW : -_WINDOW])
    last = median(seconds[-_WINDOW:])
    return former <= _FLAT * last and last <= _FLAT * former


def golden_requests(artifact: Path) -> tuple[bytes, ...]:
    """Return the recorded request bodies of an artifact; none when it has no `golden.jsonl`.

    Raises:
        BackendError: The file cannot be read.
    """
    path = artifact / "golden.jsonl"
    try:
        return tuple(line for line in path.read_bytes().splitlines() if line.strip())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise BackendError(f"cannot be read: {error}", where=path.name) from error


def warm_up(
    service: Service, requests: Iterable[bytes], *, clock: Clock, mode: ClockMode
) -> int:
    """Rank recorded requests until latency is flat or all are done; return how many.

    Args:
        service: What to warm up; nothing is logged or counted.
        requests: JSON bodies as viewers send them.
        clock: Event time and seconds.
        mode: Whether `context.at` counts.

    Raises:
        BackendError: A recorded request failed, so the model must not serve.
    """
    seconds: list[float] = []
    for number, body in enumerate(requests, start=1):
        start_s = clock.monotonic_s()
        try:
            service.rank(parse_recommend(body, now=clock.now(), clock=mode))
        except LifecycleError as error:
            raise BackendError(
                f"recorded request {number} failed: {error}",
                where=f"golden.jsonl:{number}",
                hint="the artifact is damaged or does not fit this code; train again.",
            ) from error
        seconds.append(clock.monotonic_s() - start_s)
        if is_flat(seconds):
            break
    return len(seconds)
