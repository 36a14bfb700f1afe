"""What an experiment remembers, sees and asks for: plain values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mlg.core.traffic import FULL_BP, HOLDOUT, Share, arm_of, version_of
from mlg.release.verdicts import GateResult

CONTROL: Final = "control"
"""Name that no cell may have: what is neither cell nor holdout."""

ExperimentPhase = Literal["pending", "running", "decided", "stopped", "ended"]
CLOSED: Final = frozenset(("decided", "stopped", "ended"))
"""Phases in which no cell has viewers of its own any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One variant of an experiment."""

    name: str
    version: str
    share_bp: int

    def label(self, experiment: str) -> str:
        """Return the arm under which its predictions are logged.

        Examples:
            >>> Cell(name="A", version="3f2a", share_bp=10).label("rows")
            '3f2a~rows.A'
        """
        return arm_of(self.version, f"{experiment}.{self.name}")


def cell_of(label: str) -> tuple[str, str] | None:
    """Return experiment and cell of an arm's label; None where it is no cell's.

    Examples:
        >>> cell_of("3f2a~rows.A"), cell_of("3f2a~control"), cell_of("3f2a")
        (('rows', 'A'), None, None)
    """
    experiment, dot, cell = label.partition("~")[2].partition(".")
    return (experiment, cell) if dot and experiment and cell else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """What is compared, on whom, and when it ends."""

    name: str
    service: str
    control: str
    """Version that serves whoever is in no cell."""
    cells: tuple[Cell, ...]
    metrics: tuple[str, ...]
    holdout_bp: int = 0
    holdout: str = ""
    """Version that the holdout is kept on; the control if empty."""
    alpha: float = 0.05
    """Chance that any verdict of any cell is wrong."""
    min_viewers: int = 0
    """Viewers that each open cell must have before it is decided."""
    max_run_s: float = 30 * 86_400.0

    def __post_init__(self) -> None:
        names = {cell.name for cell in self.cells}
        reserved = names & {CONTROL, HOLDOUT, ""}
        dotted = "." in self.name or not self.name
        taken = sum(cell.share_bp for cell in self.cells) + self.holdout_bp
        if not names or len(names) != len(self.cells) or reserved or dotted:
            raise ValueError(f"cells of {self.name!r} need names of their own, got {names}")
        if any(cell.share_bp < 1 for cell in self.cells) or self.holdout_bp < 0:
            raise ValueError(f"each cell of {self.name!r} needs a share above 0")
        if taken >= FULL_BP:
            raise ValueError(
                f"cells and holdout of {self.name!r} take {taken} bp: nothing is left of "
                f"{FULL_BP} for the control"
            )
        if not self.metrics or not 0 < self.alpha < 1 or self.max_run_s <= 0:
            raise ValueError(f"{self.name!r} needs a metric, 0 < alpha < 1 and a longest run")

    @property
    def alpha_each(self) -> float:
        """Alpha of one metric of one cell: equal parts of the whole (Bonferroni)."""
        return self.alpha / (len(self.cells) * len(self.metrics))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """What is known of one cell over its whole run."""

    cell: str
    viewers: int
    metrics: tuple[GateResult, ...] = ()
    """Verdict of each metric: PASS shown better, FAIL shown worse, else INCONCLUSIVE."""
    guards: tuple[GateResult, ...] = ()
    """Errors, latency: FAIL is harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentAct:
    """What a person said."""

    id: str
    act: Literal["start", "stop"]
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFacts:
    """What is so at one look."""

    now: datetime
    shares: tuple[Share, ...] = ()
    """The split that the gateways show."""
    ready: frozenset[str] = frozenset()
    """Labels whose replicas are warm."""
    rollout: Literal["", "in_flight", "going_back"] = ""
    """Whether a rollout of the service is under way, and whether it goes back."""
    serving: str = ""
    """Version at 100 % of what is in no experiment; empty: unknown."""
    mismatch: GateResult | None = None
    """Whether viewers fall into the cells by their shares; ERROR where they do not."""
    cells: tuple[CellFacts, ...] = ()
    fresh: bool = True
    frozen: bool = False
    acts: tuple[ExperimentAct, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentState:
    """What is remembered between two looks."""

    id: str
    plan: ExperimentPlan
    phase: ExperimentPhase = "pending"
    since: datetime
    """Since when it has been in the phase."""
    reason: str = ""
    stopped: tuple[str, ...] = ()
    """Cells that harmed: their share is the control's."""
    acts: tuple[str, ...] = ()
    seq: int = 0
    warming: bool = False
    """Its replicas were asked for."""
    started: bool = False
    """A person or the manifest let it begin."""

    @property
    def open_cells(self) -> tuple[Cell, ...]:
        """Cells that still have viewers, or will have."""
        return tuple(cell for cell in self.plan.cells if cell.name not in self.stopped)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCells:
    """Let replicas of these labels run, without traffic."""

    key: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCells:
    """Put the split in force."""

    key: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireCells:
    """End the replicas of labels that have no viewers any more."""

    key: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMove:
    """Put a transition, or the end of a cell, on the graph."""

    key: str
    before: ExperimentPhase
    after: ExperimentPhase
    reason: str
    by: str
    cell: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPerson:
    """Somebody must look."""

    key: str
    reason: str


ExperimentCommand = StartCells | SetCells | RetireCells | RecordMove | CallPerson


def experiment_shares(state: ExperimentState) -> tuple[Share, ...]:
    """Return the split that the state asks for; the holdout has its part in every phase.

    A stopped cell's share is the control's. Order is by label, as in every split.
    """
    plan = state.plan
    parts: dict[str, int] = {}
    if plan.holdout_bp:
        parts[arm_of(version_of(plan.holdout or plan.control), HOLDOUT)] = plan.holdout_bp
    if state.phase == "running":
        parts |= {cell.label(plan.name): cell.share_bp for cell in state.open_cells}
    parts[plan.control] = FULL_BP - sum(parts.values())
    return tuple(sorted(Share(version=label, bp=bp) for label, bp in parts.items()))
