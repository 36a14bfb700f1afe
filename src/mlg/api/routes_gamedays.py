"""Game days: which faults there are, making one, ending it."""

from typing import Any

from litestar import get, post
from litestar.params import JSONBody

from mlg.api.routes_control import ADMIN, VIEWER, Caller, Services
from mlg.api.schemas import GameDayEndRequest, GameDayRequest


@get("/api/v1/gamedays", opt=VIEWER, sync_to_thread=True)
def gamedays(services: Services) -> dict[str, Any]:
    """List the faults that can be made on purpose, and tell how the newest game day stands."""
    return services.operations.gamedays()


@post("/api/v1/gamedays", opt=ADMIN, sync_to_thread=True, status_code=202)
def gameday(
    services: Services, principal: Caller, data: JSONBody[GameDayRequest]
) -> dict[str, Any]:
    """Make a fault on purpose; it ends by itself and is scored."""
    return services.operations.gameday(data, principal)


@post("/api/v1/gamedays/end", opt=ADMIN, sync_to_thread=True, status_code=202)
def gameday_end(
    services: Services, principal: Caller, data: JSONBody[GameDayEndRequest]
) -> dict[str, Any]:
    """End a game day's fault now."""
    return services.operations.gameday_end(data.gameday, principal)
