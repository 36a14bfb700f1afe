from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from mlg.release.staging import (
    Answer,
    LoadBudget,
    TestResult,
    failed_to_run,
    judge_contract,
    judge_golden,
    judge_load,
    judge_recorded,
    report,
)
from mlg.release.staging_bias import GroupScore, judge_bias, judge_bias_by

GOOD = Answer(
    status=200,
    items=(1, 2, 3),
    scores=(3.0, 2.0, 1.0),
    confidence=0.4,
    served_by="model",
    version="v2",
    prediction_id="p",
    k=3,
)
BUDGET = LoadBudget(p99_ms=50.0, errors=0.01, rate_hz=100.0)


def contract(*answers: Answer) -> TestResult:
    return judge_contract(answers, version="v2", known=lambda item: item in {1, 2, 3})


def test_good_answers_and_abstentions_keep_the_contract() -> None:
    assert contract(GOOD, replace(GOOD, served_by="fallback")).verdict == "PASS"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 500}, "status 500"),
        ({"status": 500, "fault": "nan"}, "status 500 nan"),
        ({"status": 0}, "status 0"),
        ({"items": (), "scores": ()}, "length"),
        ({"k": 2}, "length"),
        ({"scores": (1.0,)}, "length"),
        ({"items": (1, 1, 2)}, "duplicate"),
        ({"scores": (3.0, nan, 1.0)}, "score not finite"),
        ({"scores": (inf, 2.0, 1.0)}, "score not finite"),
        ({"items": (1, 2, 9)}, "unknown item"),
        ({"confidence": None}, "confidence"),
        ({"confidence": nan}, "confidence"),
        ({"confidence": 1.5}, "confidence"),
        ({"prediction_id": ""}, "no prediction id"),
        ({"version": "v1"}, "another version"),
        ({"served_by": "magic"}, "served by"),
    ],
)
def test_one_broken_answer_fails_the_contract(change: dict[str, Any], words: str) -> None:
    result = contract(GOOD, replace(GOOD, **change))
    assert result.verdict == "FAIL"
    assert result.reason == f"1 of 2 answers break it: {words} (1)"


def test_recorded_answers_come_again_within_the_tolerance() -> None:
    near = replace(GOOD, scores=(3.0 * (1 + 5e-10), 2.0, 1.0))
    assert judge_golden([GOOD], [near]).verdict == "PASS"
    for other in (
        replace(GOOD, scores=(3.0 * (1 + 5e-9), 2.0, 1.0)),
        replace(GOOD, items=(2, 1, 3)),
        replace(GOOD, scores=(nan, 2.0, 1.0)),
        replace(GOOD, scores=(3.0, 2.0)),
        replace(GOOD, status=500),
    ):
        assert judge_golden([GOOD, GOOD], [GOOD, other]).verdict == "FAIL"
    assert judge_golden([GOOD], []).verdict == "ERROR"
    assert judge_golden([], []).verdict == "ERROR"


def test_answers_of_the_list_are_no_answers_of_the_model() -> None:
    listed = replace(GOOD, served_by="fallback", items=(9, 8, 7))
    result = judge_recorded([GOOD, GOOD], [GOOD, listed])
    assert (result.verdict, dict(result.facts)["from_list"]) == ("PASS", 1)
    assert "1 more came from the popularity list" in result.reason
    none = judge_recorded([GOOD], [listed])
    assert (none.verdict, none.blocks) == ("INCONCLUSIVE", False)
    assert judge_recorded([GOOD], [replace(GOOD, items=(1, 3, 2))]).verdict == "FAIL"
    assert judge_recorded([GOOD], [Answer(status=500)]).verdict == "FAIL"
    assert judge_recorded([], []).verdict == "ERROR"


def test_load_is_judged_by_rank_and_share() -> None:
    # nearest rank: of 1..100 the 99 % quantile is 99
    result = judge_load(list(range(1, 101)), failed=0, seconds=1.0, budget=BUDGET)
    assert dict(result.facts)["p99_ms"] == 99
    assert result.verdict == "FAIL"
    assert judge_load([10.0] * 99, failed=1, seconds=1.0, budget=BUDGET).verdict == "PASS"
    assert judge_load([10.0] * 98, failed=2, seconds=1.0, budget=BUDGET).verdict == "FAIL"
    assert judge_load([], failed=100, seconds=1.0, budget=BUDGET).verdict == "FAIL"


def test_a_load_that_was_not_put_on_tests_nothing() -> None:
    assert judge_load([1.0] * 99, failed=0, seconds=0.1, budget=BUDGET).verdict == "ERROR"
    assert judge_load([1.0] * 200, failed=0, seconds=9.0, budget=BUDGET).verdict == "ERROR"
    assert judge_load([], failed=0, seconds=0.0, budget=BUDGET).verdict == "ERROR"


def group(name: str, n: int, mean: float) -> GroupScore:
    return GroupScore(group=name, n=n, mean=mean)


def test_a_group_that_is_served_worse_beyond_chance_fails() -> None:
    # means 0.5 and 0.2 of 1,000 each: everyone's is 0.35, and 0.2 / 0.35 = 0.57
    result = judge_bias([group("a", 1_000, 0.5), group("b", 1_000, 0.2)])
    assert (result.verdict, result.blocks) == ("FAIL", True)
    assert "b: 0.57" in result.reason
    assert judge_bias([group("a", 1_000, 0.5), group("b", 1_000, 0.48)]).verdict == "PASS"


def test_a_small_group_without_a_hit_is_not_condemned() -> None:
    # 10 viewers at 0 have an sd of 0; 29 are too few whatever they show
    for n in (1, 10, 29):
        result = judge_bias([group("a", 1_000, 0.5), group("b", n, 0.0)])
        assert (result.verdict, result.blocks) == ("INCONCLUSIVE", False)
    # pooled sd about 0.49: at 30 viewers 2.326 * 0.49 / sqrt(30) = 0.21 < 0.8 * 0.485
    assert judge_bias([group("a", 1_000, 0.5), group("b", 30, 0.0)]).verdict == "FAIL"


def test_each_declared_feature_splits_the_viewers_anew() -> None:
    fair = [group("sex = F", 1_000, 0.5), group("sex = M", 1_000, 0.5)]
    unfair = [group("age = old", 1_000, 0.2), group("age = young", 1_000, 0.5)]
    recorded = {"sex": fair, "age": unfair}
    assert judge_bias_by(["sex"], recorded).verdict == "PASS"
    both = judge_bias_by(["sex", "age"], recorded)
    assert (both.verdict, both.blocks) == ("FAIL", True)
    assert both.reason.startswith("age: age = old: 0.57")
    typo = judge_bias_by(["sexx"], recorded)
    assert (typo.verdict, typo.blocks) == ("ERROR", True)
    for nothing in (judge_bias_by(["sex"], None), judge_bias_by([], recorded)):
        assert (nothing.verdict, nothing.blocks) == ("INCONCLUSIVE", False)


def test_few_viewers_are_no_verdict_and_stop_nothing() -> None:
    for groups in (
        [group("a", 10, 0.5), group("b", 10, 0.4)],
        [group("a", 10, 0.5)],
        [group("a", 10, 0.0), group("b", 10, 0.0)],
        [],
    ):
        result = judge_bias(groups)
        assert (result.verdict, result.blocks) == ("INCONCLUSIVE", False)
        assert report(["bias"], [result]).verdict == "PASS"


def test_the_report_takes_the_worst_and_says_why() -> None:
    good = contract(GOOD)
    bad = judge_golden([GOOD], [replace(GOOD, items=(3, 2, 1))])
    hung = failed_to_run("load", "it hung for 60 s")
    asked = ["contract", "golden", "load"]
    assert report(asked, [good, bad, hung]).verdict == "FAIL"
    whole = report(["contract", "load"], [good, hung])
    assert (whole.verdict, whole.reason) == ("ERROR", "load ERROR: it hung for 60 s")
    assert report(asked, [good]).verdict == "ERROR", "what was not run did not pass"
    assert report(["contract"], [good]).verdict == "PASS"
    assert report([], []).reason == "no test PASS"
