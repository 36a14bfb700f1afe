"""The gateway's own spans: Envoy's OpenTelemetry tracer over OTLP/HTTP, as pure data."""

from typing import Final
from urllib.parse import urlsplit

from mlg.core.traffic import Endpoint
from mlg.mesh.resources import Resource, address

COLLECTOR: Final = "otlp_collector"
_CONFIG: Final = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"


def with_tracing(content: Resource, endpoint: str | None, gateway: str) -> Resource:
    """Return what a gateway is started with, made to send its spans to a collector.

    Without an endpoint, or with one over TLS, nothing is changed: the gateway then hands
    `traceparent` on and makes no span of its own.

    Args:
        content: From `listener.bootstrap`; not changed.
        endpoint: Of traces, such as `http://127.0.0.1:4318/v1/traces`; None: tracing is off.
        gateway: Id of the gateway, the service name of its spans.
    """
    parts = urlsplit(endpoint or "")
    if parts.scheme != "http" or not parts.hostname:
        return content
    static = content["static_resources"]
    viewers = static["listeners"][0]
    chain = viewers["filter_chains"][0]
    manager = chain["filters"][0]
    config = {**manager["typed_config"], "tracing": _tracing(str(endpoint), gateway)}
    filters = [{**manager, "typed_config": config}, *chain["filters"][1:]]
    listeners = [{**viewers, "filter_chains": [{**chain, "filters": filters}]}]
    cluster = _cluster(Endpoint(host=parts.hostname, port=parts.port or 80))
    clusters = [*static.get("clusters", ()), cluster]
    static = {**static, "listeners": [*listeners, *static["listeners"][1:]]}
    return {**content, "static_resources": {**static, "clusters": clusters}}


def _tracing(endpoint: str, gateway: str) -> Resource:
    collector = {"uri": endpoint, "cluster": COLLECTOR, "timeout": "1s"}
    return {
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": _CONFIG,
                "http_service": {"http_uri": collector},
                "service_name": gateway,
            },
        },
        "spawn_upstream_span": True,
    }


def _cluster(collector: Endpoint) -> Resource:
    return {
        "name": COLLECTOR,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": COLLECTOR,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(collector)}}]}],
        },
    }
