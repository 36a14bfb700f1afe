"""Everything that the control plane is made of, as one value."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlg.adapters.graph_sql_store import SqlGraph
from mlg.adapters.router_envoy import EnvoyRouter
from mlg.app.emitter import Emitter
from mlg.app.enrichment import Enrichers
from mlg.app.events import Events
from mlg.app.experiments import Experiments
from mlg.app.fleet import WantedFleet
from mlg.app.graphs import Reader
from mlg.app.hooks import CommitHooks
from mlg.app.manifests import Manifests
from mlg.app.monitoring import Monitoring
from mlg.app.privacy import Privacy
from mlg.app.proposals import Proposals
from mlg.app.reactor import Reactor
from mlg.app.replicas import ReplicaWatch
from mlg.app.rollout_acts import RolloutActs
from mlg.app.rollout_start import RolloutStarts
from mlg.app.seals import Seals
from mlg.app.supervise import Supervisor
from mlg.app.tail import Tail
from mlg.core.clock import Clock
from mlg.core.ports import ArtifactStore, Files, Ids, Launcher
from mlg.graph.record import Recorder
from mlg.telemetry.tracing import Tracing
from mlg.workflows.train import Train


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the control plane is made of."""

    home: Path
    gateway_port: int
    control_port: int
    files: Files
    clock: Clock
    ids: Ids
    store: SqlGraph
    reader: Reader
    artifacts: ArtifactStore
    launcher: Launcher
    router: EnvoyRouter
    supervisor: Supervisor
    fleet: WantedFleet
    manifests: Manifests
    seals: Seals
    privacy: Privacy
    tail: Tail
    train: Train
    monitoring: Monitoring
    replicas: ReplicaWatch
    reactor: Reactor
    proposals: Proposals
    events: Events | None
    """None: no other host reads the log."""
    emitter: Emitter | None
    """None: nobody asked for OpenLineage events."""
    hooks: CommitHooks
    acts: RolloutActs
    starts: RolloutStarts
    experiments: Experiments
    enrichers: Enrichers
    tracing: Tracing
    ended: threading.Event
    recorder: Callable[[str], Recorder]
    """Gives a recorder in the name of an actor."""
