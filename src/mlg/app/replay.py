"""The demo's viewers: plays a replay plan against a gateway and counts what came back.

No request is retried; a request that finds its kept-alive connection closed before any
byte of an answer is sent once more on a fresh one, and that is counted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

import msgspec
import numpy as np
import uvloop

from mlg.client.replay_plan import Planned, ReplayPlan, wilson

_TIMEOUT_S: Final = 5.0
_BANDS: Final = 5
_ENCODE: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a replay is; requests are recommend requests, feedback not counted."""

    done: int
    total: int
    failed: int
    hits: int
    per_second: float
    """Recommend requests a second since the start."""
    event_time: str
    """Event time of the newest request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the replay goes and how hard."""

    host: str
    port: int
    service: str
    connections: int = 8
    per_second: float | None = None
    """At most so many recommend requests a second; None is as fast as answers come."""


class _Answer(msgspec.Struct):
    items: list[dict[str, Any]]
    confidence: float
    served_by: str
    reason: str
    model_version: str
    prediction_id: str


class _FailedError(Exception):
    """A request got no good answer; the text is one word or a status."""


class _StaleError(Exception):
    """A kept-alive connection was closed before a byte of the answer came."""


_BROKEN: Final = (OSError, EOFError, ValueError, asyncio.LimitOverrunError, _StaleError)
"""What a connection that cannot be used any more raises."""


@dataclass(slots=True)
class _Arm:
    requests: int = 0
    hits: int = 0
    confidence: float = 0.0


@dataclass(slots=True)
class _Tally:
    """Everything counted so far; touched by one event loop only."""

    requests: int = 0
    hits: int = 0
    feedback: int = 0
    reconnects: int = 0
    confidence: float = 0.0
    event_time: str = ""
    failures: Counter[str] = field(default_factory=Counter[str])
    arms: dict[tuple[str, str, str], _Arm] = field(
        default_factory=dict[tuple[str, str, str], _Arm]
    )
    viewers: set[Any] = field(default_factory=set[Any])
    sessions: set[str] = field(default_factory=set[str])
    seconds: list[float] = field(default_factory=list[float])
    watched: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """(confidence, watch-through) of each play."""
    last_prediction: str = ""
    last_model_prediction: str = ""

    @property
    def failed(self) -> int:
        return self.failures.total()


class _Connection:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, target: Target, tally: _Tally) -> None:
        self._target, self._tally = target, tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, session: str) -> tuple[int, bytes]:
        """Return status and body.

        Raises:
            _FailedError: There was no answer.
        """
        request = (
            f"POST {path} HTTP/1.1\r\nhost: {self._target.host}:{self._target.port}\r\n"
            f"content-type: application/json\r\nmlg-sticky-key: {session}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode("latin-1") + body
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                try:
                    return await self._once(request)
                except _StaleError:
                    self._tally.reconnects += 1
                    return await self._once(request)
        except TimeoutError as error:
            await self.close()
            raise _FailedError("timeout") from error
        except _BROKEN as error:
            await self.close()
            raise _FailedError(_what_broke(error)) from error

    async def _once(self, request: bytes) -> tuple[int, bytes]:
        kept = self._streams is not None
        if self._streams is None:
            target = self._target
            self._streams = await asyncio.open_connection(target.host, target.port)
        reader, writer = self._streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            if kept and not getattr(error, "partial", b""):
                raise _StaleError from error
            raise
        status = int(head[9:12])
        fields = _fields(head)
        body = await _body(reader, fields)
        if fields.get(b"connection", b"").lower() == b"close":
            await self.close()
        return status, body

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is None:
            return
        writer, self._streams = self._streams[1], None
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            return


def _what_broke(error: Exception) -> str:
    """Return the kind of the failure, and what was read of the answer's part until then."""
    if isinstance(error, asyncio.IncompleteReadError):
        part = "body" if error.expected is not None else "head"
        return f"{type(error).__name__} in the {part} after {len(error.partial)} bytes"
    return type(error).__name__


def _fields(head: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return fields


async def _body(reader: asyncio.StreamReader, fields: dict[bytes, bytes]) -> bytes:
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return await reader.readexactly(int(fields.get(b"content-length", b"0")))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def _play(planned: Planned, target: Target, wire: _Connection, tally: _Tally) -> None:
    """Make one planned request, count its answer, and give feedback to it.

    Raises:
        _FailedError: One of the two requests got no good answer.
    """
    prefix = f"/v1/services/{target.service}"
    tally.requests += 1
    tally.sessions.add(planned.session)
    tally.event_time = max(tally.event_time, planned.at)
    if planned.viewer is not None:
        tally.viewers.add(planned.viewer)
    start_s = time.perf_counter()
    status, content = await wire.post(
        f"{prefix}/recommend", _ENCODE(planned.body), planned.session
    )
    tally.seconds.append(time.perf_counter() - start_s)
    if status != 200:
        raise _FailedError(str(status))
    answer = msgspec.json.decode(content, type=_Answer)
    items = [item["id"] for item in answer.items]
    hit = next((item for item in items if item in planned.wanted), None)
    arm = tally.arms.setdefault((answer.served_by, answer.reason, answer.model_version), _Arm())
    arm.requests += 1
    arm.hits += hit is not None
    arm.confidence += answer.confidence
    tally.hits += hit is not None
    tally.confidence += answer.confidence
    tally.last_prediction = answer.prediction_id
    if answer.served_by == "model":
        tally.last_model_prediction = answer.prediction_id
    if not items:
        return
    feedback: dict[str, Any] = {
        "prediction_id": answer.prediction_id,
        "item_id": items[0] if hit is None else hit,
        "event": "impression" if hit is None else "play",
        "at": planned.at,
    }
    if hit is not None and isfinite(watched := planned.wanted[hit]):
        feedback["watch_through"] = watched
        tally.watched.append((answer.confidence, watched))
    tally.feedback += 1
    status, _ = await wire.post(f"{prefix}/feedback", _ENCODE(feedback), planned.session)
    if status != 202:
        raise _FailedError(f"feedback {status}")


async def _worker(
    requests: Iterator[tuple[int, Planned]], target: Target, tally: _Tally, started_s: float
) -> None:
    wire = _Connection(target, tally)
    try:
        for number, planned in requests:
            if target.per_second is not None:
                due_s = started_s + number / target.per_second
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            try:
                await _play(planned, target, wire, tally)
            except (_FailedError, msgspec.MsgspecError) as error:
                tally.failures[str(error) or type(error).__name__] += 1
    finally:
        await wire.close()


async def _replay(
    plan: ReplayPlan, target: Target, on_progress: Callable[[Progress], None] | None
) -> dict[str, Any]:
    tally = _Tally()
    started_s = time.perf_counter()

    def report() -> None:
        if on_progress is not None:
            elapsed_s = max(1e-9, time.perf_counter() - started_s)
            on_progress(
                Progress(
                    done=tally.requests,
                    total=len(plan),
                    failed=tally.failed,
                    hits=tally.hits,
                    per_second=tally.requests / elapsed_s,
                    event_time=tally.event_time,
                )
            )

    async def watch() -> None:
        while True:
            report()
            await asyncio.sleep(0.25)

    requests = enumerate(plan)
    watcher = asyncio.create_task(watch())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(target.connections):
                group.create_task(_worker(requests, target, tally, started_s))
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    report()
    return _summary(tally, time.perf_counter() - started_s)


def replay(
    plan: ReplayPlan, target: Target, on_progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Play the plan and return what came back, JSON-ready.

    Args:
        plan: The requests, in event-time order.
        target: The gateway.
        on_progress: Called four times a second and at the end, from this thread.

    Returns:
        Counts (`requests`, `failed`, `failures`, `reconnects`, `feedback`, `viewers`,
        `sessions`, `hits`), shares with 95 % intervals (`hit_rate`, `arms`), `latency_ms`
        (p50, p99), `watch_through` by confidence band. A hit says nothing about items that
        the viewer never met, so hit rates compare arms and are no truth of their own.
    """
    return uvloop.run(_replay(plan, target, on_progress))


def _rate(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    return {"value": hits / n if n else None, "low": low, "high": high, "n": n}


def _summary(tally: _Tally, seconds: float) -> dict[str, Any]:
    answered = sum(arm.requests for arm in tally.arms.values())
    p50, p99 = np.percentile(tally.seconds, [50, 99]) if tally.seconds else (0.0, 0.0)
    arms = [
        {
            "served_by": served_by,
            "reason": reason,
            "model_version": version,
            "requests": arm.requests,
            "hits": arm.hits,
            "hit_rate": _rate(arm.hits, arm.requests),
            "mean_confidence": arm.confidence / arm.requests,
        }
        for (served_by, reason, version), arm in sorted(tally.arms.items())
    ]
    bands: list[dict[str, Any]] = []
    for band in range(_BANDS):
        low, high = band / _BANDS, (band + 1) / _BANDS
        top = band == _BANDS - 1
        watched = [w for c, w in tally.watched if low <= c and (c < high or top)]
        mean = float(np.mean(watched)) if watched else None
        bands.append({"low": low, "high": high, "n": len(watched), "mean": mean})
    return {
        "requests": tally.requests,
        "answered": answered,
        "failed": tally.failed,
        "failures": dict(sorted(tally.failures.items())),
        "reconnects": tally.reconnects,
        "feedback": tally.feedback,
        "viewers": len(tally.viewers),
        "sessions": len(tally.sessions),
        "hits": tally.hits,
        "hit_rate": _rate(tally.hits, answered),
        "mean_confidence": tally.confidence / answered if answered else None,
        "arms": arms,
        "watch_through": bands,
        "seconds": seconds,
        "requests_per_second": tally.requests / seconds if seconds > 0 else 0.0,
        "latency_ms": {"p50": 1e3 * float(p50), "p99": 1e3 * float(p99)},
        "last_event_time": tally.event_time,
        "last_prediction_id": tally.last_prediction,
        "last_model_prediction_id": tally.last_model_prediction,
    }
