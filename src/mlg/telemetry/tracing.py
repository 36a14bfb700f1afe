"""OpenTelemetry traces: on by OTLP's standard environment variables, off without them.

A request's trace id comes in the W3C header `traceparent`, which the gateway hands on and
adds to. Whoever sets `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) needs the extra
`mlg[otel]`; every other variable of the SDK and of its OTLP exporter works as they document.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from mlg.core.errors import ManifestError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS: Final = "OTEL_TRACES_EXPORTER"

_LOG: Final = logging.getLogger("mlg.tracing")


class Said:
    """What a span is given while it is open; without tracing nothing happens."""

    def say(self, name: str, value: str | float | bool) -> None:
        """Add an attribute."""

    def failed(self, what: str) -> None:
        """Mark the span as failed."""


class Tracing:
    """Makes spans of what this process handles; the one without a provider makes none.

    Args:
        provider: The SDK's; None: tracing is off.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mlg") if provider is not None else None

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    @contextmanager
    def handling(
        self, name: str, headers: Mapping[bytes, bytes], attributes: Mapping[str, str]
    ) -> Generator[Said]:
        """Open the span of one request; its parent is what `traceparent` names, if anything.

        Args:
            name: Of the span, without anything that differs by request.
            headers: Of the request, lower case.
            attributes: What is known of it already.
        """
        if self._tracer is None:
            yield NOTHING
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import (
            TraceContextTextMapPropagator,
        )

        carrier = {
            key: headers[key.encode()].decode("latin-1")
            for key in ("traceparent", "tracestate")
            if key.encode() in headers
        }
        with self._tracer.start_as_current_span(
            name,
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
        ) as span:
            yield _Open(span)

    def close(self) -> None:
        """Send what waits, and stop."""
        if self._provider is not None:
            self._provider.shutdown()


class _Open(Said):
    def __init__(self, span: Any) -> None:
        self._span = span

    def say(self, name: str, value: str | float | bool) -> None:
        self._span.set_attribute(name, value)

    def failed(self, what: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR, what)


NOTHING: Final = Said()
"""The span where none is made."""


def wanted_endpoint(env: Mapping[str, str]) -> str | None:
    """Return where spans are to be sent, as the variable says it; None: nowhere.

    Examples:
        >>> wanted_endpoint({}) is None
        True
        >>> wanted_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
        'http://127.0.0.1:4318/v1/traces'
    """
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get(_EXPORTERS) == "none":
        return None
    if own := env.get(ENDPOINTS[0]):
        return own
    base = env.get(ENDPOINTS[1])
    return f"{base.rstrip('/')}/v1/traces" if base else None


def tracing_of(env: Mapping[str, str], process: str) -> Tracing:
    """Return the tracing that the environment asks for.

    Args:
        env: The environment.
        process: Id of this process, `service.instance.id` of its spans.

    Raises:
        ManifestError: Traces are asked for and the SDK is not installed, or the protocol is
            not `http/protobuf`.
    """
    if wanted_endpoint(env) is None:
        return Tracing()
    protocol = next((env[name] for name in _PROTOCOLS if env.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ManifestError(
            f"expected OTLP over http/protobuf, got {protocol!r}",
            where=_PROTOCOLS[1],
            hint="unset it, and name the collector's HTTP port, usually 4318.",
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        raise ManifestError(
            f"traces are asked for and {missing.name} is not installed",
            where=ENDPOINTS[1],
            hint="pip install 'mlg[otel]', or unset the variable.",
        ) from missing
    attributes = {"service.instance.id": process}
    if "OTEL_SERVICE_NAME" not in env:
        attributes["service.name"] = f"mlg-{process.partition('-')[0]}"
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _LOG.info("traces are sent", extra={"process_id": process})
    return Tracing(provider)
