"""Looks at every replica once a second: what it counted, what it uses, whether it differs.

A replica that differs from its siblings is replaced (`monitors.siblings`). What was found is
kept for the health document and for Prometheus.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec
import psutil

from mlg.app.losses import LogLosses
from mlg.app.supervise import Supervisor
from mlg.automations.freeze import FREEZE_FILE
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.ports import Files, GraphStore, Network
from mlg.core.processes import ProcessState
from mlg.core.uris import Uri
from mlg.graph import record_replicas
from mlg.graph.record import Recorder, deployment_uri
from mlg.monitors.hold import Held, Subject
from mlg.monitors.losses import LossAlert, LossFacts, LossLook
from mlg.monitors.siblings import (
    PATIENCE,
    Comparison,
    Patience,
    ReplicaLook,
    SiblingCommand,
    SiblingFacts,
    SiblingState,
    step,
)
from mlg.telemetry.reading import ReplicaReading, read_replica
from mlg.workflows.record import append_once
from mlg.workflows.state import read_wanted

_PERIOD_S: Final = 1.0
_ASK_S: Final = 1.0
WINDOW_S: Final = 60.0
"""Span of what counts as recent."""
_PATH: Final = "replica-restarts.json"

logger = logging.getLogger("mlg.replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One replica at one moment."""

    at_s: float
    """Monotonic."""
    reading: ReplicaReading | None
    cpu_ratio: float | None
    """Part of one core since the look before; None at the first look."""
    memory_bytes: int | None


@dataclass(slots=True, kw_only=True)
class Watched:
    """What is known of one life of a replica."""

    process: ProcessState
    sights: deque[Sight] = field(default_factory=deque[Sight])
    """Of the last minute, oldest first; the first one is its start or older."""
    system: psutil.Process | None = None

    @property
    def lost(self) -> int | None:
        """Log records lost since it started, as last read; None: never read."""
        read = [s.reading for s in self.sights if s.reading is not None]
        return read[-1].log_records_lost if read else None

    @property
    def last(self) -> Sight | None:
        """The newest look."""
        return self.sights[-1] if self.sights else None

    @property
    def problem(self) -> str:
        """Why the adopted recommender behind it counts as down; empty: nothing is known."""
        newest = self.last.reading if self.last else None
        return newest.problem if newest else ""

    def recent(self) -> tuple[ReplicaReading | None, ReplicaReading | None]:
        """Return the oldest and the newest reading of the last minute."""
        read = [one.reading for one in self.sights if one.reading is not None]
        return (read[0], read[-1]) if read else (None, None)


class ReplicaWatch:
    """Follows the replicas on a thread of its own.

    Args:
        files: Keeps when replicas were restarted.
        clock: Time.
        network: Reaches the replicas.
        store: The event log.
        supervisor: Knows and replaces processes.
        recorder: Makes events.
        moving: By service, why its input is not quiet; services without a word are quiet.
        hold: Says what keeps an alert of lost records from paging.
        patience: When to act; other than the default only in tests.
    """

    def __init__(
        self,
        *,
        files: Files,
        clock: Clock,
        network: Network,
        store: GraphStore,
        supervisor: Callable[[], Supervisor],
        recorder: Callable[[], Recorder],
        moving: Callable[[], Mapping[str, str]],
        hold: Callable[[Subject], Held | None] = lambda _: None,
        patience: Patience = PATIENCE,
    ) -> None:
        self._files, self._clock, self._network, self._store = files, clock, network, store
        self._supervisor, self._recorder, self._moving = supervisor, recorder, moving
        self._patience = patience
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlg-replicas", daemon=True)
        self._of: dict[str, Watched] = {}
        self._state = SiblingState(restarts=self._kept())
        born = recorder().ids.new_id().replace("-", "")[-12:]
        self._losses = LogLosses(files, born, hold)
        self._owed: deque[Event] = deque(maxlen=1_000)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the round and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def watched(self, process: ProcessState) -> Watched | None:
        """Return what is known of this life of a replica; None before the first look."""
        with self._lock:
            return self._of.get(process.nonce)

    def compared(self, process: ProcessState) -> Comparison | None:
        """Return how the replica stands beside its siblings; None without any."""
        with self._lock:
            return self._state.compared.get(process.nonce)

    def losses(self, service: str) -> tuple[Uri, LossAlert] | None:
        """Return the open alert of log records that the service loses, with its URI."""
        with self._lock:
            alert = self._losses.open(service)
            return None if alert is None else (self._losses.uri(self._recorder(), alert), alert)

    def loss_alerts(self) -> dict[str, int]:
        """Return how many alerts of lost log records there were, by service."""
        with self._lock:
            return self._losses.numbers()

    def restarts(self, service: str) -> tuple[float, ...]:
        """Return when replicas of a service were restarted of late, seconds since 1970."""
        with self._lock:
            return self._state.restarts.get(service, ())

    def held(self, service: str) -> tuple[str, ...]:
        """Return what holds a restart in a service now."""
        with self._lock:
            named = {w.process.id for w in self._of.values() if w.process.service == service}
            now_s, told = self._clock.now().timestamp(), self._state.told.items()
            return tuple(
                f"{key}: {why}"
                for key, (why, at_s) in sorted(told)
                if now_s - at_s < 2 * _PERIOD_S
                and (key in named or key.partition(" ")[0] == service)
            )

    def round(self) -> None:
        """Look once, decide, and act."""
        with self._lock:
            servers = [
                p
                for p in self._supervisor().processes()
                if p.kind in {"replica", "fallback"} and p.alive
            ]
            lives = {p.nonce for p in servers}
            gone = [self._of.pop(life) for life in [*self._of] if life not in lives]
            for process in servers:
                watched = self._of.setdefault(process.nonce, Watched(process=process))
                watched.process = process
                self._look(watched)
            self._lose(gone)
            self._judge()
        self._tell()

    def _look(self, watched: Watched) -> None:
        now_s = self._clock.monotonic_s()
        cpu_ratio, memory_bytes = _used(watched)
        sight = Sight(
            at_s=now_s,
            reading=self._read(watched.process) if watched.process.ready else None,
            cpu_ratio=cpu_ratio,
            memory_bytes=memory_bytes,
        )
        watched.sights.append(sight)
        while len(watched.sights) > 2 and now_s - watched.sights[1].at_s > WINDOW_S:
            watched.sights.popleft()

    def _lose(self, gone: list[Watched]) -> None:
        """Tell of log records that could not be written, with an alert while it goes on."""
        looks = [
            LossLook(
                process=w.process.id,
                life=w.process.nonce,
                service=w.process.service,
                total=w.lost,
                ended=ended,
            )
            for ended, them in ((False, self._of.values()), (True, gone))
            for w in them
        ]
        facts = LossFacts(now_s=self._clock.now().timestamp(), looks=tuple(looks))
        events = self._losses.look(self._recorder(), facts)
        self._owed += events
        for data in (dict(e.data) for e in events if e.type == "mlg.log.records_lost"):
            logger.error("%s lost %s log records", data["process"], data["records"])

    def _read(self, process: ProcessState) -> ReplicaReading | None:
        url = f"http://127.0.0.1:{process.port}/metrics"
        try:
            reply = self._network.request("GET", url, timeout_s=_ASK_S)
            return read_replica(reply.body.decode()) if reply.status == 200 else None
        except (LifecycleError, ValueError) as error:
            logger.warning("the metrics of %s could not be read: %s", process.id, error)
            return None

    def _judge(self) -> None:
        looks: list[ReplicaLook] = []
        for life, watched in self._of.items():
            read = [s.reading for s in list(watched.sights)[-2:] if s.reading is not None]
            process = watched.process
            if process.kind != "replica" or not process.ready or len(read) < 2:
                continue
            grown = [b - a for a, b in zip(*(r.confidence for r in read), strict=True)]
            looks.append(
                ReplicaLook(
                    process=process.id,
                    life=life,
                    service=process.service,
                    version=process.version,
                    confidence=tuple(float(max(0, n)) for n in grown),
                )
            )
        self._state, commands = step(
            self._state,
            SiblingFacts(
                now_s=self._clock.now().timestamp(),
                replicas=tuple(looks),
                held=self._held(looks),
            ),
            patience=self._patience,
        )
        for command in commands:
            self._act(command)

    def _held(self, looks: list[ReplicaLook]) -> dict[str, str]:
        """Return by service why nothing may be restarted now."""
        services = {one.service for one in looks}
        held: dict[str, str] = {}
        moving = self._moving()
        frozen = self._files.read(FREEZE_FILE) is not None
        for service in services:
            if frozen:
                held[service] = "everything is frozen"
            elif service in moving:
                held[service] = moving[service]
            elif leaving := self._supervisor().replacing(service):
                held[service] = f"{leaving[0]} is being replaced"
            elif any(
                not p.ready
                for p in (w.process for w in self._of.values())
                if (p.kind, p.service) == ("replica", service)
            ):
                held[service] = "another replica is not ready"
        return held

    def _act(self, command: SiblingCommand) -> None:
        recorder = self._recorder()
        event = record_replicas.replica_judged(
            recorder,
            key=f"siblings:{recorder.ids.new_id()}",
            restarted=command.kind == "restart",
            service=command.service,
            version=command.version,
            process_id=command.process,
            deployment=self._deployment(recorder, command),
            reason=command.reason,
            facts={
                "log_e": command.statistic,
                "limit": command.limit,
                "mean": command.mean,
                "siblings_mean": command.siblings_mean,
            },
        )
        self._owed.append(event)
        if command.kind == "restart":
            logger.warning("%s is replaced: %s", command.process, command.reason)
            self._files.write(_PATH, msgspec.json.encode(self._state.restarts))
            self._supervisor().replace(self._of[command.life].process, command.reason)

    def _deployment(self, recorder: Recorder, command: SiblingCommand) -> Uri | None:
        for wanted in read_wanted(self._files, command.service).versions:
            if wanted.version == command.version:
                return deployment_uri(recorder, command.service, wanted.deployment)
        return None

    def _tell(self) -> None:
        """Record what was done; what cannot be recorded now waits."""
        while self._owed:
            try:
                append_once(self._store, (self._owed[0],))
            except LifecycleError as error:
                logger.warning("not recorded yet: %s", error)
                return
            self._owed.popleft()
        try:
            self._losses.keep()
        except LifecycleError as error:
            logger.warning("what was told of lost records is not kept yet: %s", error)

    def _kept(self) -> dict[str, tuple[float, ...]]:
        try:
            content = self._files.read(_PATH) or b"{}"
            return msgspec.json.decode(content, type=dict[str, tuple[float, ...]])
        except msgspec.MsgspecError:
            return {}

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.round()
            except LifecycleError as error:
                logger.warning("the replicas could not be looked at: %s", error)
            self._stop.wait(_PERIOD_S)


def _used(watched: Watched) -> tuple[float | None, int | None]:
    """Return the part of one core since the look before, and the resident memory."""
    first = watched.system is None
    try:
        system = watched.system or psutil.Process(watched.process.pid)
        watched.system = system
        percent, memory = system.cpu_percent(None), system.memory_info().rss
    except psutil.Error:
        return None, None
    return (None if first else percent / 100.0), int(memory)


def grown_by(watched: Watched, name: str) -> int | None:
    """Return how much a counter of a replica grew in the last minute; None: not read."""
    first, last = watched.recent()
    if first is None or last is None:
        return None
    return int(getattr(last, name)) - int(getattr(first, name))


def cpu_of(watched: Watched) -> float | None:
    """Return the mean part of one core over the last minute; None before the second look."""
    spans = [
        (b.at_s - a.at_s, b.cpu_ratio)
        for a, b in pairwise(watched.sights)
        if b.cpu_ratio is not None
    ]
    total_s = sum(span_s for span_s, _ in spans)
    return sum(span_s * ratio for span_s, ratio in spans) / total_s if total_s else None
