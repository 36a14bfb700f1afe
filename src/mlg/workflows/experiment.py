"""An experiment on a service's viewers, from its start to its end, durably.

`release.experiment` decides; here its commands are done. Each look is two durable steps, as
in `workflows.release`: what was decided is done again after a crash, each command once.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

from mlg.core.errors import LifecycleError
from mlg.core.ports import Files
from mlg.core.traffic import HOLDOUT, version_of
from mlg.core.uris import Uri
from mlg.graph import record_experiments
from mlg.graph.record import Recorder, model_uri
from mlg.release import experiment
from mlg.release.experiment_types import (
    CLOSED,
    CallPerson,
    ExperimentCommand,
    RecordMove,
    RetireCells,
    SetCells,
    StartCells,
)
from mlg.workflows.experiment_acts import ExperimentActs, ExperimentPorts
from mlg.workflows.experiments import (
    ExperimentLook,
    ExperimentRequest,
    look_of,
    read_experiment,
    write_begun,
    write_experiment,
)

EVERY_S: Final = 1.0
"""Between two looks: a cell that harms is gone soon after it is seen to."""
SPAN_S: Final = 60.0
"""How long one durable look lasts when nothing happens: each leaves a row."""
_TRIES: Final = 12
_FAILED: Final = frozenset(("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"))
"""How a workflow ends that nobody brings to its end any more."""

_KINDS: Final = {
    kind.__name__: kind for kind in (StartCells, SetCells, RetireCells, RecordMove, CallPerson)
}


logger = logging.getLogger("mlg.experiment")


def _may_pass(error: BaseException) -> bool:
    """Return whether trying again may help: a full disk, a store that does not answer."""
    return isinstance(error, LifecycleError | OSError)


@DBOS.dbos_class()
class Experiment(DBOSConfiguredInstance):
    """Durable experiment on one service."""

    def __init__(self, ports: ExperimentPorts) -> None:
        self._ports, self._acts = ports, ExperimentActs(ports)
        super().__init__("experiment")

    @DBOS.workflow(name="experiment")
    def run(self, raw_request: dict[str, Any]) -> dict[str, Any]:
        """Bring the experiment to its end; return `{"phase", "reason"}`.

        Where it cannot go on it ends too: rollouts, and the next experiment, wait for it.
        """
        raw: dict[str, Any] = {}
        try:
            raw = self.begin(raw_request)
            while True:
                raw, commands = self.decide(raw)
                if commands:
                    self.act(raw, commands)
                elif raw["state"]["phase"] in CLOSED:
                    return _result(raw)
        except Exception as error:  # whatever it is: nobody else would end it
            logger.exception("an experiment cannot go on")
            return self._abandon(raw_request, raw, str(error))

    @DBOS.workflow(name="experiment.abandon")
    def abandon(
        self, raw_request: dict[str, Any], raw: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        """End an experiment whose own workflow is no more; return as `run` does."""
        return self._abandon(raw_request, raw, reason)

    def _abandon(
        self, raw_request: dict[str, Any], raw: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        raw, commands = self.give_up(raw_request, raw, reason)
        try:
            self.act(raw, commands)
        except Exception:  # a rollout that begins now takes its cells away as well
            logger.exception("the cells of an experiment could not be given back")
        self.close(raw)
        return _result(raw)

    @DBOS.step(
        name="experiment.give_up",
        retries_allowed=True,
        max_attempts=_TRIES,
        should_retry=_may_pass,
    )
    def give_up(
        self, raw_request: dict[str, Any], raw: dict[str, Any], reason: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Decide what gives everything back; return what to keep and do."""
        request = msgspec.convert(raw_request, ExperimentRequest)
        plan, now = request.plan, self._ports.clock.now()
        new = ExperimentLook(
            state=experiment.begin(request.id, plan, now, started=True), request=request
        )
        look = msgspec.convert(raw, ExperimentLook) if raw else new
        state, commands = experiment.abandon(look.state, reason)
        kept = msgspec.structs.replace(look, state=state)
        return msgspec.to_builtins(kept), [_told(command) for command in commands]

    @DBOS.step(
        name="experiment.close",
        retries_allowed=True,
        max_attempts=_TRIES,
        should_retry=_may_pass,
    )
    def close(self, raw: dict[str, Any]) -> None:
        """Tell that it is over, so that nobody waits for it any more."""
        write_experiment(self._ports.files, msgspec.convert(raw, ExperimentLook))

    @DBOS.step(
        name="experiment.begin",
        retries_allowed=True,
        max_attempts=_TRIES,
        should_retry=_may_pass,
    )
    def begin(self, raw_request: dict[str, Any]) -> dict[str, Any]:
        """Record that it began; return what to keep."""
        request = msgspec.convert(raw_request, ExperimentRequest)
        plan, ports = request.plan, self._ports
        recorder = ports.recorder(request.by)
        groups = {cell.name: cell.version for cell in plan.cells} | {"control": plan.control}
        if plan.holdout_bp:
            groups[HOLDOUT] = plan.holdout or plan.control
        shares = {f"share_bp.{cell.name}": cell.share_bp for cell in plan.cells}
        self._acts.record(
            record_experiments.experiment_begun(
                recorder,
                key=f"{request.id}:begun",
                service=plan.service,
                experiment=request.id,
                name=plan.name,
                cells={
                    name: _version(recorder, request.model, version)
                    for name, version in groups.items()
                },
                facts={
                    **shares,
                    "holdout_bp": plan.holdout_bp,
                    "metrics": ",".join(plan.metrics),
                    "alpha": plan.alpha,
                },
                reason=request.reason,
            )
        )
        look = write_begun(ports.files, request, ports.watch.now(plan.service))
        return self._kept(msgspec.structs.replace(look, began_at=ports.clock.now()))

    @DBOS.step(
        name="experiment.decide",
        retries_allowed=True,
        max_attempts=_TRIES,
        should_retry=_may_pass,
    )
    def decide(self, raw: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Look until there is something to do, or for a minute; return what to keep and do."""
        look, clock = msgspec.convert(raw, ExperimentLook), self._ports.clock
        ends_s = clock.monotonic_s() + SPAN_S
        while True:
            look, facts = self._ports.watch.look(look)
            state, commands = experiment.step(look.state, facts)
            look = msgspec.structs.replace(look, state=state)
            if commands or state.phase in CLOSED or clock.monotonic_s() >= ends_s:
                return self._kept(look), [_told(command) for command in commands]
            write_experiment(self._ports.files, look)
            clock.wait(EVERY_S)

    @DBOS.step(
        name="experiment.act",
        retries_allowed=True,
        max_attempts=_TRIES,
        should_retry=_may_pass,
    )
    def act(self, raw: dict[str, Any], commands: list[dict[str, Any]]) -> None:
        """Do what was decided, in order; each command may be done twice."""
        look = msgspec.convert(raw, ExperimentLook)
        for told in commands:
            command = {name: value for name, value in told.items() if name != "do"}
            self._acts.do(look, msgspec.convert(command, _KINDS[told["do"]]))

    def _kept(self, look: ExperimentLook) -> dict[str, Any]:
        write_experiment(self._ports.files, look)
        return msgspec.to_builtins(look)


def start_experiment(runs: Experiment, request: ExperimentRequest) -> None:
    """Start an experiment in the background; the same request starts once."""

    def start() -> None:
        with SetWorkflowID(request.id):
            DBOS.start_workflow(runs.run, msgspec.to_builtins(request))

    # a thread of its own has no step around it: within one no workflow may start
    with ThreadPoolExecutor(1) as pool:
        pool.submit(start).result()


def abandon_if_failed(runs: Experiment, files: Files, service: str) -> bool:
    """End a service's experiment where its workflow has failed; return whether it had.

    What a control plane cannot bring to its end, as one that is killed again and again while
    it takes up its work, leaves an experiment that nobody follows.
    """
    document = read_experiment(files, service)
    if document is None or document["phase"] in CLOSED:
        return False
    id_ = str(document["experiment"])
    status = DBOS.get_workflow_status(id_)
    if status is None or status.status not in _FAILED or status.input is None:
        return False
    raw_request = dict(status.input["args"][0])
    request = msgspec.convert(raw_request, ExperimentRequest)
    raw = msgspec.to_builtins(look_of(request, document))
    reason = f"its workflow ended: {status.error or status.status.lower()}"

    def start() -> None:
        with SetWorkflowID(f"{id_}:abandon"):
            DBOS.start_workflow(runs.abandon, raw_request, raw, reason)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(start).result()
    return True


def _result(raw: dict[str, Any]) -> dict[str, Any]:
    return {"phase": raw["state"]["phase"], "reason": raw["state"]["reason"]}


def _told(command: ExperimentCommand) -> dict[str, Any]:
    return {"do": type(command).__name__, **msgspec.to_builtins(command)}


def _version(recorder: Recorder, model: str, version: str) -> Uri:
    return model_uri(recorder, model, version_of(version))
