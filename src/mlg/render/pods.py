"""One pod of a replica or a popularity server: what runs in it, and what it may not do.

Paths are those of the image that `package` builds and of a home of one process: keys and
policy come from outside, the log and refusals are written into a folder of the pod.
"""

from typing import Final

from mlg.core.traffic import version_of
from mlg.render.inputs import Cluster, Object, RunningService, RunningVersion
from mlg.render.names import bytes_quantity, cpu_quantity, dns_label, label_value

PORT: Final = 8080
HOME: Final = "/var/lib/mlg"
MODEL: Final = "/opt/mlg/model"
SIGNATURE: Final = "/etc/mlg/signature.json"
FALLBACK: Final = "fallback"
"""In place of a version in the name of the popularity servers."""
CONTAINER: Final = "serving"

USER: Final = 65_532
"""No account of the node; the usual number of images without root."""
PRE_STOP_S: Final = 5
"""How long a pod that ends goes on answering before it drains: gateways learn it meanwhile."""
GRACE_S: Final = 20
"""Pre-stop, 3 s of draining at the latest, the rest to write the log."""

_LOG_LIMIT: Final = "10Gi"
_FALLBACK_CORES: Final = 0.1


def name_of(cluster: Cluster, service: str, version: str) -> str:
    """Return the name of a version's Deployment, Service, HPA and PDB."""
    return dns_label(cluster.project, service, version)


def metadata(
    cluster: Cluster, name: str, labels: Object, notes: Object | None = None
) -> Object:
    """Return an object's metadata; the namespace only where one was asked for."""
    made: Object = {"name": name}
    if cluster.namespace:
        made["namespace"] = cluster.namespace
    made["labels"] = labels
    if notes:
        made["annotations"] = notes
    return made


def project_labels(cluster: Cluster) -> Object:
    """Return the labels that everything of a project has."""
    return {
        "app.kubernetes.io/part-of": label_value(cluster.project),
        "app.kubernetes.io/managed-by": "mlg",
    }


def service_labels(cluster: Cluster, service: RunningService) -> Object:
    """Return the labels that everything of a service has."""
    return {"app.kubernetes.io/name": label_value(service.name), **project_labels(cluster)}


def selector(name: str) -> Object:
    """Return the labels by which a workload's pods are found; they never change."""
    return {"app.kubernetes.io/instance": name}


def version_labels(
    cluster: Cluster, service: RunningService, name: str, version: str
) -> Object:
    """Return the labels of a version's objects and pods."""
    return {
        **service_labels(cluster, service),
        **selector(name),
        "app.kubernetes.io/version": label_value(version),
        "app.kubernetes.io/component": FALLBACK if version == FALLBACK else "replica",
    }


def annotations(service: RunningService, version: RunningVersion) -> Object:
    """Return the names as the graph has them; labels may have had to change them."""
    found = {"mlg.service": service.name, "mlg.version": version.version}
    return {**found, "mlg.artifact": version.artifact} if version.artifact else found


def resources_of(service: RunningService, *, fallback: bool = False) -> Object:
    """Return what one container asks for; empty where the manifest says nothing.

    Memory is asked for and limited alike; processor time is asked for only: a limit would
    stop a replica for the rest of each 100 ms in which it was busy. A popularity server
    waits most of its life, and asks for less.
    """
    declared = service.spec.resources
    if declared is None:
        return {}
    requests: Object = {}
    if declared.cpu is not None:
        cores = min(declared.cpu, _FALLBACK_CORES) if fallback else declared.cpu
        requests["cpu"] = cpu_quantity(cores)
    limits: Object = {}
    if declared.memory_bytes is not None:
        requests["memory"] = limits["memory"] = bytes_quantity(declared.memory_bytes)
    return {"requests": requests, **({"limits": limits} if limits else {})}


def security_context() -> Object:
    """Return what a container may not do: the level `restricted`, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container(
    cluster: Cluster,
    service: RunningService,
    version: RunningVersion,
    *,
    fallback: bool = False,
    name: str = CONTAINER,
) -> Object:
    """Return the container of a replica, or of a popularity server with the version's list."""
    made: Object = {
        "name": name,
        "image": version.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "mlg.app.fallback" if fallback else "mlg.app.replica"],
        "args": _args(service, version, fallback),
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            *({"name": key, "value": value} for key, value in cluster.env),
        ],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "livenessProbe": _probe("/v2/health/live", 10, 3, timeout_s=2),
        "readinessProbe": _probe("/v2/health/ready", 1, 2),
        "startupProbe": _probe("/v2/health/live", 1, 120),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        "securityContext": security_context(),
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of its own
            {"name": "keys", "mountPath": f"{HOME}/keys", "readOnly": True},
            {
                "name": "policy",
                "mountPath": f"{HOME}/services/{service.name}",
                "readOnly": True,
            },
            {"name": "signature", "mountPath": "/etc/mlg", "readOnly": True},
        ],
    }
    if needs := resources_of(service, fallback=fallback):
        made["resources"] = needs
    return made


def volumes(cluster: Cluster, service: RunningService, version: RunningVersion) -> list[Object]:
    """Return the folders of a pod: its log, the keys, the live policy, the signature."""
    return [
        {"name": "home", "emptyDir": {"sizeLimit": _LOG_LIMIT}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        {
            "name": "keys",
            "projected": {
                "defaultMode": 0o440,
                "sources": [
                    {
                        "secret": {
                            "name": viewer_key_name(cluster),
                            "items": [{"key": "viewer.key", "path": "viewer.key"}],
                        }
                    },
                    {
                        "configMap": {
                            "name": trusted_keys_name(cluster),
                            "items": [{"key": "trusted.pem", "path": "trusted.pem"}],
                        }
                    },
                ],
            },
        },
        {"name": "policy", "configMap": {"name": policy_name(cluster, service)}},
        {"name": "signature", "configMap": {"name": signature_name(cluster, service, version)}},
    ]


def pod_spec(
    cluster: Cluster,
    service: RunningService,
    version: RunningVersion,
    name: str,
    *,
    fallback: bool = False,
) -> Object:
    """Return the specification of a pod."""
    return {
        "serviceAccountName": account_name(cluster),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(name)},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [container(cluster, service, version, fallback=fallback)],
        "volumes": volumes(cluster, service, version),
    }


def account_name(cluster: Cluster) -> str:
    """Return the name of the service account, which may do nothing."""
    return dns_label(cluster.project, "serving")


def viewer_key_name(cluster: Cluster) -> str:
    """Return the name of the Secret with `viewer.key`; it is never rendered."""
    return dns_label(cluster.project, "viewer-key")


def trusted_keys_name(cluster: Cluster) -> str:
    """Return the name of the ConfigMap with `trusted.pem`."""
    return dns_label(cluster.project, "trusted-keys")


def policy_name(cluster: Cluster, service: RunningService) -> str:
    """Return the name of the ConfigMap with a service's `policy.json`."""
    return dns_label(cluster.project, service.name, "policy")


def signature_name(cluster: Cluster, service: RunningService, version: RunningVersion) -> str:
    """Return the name of the ConfigMap with a version's `signature.json`."""
    return dns_label(cluster.project, service.name, version_of(version.version), "signature")


def _args(service: RunningService, version: RunningVersion, fallback: bool) -> list[str]:
    args = [
        *("--home", HOME),
        *("--id", "$(POD_NAME)"),
        *("--listen", f"0.0.0.0:{PORT}"),
        *("--service", service.name),
        *("--clock", service.spec.clock),
    ]
    if not fallback:
        served = version_of(version.version)
        args += ["--model", service.model, "--version", served]
        if served != version.version:
            args += ["--arm", version.version]
    args += ["--artifact", MODEL, "--signature", SIGNATURE]
    return [*args, "--digest", version.artifact] if version.artifact else args


def _probe(path: str, period_s: int, failures: int, timeout_s: int = 1) -> Object:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
    }
