"""What the control plane does and tells: runs, services, manifests, accounts."""

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from mlg.api.health import HealthAnswer
from mlg.api.operations import ApiServices
from mlg.api.schemas import (
    ExportRequest,
    ManifestRequest,
    NothingRequest,
    RebuiltAnswer,
    RestartRequest,
    RolloutActRequest,
    RolloutStartRequest,
    RunRequest,
    RunsAnswer,
    ServicesAnswer,
)
from mlg.core.principal import Principal
from mlg.core.uris import make_uri
from mlg.graph.timeline import TimelineAnswer, timeline

MaybeText = Annotated[str | None, QueryParameter(max_length=200)]
Services = SkipValidation[ApiServices]
Caller = SkipValidation[Principal]

VIEWER = {"role": "viewer"}
OPERATOR = {"role": "operator"}
ADMIN = {"role": "admin"}

PROMETHEUS = "text/plain; version=0.0.4"
"""Media type of Prometheus' text format."""

_SAFE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@get("/api/v1/status", opt=VIEWER, sync_to_thread=True)
def status(services: Services) -> dict[str, Any]:
    """Tell what runs: services, ports, processes."""
    return services.operations.status()


@get("/api/v1/services", opt=VIEWER, sync_to_thread=True)
def services_list(services: Services) -> ServicesAnswer:
    """List the services, as in `status`."""
    return ServicesAnswer(services=services.operations.status().get("services", []))


@get("/api/v1/services/{service:str}/health", opt=VIEWER, sync_to_thread=True)
def service_health(services: Services, service: FromPath[str]) -> HealthAnswer:
    """Tell the health of a service, its versions and replicas, and its error budget."""
    return services.operations.service_health(service)


@get("/api/v1/live", opt=VIEWER, sync_to_thread=True)
def live(services: Services) -> dict[str, Any]:
    """Tell the live counters once; `/stream` sends them every second."""
    return {**services.operations.live(), "gateway_port": services.operations.gateway_port()}


@get("/api/v1/runs", opt=VIEWER, sync_to_thread=True)
def runs(services: Services) -> RunsAnswer:
    """List the runs, newest first."""
    return RunsAnswer(runs=services.operations.runs())


@get("/api/v1/runs/{run_id:str}", opt=VIEWER, sync_to_thread=True)
def run_status(services: Services, run_id: FromPath[str]) -> dict[str, Any]:
    """Tell where a run stands, step by step."""
    return services.operations.run_status(run_id)


@post("/api/v1/runs", opt=OPERATOR, sync_to_thread=True, status_code=202)
def start_run(
    services: Services, principal: Caller, data: JSONBody[RunRequest]
) -> dict[str, Any]:
    """Start a pipeline; the answer names the run, which goes on by itself."""
    return services.operations.run(data.pipeline, principal, data.params)


@post("/api/v1/plan", opt=OPERATOR, sync_to_thread=True, status_code=200)
def plan(services: Services, data: JSONBody[ManifestRequest]) -> dict[str, Any]:
    """Tell what applying a manifest would change."""
    return services.operations.plan(data.manifest_path)


@post("/api/v1/apply", opt=ADMIN, sync_to_thread=True, status_code=200)
def apply(
    services: Services, principal: Caller, data: JSONBody[ManifestRequest]
) -> dict[str, Any]:
    """Make a manifest the one in force; its `python:` steps run with the operator's rights."""
    return services.operations.apply(data.manifest_path, principal)


@get("/api/v1/predictions/{prediction_id:str}", opt=OPERATOR, sync_to_thread=True)
def prediction(services: Services, prediction_id: FromPath[str]) -> dict[str, Any]:
    """Give one answer as the log keeps it; the viewer is a keyed hash."""
    return services.operations.prediction(prediction_id)


@post(
    "/api/v1/audit-exports",
    opt=OPERATOR,
    sync_to_thread=True,
    status_code=200,
    media_type="application/zip",
)
def audit_export(
    services: Services, principal: Caller, data: JSONBody[ExportRequest]
) -> Response[bytes]:
    """Give the ZIP bundle of an answer, a model version or a service over a period."""
    name, bundle = services.operations.audit_export(data, principal)
    safe = "".join(char if char in _SAFE_NAME else "-" for char in name) or "audit.zip"
    return Response(
        bundle,
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{safe}"'},
    )


@get("/api/v1/audit/verify", opt=VIEWER, sync_to_thread=True)
def audit_verify(services: Services) -> dict[str, Any]:
    """Check the chain of the event log from its first event to its head."""
    return services.operations.audit_verify()


@post("/api/v1/restart", opt=OPERATOR, sync_to_thread=True, status_code=200)
def restart(
    services: Services, principal: Caller, data: JSONBody[RestartRequest]
) -> dict[str, Any]:
    """Replace a service's replicas one after the other, or have the gateways hand over."""
    return services.operations.restart(data.service, principal, gateways=data.gateways)


@get("/api/v1/services/{service:str}/rollout", opt=VIEWER, sync_to_thread=True)
def rollout(
    services: Services, service: FromPath[str], evidence: FromQuery[bool] = False
) -> dict[str, Any]:
    """Tell where the newest rollout of a service stands, with what each gate says."""
    return services.operations.rollout(service, evidence=evidence)


@post("/api/v1/rollouts/acts", opt=OPERATOR, sync_to_thread=True, status_code=202)
def rollout_act(
    services: Services, principal: Caller, data: JSONBody[RolloutActRequest]
) -> dict[str, Any]:
    """Tell the rollout in flight to pause, resume, promote, approve or roll back."""
    return services.operations.rollout_act(
        data.service, data.act, data.reason, principal, key=data.key
    )


@post("/api/v1/rollouts/start", opt=OPERATOR, sync_to_thread=True, status_code=202)
def rollout_start(
    services: Services, principal: Caller, data: JSONBody[RolloutStartRequest]
) -> dict[str, Any]:
    """Start the rollout of a version that was packaged before and does not serve."""
    return services.operations.rollout_start(data, principal)


@get("/api/v1/services/{service:str}/rollout/timeline", opt=VIEWER, sync_to_thread=True)
def rollout_timeline(
    services: Services, service: FromPath[str], rollout: MaybeText = None
) -> TimelineAnswer:
    """Tell from the graph how a version came: commit, run, image, staging, steps, swap."""
    found = rollout or str(services.operations.rollout(service)["rollout"])
    uri = make_uri("rollout", services.project(), service, found)
    return timeline(services.reader, services.history, uri)


@post("/api/v1/down", opt=ADMIN, sync_to_thread=True, status_code=202)
def down(
    services: Services, principal: Caller, data: JSONBody[NothingRequest]
) -> dict[str, Any]:
    """End everything; the control plane itself ends after this answer."""
    del data  # only its shape is checked
    return services.operations.down(principal)


@post("/api/v1/graph/rebuild", opt=ADMIN, sync_to_thread=True, status_code=200)
def rebuild(services: Services, data: JSONBody[NothingRequest]) -> RebuiltAnswer:
    """Make the graph's projections again from the event log."""
    del data  # only its shape is checked
    return RebuiltAnswer(events=services.store.rebuild())


@get("/api/v1/metrics/targets", opt=VIEWER, sync_to_thread=True)
def metric_targets(services: Services) -> list[dict[str, Any]]:
    """List what Prometheus should scrape (HTTP service discovery)."""
    return services.operations.metric_targets()


@get("/metrics", opt=VIEWER, sync_to_thread=True, media_type=PROMETHEUS)
def metrics(services: Services) -> Response[str]:
    """Give the control plane's series, in Prometheus' text format."""
    return Response(
        services.operations.metrics_text(),
        media_type=PROMETHEUS,
    )
