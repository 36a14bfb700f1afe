"""Monitors and healing, put together over the control plane's parts."""

from collections.abc import Callable
from pathlib import Path

from mlg.app.manifests import Manifests
from mlg.app.monitoring import Monitoring
from mlg.app.pipeline_runs import retraining_request
from mlg.app.rollout_acts import RolloutActs
from mlg.core.clock import Clock
from mlg.core.ports import ArtifactStore, Files, GraphStore, Ids
from mlg.graph.record import Recorder
from mlg.workflows.heal import Heal, HealPorts, HealRequest, start_heal
from mlg.workflows.train import Train


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
    acts: RolloutActs,
    recorder: Callable[[str], Recorder],
) -> Monitoring:
    """Return the monitors, whose incidents are healed by a durable workflow."""
    heals: list[Heal] = []

    def heal(request: HealRequest) -> None:
        start_heal(heals[0], request)

    def roll_back(service: str, reason: str, key: str) -> str:
        told = acts.act(service, "rollback", "workflow:heal", reason, key=key)
        return str(told["rollout"])

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
        train_request=lambda service: retraining_request(
            manifests, files, artifacts, service, ids.new_id()
        ),
        roll_back=roll_back,
    )
    heals.append(Heal(ports, train))
    return monitoring
