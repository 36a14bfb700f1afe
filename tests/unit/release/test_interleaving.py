"""The phase before the canary, told as facts; and its verdicts, told as votes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlg.core.measure import Verdict
from mlg.core.traffic import Share
from mlg.manifest.specs_services import CanarySpec, InterleaveSpec, RolloutGate, RolloutSpec
from mlg.release.interleaving import DraftsSeen, judge_drafts
from mlg.release.rollout import begin, step
from mlg.release.rollout_plan import ALPHA, plan_of
from mlg.release.rollout_types import (
    BEFORE_STEPS,
    Fallen,
    OperatorAct,
    Retire,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    SetShares,
    StartVersions,
)
from mlg.release.verdicts import GateResult

T0 = datetime(2026, 3, 1, tzinfo=UTC)
SPEC = RolloutSpec(
    interleave=InterleaveSpec(share_bp=500, min_viewers=50, max_hold_s=600.0),
    canary=CanarySpec(steps_bp=(50, 10_000), min_units=5, max_hold_s=1_800.0),
)
PLAN = plan_of(SPEC)
LABEL = "new~interleaved"
READY = ("new", "old~control", LABEL)
BOTH = (Share(version=LABEL, bp=500), Share(version="old", bp=9_500))
OLD = (Share(version="old", bp=10_000),)


def interleaving(plan: RolloutPlan = PLAN) -> RolloutState:
    """Return a rollout that shows lists of both."""
    state, commands = step(begin("r", "home", "new", "old", plan, T0), RolloutFacts(now=T0))
    (starts,) = [c for c in commands if isinstance(c, StartVersions)]
    assert [(s.label, s.beside) for s in starts.versions][-1] == (LABEL, "old")
    state, _ = step(state, RolloutFacts(now=T0, ready=READY[:2], shares=OLD))
    assert (state.phase, state.reason) == ("warming", f"{LABEL} not warm yet")
    state, commands = step(state, RolloutFacts(now=T0, ready=READY, shares=OLD))
    assert (state.phase, state.step, state.share_bp) == ("interleaving", BEFORE_STEPS, 500)
    assert [c.shares for c in commands if isinstance(c, SetShares)] == [BOTH]
    return state


def votes(verdict: Verdict = "PASS", faults: Verdict = "PASS", **odd: Any) -> RolloutFacts:
    gates = (
        GateResult(name="interleaving", verdict=verdict, engagement=True),
        GateResult(name="interleaved_faults", verdict=faults),
    )
    facts = RolloutFacts(
        now=T0, ready=READY, shares=BOTH, step=BEFORE_STEPS, fresh=True, units=50, gates=gates
    )
    return replace(facts, **odd)


def labels(commands: Any) -> list[str]:
    return [c.label for c in commands if isinstance(c, Retire)]


def test_a_pass_goes_on_to_the_first_step_and_ends_the_group() -> None:
    state, commands = step(interleaving(), votes())
    assert (state.phase, state.step, state.share_bp) == ("canary", 0, 50)
    assert not state.interleaved
    assert labels(commands) == [LABEL]
    # what was said of the lists is not taken for the canary's own evidence
    after, nothing = step(state, votes(shares=next(
        c.shares for c in commands if isinstance(c, SetShares)
    )))  # fmt: skip
    assert (after.phase, nothing, after.reason) == (
        "canary",
        (),
        "no metrics of this step yet",
    )


@pytest.mark.parametrize("gate", ["verdict", "faults"])
def test_a_fail_takes_all_lists_of_both_away_at_once(gate: str) -> None:
    facts = votes(**{gate: "FAIL"})
    state, commands = step(interleaving(), facts)
    assert (state.phase, state.share_bp) == ("rolling_back", 0)
    assert [c.shares for c in commands if isinstance(c, SetShares)] == [OLD]
    state, commands = step(state, replace(facts, shares=OLD))
    assert (state.phase, labels(commands)) == ("rolled_back", [LABEL, "new", "old~control"])


def test_without_a_verdict_the_canary_judges_and_says_so() -> None:
    late = votes("INCONCLUSIVE", now=T0 + timedelta(seconds=601))
    held, nothing = step(interleaving(), votes("INCONCLUSIVE"))
    assert (held.phase, nothing) == ("interleaving", ())
    state, _ = step(interleaving(), late)
    assert state.phase == "canary"
    assert "interleaving INCONCLUSIVE, the canary judges" in state.reason


def test_too_few_votes_are_no_pass() -> None:
    state, nothing = step(interleaving(), votes(units=49))
    assert (state.phase, nothing) == ("interleaving", ())
    assert state.reason == "49 of 50 votes"


@pytest.mark.parametrize(
    "odd", [{"fresh": False}, {"step": None}, {"step": 0}, {"gates": ()}, {"shares": OLD}]
)
def test_what_is_not_known_holds_and_in_the_end_calls(odd: dict[str, Any]) -> None:
    state, nothing = step(interleaving(), votes(**odd))
    assert (state.phase, nothing) == ("interleaving", ())
    state, _ = step(interleaving(), votes(**odd, now=T0 + timedelta(seconds=601)))
    assert state.phase == "paused"


@pytest.mark.parametrize("alone", [False, True])
def test_where_it_must_judge_no_verdict_pauses(alone: bool) -> None:
    asked = InterleaveSpec(max_hold_s=600.0, required=not alone)
    spec = RolloutSpec(interleave=asked, canary=None if alone else SPEC.canary)
    state = interleaving(plan_of(spec))
    state, _ = step(state, votes("INCONCLUSIVE", now=T0 + timedelta(seconds=601)))
    assert state.phase == "paused"
    act = OperatorAct(id="a", act="approve", by="ann")
    state, commands = step(state, votes("INCONCLUSIVE", acts=(act,)))
    assert state.phase == ("promoting" if alone else "canary")
    assert labels(commands) == [LABEL]


def test_without_a_canary_nobody_sees_both_while_the_swap_waits_for_its_turn() -> None:
    state = interleaving(plan_of(RolloutSpec(interleave=SPEC.interleave)))
    state, commands = step(state, votes())
    assert (state.phase, state.share_bp) == ("promoting", 0)
    assert [c.shares for c in commands if isinstance(c, SetShares)] == [OLD]
    state, _ = step(state, RolloutFacts(now=T0, ready=READY, shares=OLD))
    assert state.phase == "swapped"
    assert state.reason.startswith("rests on interleaved lists: interleaving PASS")


def test_a_group_that_does_not_run_leaves_the_verdict_to_the_canary() -> None:
    fallen = (Fallen(label=LABEL, reason="crash loop"),)
    state, commands = step(interleaving(), votes(fallen=fallen))
    assert (state.phase, labels(commands)) == ("canary", [LABEL])
    assert "does not run: crash loop" in state.reason


@pytest.mark.parametrize(("act", "phase"), [("rollback", "rolling_back"), ("pause", "paused")])
def test_a_person_is_heard(act: Any, phase: str) -> None:
    told = OperatorAct(id="a", act=act, by="ann")
    state, _ = step(interleaving(), votes("INCONCLUSIVE", acts=(told,)))
    assert state.phase == phase
    if act == "pause":
        back = OperatorAct(id="b", act="resume", by="ann")
        state, _ = step(state, votes("INCONCLUSIVE", acts=(told, back)))
        assert state.phase == "interleaving"


def test_a_person_may_promote_from_here() -> None:
    told = OperatorAct(id="a", act="promote", by="ann")
    state, commands = step(interleaving(), votes("INCONCLUSIVE", acts=(told,)))
    assert (state.phase, state.forced, labels(commands)) == ("promoting", True, [LABEL])
    state, _ = step(state, RolloutFacts(now=T0, ready=READY, shares=OLD, acts=(told,)))
    assert state.phase == "swapped"


def test_the_first_version_and_the_way_back_interleave_nothing() -> None:
    state, commands = step(begin("r", "home", "new", None, PLAN, T0), RolloutFacts(now=T0))
    (starts,) = [c for c in commands if isinstance(c, StartVersions)]
    assert ([s.label for s in starts.versions], state.interleaved) == (["new"], False)


def test_all_gates_share_alpha() -> None:
    assert PLAN.interleave is not None
    total = PLAN.interleave.alpha + sum(gate.alpha for gate in PLAN.gates)
    assert total == pytest.approx(ALPHA)
    without = plan_of(replace_interleave(None))
    assert sum(gate.alpha for gate in without.gates) == pytest.approx(ALPHA)
    errors = [g.alpha for p in (PLAN, without) for g in p.gates if g.name == "errors"]
    assert errors == [ALPHA / 2] * 2, "what finds broken software soonest keeps its part"
    low = plan_of(replace_interleave(InterleaveSpec(alpha=1e-4))).interleave
    assert low is not None
    assert low.alpha == 1e-4


def replace_interleave(asked: InterleaveSpec | None) -> RolloutSpec:
    return RolloutSpec(interleave=asked, canary=SPEC.canary, gates={"ctr": RolloutGate()})


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (DraftsSeen(), "INCONCLUSIVE"),
        (DraftsSeen(wins=5, losses=60, coin_wins=20, coin_losses=70), "FAIL"),
        (DraftsSeen(wins=60, losses=5, coin_wins=60, coin_losses=20), "PASS"),
        (DraftsSeen(wins=10, losses=10, coin_wins=20, coin_losses=20), "INCONCLUSIVE"),
        # the two give the same lists: no item tells them apart, and the coins are even
        (DraftsSeen(coin_wins=150, coin_losses=150), "PASS"),
        # few votes, however clear, are no PASS
        (DraftsSeen(wins=40, coin_wins=40), "INCONCLUSIVE"),
    ],
)
def test_votes_become_verdicts(seen: DraftsSeen, verdict: str) -> None:
    assert PLAN.interleave is not None
    said, faults = judge_drafts(PLAN.interleave, seen)
    assert (said.verdict, faults.verdict) == (verdict, "PASS")
    assert said.bound == pytest.approx(2 / PLAN.interleave.alpha)


def test_a_candidate_that_gives_nothing_fails_within_a_few_requests() -> None:
    assert PLAN.interleave is not None
    found = [
        judge_drafts(PLAN.interleave, DraftsSeen(answers=n, faults=n))[1].verdict
        for n in range(6)
    ]
    assert found[0] == "PASS"
    assert found[4] == "FAIL"
    healthy = judge_drafts(PLAN.interleave, DraftsSeen(answers=10_000, faults=40))[1]
    assert healthy.verdict == "PASS"
