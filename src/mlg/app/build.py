"""The control plane's parts, put together here and nowhere else; nothing is started."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sql_store import SqlGraph
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.keys_local import anchor_key, viewer_key
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_envoy import EnvoyRouter, admin_url
from mlg.adapters.secrets_local import LocalSecrets
from mlg.adapters.steps_process import ProcessSteps
from mlg.app.alert_desk import AlertDesk
from mlg.app.drift import moving
from mlg.app.emitter import Emitter
from mlg.app.emitting import emitter_of
from mlg.app.events import events_of
from mlg.app.experiments import experiments_of
from mlg.app.fleet import WantedFleet
from mlg.app.gateways import gateway_xds
from mlg.app.graphs import Reader, open_graph
from mlg.app.happenings import Happenings
from mlg.app.healing import monitoring_of
from mlg.app.hooks import CommitHooks
from mlg.app.launch_images import launched
from mlg.app.load_check import refusal_of
from mlg.app.manifests import Manifests
from mlg.app.objectives import Objectives
from mlg.app.parts import Parts
from mlg.app.pipelines import Pipelines
from mlg.app.privacy import privacy_of
from mlg.app.proposals import Proposals
from mlg.app.providing import enrichers_of
from mlg.app.reacting import reactor_of
from mlg.app.reactor import Reactor
from mlg.app.replicas import ReplicaWatch
from mlg.app.rollout_acts import RolloutActs
from mlg.app.rollout_start import RolloutStarts
from mlg.app.rollout_told import ActsTold
from mlg.app.rollout_watch import ControlWatch
from mlg.app.seals import Seals
from mlg.app.settings import Settings, read_settings
from mlg.app.signing import Signing, prepare_signing
from mlg.app.specs import Specs
from mlg.app.staging_stack import staging_of
from mlg.app.supervise import Supervisor
from mlg.app.tail import Tail
from mlg.core.reading import NodeQuery
from mlg.core.uris import Digest, parse_uri
from mlg.graph import record_models
from mlg.graph.record import Recorder, image_uri
from mlg.telemetry.tracing import tracing_of, wanted_endpoint
from mlg.workflows import durable
from mlg.workflows.packaged import Packaged
from mlg.workflows.release import Release
from mlg.workflows.release_ports import ReleasePorts
from mlg.workflows.release_starts import start_back, start_version
from mlg.workflows.state import read_wanted
from mlg.workflows.train import Train, TrainPorts

GATEWAYS: Final = ("gateway-1", "gateway-2")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What every other part stands on."""

    home: Path
    files: LocalFiles
    clock: SystemClock
    ids: Uuid7Ids
    store: SqlGraph
    reader: Reader
    artifacts: LocalArtifacts
    manifests: Manifests
    network: HttpNetwork
    secrets: LocalSecrets
    settings: Settings
    signing: Signing

    def recorder(self, actor: str) -> Recorder:
        """Return a recorder in the name of an actor."""
        spec = self.manifests.spec()
        return Recorder(
            project=spec.project if spec else "mlg",
            actor=actor,
            clock=self.clock,
            ids=self.ids,
        )

    def services(self) -> tuple[str, ...]:
        """Return the names of the services in force."""
        spec = self.manifests.spec()
        return tuple(sorted(spec.services)) if spec else ()

    def model(self, service: str) -> str:
        """Return the model that a service serves, or the service's own name."""
        spec = self.manifests.spec()
        found = spec.services.get(service) if spec else None
        return (found.model if found else None) or service

    def deployment(self, service: str, version: str) -> str:
        """Return the deployment that brought a version, or an empty text."""
        versions = read_wanted(self.files, service).versions
        return next((v.deployment for v in versions if v.version == version), "")


def build(home: Path, control_port: int, gateway_port: int) -> Parts:
    """Return the parts of a control plane over this home, nothing started yet.

    Raises:
        ManifestError: The settings are wrong.
        BackendError: A store cannot be opened, or the gateways cannot be told as wanted.
    """
    base = _base(home)
    prepare_signing(
        base.files,
        base.artifacts,
        base.services(),
        base.settings.trusted,
        lambda packaged: _tell_signed(base, packaged),
    )
    launcher = ProcessLauncher(base.files, base.clock, base.ids, home)
    router, supervisor = _data_plane(base, launcher, gateway_port)
    fleet = WantedFleet(base.files, lambda: supervisor, base.clock, base.manifests.spec)
    durable.configure(home / "workflows.sqlite3")
    tail = Tail(home, base.files, base.clock, base.services)
    replicas = ReplicaWatch(
        files=base.files,
        clock=base.clock,
        network=base.network,
        store=base.store,
        supervisor=lambda: supervisor,
        recorder=lambda: base.recorder("system:replicas"),
        moving=lambda: moving(monitoring.standings().values()),
        hold=AlertDesk(base.files, base.clock).hold,
    )
    release = _release(base, router, supervisor, fleet, tail, replicas)
    train = _train(base, release)

    told = ActsTold(base.store, base.recorder)
    acts = RolloutActs(
        base.files, base.ids, partial(start_back, release), base.model, told, base.artifacts.has
    )
    starts = RolloutStarts(
        files=base.files,
        ids=base.ids,
        artifacts=base.artifacts,
        manifests=base.manifests,
        reader=base.reader,
        recorder=base.recorder,
        start=partial(start_version, release),
        told=told,
    )
    experiments = experiments_of(
        home=home,
        files=base.files,
        clock=base.clock,
        ids=base.ids,
        artifacts=base.artifacts,
        manifests=base.manifests,
        store=base.store,
        recorder=base.recorder,
        starts=starts,
        fleet=fleet,
        router=router,
        supervisor=supervisor,
        tail=tail,
    )
    events = events_of(
        base.settings.events,
        home=home,
        files=base.files,
        clock=base.clock,
        ids=base.ids,
        secrets=base.secrets,
        services=base.services,
    )
    monitoring = monitoring_of(
        home=home,
        files=base.files,
        clock=base.clock,
        ids=base.ids,
        artifacts=base.artifacts,
        store=base.store,
        manifests=base.manifests,
        train=train,
        acts=acts,
        recorder=base.recorder,
        group=events.group if events else None,
    )
    reactor, proposals = _reacting(base, train, acts, fleet.refresh)
    seals = Seals(
        home,
        base.files,
        base.artifacts,
        base.store,
        lambda: base.recorder("system:control"),
        base.deployment,
    )
    return Parts(
        home=home,
        gateway_port=gateway_port,
        control_port=control_port,
        files=base.files,
        clock=base.clock,
        ids=base.ids,
        store=base.store,
        reader=base.reader,
        artifacts=base.artifacts,
        launcher=launcher,
        router=router,
        supervisor=supervisor,
        fleet=fleet,
        manifests=base.manifests,
        seals=seals,
        privacy=privacy_of(
            home=home,
            files=base.files,
            clock=base.clock,
            artifacts=base.artifacts,
            store=base.store,
            reader=base.reader,
            manifests=base.manifests,
            seals=seals,
            tail=tail,
            monitoring=monitoring,
            recorder=base.recorder,
        ),
        tail=tail,
        train=train,
        monitoring=monitoring,
        replicas=replicas,
        reactor=reactor,
        proposals=proposals,
        events=events,
        emitter=_emitter(base, control_port),
        hooks=_hooks(base, train),
        acts=acts,
        starts=starts,
        experiments=experiments,
        enrichers=enrichers_of(
            home=home,
            clock=base.clock,
            store=base.store,
            reader=base.reader,
            network=base.network,
            secrets=base.secrets,
            settings=base.settings,
            recorder=base.recorder,
        ),
        tracing=tracing_of(os.environ, "control"),
        ended=threading.Event(),
        recorder=base.recorder,
    )


def _base(home: Path) -> _Base:
    files, clock = LocalFiles(home), SystemClock()
    settings = read_settings(os.environ, home.parent)
    secrets = LocalSecrets(os.environ, home.parent)
    store, reader = open_graph(home, clock, settings, secrets)
    artifacts = LocalArtifacts(home / "artifacts")
    viewer_key(files)
    anchor_key(files)
    return _Base(
        home=home,
        files=files,
        clock=clock,
        ids=Uuid7Ids(clock),
        store=store,
        reader=reader,
        artifacts=artifacts,
        manifests=Manifests(home, files, artifacts, store),
        network=HttpNetwork(),
        secrets=secrets,
        settings=settings,
        signing=Signing(files, artifacts),
    )


def _tell_signed(base: _Base, packaged: Packaged) -> None:
    """Record that a version of before signatures was signed."""
    query = NodeQuery(kinds=("model_version",), attr=("artifact", packaged.artifact))
    recorder, digest = base.recorder("system:control"), packaged.image_digest
    for found in base.reader.nodes(query).nodes:
        signature, key = packaged.signature or Digest(""), packaged.signature_key
        base.store.append(
            (
                record_models.model_signed(
                    recorder,
                    key=f"signed:{found.uri}:{key}",
                    model=parse_uri(found.uri).name,
                    version=packaged.artifact[:12],
                    artifact=packaged.artifact,
                    signature=signature,
                    key_id=key,
                    reason="it is older than signatures and was here when the key was made",
                    image=image_uri(recorder, packaged.image, digest) if digest else None,
                    image_signature=packaged.image_signature,
                ),
            )
        )


def _data_plane(
    base: _Base, launcher: ProcessLauncher, gateway_port: int
) -> tuple[EnvoyRouter, Supervisor]:
    supervisor: list[Supervisor] = []  # the router asks it for the gateways' addresses

    def admins() -> tuple[str, ...]:
        return supervisor[0].gateway_admins() if supervisor else ()

    folder = base.home / "gateway"
    router = EnvoyRouter(
        folder,
        admins,
        base.clock,
        base.network,
        xds=gateway_xds(base.settings.xds, base.files, base.home),
        traces=wanted_endpoint(os.environ),
    )
    router.prepare(GATEWAYS, gateway_port)
    supervisor.append(
        Supervisor(
            launcher=launcher,
            router=router,
            network=base.network,
            clock=base.clock,
            spec_for=launched(
                Specs(base.home, base.files, base.artifacts, gateway_port, base.manifests.spec),
                base.settings.launch,
            ),
            record=Happenings(base.files, base.store, base.recorder, base.model),
            admin_url=lambda gateway: admin_url(folder, gateway),
            gateways=len(GATEWAYS),
            gateway_url=f"http://127.0.0.1:{gateway_port}",
            placed=router.placed(),
            refusal=lambda process: refusal_of(base.files, process),
        )
    )
    return router, supervisor[0]


def _release(
    base: _Base,
    router: EnvoyRouter,
    supervisor: Supervisor,
    fleet: WantedFleet,
    tail: Tail,
    replicas: ReplicaWatch,
) -> Release:
    watch = ControlWatch(
        home=base.home,
        files=base.files,
        clock=base.clock,
        manifests=base.manifests,
        router=router,
        supervisor=lambda: supervisor,
        network=base.network,
        tail=tail,
        staging=staging_of(
            base.home,
            base.files,
            base.artifacts,
            base.manifests.spec,
            base.network,
            base.clock,
            lambda: supervisor,
            tail.busiest_hz,
        ),
        artifacts=base.artifacts,
        signing=base.signing,
        objectives=Objectives(replicas, lambda: supervisor, base.clock),
    )
    return Release(
        ReleasePorts(
            files=base.files,
            fleet=fleet,
            store=base.store,
            clock=base.clock,
            watch=watch,
            recorder=lambda: base.recorder("workflow:release"),
        )
    )


def _train(base: _Base, release: Release) -> Train:
    steps = ProcessSteps(
        store=base.home / "artifacts", work=base.home / "work", clock=base.clock
    )
    ports = TrainPorts(
        files=base.files,
        artifacts=base.artifacts,
        runner=steps,
        store=base.store,
        reader=base.reader,
        clock=base.clock,
        recorder=lambda: base.recorder("workflow:train"),
        plan=Pipelines(base.artifacts),
        signer=base.signing,
    )
    return Train(ports, release)


def _reacting(
    base: _Base, train: Train, acts: RolloutActs, refresh: Callable[[], None]
) -> tuple[Reactor, Proposals]:
    return reactor_of(
        files=base.files,
        clock=base.clock,
        store=base.store,
        reader=base.reader,
        network=base.network,
        secrets=base.secrets,
        settings=base.settings,
        manifests=base.manifests,
        train=train,
        acts=acts,
        recorder=base.recorder,
        refresh=refresh,
    )


def _emitter(base: _Base, control_port: int) -> Emitter | None:
    return emitter_of(
        env=os.environ,
        control_port=control_port,
        files=base.files,
        clock=base.clock,
        store=base.store,
        reader=base.reader,
        recorder=lambda: base.recorder("system:emitter"),
    )


def _hooks(base: _Base, train: Train) -> CommitHooks:
    return CommitHooks(
        secret=base.settings.hook_secret,
        secrets=base.secrets,
        files=base.files,
        clock=base.clock,
        store=base.store,
        manifests=base.manifests,
        artifacts=base.artifacts,
        train=train,
        recorder=base.recorder,
    )
