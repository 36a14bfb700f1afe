"""Follows the log with every monitor of the manifest, and tells what it found.

A monitor's memory and its place in the log are one file, written by rename: after a crash
both are of one moment. Events come before the file and have the commands' keys, so what is
read again is not told again.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.app.alert_desk import AlertDesk
from mlg.app.alert_holding import Holding, may_heal
from mlg.app.baselines import Against, Baselines
from mlg.app.layouts import Layouts
from mlg.app.log_columns import decoded
from mlg.app.monitor_group import Alone, MonitorGroup
from mlg.app.monitoring_events import (
    Told,
    events_of,
    incident_id,
    learned_events,
    stored_sample,
)
from mlg.app.monitoring_policies import adjust_policies
from mlg.app.monitoring_state import (
    FOLDER,
    Stored,
    path_of,
    read_stored,
    watched,
    without_viewer,
)
from mlg.app.skew import SkewWatch
from mlg.automations.freeze import FREEZE_FILE
from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import BackendError, ConflictError, LifecycleError
from mlg.core.ports import ArtifactStore, Cursor, Files, GraphStore
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_watch import MonitorSpec
from mlg.monitors.alert import Command, Incident
from mlg.monitors.diagnose import Known
from mlg.monitors.hold import Held
from mlg.monitors.monitor import (
    Plan,
    new_monitor,
    observe,
    plan_of,
    settled,
)
from mlg.workflows.heal import HealRequest, IncidentView
from mlg.workflows.policies import Policies
from mlg.workflows.record import append_once

_BATCH: Final = 20_000
_SAVE_EVERY_S: Final = 5.0

logger = logging.getLogger("mlg.monitoring")


class Monitoring:
    """Runs the monitors on a thread of its own; implements `workflows.heal.Incidents`.

    Args:
        home: The instance's folder.
        files: Of the home.
        clock: For waiting, and event time of services on the system's clock.
        artifacts: Layouts of the versions; samples of alerts.
        store: The event log.
        policies: Writes the live policies.
        recorder: Makes events.
        spec: The manifest in force, asked at each round.
        heal: Starts to heal an incident; the same one starts once.
        known: What others know of a service.
        skew: Compares logged features with the training code's; None: nobody does.
        desk: What people asked of alerts; None: as the files have it.
        plan: Makes plans; other than the default only in tests.
        group: Which monitors are this host's; None: all, kept in `files`.
    """

    def __init__(
        self,
        *,
        home: Path,
        files: Files,
        clock: Clock,
        artifacts: ArtifactStore,
        store: GraphStore,
        policies: Policies,
        recorder: Callable[[], Recorder],
        spec: Callable[[], ManifestSpec | None],
        heal: Callable[[HealRequest], None],
        known: Callable[[str], Known] = lambda _: Known(),
        skew: SkewWatch | None = None,
        desk: AlertDesk | None = None,
        plan: Callable[[MonitorSpec], Plan] = plan_of,
        group: MonitorGroup | None = None,
    ) -> None:
        self._files, self._clock, self._artifacts = files, clock, artifacts
        self._group, self._hosts = group or Alone(home, files), frozenset[str]()
        self._store, self._policies, self._recorder = store, policies, recorder
        self._spec, self._heal, self._plan = spec, heal, plan
        self._others, self._skew = known, skew
        self._baselines = Baselines(artifacts, store, recorder)
        self._holding = Holding(desk or AlertDesk(files, clock), spec)
        self._lock, self._stop = threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-monitoring", daemon=True)
        self._seen: ManifestSpec | None = None
        self._of, self._dirty = dict[str, Stored](), set[str]()
        self._layouts, self._saved_s = Layouts(files, artifacts), clock.monotonic_s()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the round, save and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
        with contextlib.suppress(BackendError):  # what is not kept is read again
            self.save()
        self._group.leave()

    def round(self) -> int:
        """Read what is new once, for every monitor; return the number of records.

        Raises:
            LifecycleError: Something could not be read or recorded; it is tried again.
        """
        with self._lock:
            self._reload()
            count = sum(self._follow(name) for name in sorted(self._of))
            self._turn_alerts()
            self._adjust_policies()
            if self._clock.monotonic_s() - self._saved_s > _SAVE_EVERY_S:
                self.save()
            return count

    def save(self) -> None:
        """Write what changed."""
        with self._lock:
            for name in sorted(self._dirty & self._of.keys()):
                self._keep(name)
            self._saved_s = self._clock.monotonic_s()

    def cursors(self, service: str) -> list[Cursor]:
        """Return how far the monitors of a service have come, as kept on disk."""
        with self._lock:
            self._reload()
            self.save()
            own = [s.cursor for s in self._of.values() if s.spec.watch == service]
            return self._group.readers(service, own)

    def standings(self) -> dict[str, Stored]:
        """Return the memory of each monitor, by name, as of now."""
        return dict(self._of)  # without the lock: a round may take seconds, values never change

    def forget(self, viewer: str) -> None:
        """Give a viewer, known by his hash in the log, a name that leads nowhere."""
        with self._lock:
            self._reload()
            for name in sorted(self._of):
                if other := without_viewer(self._of[name], viewer):
                    self._of[name] = other
                    self._write(name)

    def view(self, monitor: str, incident: str) -> IncidentView:
        """Return how an incident stands; one that is not known is closed."""
        with self._lock:
            self._reload()
            stored = self._of.get(monitor)
            now = stored.monitor.alerts.incident if stored else None
            if stored is None or now is None:
                return IncidentView(open=False)
            if incident_id(self._told(monitor, stored), now) != incident:
                return IncidentView(open=False)
            return IncidentView(
                open=True, action=now.cause.action, windows=stored.windows - stored.opened
            )

    def settle(self, monitor: str, incident: str) -> bool:
        """Close an incident as dealt with; its streams learn anew what is usual."""
        with self._lock:
            if not self.view(monitor, incident).open:
                return False
            self._close(monitor)
            return True

    def _close(self, name: str) -> None:
        stored = self._of[name]
        at = stored.newest or rfc3339(self._clock.now())
        monitor, commands = settled(stored.monitor, at)
        kinds, held = self._tell(name, stored, commands)
        self._of[name] = msgspec.structs.replace(
            stored, monitor=monitor, kinds=kinds, held=held
        )
        self._write(name)

    def _reload(self) -> None:
        """Take the monitors of the manifest in force; others are closed and forgotten."""
        spec, hosts = self._spec(), self._group.beat()
        if spec is None or (spec is self._seen and hosts == self._hosts):
            return
        kept = [path.removeprefix(f"{FOLDER}/") for path in self._group.memory.list(FOLDER)]
        names = {name.removesuffix(".json") for name in kept if name.endswith(".json")}
        for name in sorted(names | set(self._of) | set(spec.monitors)):
            if self._group.mine(name):
                self._take(name, spec.monitors.get(name))
            else:
                self._of.pop(name, None)  # its owner goes on from what was written
        self._seen, self._hosts = spec, hosts

    def _take(self, name: str, wanted: MonitorSpec | None) -> None:
        stored = self._of.get(name) or read_stored(self._group.memory, name)
        if stored is not None and (wanted is None or watched(stored.spec) != watched(wanted)):
            self._of[name] = stored
            self._close(name)
            if wanted is None:
                del self._of[name]
                self._group.memory.remove(path_of(name))
                return
            same = stored.spec.watch == wanted.watch
            kept = stored.baselines if same else {}
            stored = self._new(name, wanted, stored.cursor if same else None)
            stored = msgspec.structs.replace(stored, baselines=kept)
        elif stored is None and wanted is not None:
            stored = self._new(name, wanted, None)
        if stored is not None and wanted is not None:
            self._of[name] = msgspec.structs.replace(stored, spec=wanted)
            self._write(name)

    def _new(self, name: str, wanted: MonitorSpec, cursor: Cursor | None) -> Stored:
        return Stored(
            born=self._recorder().ids.new_id().replace("-", "")[-12:],
            spec=wanted,
            monitor=new_monitor(self._plan(wanted)),
            cursor=cursor or Cursor(consumer=f"monitor-{name}"),
        )

    def _follow(self, name: str) -> int:
        stored = self._of[name]
        service = stored.spec.watch
        versions = self._layouts.versions(service, stored.versions)
        batch = self._group.frames(service, stored.cursor, _BATCH)
        if batch.cursor == stored.cursor:
            return 0
        found = decoded(batch.blocks, service)
        newest = found.middle() or stored.newest
        seen = observe(
            stored.monitor,
            found.answers,
            found.feedback,
            plan=self._plan(stored.spec),
            layouts={
                version: self._layouts.of(version, of) for version, of in versions.items()
            },
            known=self._known(service, found.newest_rows(), versions),
        )
        windows = stored.windows + sum(w.stream == "requests" for w in seen.windows)
        after = msgspec.structs.replace(
            stored,
            monitor=seen.monitor,
            cursor=batch.cursor,
            versions=versions,
            windows=windows,
            newest=newest,
            damaged=stored.damaged + found.damaged,
            opened=windows if any(c.kind == "open" for c in seen.commands) else stored.opened,
        )
        for what in seen.monitor.fold.odd.keys() - stored.monitor.fold.odd.keys():
            logger.warning("monitor %s: %s", name, what)
        # told before it is kept: what fails here is read and told again
        append_once(self._store, learned_events(self._recorder(), name, stored, after))
        model = self._told(name, stored).model
        against = self._baselines.keep(name, stored, model, seen)
        kinds, held = self._tell(name, stored, seen.commands, against)
        self._of[name] = msgspec.structs.replace(
            after, kinds=kinds, held=held, baselines=dict(against.newest)
        )
        self._dirty.add(name)
        if seen.commands:
            self._keep(name)
        return batch.size

    def _tell(
        self,
        name: str,
        stored: Stored,
        commands: tuple[Command, ...],
        against: Against | None = None,
    ) -> tuple[tuple[str, ...], dict[str, Held]]:
        told, kinds, held = self._told(name, stored), stored.kinds, dict(stored.held)
        for command in commands:
            held = self._holding.after(command, told, kinds, held)
            sample = stored_sample(command, told.service, self._artifacts)
            recorder = self._recorder()
            events, kinds = events_of(
                command,
                told,
                kinds,
                recorder=recorder,
                sample=sample,
                held=held,
                baselines=against.uris(recorder, name, command) if against else None,
            )
            append_once(self._store, events)
            if command.kind != "close":
                self._begin_healing(name, stored, told, command.incident, kinds, held)
        return kinds, held if kinds else {}

    def _begin_healing(
        self,
        name: str,
        stored: Stored,
        told: Told,
        incident: Incident,
        kinds: tuple[str, ...],
        held: Mapping[str, Held],
    ) -> None:
        if stored.spec.on_alert == "heal" and may_heal(kinds, held):
            one = incident_id(told, incident)
            self._heal(HealRequest(incident=one, monitor=name, service=told.service))

    def _turn_alerts(self) -> None:
        """Tell of open alerts that are held from now on, or page now."""
        for name, stored in sorted(self._of.items()):
            incident, told = stored.monitor.alerts.incident, self._told(name, stored)
            events, held = self._holding.turned(stored, told, self._recorder())
            if incident is None or not events:
                continue
            append_once(self._store, events)
            self._begin_healing(name, stored, told, incident, stored.kinds, held)
            turns = stored.turns + len(events)
            self._of[name] = msgspec.structs.replace(stored, held=held, turns=turns)
            self._write(name)

    def _told(self, name: str, stored: Stored) -> Told:
        spec = self._spec()
        service = spec.services.get(stored.spec.watch) if spec else None
        return Told(
            monitor=name,
            born=stored.born,
            service=stored.spec.watch,
            model=(service.model if service else None) or stored.spec.watch,
            on_alert=stored.spec.on_alert,
        )

    def _known(
        self,
        service: str,
        predictions: Sequence[Mapping[str, Any]],
        versions: Mapping[str, Digest],
    ) -> Known:
        skewed = self._skew.share(service, predictions, versions) if self._skew else None
        return replace(
            self._others(service),
            calendar=self._holding.calendar(),
            maintenance=self._holding.maintenance(service),
            skewed_share=skewed,
        )

    def _adjust_policies(self) -> None:
        """Let each service's live policy say how severe the worst incident of its monitors is.

        Only monitors that heal act on what viewers see, and nothing acts while frozen.
        """
        spec = self._spec()
        if spec is None or self._files.read(FREEZE_FILE) is not None:
            return
        adjust_policies(
            self._policies,
            self._recorder(),
            spec.services,
            [(self._told(name, stored), stored) for name, stored in sorted(self._of.items())],
        )

    def _keep(self, name: str) -> None:
        with contextlib.suppress(ConflictError):  # the owner counts what was counted here
            self._write(name)

    def _write(self, name: str) -> None:
        self._dirty.discard(name)
        try:
            self._group.memory.write(path_of(name), msgspec.json.encode(self._of[name]))
        except ConflictError:
            logger.info("monitor %s is run by another host", name)
            del self._of[name]
            self._seen = None
            raise

    def _run(self) -> None:
        while not self._stop.is_set():
            count = 0
            try:
                count = self.round()
            except LifecycleError as error:
                logger.warning("the monitors could not go on: %s", error)
            if count < _BATCH:
                self._stop.wait(0.5)
