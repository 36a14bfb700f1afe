"""Deployments, Services, autoscalers and disruption budgets: one of each a version."""

from typing import Final

from mlg.render.inputs import Cluster, Object, RunningService, RunningVersion
from mlg.render.pods import (
    FALLBACK,
    PORT,
    annotations,
    metadata,
    name_of,
    pod_spec,
    selector,
    version_labels,
)

_TARGET_PERCENT: Final = 70
_TARGET_CORES: Final = "700m"
"""Of one core, as a replica is one thread: the target where no request of CPU is declared."""
_FALLBACK_REPLICAS: Final = 2


def workloads(cluster: Cluster, service: RunningService) -> list[Object]:
    """Return the objects that run a service: its versions, then its popularity servers."""
    found: list[Object] = []
    for version in service.versions:
        name = name_of(cluster, service.name, version.version)
        labels = version_labels(cluster, service, name, version.version)
        found += [
            _deployment(cluster, service, version, name, labels),
            _service(cluster, service, version, name, labels),
            _autoscaler(cluster, service, version, name, labels),
            _budget(cluster, service, version, name, labels),
        ]
    name = name_of(cluster, service.name, FALLBACK)
    labels = version_labels(cluster, service, name, FALLBACK)
    stable = service.stable
    return [
        *found,
        _deployment(cluster, service, stable, name, labels, replicas=_FALLBACK_REPLICAS),
        _service(cluster, service, stable, name, labels),
        _budget(cluster, service, stable, name, labels),
    ]


def _deployment(
    cluster: Cluster,
    service: RunningService,
    version: RunningVersion,
    name: str,
    labels: Object,
    *,
    replicas: int | None = None,
) -> Object:
    """Return a Deployment; without `replicas` its number is the autoscaler's alone.

    Written here as well, each apply would take back what the autoscaler had added; and
    taken out later, an apply would fall to one replica.
    """
    notes = annotations(service, version)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(cluster, name, labels, notes),
        "spec": {
            **({"replicas": replicas} if replicas is not None else {}),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {
                "metadata": {"labels": labels, "annotations": notes},
                "spec": pod_spec(
                    cluster, service, version, name, fallback=replicas is not None
                ),
            },
        },
    }


def _service(
    cluster: Cluster,
    service: RunningService,
    version: RunningVersion,
    name: str,
    labels: Object,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, name, labels, annotations(service, version)),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(name),
            "ports": [
                {
                    "name": "http",
                    "appProtocol": "http",
                    "port": PORT,
                    "protocol": "TCP",
                    "targetPort": "http",
                }
            ],
        },
    }


def _autoscaler(
    cluster: Cluster,
    service: RunningService,
    version: RunningVersion,
    name: str,
    labels: Object,
) -> Object:
    """Return an autoscaler between the declared number of replicas and twice as many."""
    replicas = service.spec.replicas
    declared = service.spec.resources
    target: Object = {"type": "AverageValue", "averageValue": _TARGET_CORES}
    if declared is not None and declared.cpu is not None:
        target = {"type": "Utilization", "averageUtilization": _TARGET_PERCENT}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(cluster, name, labels, annotations(service, version)),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": replicas,
            "maxReplicas": 2 * replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _budget(
    cluster: Cluster,
    service: RunningService,
    version: RunningVersion,
    name: str,
    labels: Object,
) -> Object:
    """Return a budget that lets one pod go at a time, so a node can always be emptied."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(cluster, name, labels, annotations(service, version)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
