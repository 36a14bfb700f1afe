"""Monitors and healing, put together over the control plane's parts."""

from collections.abc import Callable
from pathlib import Path

from mlg.app.manifests import Manifests
from mlg.app.monitoring import Monitoring
from mlg.app.rollout_acts import RolloutActs
from mlg.core.clock import Clock
from mlg.core.errors import NotFoundError
from mlg.core.ports import ArtifactStore, Files, GraphStore, Ids
from mlg.graph.record import Recorder
from mlg.workflows.heal import Heal, HealPorts, HealRequest, start_heal
from mlg.workflows.state import read_wanted
from mlg.workflows.train import Train, TrainRequest


def monitoring_of(
    *,
    home: Path,
    files: Files,
    clock: Clock,
    ids: Ids,
    artifacts: ArtifactStore,
    store: GraphStore,
    manifests: Manifests,
    train: Train,
    recorder: Callable[[str], Recorder],
) -> Monitoring:
    """Return the monitors, whose incidents are healed by a durable workflow."""
    heals: list[Heal] = []

    def heal(request: HealRequest) -> None:
        start_heal(heals[0], request)

    def roll_back(service: str, reason: str) -> None:
        RolloutActs(files, ids).act(service, "rollback", "workflow:heal", reason)

    monitoring = Monitoring(
        home=home,
        files=files,
        clock=clock,
        artifacts=artifacts,
        store=store,
        policies=manifests.policies,
        recorder=lambda: recorder("system:monitors"),
        spec=manifests.spec,
        heal=heal,
    )
    ports = HealPorts(
        files=files,
        store=store,
        clock=clock,
        recorder=lambda: recorder("workflow:heal"),
        incidents=monitoring,
        train_request=lambda service: train_request(manifests, files, ids, service),
        roll_back=roll_back,
    )
    heals.append(Heal(ports, train))
    return monitoring


def train_request(manifests: Manifests, files: Files, ids: Ids, service: str) -> TrainRequest:
    """Return a new run of the pipeline whose model the service serves.

    Raises:
        NotFoundError: Nothing is applied, or no pipeline makes the service's model.
    """
    applied, spec = manifests.applied(), manifests.spec()
    pipeline = spec.services[service].model if spec and service in spec.services else None
    if applied is None or spec is None or pipeline is None or pipeline not in spec.pipelines:
        raise NotFoundError(
            f"no pipeline makes the model of {service!r}",
            where="manifest",
            hint="a service that mlg does not train cannot be healed by training.",
        )
    services = tuple(sorted(n for n, s in spec.services.items() if s.model == pipeline))
    stable = [read_wanted(files, name).stable for name in services]
    return TrainRequest(
        run_id=ids.new_id(),
        project=spec.project,
        pipeline=pipeline,
        manifest=applied.source,
        folder=applied.folder,
        services=services,
        production=next((item.artifact for item in stable if item), ""),
    )
