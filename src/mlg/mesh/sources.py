"""Where a gateway finds what is not in its bootstrap: watched files, or one ADS stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

Resource = dict[str, Any]
"""One JSON object in the words of Envoy's v3 API."""

_ADS_CLUSTER: Final = "mlg-xds"
"""The gateways' cluster for the ADS server; without `@`, so that nobody counts its requests."""
_ADS: Final[Resource] = {
    "cluster_name": _ADS_CLUSTER,
    # Envoy's own longest wait is 30 s: a change would wait as long for a server that is back
    "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"}},
}


class Sources(Protocol):
    """How each kind of resource reaches a gateway."""

    def clusters(self) -> Resource:
        """Return the configuration source of the clusters."""
        ...

    def routes(self) -> Resource:
        """Return the configuration source of the routes."""
        ...

    def endpoints(self, cluster: str) -> Resource:
        """Return the configuration source of one cluster's endpoints."""
        ...

    def bootstrap(self) -> Resource:
        """Return the bootstrap's `dynamic_resources`, and `clusters` to reach them."""
        ...


class Xds(Protocol):
    """Carries resources to the gateways; what they do with them is asked on their admin."""

    @property
    def sources(self) -> Sources:
        """Where the gateways find what is carried."""
        ...

    def clusters(self, resources: Sequence[Resource]) -> str:
        """Put these clusters in force and no others; return their version."""
        ...

    def endpoints(self, assignments: Sequence[tuple[str, Resource]]) -> None:
        """Put the endpoints of the named clusters in force; other clusters keep theirs."""
        ...

    def routes(self, resource: Resource) -> str:
        """Put this route configuration in force; return its version."""
        ...

    def keep_only(self, clusters: Sequence[str]) -> None:
        """Forget the endpoints of all other clusters."""
        ...

    def close(self) -> None:
        """End what carries them; the gateways keep what they have."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSources:
    """Files that are replaced by rename."""

    folder: str
    """Folder of the xDS files, as the gateway sees it."""

    def clusters(self) -> Resource:
        """Return the source of the clusters."""
        return self._file("cds.json")

    def routes(self) -> Resource:
        """Return the source of the routes."""
        return self._file("rds.json")

    def endpoints(self, cluster: str) -> Resource:
        """Return the source of one cluster's endpoints, a file of their own."""
        return self._file(endpoints_file(cluster))

    def bootstrap(self) -> Resource:
        """Return the bootstrap's part; files need no cluster."""
        return {"dynamic_resources": {"cds_config": self.clusters()}, "clusters": []}

    def _file(self, name: str) -> Resource:
        return {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": f"{self.folder}/{name}",
                "watched_directory": {"path": self.folder},
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AdsSources:
    """One aggregated stream over gRPC for all kinds; the same sources for every gateway."""

    host: str
    port: int

    def clusters(self) -> Resource:
        """Return the source of the clusters."""
        return {"ads": {}, "resource_api_version": "V3"}

    def routes(self) -> Resource:
        """Return the source of the routes."""
        return self.clusters()

    def endpoints(self, cluster: str) -> Resource:  # noqa: ARG002
        """Return the source of any cluster's endpoints."""
        return self.clusters()

    def bootstrap(self) -> Resource:
        """Return the bootstrap's part: the stream, and the cluster that it goes to."""
        protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        at = {"socket_address": {"address": self.host, "port_value": self.port}}
        return {
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": _ADS}],
                },
                "cds_config": self.clusters(),
            },
            "clusters": [
                {
                    "name": _ADS_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": _ADS_CLUSTER,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}],
                    },
                    "typed_extension_protocol_options": {
                        protocol: {
                            "@type": f"type.googleapis.com/{protocol}",
                            "explicit_http_config": {
                                "http2_protocol_options": {
                                    # a server that went without a word is noticed
                                    "connection_keepalive": {"interval": "10s", "timeout": "5s"}
                                }
                            },
                        }
                    },
                }
            ],
        }


def endpoints_file(cluster_name: str) -> str:
    """Return the name of the file with a cluster's endpoints."""
    return f"eds-{quote(cluster_name, safe='@')}.json"
