"""Live baselines: the list, and one with all that it says."""

from typing import Annotated, Any

from litestar import get
from litestar.params import QueryParameter

from mlg.api.routes_control import VIEWER, Services

Monitor = Annotated[str, QueryParameter(min_length=1, max_length=200)]
Stream = Annotated[str, QueryParameter(max_length=300)]
Version = Annotated[str, QueryParameter(max_length=64)]


@get("/api/v1/baselines", opt=VIEWER, sync_to_thread=True)
def baselines(services: Services) -> dict[str, Any]:
    """List what monitors hold for usual: each stream, and how far it has come."""
    return services.baselines.baselines()


@get("/api/v1/baselines/one", opt=VIEWER, sync_to_thread=True)
def baseline(
    services: Services, monitor: Monitor, stream: Stream = "", version: Version = ""
) -> dict[str, Any]:
    """Tell what is usual of a stream, now or in a version that was kept."""
    return services.baselines.baseline(monitor, stream, version)
