from dataclasses import replace
from datetime import UTC, datetime
from math import log
from typing import Any

import msgspec
import numpy as np
import pytest

from mlg.core.traffic import Share
from mlg.manifest.specs_services import CanarySpec, RolloutGate, RolloutSpec
from mlg.release.analysis import explanation, judge
from mlg.release.gates import latency_limits
from mlg.release.rollout import begin, status, step
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import GatePlan, RolloutFacts, RolloutPlan, canary_shares
from mlg.release.seen import ArmSeen, GateFacts, StageSeen
from mlg.release.verdicts import GateResult
from mlg.release.visible import smallest_visible, viewers_needed

EDGES = (5.0, 10.0, 15.0, 22.5, 30.0, 60.0, 120.0)
PLAN = plan_of(
    RolloutSpec(
        canary=CanarySpec(steps_bp=(50, 2_500, 10_000), min_units=50),
        gates={"ctr": RolloutGate(from_bp=500)},
    )
)
BASELINE = (0, 980, 15, 5, 0, 0, 0, 0)  # the 99 % quantile lies in (10, 15]: slow is over 15
LIMITS = {"latency_p99": (22.5, 15.0)}
"""At least 20 % over the control's 15 ms, at the next edge."""


def arm(n: int, **odd: Any) -> ArmSeen:
    """Return an arm of `n` units with one good, quick answer each, with changes."""
    good = ArmSeen(units=n, at_risk=n, attempts=n, answers=n)
    return replace(good, **odd)


def facts(
    candidate: ArmSeen,
    *,
    share_bp: int = 50,
    windows: dict[str, tuple[int, int]] | None = None,
    **more: Any,
) -> GateFacts:
    """Return a stage in which the others do well, with units as the split says."""
    n = candidate.units
    stable = arm(n * (10_000 - 2 * share_bp) // share_bp)
    control = arm(n, viewers=candidate.viewers, clicked=0.05 * candidate.viewers)
    control = replace(control, **more.pop("control", {}))
    stage = StageSeen(
        share_bp=share_bp,
        candidate=candidate,
        control=control,
        stable=stable,
        windows=windows or {},
    )
    return GateFacts(stages=(stage,), limits_ms=LIMITS, **more)


def verdicts(seen: GateFacts) -> dict[str, str]:
    return {result.name: result.verdict for result in judge(PLAN, seen)}


def test_a_good_version_passes_every_gate_with_the_least_units() -> None:
    found = verdicts(facts(arm(50)))
    assert found == dict.fromkeys(
        ("errors", "sanity", "latency_p99", "abstention", "rescue", "fallback", "sample_ratio"),
        "PASS",
    )


def test_before_the_least_units_nothing_is_shown() -> None:
    found = verdicts(facts(arm(40)))
    assert [found[name] for name in ("errors", "sanity", "latency_p99", "rescue")] == [
        "INCONCLUSIVE"
    ] * 4


SLOW = {"latency_p99": (20, 0)}
BROKEN = [
    ({"failed": 8}, 8, {}, "errors"),  # every unit
    ({"failed": 8}, 40, {}, "errors"),  # one in five
    ({"failed": 8, "insane": 8}, 8, {}, "sanity"),  # NaN scores
    ({"failed": 60}, 60, {}, "rescue"),
    ({"first_slow": {"latency_p99": 60}}, 60, SLOW, "latency_p99"),  # three times as slow
    ({"first_abstained": 60}, 60, {}, "abstention"),
    ({"first_fell_back": 60}, 60, {}, "fallback"),
]


@pytest.mark.parametrize(("odd", "units", "windows", "gate"), BROKEN)
def test_each_broken_version_fails_its_gate(
    odd: dict[str, Any], units: int, windows: dict[str, tuple[int, int]], gate: str
) -> None:
    seen = facts(arm(units, **odd), windows=windows)
    result = next(r for r in judge(PLAN, seen) if r.name == gate)
    assert result.verdict == "FAIL"
    assert result.e_value >= result.bound
    assert "control 0 of" in result.reason


def test_one_client_that_fails_again_and_again_stops_nobody() -> None:
    """A thousand failed attempts of one unit are one event, and 'a bad answer' is no more."""
    one = facts(arm(50, failed=1, errors=1_000, rescued=1_000, insane=1_000, attempts=2_000))
    found = verdicts(one)
    assert "FAIL" not in found.values()
    assert found["errors"] == found["sanity"] == "INCONCLUSIVE"


def test_failed_attempts_that_no_answer_tells_of_hold_a_pass() -> None:
    silent = facts(arm(200, errors=40, attempts=240))
    assert verdicts(facts(arm(200)))["errors"] == "PASS"
    assert verdicts(silent)["errors"] == "INCONCLUSIVE"
    reason = next(r for r in judge(PLAN, silent) if r.name == "errors").reason
    assert "40 more failed attempts are in no answer" in reason


def test_the_same_faults_in_all_arms_fail_nobody() -> None:
    seen = facts(arm(400, failed=40), control={"failed": 40}, share_bp=2_500)
    stage = replace(seen.stages[0], stable=arm(800, failed=80))
    found = verdicts(replace(seen, stages=(stage,)))
    assert found["errors"] in {"PASS", "INCONCLUSIVE"}


def test_evidence_adds_up_over_stages_and_the_last_must_have_seen_something() -> None:
    one = facts(arm(200)).stages[0]
    silent = StageSeen(share_bp=2_500, candidate=ArmSeen(), control=ArmSeen(), stable=ArmSeen())
    seen = GateFacts(stages=(one, silent), limits_ms=LIMITS)
    assert verdicts(seen)["errors"] == "INCONCLUSIVE"
    broken = facts(arm(40, failed=8)).stages[0]
    assert verdicts(replace(seen, stages=(broken, silent)))["errors"] == "FAIL"
    assert judge(PLAN, GateFacts(stages=())) == ()


def test_without_a_known_control_latency_nothing_is_shown() -> None:
    seen = replace(facts(arm(200)), limits_ms={})
    assert verdicts(seen)["latency_p99"] == "INCONCLUSIVE"


def test_slow_is_fixed_by_the_control_before_the_rollout_and_the_margin() -> None:
    plan = RolloutPlan(gates=(GatePlan(name="latency_p99", alpha=0.01, margin=0.5),))
    assert latency_limits(plan, BASELINE, EDGES) == {"latency_p99": (22.5, 15.0)}
    wide = replace(plan, gates=(replace(plan.gates[0], margin=0.6),))
    assert latency_limits(wide, BASELINE, EDGES) == {"latency_p99": (30.0, 15.0)}
    assert latency_limits(plan, (0,) * 8, EDGES) == {}
    # all that is known is that the quantile lies over the last edge
    assert latency_limits(plan, (0,) * 7 + (9,), EDGES) == {}


RESOURCES = plan_of(
    RolloutSpec(canary=CanarySpec(), gates={"cpu": RolloutGate(), "cache_hits": RolloutGate()})
)


@pytest.mark.parametrize(
    ("units", "windows", "verdict"),
    [
        (200, (16, 0), "FAIL"),
        (200, (0, 8), "PASS"),
        (200, (5, 5), "INCONCLUSIVE"),
        (200, (0, 0), "INCONCLUSIVE"),
        (99, (16, 0), "INCONCLUSIVE"),  # two small groups may ask for different things
    ],
)
@pytest.mark.parametrize("gate", ["cpu", "cache_hits"])
def test_resources_are_judged_span_by_span(
    gate: str, units: int, windows: tuple[int, int], verdict: str
) -> None:
    seen = facts(arm(units), share_bp=2_500, windows={gate: windows})
    found = {result.name: result.verdict for result in judge(RESOURCES, seen)}
    assert found[gate] == verdict
    early = judge(RESOURCES, facts(arm(units), share_bp=50, windows={gate: windows}))
    assert gate not in {result.name for result in early}, "read from 5 % on"


def test_engagement_is_read_from_its_share_on_and_says_when_viewers_are_too_few() -> None:
    assert "ctr" not in verdicts(facts(arm(200)))
    few = facts(arm(200, viewers=150, clicked=7.5), share_bp=2_500, expected_viewers=300.0)
    result = next(r for r in judge(PLAN, few) if r.name == "ctr")
    assert (result.verdict, result.supported, result.engagement) == (
        "INCONCLUSIVE",
        False,
        True,
    )
    assert "about 45536 viewers an arm are needed, about 450 will come" in result.reason
    unknown = next(
        r for r in judge(PLAN, replace(few, expected_viewers=None)) if r.name == "ctr"
    )
    assert unknown.supported, "when nobody knows, no gate is excused"


@pytest.mark.parametrize(
    ("clicked", "verdict"), [(4_000.0, "PASS"), (3_000.0, "FAIL"), (3_700.0, "INCONCLUSIVE")]
)
def test_engagement_with_enough_viewers(clicked: float, verdict: str) -> None:
    seen = facts(arm(80_000, viewers=80_000, clicked=clicked), share_bp=2_500)
    assert verdicts(seen)["ctr"] == verdict


def test_units_that_do_not_follow_the_split_are_an_error() -> None:
    stage = facts(arm(100)).stages[0]
    lost = replace(stage, candidate=arm(30))
    assert verdicts(GateFacts(stages=(lost,)))["sample_ratio"] == "ERROR"
    # all of the traffic between candidate and control: an arm without a share is left out
    half = StageSeen(share_bp=5_000, candidate=arm(90), control=arm(90), stable=ArmSeen())
    assert verdicts(GateFacts(stages=(half,)))["sample_ratio"] == "PASS"


def test_what_clean_units_rule_out_and_viewers_needed_in_closed_form() -> None:
    b = smallest_visible(100)
    # one of five alternatives is "never": (1/5) (1 - b)^-n = 1 / 0.05
    assert (1 - b) ** -100 / 5 == pytest.approx(20)
    assert viewers_needed(0.5, 0.1) == pytest.approx(2 * log(20) * 4 * 0.25 / 0.05**2, abs=1)


def test_good_versions_are_seldom_stopped() -> None:
    """100 A/A rollouts with 10 looks each; by the bound at most 1 % are stopped."""
    rng = np.random.default_rng(7)
    stopped = 0
    for _ in range(100):
        new, own, rest = (rng.binomial(n, 0.01, 10).cumsum() for n in (20, 20, 3_960))
        failed = False
        for look in range(10):
            n = 20 * (look + 1)
            stage = StageSeen(
                share_bp=50,
                candidate=ArmSeen(units=n, at_risk=n, failed=int(new[look])),
                control=ArmSeen(units=n, at_risk=n, failed=int(own[look])),
                stable=ArmSeen(units=198 * n, at_risk=198 * n, failed=int(rest[look])),
            )
            found = judge(replace(PLAN, gates=PLAN.gates[:1]), GateFacts(stages=(stage,)))
            failed = failed or any(r.verdict in {"FAIL", "ERROR"} for r in found)
        stopped += failed
    assert stopped <= 4  # P(more than 4 of 100 at 1 %) < 0.004


def test_a_sample_of_very_many_units_is_weighed_by_its_part() -> None:
    """One of eight units of the stable arm told apart: the split is as it should be."""
    stage = facts(arm(1_000)).stages[0]
    sampled = replace(stage.stable, sample=8)
    assert sampled.sampled == 198_000 // 8
    assert verdicts(GateFacts(stages=(replace(stage, stable=sampled),)))["sample_ratio"] == (
        "PASS"
    )
    # half of the viewers do not come back
    lost = replace(sampled, units=99_000)
    assert verdicts(GateFacts(stages=(replace(stage, stable=lost),)))["sample_ratio"] == "ERROR"


@pytest.mark.parametrize(
    ("candidate", "windows", "ends"),
    [
        (arm(50), {}, "promoting"),
        (arm(50, failed=50), {}, "rolled_back"),
        (arm(50, failed=10), {}, "rolled_back"),
        (arm(50, failed=50, insane=50), {}, "rolled_back"),
        (arm(60, first_slow={"latency_p99": 60}), SLOW, "rolled_back"),
        (arm(60, first_abstained=60), {}, "rolled_back"),
    ],
)
def test_verdicts_bring_a_good_version_on_and_a_broken_one_back(
    candidate: ArmSeen, windows: dict[str, tuple[int, int]], ends: str
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    state = begin("r", "home", "new", "old", PLAN, now)
    for _ in range(5):
        share_bp = max(50, state.share_bp)
        back = state.phase == "rolling_back"
        seen = facts(candidate, share_bp=share_bp, expected_viewers=100.0, windows=windows)
        shares = (
            (Share(version="old", bp=10_000),)
            if back
            else canary_shares("old", "new", share_bp)
        )
        known = RolloutFacts(
            now=now,
            ready=("new", "old~control"),
            shares=shares,
            step=state.step,
            fresh=True,
            units=50,
            gates=judge(PLAN, seen),
            swaps=(now,) * 9,
        )
        state, _ = step(state, known)
    assert state.phase == ends
    shown = msgspec.to_builtins(status(state))
    assert shown["gates"][0]["name"] == "errors"
    assert state.reason in shown["explanation"]


def test_the_explanation_takes_the_worst() -> None:
    good = GateResult(name="errors", verdict="PASS")
    bad = GateResult(name="ctr", verdict="FAIL", reason="3 of 900")
    broken = GateResult(name="sample_ratio", verdict="ERROR", reason="30 units")
    assert explanation((good, bad)) == "The candidate is worse: ctr, 3 of 900."
    assert explanation((good, bad, broken)).startswith("The comparison itself is broken")
    assert explanation(()) == "Nothing was measured yet."
    text = msgspec.json.encode(judge(PLAN, facts(arm(9_000, failed=9_000))))
    assert b"null" not in text
