"""Monitors and healing, put together over the control plane's parts."""

from collections.abc import Callable
from pathlib import Path

from mlg.adapters.keys_local import viewer_key
from mlg.app.manifests import Manifests
from mlg.app.monitor_group import MonitorGroup
from mlg.app.monitoring import Monitoring
from mlg.app.pipeline_runs import pipeline_of, retraining_request, run_request
from mlg.app.pipelines import Pipelines
from mlg.app.rollout_acts import RolloutActs
from mlg.app.skew import SkewWatch
from mlg.core.clock import Clock
from mlg.core.errors import NotFoundError
from mlg.core.ports import ArtifactStore, Files, GraphStore, Ids
from mlg.graph.record import Recorder
from mlg.monitors.diagnose import Known
from mlg.workflows.heal import Heal, HealPorts, HealRequest, start_heal
from mlg.workflows.sources import source_faults
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
    group: MonitorGroup | None = None,
) -> Monitoring:
    """Return the monitors, whose incidents are healed by a durable workflow."""
    heals: list[Heal] = []

    def heal(request: HealRequest) -> None:
        start_heal(heals[0], request)

    def roll_back(service: str, reason: str, key: str) -> str:
        told = acts.act(service, "rollback", "workflow:heal", reason, key=key)
        return str(told["rollout"])

    def known(service: str) -> Known:
        return known_of(manifests, files, artifacts, service)

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
        known=known,
        skew=SkewWatch(artifacts, lambda: viewer_key(files)),
        group=group,
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


def known_of(
    manifests: Manifests, files: Files, artifacts: ArtifactStore, service: str
) -> Known:
    """Return what the last run found wrong with the sources of a service's model."""
    spec = manifests.spec()
    faults = source_faults(files, spec.datasets) if spec else {}
    if not faults:
        return Known()
    try:
        pipeline = pipeline_of(manifests, service)
        request = run_request(manifests, files, pipeline, "", asked_by_person=True)
    except NotFoundError:
        return Known()  # mlg does not train what it serves
    used = {name.removeprefix("source_") for name in Pipelines(artifacts).order(request)}
    mine = {name: fault for name, fault in sorted(faults.items()) if name in used}
    return Known(
        contract_broken=tuple(name for name, one in mine.items() if one.kind == "broken"),
        source_late=tuple(name for name, one in mine.items() if one.kind == "late"),
    )
