"""Resources to the gateways by one gRPC stream each (ADS); needs the extra `ads`."""

import importlib
import ipaddress
import logging
import queue
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlg.core.errors import BackendError
from mlg.mesh.ads import (
    CLUSTERS,
    ENDPOINTS,
    ROUTES,
    Asked,
    Stream,
    Told,
    asked,
    due,
    version_of,
)
from mlg.mesh.sources import AdsSources, Resource, Xds

_LOG: Final = logging.getLogger("mlg.gateway")
_STREAMS: Final = 32
"""Gateways at once; each holds a thread."""
_SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_API: Final = "envoy_data_plane.envoy"
_NESTED: Final = (
    "extensions.filters.http.header_mutation.v3",
    "extensions.filters.http.local_ratelimit.v3",
    "extensions.filters.http.upstream_codec.v3",
    "extensions.retry.host.previous_hosts.v3",
    "extensions.retry.priority.previous_priorities.v3",
    "extensions.router.cluster_specifiers.lua.v3",
    "extensions.upstreams.http.v3",
)
"""Modules of the types that a resource may hold; JSON is read only of types that are loaded."""


class AdsXds:
    """Serves the resources to any number of gateways; keeps them in memory only.

    A gateway that is running keeps its configuration while the server is away. One that
    starts then has none, and answers 404 or nothing until the server is back: files have
    no such gap.

    Args:
        port: Port to listen on; 0 for a free one. A gateway's bootstrap names it, so it must be
            the same after a restart.
        host: A loopback address: the stream has no sign-in.

    Raises:
        BackendError: The extra is not installed, or the port is taken.
        ValueError: The host is no loopback address.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1") -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the ADS server binds loopback only, got {host!r}")
        try:
            import grpc

            loaded = _load()
        except ImportError as error:
            raise BackendError(
                f"the gateways' ADS needs a package: {error}", hint="pip install 'mlg[ads]'"
            ) from error
        self._types, self._response, self._packed = loaded.types, loaded.response, loaded.packed
        self._lock = threading.Lock()
        self._world: dict[str, dict[str, Resource]] = {}
        self._inboxes: set[queue.SimpleQueue[Any]] = set()
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=_STREAMS, thread_name_prefix="ads"),
            # another server on this port would get a part of the gateways
            options=(("grpc.so_reuseport", 0),),
        )
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=loaded.request.parse,
            response_serializer=bytes,
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    _SERVICE, {"StreamAggregatedResources": handler}
                ),
            )
        )
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            bound = 0
        if not bound:
            raise BackendError(f"port {port} is taken", where="the gateways' ADS server")
        self.sources = AdsSources(host=host, port=bound)
        self._server.start()

    def clusters(self, resources: Sequence[Resource]) -> str:
        return self._put(CLUSTERS, {str(r["name"]): r for r in resources}, whole=True)

    def endpoints(self, assignments: Sequence[tuple[str, Resource]]) -> None:
        self._put(ENDPOINTS, dict(assignments))

    def routes(self, resource: Resource) -> str:
        return self._put(ROUTES, {str(resource["name"]): resource}, whole=True)

    def keep_only(self, clusters: Sequence[str]) -> None:
        with self._lock:
            former = self._world.get(ENDPOINTS, {})
            kept = {name: former[name] for name in clusters if name in former}
        self._put(ENDPOINTS, kept, whole=True)

    def close(self) -> None:
        """End the streams and the server; the gateways keep what they have."""
        with self._lock:
            for inbox in self._inboxes:
                inbox.put(None)
        self._server.stop(grace=0.5).wait()

    def _put(self, kind: str, resources: dict[str, Resource], *, whole: bool = False) -> str:
        """Put resources in force and wake the streams; return the version of the kind."""
        with self._lock:
            former = {} if whole else self._world.get(kind, {})
            # replaced, never changed: streams read the world without the lock
            self._world = {**self._world, kind: {**former, **resources}}
            version = version_of(self._world[kind])
            for inbox in self._inboxes:
                inbox.put(_WOKEN)
        return version

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Answer one gateway until either side ends."""
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            self._inboxes.add(inbox)
        context.add_callback(lambda: inbox.put(None))
        threading.Thread(target=_feed, args=(requests, inbox), daemon=True).start()
        stream = Stream()
        try:
            while (request := inbox.get()) is not None:
                if request is not _WOKEN:
                    stream = asked(stream, _read(request))
                stream, messages = due(stream, self._world)
                for message in messages:
                    yield self._written(message)
        finally:
            with self._lock:
                self._inboxes.discard(inbox)

    def _written(self, message: Told) -> Any:
        form = self._types[message.kind]
        packed: list[Any] = []
        for resource in message.resources:
            fields = {key: value for key, value in resource.items() if key != "@type"}
            value = bytes(form.from_dict(fields))
            packed.append(self._packed(type_url=message.kind, value=value))
        return self._response(
            type_url=message.kind,
            version_info=message.version,
            nonce=message.nonce,
            resources=packed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """The message classes that are used."""

    types: dict[str, Any]
    request: Any
    response: Any
    packed: Any


def _load() -> _Loaded:
    """Import the messages; their generated code warns of its own validators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from envoy_data_plane.envoy.config.cluster.v3 import Cluster
        from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
        from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
        from envoy_data_plane.envoy.service.discovery.v3 import (
            DiscoveryRequest,
            DiscoveryResponse,
        )
        from envoy_data_plane.google.protobuf import Any as Packed

        for module in _NESTED:
            importlib.import_module(f"{_API}.{module}")
    return _Loaded(
        types={
            CLUSTERS: Cluster,
            ENDPOINTS: ClusterLoadAssignment,
            ROUTES: RouteConfiguration,
        },
        request=DiscoveryRequest,
        response=DiscoveryResponse,
        packed=Packed,
    )


_WOKEN: Final = object()
"""In a stream's inbox: something else is in force."""


def _feed(requests: Iterator[Any], inbox: "queue.SimpleQueue[Any]") -> None:
    """Hand a gateway's requests on; its end, however it comes, ends the stream."""
    import grpc

    try:
        for request in requests:
            inbox.put(request)
    except grpc.RpcError:
        pass  # the gateway, or the network to it, went
    finally:
        inbox.put(None)


def _read(request: Any) -> Asked:
    if request.error_detail is not None and request.error_detail.message:
        _LOG.error(
            "a gateway refused its configuration",
            extra={"kind": request.type_url, "problem": request.error_detail.message},
        )
    return Asked(
        kind=request.type_url,
        names=tuple(request.resource_names),
        nonce=request.response_nonce,
    )


if TYPE_CHECKING:
    _: Xds = AdsXds()
