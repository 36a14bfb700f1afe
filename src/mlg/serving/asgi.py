"""The viewer API as a raw ASGI application: no framework on the hot path."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from mlg.core.errors import LifecycleError
from mlg.core.predict import Prediction, Query, Ranked
from mlg.serving.batch import Batcher, BatchSize
from mlg.serving.inference import (
    answer_of,
    error_of,
    model_metadata,
    parse_infer,
    server_metadata,
)
from mlg.serving.log import LogBatch, feedback_record, prediction_record
from mlg.serving.requests import (
    MAX_BODY_BYTES,
    RequestError,
    parse_feedback,
    parse_recommend,
)
from mlg.serving.service import Asked, FaultError, Service
from mlg.telemetry.logs import TRACE_ID, trace_id_of
from mlg.telemetry.tracing import NOTHING, Said, Tracing

_TOO_LONG: Final = f"expected a body of at most {MAX_BODY_BYTES} bytes"
_SHORTER: Final = "send the newest part of the history only."

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_Headers = list[tuple[bytes, bytes]]

_LOG: Final = logging.getLogger("mlg.serving")
_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_PROMETHEUS: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_SHADOW: Final = b"mlg-shadow"
"""Set by the gateway on copies of requests, and taken off what viewers send."""
_ENCODE: Final = msgspec.json.Encoder().encode


class _Item(msgspec.Struct):
    id: str | int
    score: float


class _Answer(msgspec.Struct):
    items: list[_Item]
    confidence: float
    served_by: str
    reason: str
    model_version: str
    prediction_id: str


STARVED: Final = 5
"""Requests in a row without memory after which a process is worth more when it starts anew."""


class _GoneError(Exception):
    """The client closed the connection before it had sent everything."""


class ServingApp:
    """Answers viewers, their feedback, health checks and Prometheus.

    Args:
        service: What ranks and decides.
        log: Where answers and feedback are written before they are given.
        batch: How requests are ranked together; None: each as it comes.
        threads: Requests at once of a recommender that waits for others; 0: it computes,
            which is done on the event loop.
        tracing: Makes spans of viewer requests; None: nobody asked for any.
    """

    def __init__(
        self,
        service: Service,
        log: LogBatch,
        batch: BatchSize | None = None,
        *,
        threads: int = 0,
        tracing: Tracing | None = None,
    ) -> None:
        self._service, self._log, self._tracing = service, log, tracing
        self._batcher: Batcher | None = None
        if batch is not None:
            self._batcher = Batcher(service.rank_many, batch, lambda: self.busy)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ask") if threads else None
        self._warm = False
        self.rehearsing = False
        """Copies are answered although it is not warm: its own, to become so."""
        self._draining = False
        self._starved = 0
        self.busy = 0
        """Viewer requests in hand."""
        self.last_request_s = 0.0
        """Clock's monotonic seconds of the newest viewer request."""
        identity = service.identity
        prefix = f"/v1/services/{identity.service}"
        model = f"/v2/models/{identity.model}"
        versioned = f"{model}/versions/{identity.version}"
        self._posts = {
            f"{prefix}/recommend": self._recommend,
            f"{prefix}/feedback": self._feedback,
            f"{model}/infer": self._infer,
            f"{versioned}/infer": self._infer,
        }
        self._gets: dict[str, Callable[[], tuple[int, bytes, tuple[bytes, bytes]]]] = {
            "/v2/health/live": lambda: (200, b'{"live":true}', _JSON),
            "/v2/health/ready": self._health,
            "/v2": self._server,
            "/v2/": self._server,
            f"{model}/ready": self._model_health,
            f"{versioned}/ready": self._model_health,
            model: self._metadata,
            versioned: self._metadata,
            "/metrics": lambda: (200, service.instruments.text(), _PROMETHEUS),
            "/mlg/nonce": lambda: (200, identity.nonce.encode(), _TEXT),
        }

    @property
    def ready(self) -> bool:
        """Whether viewers may be sent here: warmed up, and not draining."""
        return self._warm and not self._draining

    @property
    def draining(self) -> bool:
        """Whether the process was told to end."""
        return self._draining

    @property
    def exhausted(self) -> bool:
        """Whether several requests in a row found no memory: a leak, not one greedy request."""
        return self._starved >= STARVED

    def _starve(self) -> None:
        self._starved += 1
        if self._starved == STARVED:
            _LOG.critical("out of memory: this process ends, and is started again")
            self.drain()

    def warmed(self) -> None:
        """Become ready."""
        self._warm = True
        self._service.instruments.ready(self.ready)

    def drain(self) -> None:
        """Stop being ready; what still comes is answered, and its connection closed."""
        self._draining = True
        self._service.instruments.ready(False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other protocols are not spoken here."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if (post := self._posts.get(path)) is not None:
            if method == "POST":
                await self._guarded(post, scope, receive, send)
            else:
                await self._wrong_method(send, path, b"POST")
        elif (get := self._gets.get(path)) is not None:
            if method == "GET":
                status, body, kind = get()
                await self._send(send, status, body, [kind])
            else:
                await self._wrong_method(send, path, b"GET")
        else:
            identity = self._service.identity
            error = RequestError(
                f"nothing is served at {path!r}",
                status=404,
                hint=f"this process serves {identity.service!r} with model {identity.model!r}.",
            )
            await self._send(send, 404, _error_body(path, error), [_JSON])

    async def _guarded(
        self,
        handle: Callable[[bytes, dict[bytes, bytes]], Awaitable[tuple[int, bytes, _Headers]]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Run a viewer request, in a span of its own where spans are made."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._tracing is None or not self._tracing.on:
            await self._run(handle, scope, headers, receive, send, NOTHING)
            return
        identity = self._service.identity
        known = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "mlg.service": identity.service,
            "mlg.model_version": identity.version,
        }
        with self._tracing.handling(f"POST {scope['path']}", headers, known) as span:
            await self._run(handle, scope, headers, receive, send, span)

    async def _run(
        self,
        handle: Callable[[bytes, dict[bytes, bytes]], Awaitable[tuple[int, bytes, _Headers]]],
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        span: Said,
    ) -> None:
        """Run a viewer request; whatever goes wrong becomes a JSON error."""
        self.busy += 1
        self.last_request_s = self._service.clock.monotonic_s()
        trace = TRACE_ID.set(trace_id_of(headers.get(b"traceparent", b"").decode("latin-1")))
        extra: _Headers = []
        try:
            body = await _body(headers, receive)
            if self._warm or (self.rehearsing and _SHADOW in headers):
                status, content, extra = await handle(body, headers)
            else:
                status = 503
                content = _error_body(scope["path"], LifecycleError("the model is warming up"))
                extra = [(b"mlg-fault", b"warming-up")]
        except RequestError as error:
            status, content = error.status, _error_body(scope["path"], error)
        except FaultError as error:
            status, content = 500, _error_body(scope["path"], error)
            extra = [(b"mlg-fault", error.fault.encode())]
            if isinstance(error.__cause__, MemoryError):
                self._starve()
        except _GoneError:
            return
        except Exception as error:  # noqa: BLE001 - the edge of a request
            if isinstance(error, MemoryError):
                self._starve()  # first, as there may be no memory for the line either
            _LOG.exception("a request failed")
            status, content = (
                500,
                _error_body(scope["path"], LifecycleError("an internal error")),
            )
            extra = [(b"mlg-fault", b"error")]
        finally:
            self.busy -= 1
            TRACE_ID.reset(trace)
        counted = not scope["path"].endswith("/feedback") and _SHADOW not in headers
        if status != 200 and counted:
            self._service.instruments.refused(status)
        if span is not NOTHING:
            _tell(span, status, extra)
        await self._send(send, status, content, [_JSON, *extra])

    async def _recommend(
        self, body: bytes, headers: dict[bytes, bytes]
    ) -> tuple[int, bytes, _Headers]:
        service, identity = self._service, self._service.identity
        asked = self._asked(headers)
        query = parse_recommend(
            body, now=asked.received_at, clock=identity.clock, default_k=identity.default_k
        )
        prediction = await self._answer(service, query, asked)
        answer = _Answer(
            items=[
                _Item(item, score)
                for item, score in zip(prediction.items, prediction.scores, strict=True)
            ],
            confidence=prediction.confidence,
            served_by=prediction.served_by,
            reason=prediction.reason,
            model_version=prediction.version,
            prediction_id=prediction.prediction_id,
        )
        return 200, _ENCODE(answer), _facts(prediction)

    async def _answer(self, service: Service, query: Query, asked: Asked) -> Prediction:
        """Return the answer once the log has it; nobody sees that of a copy, nor logs it."""
        ranked = service.kept(query)
        if ranked is None:
            ranked = await self._rank(query)
            if not self.exhausted:  # once it ends for want of memory, it ends
                self._starved = 0
            service.keep(query, ranked)
        prediction, around = service.decided(query, asked, ranked)
        if asked.shadow:
            return prediction
        await self._log.put(prediction_record(prediction, around))
        service.instruments.answered(prediction, service.clock.monotonic_s() - asked.started_s)
        return prediction

    async def _rank(self, query: Query) -> Ranked:
        if self._batcher is not None:
            return await self._batcher.rank(query)
        if self._pool is None:
            return self._service.rank(query)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._service.rank, query)

    async def _feedback(
        self, body: bytes, _headers: dict[bytes, bytes]
    ) -> tuple[int, bytes, _Headers]:
        service = self._service
        received_at = service.clock.now()
        feedback = parse_feedback(body, now=received_at, clock=service.identity.clock)
        record = feedback_record(
            feedback, service=service.identity.service, received_at=received_at
        )
        logged = await self._log.put(record)
        service.instruments.feedback(feedback.event)
        return 202, _ENCODE({"accepted": logged}), []

    async def _infer(
        self, body: bytes, headers: dict[bytes, bytes]
    ) -> tuple[int, bytes, _Headers]:
        service, identity = self._service, self._service.identity
        asked = self._asked(headers)
        inference = parse_infer(body, now=asked.received_at, default_k=identity.default_k)
        given = await self._answer(service, inference.query, asked)
        answer = answer_of(inference, given, model=identity.model)
        return 200, _ENCODE(answer), _facts(given)

    def _asked(self, headers: dict[bytes, bytes]) -> Asked:
        clock = self._service.clock
        session = headers.get(b"mlg-sticky-key")
        return Asked(
            session=session.decode("latin-1") if session else None,
            arm=headers.get(b"mlg-assigned-version", b"")[:64].decode("latin-1"),
            received_at=clock.now(),
            started_s=clock.monotonic_s(),
            shadow=_SHADOW in headers,
        )

    def _health(self) -> tuple[int, bytes, tuple[bytes, bytes]]:
        return (
            (200, b'{"ready":true}', _JSON) if self.ready else (503, b'{"ready":false}', _JSON)
        )

    def _model_health(self) -> tuple[int, bytes, tuple[bytes, bytes]]:
        body = {"name": self._service.identity.model, "ready": self.ready}
        return 200 if self.ready else 503, _ENCODE(body), _JSON

    def _server(self) -> tuple[int, bytes, tuple[bytes, bytes]]:
        return 200, _ENCODE(server_metadata()), _JSON

    def _metadata(self) -> tuple[int, bytes, tuple[bytes, bytes]]:
        identity = self._service.identity
        about = model_metadata(identity.model, identity.version, whole=self._service.whole)
        return 200, _ENCODE(about), _JSON

    async def _wrong_method(self, send: Send, path: str, allowed: bytes) -> None:
        error = RequestError(f"expected method {allowed.decode()}", status=405)
        await self._send(send, 405, _error_body(path, error), [_JSON, (b"allow", allowed)])

    async def _send(self, send: Send, status: int, body: bytes, headers: _Headers) -> None:
        headers.append((b"content-length", str(len(body)).encode()))
        if self._draining or status == 413:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _error_body(path: str, error: LifecycleError) -> bytes:
    """Return an error as the protocol of its path has it."""
    return _ENCODE(error_of(error) if path.startswith("/v2") else error.as_dict())


def _tell(span: Said, status: int, headers: _Headers) -> None:
    """Give a span what the headers of the answer say."""
    span.say("http.response.status_code", status)
    for name, value in headers:
        span.say(name.decode().replace("-", ".", 1).replace("-", "_"), value.decode())
    if status >= 500:
        span.failed(dict(headers).get(b"mlg-fault", b"error").decode())


def _facts(prediction: Prediction) -> _Headers:
    return [
        (b"mlg-model-version", prediction.version.encode()),
        (b"mlg-served-by", prediction.served_by.encode()),
        (b"mlg-reason", prediction.reason.encode()),
        (b"mlg-confidence", f"{prediction.confidence:.6f}".encode()),
        (b"mlg-prediction-id", prediction.prediction_id.encode()),
    ]


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """Return the whole request body.

    Raises:
        RequestError: It is no JSON, or longer than `MAX_BODY_BYTES`.
        _GoneError: The client left.
    """
    kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise RequestError(
            f"expected content type application/json, got {kind.decode('latin-1')!r}",
            status=415,
        )
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise RequestError(_TOO_LONG, status=413, hint=_SHORTER)
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(_TOO_LONG, status=413, hint=_SHORTER)
    if message["type"] == "http.disconnect":
        raise _GoneError
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(_TOO_LONG, status=413, hint=_SHORTER)
    return body
