"""An experiment on a service's viewers, from its start to its end, durably.

`release.experiment` decides; here its commands are done. Each look is two durable steps, as
in `workflows.release`: what was decided is done again after a crash, each command once.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

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
    write_begun,
    write_experiment,
)

EVERY_S: Final = 1.0
"""Between two looks: a cell that harms is gone soon after it is seen to."""
SPAN_S: Final = 60.0
"""How long one durable look lasts when nothing happens: each leaves a row."""
_TRIES: Final = 12

_KINDS: Final = {
    kind.__name__: kind for kind in (StartCells, SetCells, RetireCells, RecordMove, CallPerson)
}


@DBOS.dbos_class()
class Experiment(DBOSConfiguredInstance):
    """Durable experiment on one service."""

    def __init__(self, ports: ExperimentPorts) -> None:
        self._ports, self._acts = ports, ExperimentActs(ports)
        super().__init__("experiment")

    @DBOS.workflow(name="experiment")
    def run(self, raw_request: dict[str, Any]) -> dict[str, Any]:
        """Bring the experiment to its end; return `{"phase", "reason"}`."""
        raw = self.begin(raw_request)
        while True:
            raw, commands = self.decide(raw)
            if commands:
                self.act(raw, commands)
            elif raw["state"]["phase"] in CLOSED:
                return {"phase": raw["state"]["phase"], "reason": raw["state"]["reason"]}

    @DBOS.step(name="experiment.begin", retries_allowed=True, max_attempts=_TRIES)
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

    @DBOS.step(name="experiment.decide", retries_allowed=True, max_attempts=_TRIES)
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

    @DBOS.step(name="experiment.act", retries_allowed=True, max_attempts=_TRIES)
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


def _told(command: ExperimentCommand) -> dict[str, Any]:
    return {"do": type(command).__name__, **msgspec.to_builtins(command)}


def _version(recorder: Recorder, model: str, version: str) -> Uri:
    return model_uri(recorder, model, version_of(version))
