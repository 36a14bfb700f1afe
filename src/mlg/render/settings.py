"""What workloads need beside them: account, keys, policies, signatures, and closed doors."""

import json
from typing import Final

import msgspec

from mlg.core.errors import ManifestError
from mlg.core.traffic import version_of
from mlg.render.inputs import Cluster, Object, RunningService
from mlg.render.names import dns_label
from mlg.render.pods import (
    PORT,
    account_name,
    metadata,
    policy_name,
    project_labels,
    service_labels,
    signature_name,
    trusted_keys_name,
)

MOST_BYTES: Final = 1_000_000
"""Of one ConfigMap; the API server's limit is 1 MiB."""


def settings(cluster: Cluster, services: tuple[RunningService, ...]) -> list[Object]:
    """Return the account, the ConfigMaps and the network policies, in order.

    Raises:
        ManifestError: A signature does not fit into a ConfigMap.
    """
    found = [_account(cluster)]
    if cluster.trusted_keys:
        found.append(
            _config_map(
                cluster,
                trusted_keys_name(cluster),
                project_labels(cluster),
                {"trusted.pem": cluster.trusted_keys},
            )
        )
    for service in services:
        found += _of_service(cluster, service)
    return found


def network_policies(cluster: Cluster) -> list[Object]:
    """Return two policies: nothing in or out of a project's pods; then viewers, by the gateway.

    Servers call nobody, so nothing may go out, not even a question to DNS. Probes come from
    the node, which network policies do not stop.
    """
    servers = {"matchLabels": project_labels(cluster)}
    peer: Object = {}
    namespace = cluster.proxies_namespace or cluster.gateway_namespace
    if namespace:
        peer["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    if not cluster.proxies_namespace:
        peer["podSelector"] = {
            "matchLabels": {"gateway.networking.k8s.io/gateway-name": cluster.gateway}
        }
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(
                cluster, dns_label(cluster.project, "deny-all"), project_labels(cluster)
            ),
            "spec": {"podSelector": servers, "policyTypes": ["Ingress", "Egress"]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(
                cluster, dns_label(cluster.project, "viewers"), project_labels(cluster)
            ),
            "spec": {
                "podSelector": servers,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": PORT}]}],
            },
        },
    ]


def _account(cluster: Cluster) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(cluster, account_name(cluster), project_labels(cluster)),
        "automountServiceAccountToken": False,
    }


def _of_service(cluster: Cluster, service: RunningService) -> list[Object]:
    labels = service_labels(cluster, service)
    policy = json.dumps(msgspec.to_builtins(service.policy), indent=2, sort_keys=True) + "\n"
    found = [
        _config_map(cluster, policy_name(cluster, service), labels, {"policy.json": policy})
    ]
    # groups of replicas of one version share its signature
    signed = {version_of(v.version): v for v in service.versions if v.signature}
    for version in signed.values():
        if len(version.signature.encode()) > MOST_BYTES:
            raise ManifestError(
                f"the signature of {version.version} has more than {MOST_BYTES} bytes, "
                "which no ConfigMap holds",
                where=f"service {service.name}",
                hint="its model has too many files; the image has to carry the signature.",
            )
        name = signature_name(cluster, service, version)
        content = {"signature.json": version.signature}
        found.append(_config_map(cluster, name, labels, content))
    return found


def _config_map(cluster: Cluster, name: str, labels: Object, content: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, name, labels),
        "data": content,
    }
