"""Recorded requests before the first viewer's: caches filled, code touched, model proved.

First the model alone ranks them, in a thread, so that health checks are answered meanwhile;
then the whole server answers them over connections of its own, as copies that nobody sees,
logs or counts. Both go round until latency is flat, within a bound.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Final

from mlg.core.clock import Clock
from mlg.core.errors import BackendError, LifecycleError
from mlg.serving.requests import ClockMode, parse_recommend
from mlg.serving.service import Service

_WINDOW: Final = 20
MOST_REQUESTS: Final = 2_000
MOST_S: Final = 10.0
"""Where latency does not become flat, as on a machine that others use, so much is enough."""
_CONNECTIONS: Final = 8
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
    """Rank recorded requests, again and again, until latency is flat; return how many.

    It ends after `MOST_REQUESTS` or `MOST_S` at the latest, but every request is ranked
    unless latency was flat before.

    Args:
        service: What to warm up; nothing is logged or counted.
        requests: JSON bodies as viewers send them.
        clock: Event time and seconds.
        mode: Whether `context.at` counts.

    Raises:
        BackendError: A recorded request failed, so the model must not serve.
    """
    seconds: list[float] = []
    bodies = list(requests)
    began_s = clock.monotonic_s()
    for number, body in zip(cycle(range(1, len(bodies) + 1)), cycle(bodies), strict=False):
        start_s = clock.monotonic_s()
        try:
            service.rank(parse_recommend(body, now=clock.now(), clock=mode))
        except LifecycleError as error:
            raise BackendError(
                f"recorded request {number} failed: {error}",
                where=f"golden.jsonl:{number}",
                hint="the artifact is damaged or does not fit this code; train again.",
            ) from error
        now_s = clock.monotonic_s()
        seconds.append(now_s - start_s)
        over = len(seconds) >= MOST_REQUESTS or now_s - began_s >= MOST_S
        if is_flat(seconds) or (over and len(seconds) >= len(bodies)):
            break
    return len(seconds)


async def rehearse(
    requests: Sequence[bytes], address: tuple[str, int], path: str, *, clock: Clock
) -> int:
    """Ask the server that runs in this loop over real connections; return how often.

    What only a whole request touches is warm then: sockets, the parser, the encoder. Ends
    when latency is flat, or after `MOST_REQUESTS` or `MOST_S`.

    Args:
        requests: JSON bodies as viewers send them; none ends it at once.
        address: Where the server listens.
        path: Of the requests.
        clock: Seconds.

    Raises:
        BackendError: An answer was not 200, so the model must not serve.
        OSError: The server cannot be reached.
    """
    if not requests:
        return 0
    seconds: list[float] = []
    bodies, began_s = cycle(requests), clock.monotonic_s()

    def over() -> bool:
        spent = len(seconds) >= MOST_REQUESTS or clock.monotonic_s() - began_s >= MOST_S
        return spent or is_flat(seconds)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(*address)
        try:
            while not over():
                start_s = clock.monotonic_s()
                writer.write(_copy(path, next(bodies)))
                status = await _status(reader)
                if status == 0:  # it is told to end
                    return
                if status != 200:
                    raise BackendError(
                        f"a recorded request was answered {status}",
                        where="golden.jsonl",
                        hint="the replica's log says why; train again.",
                    )
                seconds.append(clock.monotonic_s() - start_s)
        finally:
            writer.close()

    asking = [asyncio.create_task(ask()) for _ in range(_CONNECTIONS)]
    try:
        async with asyncio.timeout(2 * MOST_S):
            await asyncio.gather(*asking)
    except TimeoutError:
        pass  # slow is no reason not to serve: staging and the gates judge that
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return len(seconds)


def _copy(path: str, body: bytes) -> bytes:
    """Return a request whose answer nobody sees, logs or counts."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: warm-up\r\ncontent-type: application/json\r\n"
        f"mlg-shadow: 1\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _status(reader: asyncio.StreamReader) -> int:
    """Read one whole answer; return its status, 0 when the connection ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in lines
            if line.startswith(b"content-length:")
        )
        await reader.readexactly(length)
        return int(lines[0].split()[1])
    except (asyncio.IncompleteReadError, StopIteration):
        return 0
