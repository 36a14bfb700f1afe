from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mlg.manifest.specs_services import ApprovalSpec, RolloutSpec
from mlg.release.rollout import begin, begin_back, status, step
from mlg.release.rollout_approval import may_approve
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import (
    ApprovalPlan,
    Approved,
    Call,
    Notify,
    OperatorAct,
    Promote,
    RolloutCommand,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    SetShares,
    canary_shares,
)
from mlg.release.verdicts import GateResult

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY = ("ada", "admin")
WARM = RolloutFacts(now=T0, ready=("new", "old~control"))


def plan(before: Any, *steps: int) -> RolloutPlan:
    return RolloutPlan(
        steps_bp=steps or (500, 10_000),
        max_hold_s=600.0,
        approval=ApprovalPlan(before=before, by=BY),
    )


def rollout(before: Any, *steps: int, stable: str | None = "old") -> RolloutState:
    return begin("r1", "home", "new", stable, plan(before, *steps), T0)


def says(word: Any, by: str = "local:ada", name: str = "a1", roles: Any = ()) -> OperatorAct:
    return OperatorAct(id=name, act=word, by=by, roles=roles, reason="fine")


def looks(
    state: RolloutState, facts: RolloutFacts, times: int = 3
) -> tuple[RolloutState, list[RolloutCommand]]:
    """Look until it rests."""
    done: list[RolloutCommand] = []
    for _ in range(times):
        state, commands = step(state, facts)
        done += commands
    return state, done


def good(share_bp: int, **changes: Any) -> RolloutFacts:
    facts = replace(
        WARM, shares=canary_shares("old", "new", share_bp), step=0, fresh=True, units=9
    )
    return replace(facts, **changes)


def test_before_the_canary_no_viewer_sees_it_until_one_who_may_says_yes() -> None:
    state, done = looks(rollout("canary"), WARM)
    assert state.phase == "warming"
    assert not [c for c in done if isinstance(c, SetShares)]
    assert state.reason == (
        "waits for approval before it sees a viewer; may approve: ada, admin"
    )
    told = status(state)
    assert (told.only, told.acts) == ({"approve": BY}, ("pause", "approve", "rollback"))
    state, done = looks(state, replace(WARM, acts=(says("approve"),)))
    assert (state.phase, state.share_bp, state.approved) == ("canary", 500, "local:ada")
    (approved,) = [c for c in done if isinstance(c, Approved)]
    assert (approved.by, approved.before, approved.reason) == ("local:ada", "canary", "fine")
    # asked once: the swap needs no second yes
    state, _ = looks(state, good(500))
    assert state.phase == "swapped"


def test_before_the_swap_the_evidence_comes_first_and_the_share_stays() -> None:
    state, _ = looks(rollout("promote"), WARM)
    early = says("approve", name="early")
    state, done = looks(state, good(500, units=0, acts=(early,)))
    assert (state.phase, state.approved) == ("canary", "")  # nothing to approve yet
    assert "changes nothing" in next(c.reason for c in done if isinstance(c, Notify))
    state, done = looks(state, good(500, acts=(early,)))
    assert (state.phase, state.share_bp) == ("canary", 500)
    assert "waits for approval before it has all of the traffic" in state.reason
    state, done = looks(state, good(500, acts=(early, says("approve"))))
    assert state.phase == "swapped"
    kinds = [type(c) for c in done]
    assert kinds.index(Approved) < kinds.index(Promote)


@pytest.mark.parametrize("word", ["approve", "promote"])
def test_one_who_is_not_listed_changes_nothing(word: Any) -> None:
    waiting, _ = looks(*_waiting_for_the_swap())
    by_bob = good(500, acts=(says(word, by="local:bob", roles=("operator",)),))
    state, done = looks(waiting, by_bob)
    assert (state.phase, state.approved) == ("canary", "")
    assert [c.reason for c in done if isinstance(c, Notify)] == [
        "local:bob may not approve new; may approve: ada, admin"
    ]
    # and a role that is listed is enough
    act = says(word, by="oidc:bob", roles=("admin",))
    assert looks(waiting, good(500, acts=(act,)))[0].phase == "swapped"


def _waiting_for_the_swap() -> tuple[RolloutState, RolloutFacts]:
    return looks(rollout("promote"), WARM)[0], good(500)


def test_a_promotion_by_one_who_may_is_the_approval_too() -> None:
    state, _ = looks(rollout("promote"), WARM)
    state, done = looks(state, good(500, units=0, acts=(says("promote"),)))
    assert (state.phase, state.approved) == ("swapped", "local:ada")
    assert [c.by for c in done if isinstance(c, Approved)] == ["local:ada"]


def test_a_paused_last_step_is_no_way_around_it() -> None:
    state, _ = looks(rollout("promote"), WARM)
    state, _ = looks(state, good(500, units=0, acts=(says("pause", name="p"),)))
    assert state.phase == "paused"
    acts = (says("pause", name="p"), says("approve", by="local:bob", name="b"))
    state, _ = looks(state, good(500, units=0, acts=acts))
    assert state.phase == "paused"
    state, done = looks(state, good(500, units=0, acts=(*acts, says("approve", name="a"))))
    assert state.phase == "swapped"
    assert [c for c in done if isinstance(c, Approved)]


@pytest.mark.parametrize("before", ["canary", "promote"])
def test_without_an_answer_in_time_it_pauses_and_calls(before: Any) -> None:
    if before == "canary":
        state, facts = looks(rollout("canary"), WARM)[0], WARM
    else:
        state, facts = _waiting_for_the_swap()
    state, _ = looks(state, facts)
    late = replace(facts, now=T0 + timedelta(seconds=600))
    state, done = looks(state, late)
    assert state.phase == "paused"
    (call,) = [c for c in done if isinstance(c, Call)]
    assert "no answer in 600 s" in call.reason
    assert "may approve: ada, admin" in call.reason
    # going on gives the time anew; approving ends the wait
    again, _ = looks(state, replace(late, acts=(says("resume", name="r"),)), 6)
    assert again.phase == ("warming" if before == "canary" else "canary")
    assert again.awaiting == late.now
    final, _ = looks(state, replace(late, acts=(says("approve"),)), 6)
    assert final.phase == ("canary" if before == "canary" else "swapped")


def test_the_last_step_may_take_longer_than_the_answer() -> None:
    # the time to answer counts from when it waits, not from when the step began
    state, _ = looks(rollout("promote"), WARM)
    late = T0 + timedelta(seconds=590)
    state, _ = looks(state, good(500, now=late))
    state, _ = looks(state, good(500, now=late + timedelta(seconds=590)))
    assert state.phase == "canary"


@pytest.mark.parametrize("before", ["canary", "promote"])
def test_where_nobody_asks_the_machines_clock_ends_the_wait(before: Any) -> None:
    """Event time stands still then; what is seen before it waits does not count."""
    if before == "canary":
        state, facts = looks(rollout("canary"), WARM)[0], WARM
    else:
        state, facts = _waiting_for_the_swap()
    fresh = replace(state, awaiting=None)
    held, _ = step(fresh, replace(facts, waited_s=599_000.0))
    assert held.awaiting == T0, "it only begins to wait"
    assert "waits for approval" in held.reason
    assert step(held, replace(facts, waited_s=599.0))[0].phase == held.phase
    paused, commands = step(held, replace(facts, waited_s=600.0))
    assert paused.phase == "paused"
    assert [c for c in commands if isinstance(c, Call)]


def test_a_wait_before_anything_was_asked_is_not_over_at_the_first_answer() -> None:
    never = datetime(1970, 1, 1, tzinfo=UTC)
    state = begin("r1", "home", "new", "old", plan("canary"), never)
    state, _ = looks(state, replace(WARM, now=never))
    assert state.awaiting == never
    assert looks(state, WARM)[0].phase == "warming"
    assert looks(state, replace(WARM, waited_s=600.0))[0].phase == "paused"


def test_a_failed_gate_takes_back_what_waits() -> None:
    state, facts = _waiting_for_the_swap()
    state, _ = looks(state, facts)
    bad = (GateResult(name="errors", verdict="FAIL"),)
    state, _ = step(state, replace(facts, gates=bad, acts=(says("approve"),)))
    assert state.phase == "rolling_back"


@pytest.mark.parametrize("before", ["canary", "promote"])
def test_the_first_version_waits_too_and_a_way_back_never_does(before: Any) -> None:
    alone = replace(WARM, ready=("new",))
    state, _ = looks(rollout(before, 10_000, stable=None), alone)
    assert "waits for approval" in state.reason
    state, _ = looks(state, replace(alone, acts=(says("approve"),)))
    assert state.phase == "swapped"
    back = begin_back("back-1", "home", "old", "new", T0, "it is broken")
    back = replace(back, plan=plan(before, 10_000))
    state, _ = looks(back, replace(WARM, ready=("old",)))
    assert state.phase == "swapped"


def test_words_that_stand_for_people_and_roles() -> None:
    assert may_approve(("local:ada",), "local:ada", ())
    assert may_approve(("operator",), "oidc:x", ("operator",))
    assert not may_approve(("operator",), "oidc:x", ("admin",))  # listed is who is named
    assert not may_approve(("ada",), "oidc:ada", ("admin",))
    assert not may_approve(("admin",), "local:admin", ())
    assert not may_approve((), "local:ada", ("admin",))


def test_it_goes_through_json_and_an_older_state_has_none() -> None:
    state, _ = looks(rollout("canary"), WARM)
    raw = msgspec.to_builtins(state)
    assert msgspec.convert(raw, RolloutState) == state
    for key in ("awaiting", "approved"):
        del raw[key]
    del raw["plan"]["approval"]
    old = msgspec.convert(raw, RolloutState)
    assert looks(old, WARM)[0].phase == "canary"
    command = Approved(key="k", by="a", before="canary", reason="", share_bp=0)
    kinds = tuple[RolloutCommand, ...]
    assert msgspec.convert(msgspec.to_builtins((command,)), kinds) == (command,)


def test_the_manifest_says_who_and_before_what() -> None:
    asked = RolloutSpec(approval=ApprovalSpec(by=("ada",)))
    assert plan_of(asked).approval == ApprovalPlan(before="promote", by=("ada",))
    assert plan_of(RolloutSpec()).approval is None
    for wrong in ({"by": []}, {"by": ["ada"], "before": "sometimes"}, {"before": "canary"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, ApprovalSpec)
