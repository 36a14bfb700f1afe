"""Healing of one incident, durably: look, decide, do, until it is over.

The monitor names the cause, `heal_moves` decides, and here it is done. A control plane that
dies goes on where it was; events have keys, and a training is a workflow of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

from mlg.automations.freeze import FREEZE_FILE
from mlg.core.clock import Clock
from mlg.core.errors import LifecycleError
from mlg.core.ports import Files, GraphStore
from mlg.core.traffic import FULL_BP
from mlg.graph import record_alerts, record_rollouts
from mlg.graph.record import Recorder, deployment_uri, run_uri
from mlg.workflows.heal_moves import HealFacts, Move, Progress, done, next_move
from mlg.workflows.record import append_once
from mlg.workflows.rollouts import BACK, in_flight, read_rollout
from mlg.workflows.sources import Quarantine, hold, lift
from mlg.workflows.state import read_wanted
from mlg.workflows.train import Train, TrainRequest

_TRIES = 12


class HealRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which incident."""

    incident: str
    """`<monitor>:<number>@<birth of the monitor>`; the workflow's id."""
    monitor: str
    service: str


class IncidentView(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as the monitor has it now."""

    open: bool
    action: str = ""
    windows: int = 0


class Incidents(Protocol):
    """The monitors, as healing sees them."""

    def view(self, monitor: str, incident: str) -> IncidentView:
        """Return how the incident stands; one that is not known is closed."""
        ...

    def settle(self, monitor: str, incident: str) -> bool:
        """Close the incident as dealt with; return whether it was open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HealPorts:
    """What healing needs from the world."""

    files: Files
    store: GraphStore
    clock: Clock
    recorder: Callable[[], Recorder]
    incidents: Incidents
    train_request: Callable[[str], TrainRequest]
    """Returns a new run of the pipeline behind a service; raises LifecycleError."""
    roll_back: Callable[[str, str, str], str]
    """Takes a service back: service, reason, key; returns the rollout's id. The same key does
    it once. Raises LifecycleError when there is nothing to go back to."""


@DBOS.dbos_class()
class Heal(DBOSConfiguredInstance):
    """Durable healing of one incident."""

    def __init__(self, ports: HealPorts, train: Train) -> None:
        self._ports = ports
        self._train = train
        super().__init__("heal")

    @DBOS.workflow(name="heal")
    def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Follow the incident to its end; return the last progress and reason."""
        progress = msgspec.to_builtins(Progress())
        while True:
            move = self.look(raw, progress)
            if move["act"] == "end":
                self.act(raw, progress, move)
                return {"reason": move["reason"], **progress}
            result: dict[str, str] | None = None
            if move["act"] == "retrain":
                result = self._retrain(raw, progress)
            elif move["act"] != "wait":
                result = self.act(raw, progress, move)
            if move["act"] in {"wait", "back_off"}:
                DBOS.sleep(move["seconds"])
            progress = msgspec.to_builtins(
                done(msgspec.convert(progress, Progress), msgspec.convert(move, Move), result)
            )

    def _retrain(self, raw: dict[str, Any], progress: dict[str, Any]) -> dict[str, str]:
        begun = self.begin_training(raw, progress)
        if "error" in begun:
            return {"result": "failed"}
        with SetWorkflowID(begun["request"]["run_id"]):
            training = DBOS.start_workflow(self._train.run, begun["request"])
        ended = training.get_result()
        return {
            "run": begun["request"]["run_id"],
            "pipeline": begun["request"]["pipeline"],
            "result": str(ended["state"]),
            "version": str(ended.get("version", "")),
            "before": begun["before"],
        }

    @DBOS.step(name="heal.look", retries_allowed=True, max_attempts=_TRIES)
    def look(self, raw: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
        """Return the next move."""
        request, now = _request(raw), msgspec.convert(progress, Progress)
        view = self._ports.incidents.view(request.monitor, request.incident)
        facts = HealFacts(
            open=view.open,
            action=view.action,
            windows=view.windows,
            frozen=self._ports.files.read(FREEZE_FILE) is not None,
            rollout=rollout_of(self._ports.files, request.service, now.version),
            back=back_of(self._ports.files, request.service, now.back, now.left),
        )
        return msgspec.to_builtins(next_move(now, facts))

    @DBOS.step(name="heal.begin_training", retries_allowed=True, max_attempts=_TRIES)
    def begin_training(self, raw: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
        """Return the run to start, told to the graph, or why there can be none."""
        request = _request(raw)
        attempt = int(progress["attempt"]) + 1
        stable = read_wanted(self._ports.files, request.service).stable
        lift(self._ports.files, request.service, request.incident)
        try:
            run = self._ports.train_request(request.service)
        except LifecycleError as error:
            self._tell(request, f"retrain:{attempt}", "backed_off", str(error))
            return {"error": error.as_dict()}
        recorder = self._ports.recorder()
        self._tell(
            request,
            f"retrain:{attempt}:{run.run_id}",
            "retraining_begun",
            f"training {attempt} for this incident",
            triggered=run_uri(recorder, run.pipeline, run.run_id),
        )
        before = stable.version if stable else ""
        return {"request": msgspec.to_builtins(run), "before": before}

    @DBOS.step(name="heal.act", retries_allowed=True, max_attempts=_TRIES)
    def act(
        self, raw: dict[str, Any], progress: dict[str, Any], move: dict[str, Any]
    ) -> dict[str, str] | None:
        """Do one move; it may be done twice. Of a roll-back return which rollout does it."""
        request, now = _request(raw), msgspec.convert(progress, Progress)
        what = msgspec.convert(move, Move)
        self._quarantine(request, what)
        match what.act:
            case "note":
                self._tell(request, what.word, what.word, what.reason)
            case "settle":
                self._ports.incidents.settle(request.monitor, request.incident)
                self._tell(request, "settled", "settled", what.reason)
            case "heal":
                self._tell_healed(request, now, what.reason)
                self._ports.incidents.settle(request.monitor, request.incident)
            case "back_off":
                told = f"{what.reason}; the next training is in {what.seconds:g} s"
                self._tell(request, f"backed_off:{now.attempt}", "backed_off", told)
            case "call":
                self._tell(request, "called", "called", what.reason)
            case "roll_back":
                return self._roll_back(request, what.reason)
            case "wait" | "retrain" | "end":
                pass
        return None

    def _quarantine(self, request: HealRequest, what: Move) -> None:
        """Hold automatic training while the cause is broken data, and no longer."""
        files = self._ports.files
        if what.word == "quarantined":
            hold(
                files,
                request.service,
                Quarantine(incident=request.incident, reason=what.reason),
            )
        elif what.act != "call":
            lift(files, request.service, request.incident)

    def _roll_back(self, request: HealRequest, reason: str) -> dict[str, str] | None:
        stable = read_wanted(self._ports.files, request.service).stable
        left = stable.version if stable else ""
        try:
            back = self._ports.roll_back(request.service, reason, f"heal:{request.incident}")
        except LifecycleError as error:
            self._tell(request, "called", "called", f"{reason}, but: {error}")
            return None
        recorder = self._ports.recorder()
        rollout = record_rollouts.rollout_uri(recorder, request.service, back)
        self._tell(request, "rolled_back", "rolled_back", reason, triggered=rollout)
        return {"back": back, "left": left}

    def _tell_healed(self, request: HealRequest, progress: Progress, reason: str) -> None:
        recorder = self._ports.recorder()
        wanted = read_wanted(self._ports.files, request.service)
        serves = wanted.stable if progress.back else None
        version = serves.version if serves else progress.version
        deployments = [
            deployment_uri(recorder, request.service, item.deployment)
            for item in wanted.versions
            if item.version == version
        ]
        runs = (run_uri(recorder, progress.pipeline, progress.run),) if progress.run else ()
        self._tell(
            request,
            "healed",
            "healed",
            reason,
            healed_by=(*runs, *deployments),
            facts={"version": version, "attempt": progress.attempt},
        )

    def _tell(
        self, request: HealRequest, part: str, word: str, reason: str, **more: Any
    ) -> None:
        recorder = self._ports.recorder()
        event = record_alerts.incident_handled(
            recorder,
            key=f"heal:{request.incident}:{part}",
            word=word,
            incident=record_alerts.incident_uri(recorder, request.incident),
            service=request.service,
            reason=reason,
            **more,
        )
        append_once(self._ports.store, (event,))


def rollout_of(files: Files, service: str, version: str) -> Any:
    """Return where a version stands: `none`, `under_way`, `swapped`, `done` or `back`."""
    if not version:
        return "none"
    document = read_rollout(files, service) or {}
    if document.get("candidate") == version:
        state = str(document["state"])
        ends = {"swapped": "swapped", "done": "done", "rolled_back": "back", "failed": "back"}
        return ends.get(state, "under_way")
    stable = read_wanted(files, service).stable
    if stable is not None and (stable.version, stable.bp) == (version, FULL_BP):
        return "done"
    return "under_way" if in_flight(files, service) else "none"


def back_of(files: Files, service: str, back: str, left: str) -> Any:
    """Return where a way back stands: `none`, `under_way`, `done` or `failed`.

    Args:
        files: The instance's small files.
        service: The service.
        back: Id of the rollout that takes it back: one that was in flight, or one that was
            begun for it and may not be told yet.
        left: The version at 100 % when it was asked for.
    """
    if not back:
        return "none"
    document = read_rollout(files, service) or {}
    mine = document.get("rollout") == back
    state = str(document.get("state", "")) if mine else ""
    if not back.startswith(BACK):
        ends = {"rolled_back": "done", "failed": "done", "done": "failed"}
        return ends.get(state, "under_way") if mine else "done"
    if mine:
        return {"failed": "failed", "done": "done"}.get(state, "under_way")
    stable = read_wanted(files, service).stable
    moved = stable is not None and (stable.version, stable.bp) != (left, FULL_BP)
    return "done" if moved else "under_way"


def start_heal(heal: Heal, request: HealRequest) -> None:
    """Start to heal an incident in the background; the same incident starts once."""
    with SetWorkflowID(f"heal:{request.incident}"):
        DBOS.start_workflow(heal.run, msgspec.to_builtins(request))


def _request(raw: dict[str, Any]) -> HealRequest:
    return msgspec.convert(raw, HealRequest)
