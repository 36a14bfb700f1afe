"""What erases: by age, for one viewer, and the thread that sees to it; put together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from mlg.adapters.keys_local import viewer_key
from mlg.app.carriers import Carriers
from mlg.app.erasures import Erasures
from mlg.app.manifests import Manifests
from mlg.app.monitoring import Monitoring
from mlg.app.retention import Retention
from mlg.app.seals import Seals
from mlg.app.startable import forget_images
from mlg.app.tail import Tail
from mlg.app.upkeep import Upkeep
from mlg.core.clock import Clock
from mlg.core.ports import ArtifactStore, Cursor, Files, GraphReader, GraphStore
from mlg.graph.record import Recorder
from mlg.manifest.specs_services import RetentionSpec
from mlg.workflows.rollouts import in_flight


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The parts that erase."""

    erasures: Erasures
    retention: Retention
    upkeep: Upkeep


def privacy_of(
    *,
    home: Path,
    files: Files,
    clock: Clock,
    artifacts: ArtifactStore,
    store: GraphStore,
    reader: GraphReader,
    manifests: Manifests,
    seals: Seals,
    tail: Tail,
    monitoring: Monitoring,
    recorder: Callable[[str], Recorder],
) -> Privacy:
    """Return the parts, nothing started yet."""

    def system() -> Recorder:
        return recorder("system:control")

    def services() -> tuple[str, ...]:
        spec = manifests.spec()
        return tuple(sorted({*(spec.services if spec else ()), *seals.services()}))

    def readers(service: str) -> list[Cursor]:
        live = tail.saved(service)
        return [*([live] if live else []), *monitoring.cursors(service)]

    carriers = Carriers(
        files=files,
        artifacts=artifacts,
        store=store,
        reader=reader,
        recorder=system,
        services=services,
        forget=partial(forget_images, home),
    )
    erasures = Erasures(
        home=home,
        files=files,
        seals=seals,
        artifacts=artifacts,
        store=store,
        reader=reader,
        recorder=recorder,
        spec=manifests.spec,
        key=lambda: viewer_key(files),
        forget=monitoring.forget,
        carriers=carriers,
    )
    retention = Retention(
        seals=seals,
        files=files,
        clock=clock,
        store=store,
        recorder=system,
        spec=partial(_retention_of, manifests),
        readers=readers,
        busy=lambda service: bool(in_flight(files, service)),
    )

    def begin() -> None:
        seals.recover()
        erasures.resume()

    def hourly() -> None:
        retention.apply()
        erasures.resume()

    upkeep = Upkeep(
        seals=seals,
        clock=clock,
        newest=partial(_newest, manifests, tail, clock),
        begin=begin,
        hourly=hourly,
    )
    return Privacy(erasures=erasures, retention=retention, upkeep=upkeep)


def _retention_of(manifests: Manifests, service: str) -> RetentionSpec:
    """Return what is declared; of a service that is retired, the default."""
    spec = manifests.spec()
    found = spec.services.get(service) if spec else None
    return found.retention if found else RetentionSpec()


def _newest(manifests: Manifests, tail: Tail, clock: Clock, service: str) -> datetime | None:
    """Return a service's event time, None before its first answer."""
    spec = manifests.spec()
    found = spec.services.get(service) if spec else None
    if found is not None and found.clock == "request":
        return tail.newest(service)
    return clock.now()
