"""Viewers who ask at a constant rate, whatever comes back: an open-loop load.

Latency counts from the moment a request was meant to be sent, so that a stall costs every
request that it delayed. A connection that was closed while it was idle is replaced before it
is used, as every HTTP client does; what fails after a byte was sent is a failure. Beside it,
and only for its own column, a second client sends what failed once more on a new connection.
"""  # noqa: INP001 - imported by a script

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop

TIMEOUT_S = 5.0
CONNECTING = ("connect", "reset", "timeout")
"""Outcomes without an HTTP status."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and what became of it."""

    due_s: float
    """When it was meant to be sent, monotonic."""
    ms: float
    """From then to the end of its answer."""
    outcome: str
    """`model`, `fallback`, `bad` (a 200 that is no good answer), `503`, or CONNECTING's."""
    retried_good: bool
    """Whether it is good for a client that sends once more what failed."""

    @property
    def good(self) -> bool:
        """Whether the viewer got a whole answer, of the model or of the popularity list."""
        return self.outcome in {"model", "fallback"}


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class OpenLoop:
    """Sends requests to one port from a thread of its own, from `start` to `stop`."""

    def __init__(self, port: int, path: str, rate_hz: float, k: int = 5) -> None:
        self._port, self._path, self._rate_hz, self._k = port, path, rate_hz, k
        self._idle: list[Connection] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))
        self.sent: list[Sent] = []
        """In order of their answers; read while it runs, too."""

    def start(self) -> "OpenLoop":
        """Begin to send."""
        self._thread.start()
        return self

    def stop(self) -> list[Sent]:
        """Send nothing more; return every request once the last is answered."""
        self._ending.set()
        self._thread.join()
        return sorted(self.sent, key=lambda one: one.due_s)

    async def _run(self) -> None:
        began_s, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not self._ending.is_set():
                due_s = began_s + number / self._rate_hz
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                group.create_task(self._one(number, due_s))
                number += 1
        for _, writer in self._idle:
            writer.close()

    async def _one(self, number: int, due_s: float) -> None:
        body = json.dumps(
            {"user_id": number % 60, "k": self._k, "session_id": f"s{number}"}
        ).encode()
        request = (
            f"POST {self._path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\n"
            f"content-type: application/json\r\nmlg-sticky-key: s{number}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body
        outcome = await self._attempt(request, fresh=False)
        ms = (time.monotonic() - due_s) * 1e3
        good = outcome in {"model", "fallback"}
        if not good:
            good = await self._attempt(request, fresh=True) in {"model", "fallback"}
        self.sent.append(Sent(due_s, ms, outcome, good))

    async def _attempt(self, request: bytes, *, fresh: bool) -> str:
        wire: Connection | None = None
        outcome = "connect"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                wire = None if fresh else self._kept()
                if wire is None:
                    wire = await asyncio.open_connection("127.0.0.1", self._port)
                outcome = "reset"
                status, body, last = await _exchange(wire, request)
        except TimeoutError:
            outcome = "timeout"
        except (OSError, EOFError, ValueError):
            pass
        else:
            outcome = judged(body, self._k) if status == 200 else str(status)
            if not last:
                self._idle.append(wire)
                wire = None
        if wire is not None:
            wire[1].close()
        return outcome

    def _kept(self) -> Connection | None:
        """Return an idle connection that is still open."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None


async def _exchange(wire: Connection, request: bytes) -> tuple[int, bytes, bool]:
    """Return status, body, and whether the connection ends with it."""
    reader, writer = wire
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return int(head[9:12]), body, fields.get(b"connection", b"").strip() == b"close"


def judged(body: bytes, k: int) -> str:
    """Return who gave a good answer, or `bad`: not JSON, short, or no numbers."""
    try:
        answer: dict[str, Any] = json.loads(body)
        items = answer["items"]
        whole = len(items) == k and len({item["id"] for item in items}) == k
        numbers = all(math.isfinite(item["score"]) for item in items)
        return answer["served_by"] if whole and numbers else "bad"
    except (ValueError, KeyError, TypeError):
        return "bad"


def row(
    name: str, sent: list[Sent], began_s: float, *, planned: bool, lasts_s: float
) -> dict[str, Any]:
    """Return what one window showed.

    Args:
        name: The fault.
        sent: Every request of the window.
        began_s: When the fault began, monotonic.
        planned: Whether it is a planned operation, which may cost no answer at all.
        lasts_s: How long the fault lasted; 0 for a kill.

    Returns:
        Counts, shares 0..1, milliseconds from the intended time, `back_s` (seconds from the
        fault's begin until the model answers everyone again; None when it did not), and `held`.
    """
    total = len(sent)
    ms = sorted(one.ms for one in sent)
    good = sum(one.good for one in sent)
    bad_status = sum(one.outcome.isdigit() for one in sent)
    other = [one for one in sent if one.due_s >= began_s and one.outcome != "model"]
    back_s: float | None = 0.0
    if other:
        last = max(other, key=lambda one: one.due_s)
        after = sum(one.due_s > last.due_s for one in sent)
        back_s = last.due_s + last.ms / 1e3 - began_s if after >= 100 else None

    def share(of: Callable[[Sent], bool]) -> float:
        return sum(of(one) for one in sent) / total

    return {
        "fault": name,
        "planned": planned,
        "lasts_s": lasts_s,
        "requests": total,
        "good": good / total,
        "not_good": total - good,
        "non_2xx": bad_status,
        "bad_answers": sum(one.outcome == "bad" for one in sent),
        "no_answer": sum(one.outcome in CONNECTING for one in sent),
        "good_with_one_retry": share(lambda one: one.retried_good),
        "model": share(lambda one: one.outcome == "model"),
        "fallback": share(lambda one: one.outcome == "fallback"),
        "p50_ms": _quantile(ms, 0.5),
        "p99_ms": _quantile(ms, 0.99),
        "max_ms": ms[-1],
        "back_s": back_s,
        "held": total - good == 0 if planned else good / total >= 0.999,
    }


def _quantile(ordered: list[float], q: float) -> float:
    """Return the nearest-rank quantile of sorted values."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
