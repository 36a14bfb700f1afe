"""Spans of one request share its trace id; nothing happens where nobody asks."""

import asyncio
from typing import Any

import pytest

from mlg.api.traced import Traced
from mlg.core.errors import ManifestError
from mlg.mesh.tracing import COLLECTOR, with_tracing
from mlg.telemetry.tracing import NOTHING, Tracing, tracing_of, wanted_endpoint

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {b"traceparent": f"00-{TRACE}-b7ad6b7169203331-01".encode()}


@pytest.fixture
def spans() -> tuple[Tracing, Any]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra mlg[otel] is not installed")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Tracing(provider), kept


def test_server_and_control_plane_continue_the_trace_that_came(spans: Any) -> None:
    tracing, kept = spans
    with tracing.handling("POST /recommend", HEADERS, {"mlg.service": "home"}) as span:
        span.say("mlg.served_by", "model")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def send(message: Any) -> None:
        del message

    scope = {
        "type": "http", "method": "GET", "path": "/api/v1/services/home/health",
        "headers": list(HEADERS.items()),
    }  # fmt: skip
    asyncio.run(Traced(app, tracing)(scope, None, send))  # type: ignore[arg-type]
    first, second = kept.get_finished_spans()
    assert {f"{s.context.trace_id:032x}" for s in (first, second)} == {TRACE}
    assert {f"{s.parent.span_id:016x}" for s in (first, second)} == {"b7ad6b7169203331"}
    assert first.attributes == {"mlg.service": "home", "mlg.served_by": "model"}
    assert second.name == "GET /api/v1/services"
    assert second.attributes["http.response.status_code"] == 503
    assert not second.status.is_ok


def test_without_the_variables_there_is_no_span() -> None:
    off = tracing_of({}, "replica-home-1")
    assert not off.on
    with off.handling("POST /recommend", HEADERS, {}) as span:
        assert span is NOTHING
    off.close()


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_the_standard_switches_turn_it_off(off: dict[str, str]) -> None:
    assert (
        wanted_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"} | off) is None
    )


def test_another_protocol_is_refused_with_words() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    with pytest.raises(ManifestError, match="http/protobuf, got 'grpc'"):
        tracing_of(env, "control")


def test_a_gateway_without_a_plain_collector_is_left_as_it_is() -> None:
    content = {"static_resources": {"listeners": []}}
    assert with_tracing(content, None, "gateway-1") is content
    assert with_tracing(content, "https://collector:4318/v1/traces", "gateway-1") is content


def test_a_gateway_with_a_collector_names_it_and_leaves_what_it_was_given() -> None:
    manager: dict[str, Any] = {"name": "hcm", "typed_config": {"stat_prefix": "x"}}
    listeners = [{"filter_chains": [{"filters": [manager]}]}]
    content = {"static_resources": {"listeners": listeners}}
    made = with_tracing(content, "http://127.0.0.1:4318/v1/traces", "gateway-1")
    (cluster,) = made["static_resources"]["clusters"]
    assert cluster["name"] == COLLECTOR
    config = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    provider = config["typed_config"]["tracing"]["provider"]["typed_config"]
    assert provider["http_service"]["http_uri"]["cluster"] == COLLECTOR
    assert "tracing" not in manager["typed_config"]
