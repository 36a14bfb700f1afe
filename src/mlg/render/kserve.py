"""A service as an InferenceService of KServe, in its Knative mode, where canaries exist.

KServe keeps the version before by itself: the object describes the newest one and its share.
"""

from typing import Final

from mlg.core.errors import ManifestError
from mlg.core.traffic import FULL_BP, version_of
from mlg.render.inputs import Cluster, Object, RunningService, RunningVersion
from mlg.render.names import dns_label
from mlg.render.pods import (
    account_name,
    annotations,
    container,
    metadata,
    service_labels,
    volumes,
)

_CONTAINER: Final = "kserve-container"
_LONGEST: Final = 40
"""Of an InferenceService's name: KServe and Knative append to it for names of their own."""
_BP_A_PERCENT: Final = 100


def inference_service(cluster: Cluster, service: RunningService) -> Object:
    """Return the InferenceService of what a service's split says.

    Raises:
        ManifestError: The split has parts of a percent, or more than two versions in it.

    Source:
        KServe v1beta1, `ComponentExtensionSpec.canaryTrafficPercent`, an integer; Knative
        Serving's runtime contract, which has no pre-stop hook.
    """
    newest, percent = _newest(service)
    served = container(cluster, service, newest, name=_CONTAINER)
    del served["lifecycle"]
    predictor: Object = {
        "minReplicas": service.spec.replicas,
        "maxReplicas": 2 * service.spec.replicas,
        **({"canaryTrafficPercent": percent} if percent is not None else {}),
        "serviceAccountName": account_name(cluster),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [served],
        "volumes": volumes(cluster, service, newest),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(
            cluster,
            dns_label(cluster.project, service.name, longest=_LONGEST),
            service_labels(cluster, service),
            {
                **annotations(service, newest),
                "serving.kserve.io/deploymentMode": "Serverless",
            },
        ),
        "spec": {"predictor": predictor},
    }


def _newest(service: RunningService) -> tuple[RunningVersion, int | None]:
    """Return the version to describe and its percentage; None: it has everything.

    Raises:
        ManifestError: KServe cannot say this split.
    """
    where = f"service {service.name}"
    shares: dict[str, int] = {}
    for version in service.versions:
        name = version_of(version.version)
        shares[name] = shares.get(name, 0) + version.bp
    served = {name: bp for name, bp in shares.items() if bp}
    if len(served) > 2:
        raise ManifestError(
            f"{len(served)} versions have traffic, and KServe splits between two",
            where=where,
            hint="render an HTTPRoute: leave --kserve out.",
        )
    stable = max(served, key=lambda name: (served[name], name))
    newest = next((name for name in served if name != stable), stable)
    if served[newest] % _BP_A_PERCENT:
        raise ManifestError(
            f"a share of {served[newest] / _BP_A_PERCENT:g} % cannot be said to KServe: "
            "canaryTrafficPercent is a whole number",
            where=where,
            hint="wait for a step of whole percents, or leave --kserve out.",
        )
    described = next(v for v in service.versions if version_of(v.version) == newest)
    percent = served[newest] // _BP_A_PERCENT if served[newest] < FULL_BP else None
    return described, percent


def notes_on(service: RunningService) -> list[str]:
    """Return what KServe cannot do of what the service declares."""
    stable = version_of(service.stable.version)
    notes = [
        f"service {service.name}: KServe runs no popularity servers, and Knative knows no "
        "pre-stop hook; no NetworkPolicy is written, as Knative's ports depend on how it "
        "was installed."
    ]
    if any(v.bp and version_of(v.version) != stable for v in service.versions):
        notes.append(
            f"service {service.name}: the object describes the newer version only; {stable} "
            "must have been rolled out through KServe before."
        )
    return notes
