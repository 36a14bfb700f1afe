"""After the swap: the former version stays warm for a set time, so that one can swap back."""

from dataclasses import replace
from datetime import timedelta

from mlg.core.clock import rfc3339
from mlg.release.rollout_moves import Moved, hold, move, waited_s, wanted_shares
from mlg.release.rollout_types import Retire, RolloutFacts, RolloutState, control_label
from mlg.release.verdicts import named


def swapped(state: RolloutState, facts: RolloutFacts) -> Moved:
    """Return the rollout over, once its time is up and nothing speaks against it.

    The time counts as the requests tell it or by the machine's clock, whichever is longer:
    where nobody asks, event time stands still, and the next rollout must not wait for ever.
    """
    if facts.shares != wanted_shares(state):
        return hold(state, facts, "the gateway does not show the swap yet")
    if state.stable is None:
        return move(state, facts, "done", "the first version serves")
    if state.back:
        return move(state, facts, "done", state.back, Retire(label=state.stable))
    if state.control:
        retire = Retire(key=f"{state.id}:control", label=control_label(state.stable))
        return replace(state, control=False), (retire,)
    if waited_s(state, facts) < state.plan.swap_back_s:
        until = state.since + timedelta(seconds=state.plan.swap_back_s)
        reason = f"{state.stable} stays warm until {rfc3339(until)}"
        reason += f", at most {state.plan.swap_back_s:g} s by the machine's clock"
        return hold(state, facts, reason, until=until)
    unknown = [g for g in facts.watch if g.verdict == "ERROR"]
    if facts.fresh and unknown:
        return hold(state, facts, f"{state.stable} stays warm: {named(unknown)}")
    if not facts.fresh:
        return hold(state, facts, f"{state.stable} stays warm: no fresh metrics to let it go")
    reason = f"no objective failed while {state.stable} stayed warm"
    return move(state, facts, "done", reason, Retire(label=state.stable))
