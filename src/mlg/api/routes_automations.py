"""What acts by itself: rules, their proposals, and the freeze of all of it."""

from typing import Any

from litestar import get, post
from litestar.params import JSONBody

from mlg.api.routes_control import OPERATOR, VIEWER, Caller, Services
from mlg.api.schemas import FreezeRequest, ProposalRequest


@get("/api/v1/automations", opt=VIEWER, sync_to_thread=True)
def automations(services: Services) -> dict[str, Any]:
    """List the rules in force, their newest answers, and the proposals that wait."""
    return services.operations.automations()


@post("/api/v1/automations/proposals", opt=OPERATOR, sync_to_thread=True, status_code=202)
def answer_proposal(
    services: Services, principal: Caller, data: JSONBody[ProposalRequest]
) -> dict[str, Any]:
    """Let a rule's proposal act, or turn it down."""
    return services.operations.answer_proposal(data.proposal, data.act, data.reason, principal)


@get("/api/v1/freeze", opt=VIEWER, sync_to_thread=True)
def frozen(services: Services) -> dict[str, Any]:
    """Tell whether everything is frozen, by whom, since when and why."""
    return services.operations.frozen()


@post("/api/v1/freeze", opt=OPERATOR, sync_to_thread=True, status_code=200)
def freeze(
    services: Services, principal: Caller, data: JSONBody[FreezeRequest]
) -> dict[str, Any]:
    """Stop every act that nobody asked for but a rollback, or let them go on."""
    return services.operations.freeze(data.on, data.reason, principal)
