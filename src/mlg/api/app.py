"""The control plane's HTTP application: routes, roles, errors, stream and page."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, get_args

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import HeaderParameter, QueryParameter, SkipValidation
from litestar.response import ServerSentEvent
from litestar.types import Scope

from mlg.api import (
    routes_alerts,
    routes_automations,
    routes_baselines,
    routes_control,
    routes_experiments,
    routes_gamedays,
    routes_graph,
    routes_graphql,
    routes_hooks,
    routes_lineage,
    routes_privacy,
    routes_providers,
    routes_records,
)
from mlg.api.documented import documented
from mlg.api.gate import Denials, Gate, caller_of, denial_of
from mlg.api.operations import ApiServices
from mlg.api.page import live_page
from mlg.api.schemas import ErrorAnswer
from mlg.api.security import MAX_BODY_BYTES, Failure, PrincipalFor
from mlg.api.stream import Streams, messages
from mlg.api.traced import Traced
from mlg.core.errors import DeniedError, LifecycleError
from mlg.core.principal import Principal, Role
from mlg.graph.known import KnownGraphs
from mlg.telemetry.tracing import Tracing

VIEWER: Final = {"role": "viewer"}
ROLES: Final = frozenset(get_args(Role))

_LOG: Final = logging.getLogger("mlg.api")
_THREADS: Final = 32
_CODES: Final = {404: "not_found", 405: "method", 413: "too_large", 415: "media_type"}


@get("/", opt=VIEWER, include_in_schema=False, sync_to_thread=False)
def page() -> Response[bytes]:
    """Give the live page."""
    content, csp = live_page()
    return Response(
        content,
        media_type="text/html",
        headers={"Content-Security-Policy": csp},
    )


@get("/stream", opt=VIEWER)
async def stream(
    services: SkipValidation[ApiServices],
    streams: SkipValidation[Streams],
    after: Annotated[int | None, QueryParameter(ge=0)] = None,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> ServerSentEvent:
    """Send new events of the graph as they come, and live counters every second.

    Starts after the browser's last event, else after `after`, else with what comes next.
    """
    streams.check()
    if last_event_id is not None and last_event_id.isdecimal():
        start = int(last_event_id)
    elif after is not None:
        start = after
    else:
        start = (await asyncio.to_thread(services.store.head)).seq
    return ServerSentEvent(messages(services, streams, start))


ROUTES: Final = documented(
    (
        page,
        stream,
        routes_graph.events,
        routes_graph.nodes,
        routes_graph.trace,
        routes_graph.impact,
        routes_graph.diff,
        routes_graph.why,
        routes_graph.unused,
        routes_graph.quality,
        routes_graph.production,
        routes_graph.search,
        routes_graphql.graphql,
        routes_control.status,
        routes_control.services_list,
        routes_control.service_health,
        routes_control.live,
        routes_control.runs,
        routes_control.run_status,
        routes_control.start_run,
        routes_control.plan,
        routes_control.apply,
        routes_control.prediction,
        routes_control.audit_export,
        routes_control.audit_verify,
        routes_control.restart,
        routes_control.rollout,
        routes_control.rollout_act,
        routes_control.rollout_start,
        routes_control.rollout_timeline,
        routes_experiments.experiments,
        routes_experiments.experiment,
        routes_experiments.experiment_plan,
        routes_experiments.experiment_act,
        routes_automations.automations,
        routes_automations.answer_proposal,
        routes_automations.frozen,
        routes_automations.freeze,
        routes_alerts.alerts,
        routes_alerts.alert,
        routes_alerts.alert_sample,
        routes_alerts.acknowledge,
        routes_alerts.hand_over,
        routes_alerts.silence,
        routes_alerts.maintenance,
        routes_alerts.lift,
        routes_baselines.baselines,
        routes_baselines.baseline,
        routes_gamedays.gamedays,
        routes_gamedays.gameday,
        routes_gamedays.gameday_end,
        routes_control.down,
        routes_control.rebuild,
        routes_control.metric_targets,
        routes_control.metrics,
        routes_hooks.commit,
        routes_lineage.lineage,
        routes_providers.thin_events,
        routes_providers.states,
        routes_providers.providers,
        routes_records.records,
        routes_privacy.erase,
        routes_privacy.collect,
    )
)


def create_app(
    services: ApiServices,
    *,
    allowed_hosts: tuple[str, ...],
    principal_for: PrincipalFor,
    tracing: Tracing | None = None,
) -> Litestar:
    """Return the application over the services it is handed.

    Args:
        services: What the control plane is and can do.
        allowed_hosts: Hosts under which it may be called; without a port, at every port.
        principal_for: Identifies the caller of each request.
        tracing: Makes spans of requests; None: nobody asked for any.

    Returns:
        The application. `app.state["streams"].closing` is to be set before its server stops.

    Raises:
        ValueError: A route declares no role.
    """
    denials = Denials(services.clock, services.on_denied)
    streams, known = Streams(), KnownGraphs(services.store.events)

    def provide_services() -> ApiServices:
        return services

    def provide_streams() -> Streams:
        return streams

    def provide_known() -> KnownGraphs:
        return known

    app = Litestar(
        route_handlers=list(ROUTES),
        guards=[_role_guard(principal_for, denials)],
        dependencies={
            "services": Provide(provide_services, sync_to_thread=False),
            "streams": Provide(provide_streams, sync_to_thread=False),
            "known": Provide(provide_known, sync_to_thread=False),
            "principal": Provide(_provide_principal, sync_to_thread=False),
        },
        exception_handlers={
            LifecycleError: _lifecycle_error,
            HTTPException: _http_error,
            Exception: _unexpected_error,
        },
        after_exception=[_failure_hook(services.on_failure)],
        openapi_config=_openapi_config(),
        lifespan=[_threads],
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        debug=False,
    )
    app.state["streams"] = streams
    check_roles(app)
    app.asgi_handler = Gate(app.asgi_handler, allowed_hosts=allowed_hosts, denials=denials)
    if tracing is not None and tracing.on:
        app.asgi_handler = Traced(app.asgi_handler, tracing)
    return app


def check_roles(app: Litestar) -> None:
    """Refuse an application with a route that declares no role.

    Answers to OPTIONS, which the framework adds, are refused by the gate.

    Raises:
        ValueError: Names the first such route.
    """
    for route in app.routes:
        for handler in getattr(
            route, "route_handlers", [getattr(route, "route_handler", None)]
        ):
            methods = getattr(handler, "http_methods", frozenset())
            if methods == {"OPTIONS"}:
                continue
            if handler is None or handler.opt.get("role") not in ROLES:
                raise ValueError(f"route {route.path} declares no role ({handler})")


def openapi_document() -> bytes:
    """Return the API's OpenAPI document as it is kept in `docs/openapi.json`."""
    app = Litestar(
        route_handlers=list(ROUTES),
        dependencies={
            "services": Provide(lambda: None, sync_to_thread=False),
            "streams": Provide(lambda: None, sync_to_thread=False),
            "known": Provide(lambda: None, sync_to_thread=False),
            "principal": Provide(_provide_principal, sync_to_thread=False),
        },
        openapi_config=_openapi_config(),
        logging_config=None,
    )
    text = msgspec.json.encode(app.openapi_schema.to_schema(), order="deterministic")
    return msgspec.json.format(text, indent=2) + b"\n"


def _openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="mlg control plane",
        version="1",
        description="Errors are objects {error, what, where, hint} with the error's status.",
        use_handler_docstrings=True,
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            dto=None,
            return_dto=None,
            opt=VIEWER,
        ),
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
    )


def _role_guard(principal_for: PrincipalFor, denials: Denials) -> Callable[..., Any]:
    async def guard(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        caller = caller_of(connection.scope)
        role: Role | None = handler.opt.get("role")
        who = caller.peer
        try:
            principal = principal_for(caller)
            who = principal.subject
            if role is None or not principal.may(role):
                raise DeniedError(
                    f"{principal.subject} needs the role {role}, has "
                    f"{', '.join(principal.roles) or 'none'}",
                    where=caller.path,
                    hint="ask an administrator for the role.",
                )
        except DeniedError as denied:
            await denials.note(denial_of(caller, "role", denied, who))
            raise
        connection.state["principal"] = principal

    return guard


def _provide_principal(request: Request[Any, Any, Any]) -> Principal:
    return request.state["principal"]


def _lifecycle_error(
    _: Request[Any, Any, Any], error: LifecycleError
) -> Response[dict[str, str]]:
    return Response(
        error.as_dict(), status_code=error.http_status, media_type="application/json"
    )


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorAnswer]:
    fields = error.extra if isinstance(error.extra, list) else []
    named = [f"{item.get('key', '?')}: {item.get('message', '?')}" for item in fields]
    what = error.detail.partition(" for ")[0] if named else error.detail
    internal = error.status_code >= 500
    return Response(
        ErrorAnswer(
            error=_CODES.get(error.status_code, "internal" if internal else "request"),
            what="something went wrong inside" if internal else "; ".join((what, *named)),
            where=request.url.path,
            hint="see the control plane's log." if internal else "see /schema/openapi.json.",
        ),
        status_code=error.status_code,
        media_type="application/json",
    )


def _unexpected_error(
    request: Request[Any, Any, Any], error: Exception
) -> Response[ErrorAnswer]:
    if _is_deep_body(error):
        return Response(
            ErrorAnswer(
                error="request",
                what="the body's JSON is nested too deep",
                where=request.url.path,
                hint="see /schema/openapi.json.",
            ),
            status_code=400,
            media_type="application/json",
        )
    return Response(
        ErrorAnswer(
            error="internal",
            what="something went wrong inside",
            where=request.url.path,
            hint="see the control plane's log.",
        ),
        status_code=500,
        media_type="application/json",
    )


def _is_deep_body(error: BaseException) -> bool:
    """Return whether the decoder of JSON gave up, before any code of ours was reached."""
    return isinstance(error, RecursionError) and "deserializing" in str(error)


def _failure_hook(
    on_failure: Callable[[Failure], None],
) -> Callable[[BaseException, Scope], Any]:
    async def note(error: BaseException, scope: Scope) -> None:
        expected = isinstance(error, HTTPException) and error.status_code < 500
        if expected or isinstance(error, LifecycleError) or _is_deep_body(error):
            return
        caller = caller_of(scope)
        _LOG.error("%s %s failed", caller.method, caller.path, exc_info=error)
        failure = Failure(
            method=caller.method, path=caller.path, error=f"{type(error).__name__}: {error}"
        )
        await asyncio.to_thread(on_failure, failure)

    return note


@asynccontextmanager
async def _threads(_: Litestar) -> AsyncGenerator[None, None]:
    """Give the loop threads enough that a long `apply` and the streams do not wait in line."""
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlg-api")
    asyncio.get_running_loop().set_default_executor(executor)
    try:
        yield
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
