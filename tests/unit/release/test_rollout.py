"""The way of one rollout, told as facts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest

from mlg.core.measure import Verdict
from mlg.core.traffic import Share, TrafficSplit
from mlg.manifest.specs_services import CanarySpec, RolloutGate, RolloutSpec
from mlg.release.rollout import begin, explain, step, swap_waits_until
from mlg.release.rollout_plan import ALPHA, plan_of
from mlg.release.rollout_types import (
    Call,
    Fallen,
    KeepWarm,
    Next,
    Notify,
    OperatorAct,
    Promote,
    Record,
    Retire,
    RollBack,
    RolloutCommand,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    SetShares,
    StartStaging,
    StartVersions,
    canary_shares,
)
from mlg.release.verdicts import GateResult

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = plan_of(
    RolloutSpec(
        canary=CanarySpec(steps_bp=(50, 2_500, 10_000), min_units=50, max_hold_s=1_800.0),
        gates={"ctr": RolloutGate(from_bp=500)},
        swaps_per_hour=2,
        swap_back_s=600.0,
    )
)
C = TypeVar("C")
READY = ("new", "old~control")


def gates(verdict: Verdict = "PASS", *, plan: RolloutPlan = PLAN, **odd: Any) -> Any:
    """Return a result of each gate of the plan, with other verdicts by name."""
    return tuple(
        GateResult(
            name=gate.name,
            verdict=odd.get(gate.name, verdict),
            engagement=gate.engagement,
            supported=not gate.engagement,
        )
        for gate in plan.gates
    )


def rollout(stable: str | None = "old", plan: RolloutPlan = PLAN) -> RolloutState:
    return begin("r1", "home", "new", stable, plan, T0)


def split(share_bp: int) -> tuple[Share, ...]:
    return canary_shares("old", "new", share_bp)


def evidence(at: int, share_bp: int, **changes: Any) -> RolloutFacts:
    """Return facts under which step `at` ends well, with changes."""
    facts = RolloutFacts(
        now=T0 + timedelta(minutes=1),
        ready=READY,
        shares=split(share_bp),
        step=at,
        fresh=True,
        units=50,
        gates=gates(),
    )
    return replace(facts, **changes)


def at_step(n: int) -> RolloutState:
    """Return a rollout that has just reached step `n`."""
    state, _ = step(rollout(), RolloutFacts(now=T0))
    state, _ = step(state, RolloutFacts(now=T0, ready=READY))
    for passed in range(n):
        state, _ = step(state, evidence(passed, PLAN.steps_bp[passed], now=T0))
    assert (state.phase, state.step) == ("canary", n)
    return state


def swapped() -> RolloutState:
    state, _ = step(at_step(1), evidence(1, 2_500, now=T0))
    state, _ = step(state, evidence(1, 2_500, now=T0))
    assert state.phase == "swapped"
    return state


def of(kind: type[C], commands: Sequence[RolloutCommand]) -> list[C]:
    return [command for command in commands if isinstance(command, kind)]


def act(word: Any, name: str = "a1") -> tuple[OperatorAct, ...]:
    return (OperatorAct(id=name, act=word, by="local:ann"),)


def test_a_good_version_goes_all_the_way_and_the_old_one_stays_warm() -> None:
    state, started = step(rollout(), RolloutFacts(now=T0))
    assert [v.label for v in of(StartVersions, started)[0].versions] == ["new", "old~control"]
    state, commands = step(state, RolloutFacts(now=T0, ready=READY))
    assert of(SetShares, commands)[0].shares == (
        Share(version="new", bp=50),
        Share(version="old", bp=9_900),
        Share(version="old~control", bp=50),
    )
    state, commands = step(state, evidence(0, 50))
    assert of(SetShares, commands)[0].shares == split(2_500)
    state, commands = step(state, evidence(1, 2_500))
    assert (state.phase, of(SetShares, commands)) == ("promoting", [])
    state, commands = step(state, evidence(1, 2_500))
    assert of(SetShares, commands)[0].shares == (Share(version="new", bp=10_000),)
    assert of(Promote, commands)[0].replaced == "old"
    assert of(KeepWarm, commands)[0].until == T0 + timedelta(minutes=11)
    live = RolloutFacts(
        now=T0 + timedelta(minutes=2), fresh=True, shares=(Share(version="new", bp=10_000),)
    )
    state, commands = step(state, live)
    assert [c.label for c in of(Retire, commands)] == ["old~control"]
    assert step(state, live)[1] == ()
    state, commands = step(state, replace(live, now=T0 + timedelta(minutes=11)))
    assert state.phase == "done"
    assert [c.label for c in of(Retire, commands)] == ["old"]


def test_the_first_version_goes_straight_to_everything() -> None:
    state, commands = step(rollout(None), RolloutFacts(now=T0))
    assert [v.label for v in of(StartVersions, commands)[0].versions] == ["new"]
    ready = RolloutFacts(now=T0, ready=("new",))
    state, _ = step(state, ready)
    state, commands = step(state, ready)
    assert of(SetShares, commands)[0].shares == (Share(version="new", bp=10_000),)
    assert not of(KeepWarm, commands)
    state, _ = step(state, replace(ready, fallen=(Fallen(label="new", reason="crash loop"),)))
    assert state.phase == "swapped", "there is nothing to go back to"
    state, commands = step(state, replace(ready, shares=(Share(version="new", bp=10_000),)))
    assert (state.phase, of(Retire, commands)) == ("done", [])


def test_staging_comes_first_and_a_failed_battery_ends_the_rollout() -> None:
    plan = replace(PLAN, staging=True)
    state, commands = step(rollout(plan=plan), RolloutFacts(now=T0))
    assert of(StartStaging, commands)[0].version == "new"
    assert step(state, RolloutFacts(now=T0))[1] == ()
    passed, _ = step(state, RolloutFacts(now=T0, staging="PASS"))
    assert passed.phase == "warming"
    hung = RolloutFacts(now=T0, staging="ERROR", staging_reason="the load test hung")
    failed, commands = step(state, hung)
    assert failed.phase == "failed"
    assert "the load test hung" in failed.reason
    assert [c.label for c in of(Retire, commands)] == ["new"]


@pytest.mark.parametrize("gate", [g.name for g in PLAN.gates])
def test_one_failed_gate_sends_all_traffic_back_at_once(gate: str) -> None:
    state, commands = step(at_step(0), evidence(0, 50, gates=gates(**{gate: "FAIL"}), units=1))
    assert isinstance(commands[0], SetShares)
    assert commands[0].shares == (Share(version="old", bp=10_000),)
    assert of(RollBack, commands)[0].swap is False
    assert of(Call, commands)
    assert state.phase == "rolling_back"
    waiting, nothing = step(state, evidence(0, 50))
    assert (waiting, nothing) == (state, ())
    state, commands = step(state, evidence(0, 50, shares=split(0)))
    assert state.phase == "rolled_back"
    assert [c.label for c in of(Retire, commands)] == ["new", "old~control"]
    assert f"{gate} FAIL" in explain(state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fresh": False}, "no fresh metrics"),
        ({"step": None}, "no metrics of this step"),
        ({"step": 1}, "no metrics of this step"),
        ({"gates": gates()[1:]}, "no metrics for errors"),
        ({"shares": None}, "gateway"),
        ({"shares": split(2_500)}, "gateway"),
        ({"units": 49}, "49 of 50 sticky units"),
        ({"gates": gates(latency_p99="INCONCLUSIVE")}, "latency_p99 INCONCLUSIVE"),
    ],
)
def test_what_is_missing_holds_and_at_last_pauses_and_calls(
    changes: dict[str, Any], words: str
) -> None:
    facts = evidence(0, 50, **changes)
    state, commands = step(at_step(0), facts)
    assert (state.phase, state.step, commands) == ("canary", 0, ())
    assert words in state.reason
    late = replace(facts, now=T0 + timedelta(minutes=30))
    state, commands = step(state, late)
    assert (state.phase, state.share_bp) == ("paused", 50)
    assert words in of(Call, commands)[0].reason
    assert step(state, late)[1] == ()


def test_a_gate_that_the_viewers_cannot_support_says_so_and_the_others_decide() -> None:
    facts = evidence(1, 2_500, gates=gates(ctr="INCONCLUSIVE"))
    state, commands = step(at_step(1), facts)
    assert state.phase == "promoting"
    assert "rests on these, as ctr INCONCLUSIVE" in of(Record, commands)[0].reason
    supported = tuple(replace(g, supported=True) for g in facts.gates)
    state, _ = step(at_step(1), replace(facts, gates=supported))
    assert state.phase == "canary"


def test_a_gate_that_reads_the_software_is_never_excused() -> None:
    odd = tuple(replace(g, supported=False) for g in gates(latency_p99="INCONCLUSIVE"))
    assert step(at_step(0), evidence(0, 50, gates=odd))[0].phase == "canary"


def test_an_error_pauses_and_calls_and_a_person_may_approve_the_step() -> None:
    broken = gates(errors="ERROR")
    state, commands = step(at_step(0), evidence(0, 50, gates=broken))
    assert state.phase == "paused"
    assert len(of(Call, commands)) == 1
    state, commands = step(state, evidence(0, 50, gates=broken, acts=act("approve")))
    assert (state.phase, state.step) == ("canary", 1)
    assert of(Record, commands)[0].by == "local:ann"


def test_a_person_pauses_and_the_safety_gates_go_on_reading() -> None:
    state, _ = step(at_step(0), evidence(0, 50, acts=act("pause")))
    assert state.phase == "paused"
    still, commands = step(state, evidence(0, 50, acts=act("pause")))
    assert (still, commands) == (state, ()), "the same act is not done twice"
    resumed, _ = step(state, evidence(0, 50, acts=act("resume", "a2")))
    assert (resumed.phase, resumed.step) == ("canary", 0)
    failing, _ = step(state, evidence(0, 50, gates=gates(errors="FAIL")))
    assert failing.phase == "rolling_back"


def test_a_person_cannot_promote_past_a_failed_gate_but_can_past_an_open_one() -> None:
    facts = evidence(0, 50, gates=gates("INCONCLUSIVE"), acts=act("promote"))
    state, _ = step(at_step(0), facts)
    assert (state.phase, state.forced) == ("promoting", True)
    state, commands = step(state, replace(facts, frozen=True, fresh=False))
    assert of(Promote, commands), "who promotes in a freeze means it"
    failing = replace(facts, gates=gates(errors="FAIL"))
    assert step(at_step(0), failing)[0].phase == "rolling_back"


def test_an_act_that_does_not_fit_is_answered_once() -> None:
    state, commands = step(rollout(), RolloutFacts(now=T0, acts=act("promote")))
    assert "changes nothing" in of(Notify, commands)[0].reason
    state, commands = step(state, RolloutFacts(now=T0, acts=act("promote")))
    assert not of(Notify, commands)


def test_a_freeze_stops_everything_but_the_way_back() -> None:
    frozen = evidence(0, 50, frozen=True)
    state, commands = step(at_step(0), frozen)
    assert (state.phase, commands) == ("canary", ())
    assert "frozen" in state.reason
    state, commands = step(state, replace(frozen, gates=gates(errors="FAIL")))
    assert of(RollBack, commands)
    assert step(state, replace(frozen, shares=split(0)))[0].phase == "rolled_back"


def test_the_swap_waits_for_its_hour_and_a_rollback_does_not() -> None:
    state, _ = step(at_step(1), evidence(1, 2_500))
    now = T0 + timedelta(hours=2)
    busy = (now - timedelta(hours=1), now - timedelta(minutes=5))
    facts = evidence(1, 2_500, now=now, swaps=busy)
    held, commands = step(state, facts)
    assert (held.phase, commands) == ("promoting", ())
    assert "the next may happen after" in held.reason
    assert swap_waits_until(PLAN, facts) == now
    later = replace(facts, now=now + timedelta(microseconds=1))
    assert step(held, later)[0].phase == "swapped"
    assert step(held, replace(facts, gates=gates(errors="FAIL")))[0].phase == "rolling_back"


def test_the_swap_waits_for_metrics_and_for_a_warm_version() -> None:
    state, _ = step(at_step(1), evidence(1, 2_500))
    for change in ({"fresh": False}, {"ready": ()}):
        held, commands = step(state, evidence(1, 2_500, **change))
        assert (held.phase, commands) == ("promoting", ())
    assert step(state, evidence(1, 2_500, gates=gates(errors="ERROR")))[0].phase == "paused"


def test_an_objective_that_burns_after_the_swap_reverses_it() -> None:
    burning = (GateResult(name="error_rate", verdict="FAIL", reason="burns 20 times"),)
    state, commands = step(swapped(), RolloutFacts(now=T0, watch=burning, frozen=True))
    assert of(SetShares, commands)[0].shares == (Share(version="old", bp=10_000),)
    assert of(RollBack, commands)[0].swap is True
    state, _ = step(state, RolloutFacts(now=T0, shares=split(0)))
    assert state.phase == "rolled_back"
    assert "burns 20 times" in state.reason


def test_the_old_version_stays_while_there_are_no_metrics() -> None:
    full = (Share(version="new", bp=10_000),)
    blind = RolloutFacts(now=T0 + timedelta(days=9), shares=full)
    state, _ = step(swapped(), blind)
    state, commands = step(state, blind)
    assert (state.phase, commands) == ("swapped", ())


def after_the_swap(now: datetime = T0, **more: Any) -> RolloutFacts:
    full = (Share(version="new", bp=10_000),)
    return RolloutFacts(now=now, shares=full, fresh=True, **more)


def test_where_nobody_asks_the_machines_clock_lets_the_old_version_go() -> None:
    """Event time stands still then; the next rollout must not wait for ever."""
    state, _ = step(swapped(), after_the_swap())  # the control group goes
    almost = after_the_swap(waited_s=PLAN.swap_back_s - 0.001)
    held, commands = step(state, almost)
    assert (held.phase, commands) == ("swapped", ())
    assert "at most 600 s by the machine's clock" in held.reason
    ended, commands = step(held, after_the_swap(waited_s=PLAN.swap_back_s))
    assert ended.phase == "done"
    assert of(Retire, commands)[0].label == "old"


@pytest.mark.parametrize(
    "facts",
    [
        {"fresh": False},
        {"watch": (GateResult(name="cpu", verdict="ERROR"),)},
        {"shares": None},
    ],
)
def test_the_machines_clock_lets_nothing_go_that_cannot_be_judged(facts: Any) -> None:
    late = after_the_swap(waited_s=10 * PLAN.swap_back_s)
    state, _ = step(swapped(), late)
    state, commands = step(state, replace(late, **facts))
    assert (state.phase, commands) == ("swapped", ())


def test_a_swap_before_anything_was_asked_is_not_over_at_the_first_answer() -> None:
    state, _ = step(swapped(), after_the_swap())
    first = replace(state, since=datetime(1970, 1, 1, tzinfo=UTC))
    assert step(first, after_the_swap())[0].phase == "swapped"
    over = after_the_swap(waited_s=PLAN.swap_back_s)
    assert step(first, over)[0].phase == "done"


def test_of_the_versions_that_wait_the_newest_comes_next() -> None:
    state, commands = step(at_step(0), evidence(0, 50, fresh=False, arrived="b"))
    assert "b waits" in of(Notify, commands)[0].reason
    state, commands = step(state, evidence(0, 50, fresh=False, arrived="c"))
    assert "b is superseded" in of(Notify, commands)[0].reason
    state, commands = step(state, evidence(0, 50, acts=act("rollback"), arrived="c"))
    assert not of(Next, commands)
    state, commands = step(state, evidence(0, 50, shares=split(0), arrived="c"))
    assert of(Next, commands)[0].version == "c"
    assert step(state, evidence(0, 50, arrived="d"))[1] == ()


def test_replicas_that_do_not_run() -> None:
    down = (Fallen(label="new", reason="crash loop"),)
    warming, _ = step(rollout(), RolloutFacts(now=T0))
    state, commands = step(warming, RolloutFacts(now=T0, fallen=down))
    assert state.phase == "failed"
    assert [c.label for c in of(Retire, commands)] == ["new", "old~control"]
    assert step(at_step(0), evidence(0, 50, fallen=down))[0].phase == "rolling_back"
    control = (Fallen(label="old~control", reason="crash loop"),)
    assert step(at_step(0), evidence(0, 50, fallen=control))[0].phase == "paused"
    paused, commands = step(warming, RolloutFacts(now=T0, ready=("new",), fallen=control))
    assert paused.phase == "paused"
    state, _ = step(paused, RolloutFacts(now=T0, acts=act("resume")))
    state, commands = step(state, RolloutFacts(now=T0))
    assert (state.phase, bool(of(StartVersions, commands))) == ("warming", True)


def test_a_version_that_was_rolled_back_is_not_tried_again() -> None:
    state, _ = step(rollout(), RolloutFacts(now=T0, rejected=("new",)))
    assert state.phase == "failed"


def test_begin_refuses_what_serves_already() -> None:
    with pytest.raises(ValueError, match="already"):
        begin("r1", "home", "old", "old", PLAN, T0)


@pytest.mark.parametrize("share_bp", [0, 1, 50, 5_000, 7_500, 10_000])
def test_shares_make_a_split(share_bp: int) -> None:
    shares = split(share_bp)
    TrafficSplit(service="home", shares=shares)
    by_label = {share.version: share.bp for share in shares}
    assert by_label.get("new", 0) == share_bp
    assert by_label.get("old~control", 0) == min(share_bp, 10_000 - share_bp)
    with pytest.raises(ValueError, match="no split"):
        canary_shares("old", "new", 10_001)


def test_everything_goes_through_json_and_back() -> None:
    state, commands = step(at_step(0), evidence(0, 50, gates=gates(errors="FAIL")))
    text = msgspec.json.encode((state, commands, evidence(0, 50)))
    kind = tuple[RolloutState, tuple[RolloutCommand, ...], RolloutFacts]
    assert msgspec.json.decode(text, type=kind) == (state, commands, evidence(0, 50))
    keys = [command.key for command in commands]
    assert keys == [f"r1:3:{n}" for n in range(len(keys))]


def test_alpha_is_split_over_the_gates() -> None:
    assert sum(gate.alpha for gate in PLAN.gates) == pytest.approx(ALPHA)
    assert PLAN.required(50) == tuple(g.name for g in PLAN.gates if g.name != "ctr")
    assert "ctr" in PLAN.required(2_500)
    gates_given: dict[Any, RolloutGate] = {
        "errors": RolloutGate(alpha=0.001, max_bp=200),
        "latency_p99": RolloutGate(max_increase_bp=2_000),
        "watch_through": RolloutGate(max_drop_bp=500),
    }
    plan = plan_of(RolloutSpec(canary=CanarySpec(), gates=gates_given))
    found = {gate.name: (gate.margin, gate.from_bp) for gate in plan.gates}
    assert found["errors"] == (0.02, 0)
    assert found["latency_p99"] == (0.2, 0)
    assert found["watch_through"] == (0.05, 500)
    assert plan.gates[0].alpha == 0.001
    spec = RolloutSpec(gates={"cpu": RolloutGate(max_bp=8_500)})
    assert plan_of(spec).gates == ()
    canary = RolloutSpec(canary=CanarySpec(), gates={"cpu": RolloutGate(max_bp=8_500)})
    cpu = next(gate for gate in plan_of(canary).gates if gate.name == "cpu")
    assert (cpu.margin, cpu.limit, cpu.from_bp) == (0.2, 0.85, 500)


def test_a_step_that_began_before_anything_was_asked_is_not_overdue_at_the_first_answer() -> (
    None
):
    """With the requests' own time nothing is known before the first: it began in 1970."""
    before = replace(at_step(0), since=datetime(1970, 1, 1, tzinfo=UTC))
    held, commands = step(before, evidence(0, 50, units=1))
    assert (held.phase, commands) == ("canary", ())
    late = replace(evidence(0, 50, units=1), waited_s=PLAN.max_hold_s)
    assert step(before, late)[0].phase == "paused"
