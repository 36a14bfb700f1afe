"""What is erased: one viewer, and what is past its retention."""

from typing import Any

from litestar import post
from litestar.params import JSONBody, SkipValidation

from mlg.api.operations import ApiServices
from mlg.api.schemas import CollectRequest, ErasureRequest
from mlg.core.errors import ManifestError
from mlg.core.principal import Principal

Services = SkipValidation[ApiServices]
Caller = SkipValidation[Principal]

OPERATOR = {"role": "operator"}
ADMIN = {"role": "admin"}


@post("/api/v1/erasures", opt=ADMIN, sync_to_thread=True, status_code=200)
def erase(
    services: Services, principal: Caller, data: JSONBody[ErasureRequest]
) -> dict[str, Any]:
    """Erase one viewer for good; what was begun is finished even if this call is cut off.

    Raises:
        ManifestError: Neither a service nor `all` is given, or both.
    """
    if data.all == (data.service is not None):
        raise ManifestError(
            "expected either a service or all",
            where="service",
            hint='{"all": true} erases him from every service, table and model.',
        )
    return services.operations.erase(
        str(data.viewer), data.service or "", data.reason, data.dry_run, principal
    )


@post("/api/v1/gc", opt=OPERATOR, sync_to_thread=True, status_code=200)
def collect(
    services: Services, principal: Caller, data: JSONBody[CollectRequest]
) -> dict[str, Any]:
    """Erase what is past its declared retention; the background does so every hour."""
    return services.operations.collect(data.dry_run, principal)
