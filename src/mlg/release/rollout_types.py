"""The words of a rollout: its plan, its state, what it is told and what it asks for.

Everything goes through JSON and back: `msgspec.to_builtins` and `msgspec.convert`, for
commands with the type `tuple[RolloutCommand, ...]`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from mlg.core.measure import Verdict
from mlg.core.traffic import FULL_BP, Share
from mlg.release.staging_window import Opening, StagingWindow
from mlg.release.verdicts import GateResult

Phase = Literal[
    "pending",
    "scheduled",
    "staging",
    "warming",
    "interleaving",
    "canary",
    "promoting",
    "swapped",
    "done",
    "paused",
    "rolling_back",
    "rolled_back",
    "failed",
]

BEFORE_STEPS: Final = -1
"""The step of a rollout that interleaves lists: before the first one of its canary."""
INTERLEAVED: Final = "~interleaved"
"""How the labels of groups end that interleave."""

ENDED: Final[frozenset[Phase]] = frozenset(("done", "rolled_back", "failed"))
"""Phases that nothing leaves."""
PAUSABLE: Final[frozenset[Phase]] = frozenset(
    ("pending", "scheduled", "staging", "warming", "interleaving", "canary", "promoting")
)
"""Phases that a person may pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePlan:
    """One gate of a plan."""

    name: str
    alpha: float
    """Its part of the chance of stopping a good version."""
    margin: float
    """What it still accepts: an added share for errors, abstention and the like, a relative
    rise of a latency, a relative fall of an engagement."""
    limit: float | None = None
    """Besides the control's figure: most of a core for `cpu`, least hits for `cache_hits`."""
    from_bp: int = 0
    """Share of the traffic from which on it is read."""
    engagement: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPlan:
    """A person who must say yes."""

    before: Literal["canary", "promote"]
    """Before it sees a viewer, or before it has all of the traffic."""
    by: tuple[str, ...]
    """Names and roles of those who may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterleavePlan:
    """The comparison on interleaved lists that comes before the first step of a canary."""

    share_bp: int
    """Share of the traffic that gets interleaved lists, 1..5,000."""
    min_viewers: int
    """Votes without which there is no PASS."""
    max_hold_s: float
    """Event time after which it goes on without a verdict, or pauses."""
    alpha: float
    """Its part of the chance of stopping a good version: half of it for losing the votes,
    half for failing on requests."""
    margin: float
    """How far under one half of the votes is still accepted, in (0, 1/2)."""
    required: bool = False
    """Without a verdict it pauses and calls, and does not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How one version takes over; kept with the state, so a new manifest changes none."""

    steps_bp: tuple[int, ...] = (FULL_BP,)
    """Ascending shares of the candidate, the last one everything."""
    min_units: int = 1
    max_hold_s: float = 86_400.0
    swaps_per_hour: int = 9
    swap_back_s: float = 3_600.0
    max_pause_s: float = 86_400.0
    """How long it waits for the person it called, before it gives everything back."""
    staging: bool = False
    gates: tuple[GatePlan, ...] = ()
    approval: ApprovalPlan | None = None
    window: StagingWindow | None = None
    """When staging may run; None: at any time."""
    compose: bool = False
    """Staging asks containers, so no process of the version is needed yet."""
    interleave: InterleavePlan | None = None
    """None: the canary, or the swap, comes at once."""

    def required(self, share_bp: int) -> tuple[str, ...]:
        """Return the names of the gates that must speak at a share."""
        return tuple(gate.name for gate in self.gates if share_bp >= gate.from_bp)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Where a rollout stands."""

    id: str
    service: str
    candidate: str
    stable: str | None
    """What serves now; None before the first version: then there is nothing to compare with."""
    plan: RolloutPlan
    phase: Phase = "pending"
    step: int = 0
    """Index into `plan.steps_bp`; `BEFORE_STEPS` while lists are interleaved."""
    share_bp: int = 0
    """The share that was asked for last for the candidate, or for lists with its items."""
    since: datetime
    """Event time at which the phase, or the step, began."""
    paused_from: Phase | None = None
    paused_until: datetime | None = None
    """When it gives up waiting for the person it called; None: a person paused it."""
    until: datetime | None = None
    """Until when it holds, where that is known."""
    swapped_at: datetime | None = None
    control: bool = False
    """A control group was started and not yet retired."""
    interleaved: bool = False
    """A group that interleaves was started and not yet retired."""
    forced: bool = False
    """A person said to promote."""
    back: str = ""
    """Why this is the way back to a version that served before; empty: it is no way back."""
    awaiting: datetime | None = None
    """Event time since which it waited for an approval last."""
    approved: str = ""
    """Who gave the approval that the plan asks for."""
    seq: int = 0
    """Number of transitions so far; part of every command's key."""
    waiting: str | None = None
    """The version that comes next."""
    acts: tuple[str, ...] = ()
    """Ids of the operator's acts that were answered."""
    gates: tuple[GateResult, ...] = ()
    """What the gates said last."""
    reason: str = ""
    """Why it stands where it stands."""
    scheduled_at: datetime | None = None
    """Wall time from which on staging waited for its window; None: it did not."""
    window_opens: datetime | None = None
    """Wall time of the opening that it waits for."""
    windows_missed: int = 0
    """Openings that went by, or ended the tests, since it began or a person resumed it."""
    waived: bool = False
    """A person said to test now, whatever the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAct:
    """What a person told the rollout to do; told again under the same id, it is not done again.

    `approve` takes a paused step's evidence for good and goes on to the next step, gives the
    approval that the rollout waits for, or of a rollout that waits for its staging's window
    starts the tests now;
    `promote` goes to 100 % without further steps.
    """

    id: str
    act: Literal["pause", "resume", "promote", "approve", "rollback"]
    by: str
    reason: str = ""
    roles: tuple[str, ...] = ()
    """What he held when he said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallen:
    """A label whose replicas cannot be started or kept up."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFacts:
    """What is known at one moment; a fact that is left out holds the rollout."""

    now: datetime
    """Event time."""
    waited_s: float = 0.0
    """Seconds of the machine's clock since the phase, the step, or the wait for an approval
    began: event time stands still where nobody asks."""
    staging: Verdict | None = None
    """None while the battery runs; ERROR when it hung or could not run."""
    staging_reason: str = ""
    staging_cut: bool = False
    """The window closed before the battery was done."""
    window: Opening | None = None
    """The opening of staging's window that holds now, or the next one."""
    ready: tuple[str, ...] = ()
    """Labels (versions and control group) whose replicas are all warm."""
    fallen: tuple[Fallen, ...] = ()
    shares: tuple[Share, ...] | None = None
    """The split that the gateway has; None when it is not known."""
    step: int | None = None
    """The step of the canary that `gates` and `units` are of."""
    fresh: bool = False
    """The metrics' source answered just now."""
    units: int = 0
    """Sticky units that the candidate has seen in this step."""
    gates: tuple[GateResult, ...] = ()
    watch: tuple[GateResult, ...] = ()
    """Objectives after the swap."""
    swaps: tuple[datetime, ...] = ()
    """Every change of the service's version at 100 %, reversals included."""
    frozen: bool = False
    """Only a rollback may happen without a person."""
    rejected: tuple[str, ...] = ()
    """Versions that were rolled back and whose inputs have not changed."""
    arrived: str | None = None
    """The newest version that asks to be released, if it is another one."""
    acts: tuple[OperatorAct, ...] = ()


class _Command(Struct, frozen=True, kw_only=True, tag_field="do"):
    """Something to do; it may be done twice with one effect, and the key names the act."""

    key: str = ""


class StartStaging(_Command, frozen=True, kw_only=True, tag="start_staging"):
    """Run the battery of tests on a version."""

    version: str


class VersionStart(Struct, frozen=True, kw_only=True):
    """A label to start, and the version that it runs."""

    label: str
    version: str
    beside: str = ""
    """The version that it ranks each request with as well; empty: none."""


class StartVersions(_Command, frozen=True, kw_only=True, tag="start_versions"):
    """Start replicas without traffic, and warm them."""

    versions: tuple[VersionStart, ...]


class SetShares(_Command, frozen=True, kw_only=True, tag="set_shares"):
    """Put a split in force; the only command that moves viewers."""

    shares: tuple[Share, ...]
    """Sorted by label; they sum to 10,000. A label not named has no traffic."""


class Promote(_Command, frozen=True, kw_only=True, tag="promote"):
    """The version at 100 % changed: a swap. Comes with the `SetShares` that does it."""

    version: str
    replaced: str | None


class KeepWarm(_Command, frozen=True, kw_only=True, tag="keep_warm"):
    """Keep the former version's replicas, without traffic, at least until a time."""

    version: str
    until: datetime


class Retire(_Command, frozen=True, kw_only=True, tag="retire"):
    """End a label's replicas; it has no traffic."""

    label: str


class RollBack(_Command, frozen=True, kw_only=True, tag="roll_back"):
    """All traffic goes back. Comes with the `SetShares` that does it."""

    to: str
    reason: str
    swap: bool
    """What is left had been at 100 %."""
    left: str = ""
    """The version that is taken back; empty: the candidate."""
    rejects: bool = True
    """What is taken back may not come again unchanged; False: nothing was held against it."""


class Notify(_Command, frozen=True, kw_only=True, tag="notify"):
    """Tell whoever listens."""

    reason: str


class Call(_Command, frozen=True, kw_only=True, tag="call"):
    """A person is needed."""

    reason: str


class Approved(_Command, frozen=True, kw_only=True, tag="approved"):
    """A person gave the approval that the plan asks for."""

    by: str
    before: Literal["canary", "promote"]
    reason: str
    share_bp: int
    """The candidate's share at that time."""
    gates: tuple[GateResult, ...] = ()


class Next(_Command, frozen=True, kw_only=True, tag="next"):
    """This rollout is over; the version that waited may begin."""

    version: str


class Record(_Command, frozen=True, kw_only=True, tag="record"):
    """One transition, for the graph."""

    before: Phase
    after: Phase
    at: datetime
    step: int
    share_bp: int
    reason: str
    by: str
    """`mlg`, or the person who asked for it."""
    gates: tuple[GateResult, ...] = ()
    judged_bp: int = 0
    """The candidate's share under which they were judged."""


RolloutCommand = (
    StartStaging
    | StartVersions
    | SetShares
    | Promote
    | KeepWarm
    | Retire
    | RollBack
    | Notify
    | Call
    | Approved
    | Next
    | Record
)


def interleaved_label(candidate: str) -> str:
    """Return the label of the group that interleaves a version's lists with the stable one's.

    Examples:
        >>> interleaved_label("3f2a")
        '3f2a~interleaved'
    """
    return f"{candidate}{INTERLEAVED}"


def interleaved_shares(stable: str, candidate: str, share_bp: int) -> tuple[Share, ...]:
    """Return the split while lists are interleaved; the candidate alone has no share.

    Args:
        stable: Version that serves now.
        candidate: Version that comes.
        share_bp: The share of interleaved lists, 1..9,999.

    Raises:
        ValueError: The share is out of range, or the versions are the same.

    Examples:
        >>> [(s.version, s.bp) for s in interleaved_shares("old", "new", 500)]
        [('new~interleaved', 500), ('old', 9500)]
    """
    if not 0 < share_bp < FULL_BP or stable == candidate:
        raise ValueError(f"no lists of {stable!r} and {candidate!r} with {share_bp} bp")
    return tuple(
        sorted(
            (
                Share(version=interleaved_label(candidate), bp=share_bp),
                Share(version=stable, bp=FULL_BP - share_bp),
            )
        )
    )


def control_label(stable: str) -> str:
    """Return the label of the control group of a version.

    Examples:
        >>> control_label("3f2a")
        '3f2a~control'
    """
    return f"{stable}~control"


def canary_shares(stable: str, candidate: str, share_bp: int) -> tuple[Share, ...]:
    """Return the split of a step: the candidate's share, a control of equal share, the rest.

    Above half of the traffic the control has what is left.

    Args:
        stable: Version that serves now.
        candidate: Version that comes.
        share_bp: The candidate's share, 0..10,000.

    Raises:
        ValueError: The share is out of range, or the versions are the same.

    Examples:
        >>> [(s.version, s.bp) for s in canary_shares("old", "new", 50)]
        [('new', 50), ('old', 9900), ('old~control', 50)]
    """
    if not 0 <= share_bp <= FULL_BP or stable == candidate:
        raise ValueError(f"no split of {stable!r} and {candidate!r} with {share_bp} bp")
    control = min(share_bp, FULL_BP - share_bp)
    shares = (
        Share(version=candidate, bp=share_bp),
        Share(version=control_label(stable), bp=control),
        Share(version=stable, bp=FULL_BP - share_bp - control),
    )
    return tuple(sorted(share for share in shares if share.bp))
