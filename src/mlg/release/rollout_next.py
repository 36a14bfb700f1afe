"""What a rollout does next, and when, in words: for people who wait for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mlg.core.traffic import FULL_BP
from mlg.release.rollout_types import ENDED, RolloutState
from mlg.release.verdicts import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """The next thing that will happen."""

    what: str
    at: datetime | None = None
    """Event time from which on, or at which; None: when its conditions are met."""


def upcoming(state: RolloutState) -> Upcoming:
    """Return what happens next if nothing else does.

    Examples:
        >>> from datetime import UTC
        >>> from mlg.release.rollout import begin
        >>> from mlg.release.rollout_types import RolloutPlan
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> upcoming(begin("r1", "home", "new", "old", RolloutPlan(), at)).what
        'new is started and warmed without traffic'
    """
    if state.phase in ENDED:
        then = f"the rollout of {state.waiting} may begin" if state.waiting else "nothing"
        return Upcoming(what=f"{then}: this rollout is over")
    match state.phase:
        case "pending":
            staged = "the battery of tests begins" if state.plan.staging else ""
            what = staged or f"{state.candidate} is started and warmed without traffic"
        case "staging":
            what = "a PASS lets it warm up; anything else ends it"
        case "warming":
            what = f"once it is warm: {_step(state, 0)}; what does not get warm ends it"
        case "canary":
            return Upcoming(
                what=f"with its evidence in: {_step(state, state.step + 1)}; a failed gate "
                "takes it back at once; without a verdict it pauses and calls a person",
                at=state.since + timedelta(seconds=state.plan.max_hold_s),
            )
        case "promoting":
            what = "the swap, when its turn among the hour's has come"
        case "swapped":
            return _swapped(state)
        case "paused":
            return _paused(state)
        case "rolling_back":
            what = "it ends when every gateway shows that the traffic is back"
        case _:
            what = "it goes on when what it waits for is there"
    return Upcoming(what=what, at=state.until)


def _step(state: RolloutState, number: int) -> str:
    steps = state.plan.steps_bp
    if state.stable is None or number >= len(steps) or steps[number] >= FULL_BP:
        return "the swap to 100 %"
    return f"{percent(steps[number])} of the traffic"


def _swapped(state: RolloutState) -> Upcoming:
    if state.stable is None or state.back:
        return Upcoming(what="it ends when every gateway shows the swap")
    return Upcoming(
        what=f"{state.stable} is let go, if no objective fails until then; one that fails "
        "swaps back at once",
        at=state.since + timedelta(seconds=state.plan.swap_back_s),
    )


def _paused(state: RolloutState) -> Upcoming:
    if state.paused_until is None:
        return Upcoming(what="nothing until a person says resume, approve, promote or rollback")
    return Upcoming(
        what="unanswered (resume, approve, promote, rollback) it is taken back, and may come "
        "again",
        at=state.paused_until,
    )
