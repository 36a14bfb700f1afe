"""Alerts: the list, one, its sample; acknowledge, hand over, silence, maintenance."""

from typing import Annotated, Any

from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from mlg.api.alerts import (
    AcknowledgeRequest,
    HandOverRequest,
    LiftRequest,
    MaintenanceRequest,
    Matcher,
    SilenceRequest,
)
from mlg.api.routes_control import OPERATOR, VIEWER, Caller, Services
from mlg.core.errors import ManifestError

OneAlert = Annotated[str, QueryParameter(min_length=1, max_length=500)]
State = Annotated[str, QueryParameter(name="state", max_length=20)]
Service = Annotated[str, QueryParameter(max_length=200)]
Limit = Annotated[int, QueryParameter(ge=1, le=1_000)]


@get("/api/v1/alerts", opt=VIEWER, sync_to_thread=True)
def alerts(
    services: Services, wanted: State = "open", service: Service = "", limit: Limit = 100
) -> dict[str, Any]:
    """List alerts, newest first (`state`: open, closed, all), silences and maintenance."""
    return services.alerts.alerts(wanted, service, limit)


@get("/api/v1/alerts/one", opt=VIEWER, sync_to_thread=True)
def alert(services: Services, alert: OneAlert) -> dict[str, Any]:
    """Tell one alert: statistic, limits, window, slice, cause, remedy, who has it."""
    return services.alerts.alert(alert)


@get("/api/v1/alerts/sample", opt=OPERATOR, sync_to_thread=True)
def alert_sample(services: Services, alert: OneAlert) -> dict[str, Any]:
    """Give at most 1,000 logged rows behind an alert, personal fields masked."""
    return services.alerts.sample(alert)


@post("/api/v1/alerts/acknowledge", opt=OPERATOR, sync_to_thread=True, status_code=200)
def acknowledge(
    services: Services, principal: Caller, data: JSONBody[AcknowledgeRequest]
) -> dict[str, Any]:
    """Say that a person knows of an alert; the same again is the same."""
    return services.alerts.acknowledge(data.alert, data.note, principal)


@post("/api/v1/alerts/hand-over", opt=OPERATOR, sync_to_thread=True, status_code=200)
def hand_over(
    services: Services, principal: Caller, data: JSONBody[HandOverRequest]
) -> dict[str, Any]:
    """Say who has an alert now: a person, or `team:<name>`."""
    return services.alerts.hand_over(data.alert, data.to, data.note, principal)


@post("/api/v1/alerts/silences", opt=OPERATOR, sync_to_thread=True, status_code=200)
def silence(
    services: Services, principal: Caller, data: JSONBody[SilenceRequest]
) -> dict[str, Any]:
    """Let matching alerts page nobody until a time; the graph keeps them as silenced."""
    matcher = Matcher(
        service=data.service, monitor=data.monitor, kind=data.kind, feature=data.feature
    )
    return services.alerts.silence(matcher, data.until, data.reason, principal)


@post("/api/v1/alerts/maintenance", opt=OPERATOR, sync_to_thread=True, status_code=200)
def maintenance(
    services: Services, principal: Caller, data: JSONBody[MaintenanceRequest]
) -> dict[str, Any]:
    """Declare planned work: alerts in it page nobody, baselines learn nothing.

    Raises:
        ManifestError: Neither or both of `service` and `all` are given.
    """
    if (data.service is None) != data.all:
        raise ManifestError(
            "expected exactly one of service and all", where="service", hint='"all": true'
        )
    return services.alerts.maintain(data.service, data.from_, data.to, data.reason, principal)


@post("/api/v1/alerts/lift", opt=OPERATOR, sync_to_thread=True, status_code=200)
def lift(services: Services, principal: Caller, data: JSONBody[LiftRequest]) -> dict[str, Any]:
    """End a silence or a maintenance window now."""
    return services.alerts.lift(data.id, principal)
