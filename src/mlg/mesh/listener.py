"""What one gateway is started with: the viewers' listener, its errors and log, the admin."""

from typing import Final

from mlg.core.traffic import Endpoint
from mlg.mesh.resources import RATE_LIMIT_FILTER, ROUTES, address
from mlg.mesh.sources import Resource, Sources
from mlg.mesh.sticky import sticky_filter

_API: Final = "type.googleapis.com/envoy"
_NOBODY: Final = {"address_prefix": "255.255.255.255", "prefix_len": 32}
"""An address that no viewer has; Envoy takes an empty list as all private networks."""

_CUT_OFF: Final = ("UC", "UR", "UT", "LR", "DC", "UPE")
"""Envoy's response flags of streams that ended early."""
_FAILED: Final = ("UF", "UC", "UR", "UT", "LR", "UPE", "UO", "UH")
"""Flags of attempts that got no whole answer: not connected, reset, late, refused."""


def listener(
    *, host: str, port: int, sources: Sources, access_log: str, attempt_log: str, log_bp: int
) -> Resource:
    """Return the viewers' listener; several gateways may bind the same port.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        sources: Where the routes are found.
        access_log: Path of the access log, one JSON object a request and line.
        attempt_log: Path of the log of failed attempts, one JSON object an attempt and line.
        log_bp: Share of the good answers that are logged, in basis points; answers
            with a code of 400 or more always are.
    """
    manager = f"{_API}.extensions.filters.network.http_connection_manager.v3"
    return {
        "name": ROUTES,
        "address": address(Endpoint(host=host, port=port)),
        "enable_reuse_port": True,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": f"{manager}.HttpConnectionManager",
                            "stat_prefix": ROUTES,
                            "codec_type": "AUTO",
                            # viewers are never trusted with Envoy's own control headers
                            "use_remote_address": True,
                            "internal_address_config": {"cidr_ranges": [_NOBODY]},
                            "generate_request_id": True,
                            "preserve_external_request_id": True,
                            "always_set_request_id_in_response": True,
                            "normalize_path": True,
                            "merge_slashes": True,
                            "path_with_escaped_slashes_action": "REJECT_REQUEST",
                            "server_name": "mlg",
                            "request_headers_timeout": "10s",
                            "stream_idle_timeout": "60s",
                            "common_http_protocol_options": {"idle_timeout": "300s"},
                            "local_reply_config": _local_replies(),
                            "rds": {
                                "route_config_name": ROUTES,
                                "config_source": sources.routes(),
                            },
                            "http_filters": _http_filters(attempt_log),
                            "access_log": [_access_log(access_log, log_bp)],
                        },
                    }
                ]
            }
        ],
    }


def bootstrap(viewers: Resource, *, sources: Sources, admin_socket: str) -> Resource:
    """Return what one gateway is started with.

    The node id is left out: the launcher gives the process' nonce by `--service-node`.

    Args:
        viewers: The listener.
        sources: Where the clusters are found.
        admin_socket: Unix socket of the admin interface, open to its owner only;
            relative to the gateway's working folder (a socket's path is 107 bytes at most).
    """
    monitors = f"{_API}.extensions.resource_monitors.downstream_connections.v3"
    found = sources.bootstrap()
    return {
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "dynamic_resources": found["dynamic_resources"],
        "static_resources": {"listeners": [viewers], "clusters": found["clusters"]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{monitors}.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 10_000,
                    },
                }
            ]
        },
    }


def _http_filters(attempt_log: str) -> list[Resource]:
    """Filters in order; the sticky key comes out of the body before the split is looked at.

    What a rate limit refuses has no body looked into.
    """
    return [
        {
            "name": RATE_LIMIT_FILTER,
            "typed_config": {
                # limits nothing by itself; the services' routes do
                "@type": f"{_API}.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": ROUTES,
            },
        },
        sticky_filter(),
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": f"{_API}.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": True,
                "upstream_log": [_attempt_log(attempt_log)],
            },
        },
    ]


def _local_replies() -> Resource:
    """The gateway's own answers in the form of every other error."""

    def body(error: str, hint: str) -> Resource:
        return {
            "json_format": {
                "error": error,
                "what": "%LOCAL_REPLY_BODY%",
                "where": "%REQ(:PATH)%",
                "hint": hint,
            }
        }

    not_found = {
        "filter": _code("EQ", 404, "mlg.not_found"),
        "body_format_override": body("not_found", "see `mlg status` for what is served"),
    }
    limited = {
        "filter": _code("EQ", 429, "mlg.limited"),
        "body_format_override": body("too_many_requests", "wait as long as retry-after says"),
    }
    return {
        "mappers": [not_found, limited],
        "body_format": body(
            "backend", "see `mlg status`, then the logs in the home's run folder"
        ),
    }


def _access_log(path: str, log_bp: int) -> Resource:
    return {
        "name": "envoy.access_loggers.file",
        "filter": {
            "or_filter": {
                "filters": [
                    _code("GE", 400, "mlg.access_log_from"),
                    # cut off in the middle: a good code, and yet no answer
                    {"response_flag_filter": {"flags": list(_CUT_OFF)}},
                    {
                        "runtime_filter": {
                            "runtime_key": "mlg.access_log_share",
                            "percent_sampled": {
                                "numerator": log_bp,
                                "denominator": "TEN_THOUSAND",
                            },
                            "use_independent_randomness": True,
                        }
                    },
                ]
            }
        },
        "typed_config": {
            "@type": f"{_API}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {
                "json_format": {
                    "at": "%START_TIME(%s.%6f)%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%REQ(:PATH)%",
                    "code": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "cluster": "%UPSTREAM_CLUSTER%",
                    "upstream": "%UPSTREAM_HOST%",
                    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                    "duration_ms": "%DURATION%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                }
            },
        },
    }


def _attempt_log(path: str) -> Resource:
    """One line an attempt that failed, also where a rescue hides it from the viewer."""
    return {
        "name": "envoy.access_loggers.file",
        "filter": {
            "or_filter": {
                "filters": [
                    _code("GE", 500, "mlg.attempt_log_from"),
                    {"response_flag_filter": {"flags": list(_FAILED)}},
                ]
            }
        },
        "typed_config": {
            "@type": f"{_API}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {
                "json_format": {
                    "at": "%START_TIME(%s.%6f)%",
                    "path": "%REQ(:PATH)%",
                    "code": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "cluster": "%UPSTREAM_CLUSTER%",
                    "upstream": "%UPSTREAM_HOST%",
                    "fault": "%RESP(MLG-FAULT)%",
                    "duration_ms": "%DURATION%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                }
            },
        },
    }


def _code(op: str, code: int, runtime_key: str) -> Resource:
    value = {"default_value": code, "runtime_key": runtime_key}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}
