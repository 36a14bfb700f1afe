"""A project's services as Kubernetes objects: a pure function of what runs."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from mlg.core.errors import ManifestError
from mlg.render import kserve
from mlg.render.inputs import Cluster, Object, Rendering, RunningService
from mlg.render.pods import signature_name, trusted_keys_name, viewer_key_name
from mlg.render.routes import notes_on, routes
from mlg.render.settings import network_policies, settings
from mlg.render.workloads import workloads

SETTINGS: Final = "10-settings.yaml"
WORKLOADS: Final = "20-workloads.yaml"
ROUTES: Final = "30-routes.yaml"
"""Files in the order in which they are applied: routes once the workloads are ready."""


def render(
    cluster: Cluster, services: Sequence[RunningService], *, with_kserve: bool = False
) -> Rendering:
    """Return the objects of a project's services, sorted by service.

    Args:
        cluster: Where they go.
        services: What runs; one that is not here is not rendered.
        with_kserve: One InferenceService a service, in place of Deployments, Services,
            autoscalers, budgets, network policies and routes.

    Raises:
        ManifestError: A split cannot be said in these objects, or two would have one name.
    """
    running = tuple(sorted(services, key=lambda service: service.name))
    beside = settings(cluster, running)
    notes = _notes_on_keys(cluster, running)
    files: list[tuple[str, tuple[Object, ...]]]
    if with_kserve:
        inference = tuple(kserve.inference_service(cluster, service) for service in running)
        files = [(SETTINGS, tuple(beside)), (WORKLOADS, inference)]
        notes += [note for service in running for note in kserve.notes_on(service)]
    else:
        files = [
            (SETTINGS, (*beside, *network_policies(cluster))),
            (WORKLOADS, tuple(o for s in running for o in workloads(cluster, s))),
            (ROUTES, tuple(routes(cluster, running))),
        ]
        notes += [note for service in running for note in notes_on(service)]
    rendering = Rendering(files=tuple(files), notes=tuple(notes))
    _check_names(rendering)
    return rendering


def _check_names(rendering: Rendering) -> None:
    """Check that no two objects of one kind have one name.

    Raises:
        ManifestError: Two do.
    """
    names = Counter((o["kind"], o["metadata"]["name"]) for o in rendering.objects)
    for (kind, name), times in names.items():
        if times > 1:
            raise ManifestError(
                f"{times} objects of kind {kind} would be called {name!r}",
                where="services",
                hint="give one of the services another name.",
            )


def _notes_on_keys(cluster: Cluster, services: Sequence[RunningService]) -> list[str]:
    notes = [f"make the Secret {viewer_key_name(cluster)} with the key viewer.key of 32 bytes."]
    if not cluster.trusted_keys:
        notes.append(
            f"make the ConfigMap {trusted_keys_name(cluster)} with trusted.pem: the public "
            "keys that signatures are believed from."
        )
    notes += [
        f"service {service.name}: make the ConfigMap "
        f"{signature_name(cluster, service, version)} with signature.json of "
        f"{version.version}; servers refuse a model without it."
        for service in services
        for version in service.versions
        if not version.signature
    ]
    return notes
