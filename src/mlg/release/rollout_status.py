"""Where a rollout stands, for those who ask."""

from datetime import datetime

from msgspec import Struct

from mlg.release import rollout_approval
from mlg.release.rollout_next import upcoming
from mlg.release.rollout_types import ENDED, PAUSABLE, Phase, RolloutState
from mlg.release.verdicts import GateResult, percent


def explain(state: RolloutState) -> str:
    """Return where a rollout stands and why, in one sentence.

    Examples:
        >>> from datetime import UTC, datetime
        >>> from mlg.release.rollout import begin
        >>> from mlg.release.rollout_types import RolloutPlan
        >>> plan = RolloutPlan(steps_bp=(50, 10_000))
        >>> explain(begin("r1", "home", "new", "old", plan, datetime(2026, 1, 1, tzinfo=UTC)))
        'new for home (old serves) is pending, with 0 % of the traffic: not begun.'
    """
    beside = f"{state.stable} serves" if state.stable else "the first version"
    at = f", step {state.step + 1} of {len(state.plan.steps_bp)}"
    return (
        f"{state.candidate} for {state.service} ({beside}) is {state.phase.replace('_', ' ')}"
        f"{at if state.phase == 'canary' else ''}, with {percent(state.share_bp)} of the "
        f"traffic: {state.reason or 'not begun'}."
    )


class RolloutStatus(Struct, frozen=True, kw_only=True):
    """What `rollout status` and the API print."""

    service: str
    state: Phase
    candidate: str
    stable: str | None
    share_bp: int
    step: int
    gates: tuple[GateResult, ...]
    explanation: str
    next: str = ""
    """What happens next if nothing else does."""
    next_at: datetime | None = None
    """Event time from which on; None: when its conditions are met."""
    only: dict[str, tuple[str, ...]] = {}
    """Acts that would give an approval, with those who may: names and roles."""
    acts: tuple[str, ...] = ()
    """What a person may tell it now."""


def status(state: RolloutState) -> RolloutStatus:
    """Return a rollout's answer to `rollout status`."""
    then = upcoming(state)
    return RolloutStatus(
        service=state.service,
        state=state.phase,
        candidate=state.candidate,
        stable=state.stable,
        share_bp=state.share_bp,
        step=state.step,
        gates=state.gates,
        explanation=explain(state),
        next=then.what,
        next_at=then.at,
        only=_only(state),
        acts=_acts(state),
    )


def _only(state: RolloutState) -> dict[str, tuple[str, ...]]:
    if state.phase in ENDED:
        return {}
    plans = {act: rollout_approval.needs(state, act) for act in ("approve", "promote")}
    return {act: plan.by for act, plan in plans.items() if plan is not None}


def _acts(state: RolloutState) -> tuple[str, ...]:
    """Return the acts that would change something, as `rollout_acts.answer` takes them."""
    if state.phase in ENDED:
        return ("rollback",)
    at = state.paused_from or state.phase
    fitting = {
        "pause": state.phase in PAUSABLE,
        "resume": state.phase == "paused",
        "approve": state.phase == "paused" or "approve" in _only(state),
        "promote": at in {"canary", "promoting"} and not state.forced,
        "rollback": state.phase != "rolling_back",
    }
    return tuple(act for act, fits in fitting.items() if fits)
