"""Experiments: which there are, how one stands, start it, stop it."""

from typing import Any

from litestar import get, post
from litestar.params import FromPath, JSONBody

from mlg.api.routes_control import OPERATOR, VIEWER, Caller, Services
from mlg.api.schemas import ExperimentActRequest


@get("/api/v1/experiments", opt=VIEWER, sync_to_thread=True)
def experiments(services: Services) -> dict[str, Any]:
    """List the experiments of the manifest with service, phase and reason."""
    return {"experiments": services.operations.experiments()}


@get("/api/v1/experiments/{name:str}", opt=VIEWER, sync_to_thread=True)
def experiment(services: Services, name: FromPath[str]) -> dict[str, Any]:
    """Tell where an experiment stands, with what each metric of each cell says."""
    return services.operations.experiment(name)


@get("/api/v1/experiments/{name:str}/plan", opt=VIEWER, sync_to_thread=True)
def experiment_plan(services: Services, name: FromPath[str]) -> dict[str, Any]:
    """Tell how many viewers each cell needs and how long that takes, before it is started."""
    return services.operations.experiment_plan(name)


@post("/api/v1/experiments/acts", opt=OPERATOR, sync_to_thread=True, status_code=202)
def experiment_act(
    services: Services, principal: Caller, data: JSONBody[ExperimentActRequest]
) -> dict[str, Any]:
    """Start an experiment, or stop it; one of a service at a time."""
    return services.operations.experiment_act(data, principal)
