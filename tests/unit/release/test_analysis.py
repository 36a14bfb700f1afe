from dataclasses import replace
from datetime import UTC, datetime
from math import log
from typing import Any

import msgspec
import numpy as np
import pytest

from mlg.core.traffic import Share
from mlg.manifest.specs_services import CanarySpec, RolloutGate, RolloutSpec
from mlg.release.analysis import (
    ArmSeen,
    GateFacts,
    StageSeen,
    explanation,
    judge,
    smallest_visible,
    viewers_needed,
)
from mlg.release.rollout import begin, status, step
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import RolloutFacts, canary_shares
from mlg.release.verdicts import GateResult

EDGES = (5.0, 10.0, 15.0, 22.5, 30.0, 60.0, 120.0)
PLAN = plan_of(
    RolloutSpec(
        canary=CanarySpec(steps_bp=(50, 2_500, 10_000), min_units=50),
        gates={"ctr": RolloutGate(from_bp=500)},
    )
)
BASELINE = (0, 980, 15, 5, 0, 0, 0, 0)  # the 99 % quantile lies in (10, 15]: slow is over 15


def arm(n: int, **odd: Any) -> ArmSeen:
    """Return an arm with `n` good, quick answers to as many units, with changes."""
    good = ArmSeen(units=n, attempts=n, answers=n, latency=(0, n, 0, 0, 0, 0, 0, 0))
    return replace(good, **odd)


def facts(candidate: ArmSeen, *, share_bp: int = 50, **more: Any) -> GateFacts:
    """Return a stage in which the others do well, with units as the split says."""
    n = candidate.units
    stable = arm(n * (10_000 - 2 * share_bp) // share_bp)
    control = arm(n, viewers=candidate.viewers, clicked=0.05 * candidate.viewers)
    control = replace(control, **more.pop("control", {}))
    stage = StageSeen(share_bp=share_bp, candidate=candidate, control=control, stable=stable)
    return GateFacts(stages=(stage,), edges_ms=EDGES, baseline=BASELINE, **more)


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


@pytest.mark.parametrize(
    ("candidate", "gate"),
    [
        (arm(8, errors=8), "errors"),  # every answer an error
        (arm(40, errors=8), "errors"),  # one in five
        (arm(8, errors=8, insane=8), "sanity"),  # NaN scores
        (arm(60, latency=(0, 0, 0, 0, 60, 0, 0, 0)), "latency_p99"),  # three times as slow
        (arm(60, abstained=60), "abstention"),
        (arm(60, rescued=60), "rescue"),
        (arm(60, fell_back=60), "fallback"),
    ],
)
def test_each_broken_version_fails_its_gate(candidate: ArmSeen, gate: str) -> None:
    result = next(r for r in judge(PLAN, facts(candidate)) if r.name == gate)
    assert result.verdict == "FAIL"
    assert result.e_value >= result.bound
    assert "control 0 of" in result.reason


def test_the_same_faults_in_all_arms_fail_nobody() -> None:
    seen = facts(arm(400, errors=40), control={"errors": 40}, share_bp=2_500)
    stage = replace(seen.stages[0], stable=arm(800, errors=80))
    found = verdicts(replace(seen, stages=(stage,)))
    assert found["errors"] in {"PASS", "INCONCLUSIVE"}


def test_evidence_adds_up_over_stages_and_the_last_must_have_seen_something() -> None:
    one = facts(arm(200)).stages[0]
    silent = StageSeen(share_bp=2_500, candidate=ArmSeen(), control=ArmSeen(), stable=ArmSeen())
    seen = GateFacts(stages=(one, silent), edges_ms=EDGES, baseline=BASELINE)
    assert verdicts(seen)["errors"] == "INCONCLUSIVE"
    broken = facts(arm(40, errors=8)).stages[0]
    assert verdicts(replace(seen, stages=(broken, silent)))["errors"] == "FAIL"
    assert judge(PLAN, GateFacts(stages=())) == ()


def test_without_a_known_control_latency_nothing_is_shown() -> None:
    seen = replace(facts(arm(200)), baseline=())
    assert verdicts(seen)["latency_p99"] == "INCONCLUSIVE"


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
                candidate=ArmSeen(units=n, attempts=n, errors=int(new[look])),
                control=ArmSeen(units=n, attempts=n, errors=int(own[look])),
                stable=ArmSeen(units=198 * n, attempts=198 * n, errors=int(rest[look])),
            )
            found = judge(replace(PLAN, gates=PLAN.gates[:1]), GateFacts(stages=(stage,)))
            failed = failed or any(r.verdict in {"FAIL", "ERROR"} for r in found)
        stopped += failed
    assert stopped <= 4  # P(more than 4 of 100 at 1 %) < 0.004


@pytest.mark.parametrize(
    ("candidate", "ends"),
    [
        (arm(50), "promoting"),
        (arm(50, errors=50), "rolled_back"),
        (arm(50, errors=10), "rolled_back"),
        (arm(50, errors=50, insane=50), "rolled_back"),
        (arm(60, latency=(0, 0, 0, 0, 60, 0, 0, 0)), "rolled_back"),
        (arm(60, abstained=60), "rolled_back"),
    ],
)
def test_verdicts_bring_a_good_version_on_and_a_broken_one_back(
    candidate: ArmSeen, ends: str
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    state = begin("r", "home", "new", "old", PLAN, now)
    for _ in range(5):
        share_bp = max(50, state.share_bp)
        back = state.phase == "rolling_back"
        seen = facts(candidate, share_bp=share_bp, expected_viewers=100.0)
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
    text = msgspec.json.encode(judge(PLAN, facts(arm(9_000, errors=9_000))))
    assert b"null" not in text
