"""What the graph is told of a rollout's transition in numbers."""

from datetime import timedelta
from typing import Final

from mlg.graph.record_judged import GateFigures, RollbackFigures, SwapFigures
from mlg.release.rollout_types import Record, RolloutState
from mlg.release.verdicts import GateResult
from mlg.workflows.rollouts import Swaps

_HOUR: Final = timedelta(hours=1)


def figures_of(gate: GateResult) -> GateFigures:
    """Return a gate's verdict with its figures."""
    return GateFigures(
        name=gate.name,
        verdict=gate.verdict,
        reason=gate.reason,
        e_value=gate.e_value,
        bound=gate.bound,
        n=gate.n,
        events=gate.events if gate.events >= 0 else None,
        control_events=gate.control_events if gate.control_n else None,
        control_n=gate.control_n or None,
        margin=gate.margin or None,
    )


def swap_of(swaps: Swaps, state: RolloutState, moved: Record) -> SwapFigures | None:
    """Return the swap that a transition made, if it made one.

    Args:
        swaps: Every swap of the service, this one among them.
        state: The rollout after the transition.
        moved: The transition.
    """
    reversal = moved.after == "rolling_back" and moved.before == "swapped"
    if moved.after != "swapped" and not reversal:
        return None
    before, after = (
        (state.candidate, state.stable) if reversal else (state.stable, state.candidate)
    )
    return SwapFigures(
        before=before,
        after=after or "",
        number=sum(moved.at - _HOUR <= at <= moved.at for at in swaps.times()),
        limit=state.plan.swaps_per_hour,
        reversal=reversal or bool(state.back),
    )


def rollback_of(
    state: RolloutState, moved: Record, deployment: str | None
) -> RollbackFigures | None:
    """Return the way back that a transition took, if it took one.

    Args:
        state: The rollout after the transition.
        moved: The transition.
        deployment: Id of the deployment that has the traffic again.
    """
    if state.back and moved.after == "swapped":
        left, to = state.stable or "", state.candidate
    elif moved.after == "rolling_back":
        left, to = state.candidate, state.stable or ""
    else:
        return None
    return RollbackFigures(left=left, to=to, deployment=deployment)
