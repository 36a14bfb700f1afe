"""What an experiment's commands do to the world: each may be done twice with one effect."""

from collections.abc import Callable
from dataclasses import dataclass

from mlg.core.clock import Clock
from mlg.core.events import Event
from mlg.core.ports import Files, GraphStore
from mlg.core.traffic import FULL_BP, HOLDOUT, arm_of, version_of
from mlg.graph import record_experiments
from mlg.graph.record import Recorder
from mlg.release.experiment_types import (
    CLOSED,
    CallPerson,
    ExperimentCommand,
    RecordMove,
    RetireCells,
    SetCells,
    StartCells,
)
from mlg.workflows.experiment_cells import cells_retired, cells_set, cells_started
from mlg.workflows.experiments import ExperimentLook, ExperimentWatch
from mlg.workflows.record import append_once
from mlg.workflows.release_ports import Fleet
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPorts:
    """What an experiment needs from the world."""

    files: Files
    fleet: Fleet
    store: GraphStore
    clock: Clock
    watch: ExperimentWatch
    recorder: Callable[[str], Recorder]


class ExperimentActs:
    """Does what an experiment decided.

    Args:
        ports: What it is done with.
    """

    def __init__(self, ports: ExperimentPorts) -> None:
        self._ports = ports

    def do(self, look: ExperimentLook, command: ExperimentCommand) -> None:
        """Do one command; done twice it is done once.

        Raises:
            LifecycleError: Something failed; the command may be done again.
        """
        plan, ports = look.state.plan, self._ports
        wanted = read_wanted(ports.files, plan.service).versions
        match command:
            case StartCells(labels=labels):
                held = [arm_of(version_of(plan.holdout or plan.control), HOLDOUT)]
                whole = (*labels, *(held if plan.holdout_bp else ()))
                self._keep(plan.service, cells_started(wanted, whole, look.request.versions))
            case SetCells(shares=shares):
                if not _serves(wanted, plan.control):
                    return  # a rollout took the split between look and act: it is its own
                self._keep(plan.service, cells_set(wanted, plan, shares, look.request.versions))
            case RetireCells(labels=labels):
                self._keep(plan.service, cells_retired(wanted, labels))
            case RecordMove():
                self.record(
                    record_experiments.experiment_moved(
                        ports.recorder("workflow:experiment"),
                        key=command.key,
                        service=plan.service,
                        experiment=look.state.id,
                        before=command.before,
                        after=command.after,
                        reason=command.reason,
                        by=command.by,
                        verdicts=look.verdicts,
                        ended=command.after in CLOSED,
                    )
                )
            case CallPerson():
                self.record(
                    record_experiments.experiment_told(
                        ports.recorder("workflow:experiment"),
                        key=command.key,
                        service=plan.service,
                        experiment=look.state.id,
                        what="called",
                        reason=command.reason,
                    )
                )

    def _keep(self, service: str, versions: tuple[WantedVersion, ...]) -> None:
        dealt = read_wanted(self._ports.files, service).salt
        write_wanted(self._ports.files, Wanted(service=service, versions=versions, salt=dealt))
        self._ports.fleet.refresh()

    def record(self, event: Event) -> None:
        """Append an event to the log, each key once."""
        append_once(self._ports.store, (event,))


def _serves(wanted: tuple[WantedVersion, ...], version: str) -> bool:
    return any((one.version, one.bp, one.layer) == (version, FULL_BP, "") for one in wanted)
