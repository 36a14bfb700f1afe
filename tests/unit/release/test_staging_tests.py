"""The judges of staging's newer tests, on answers whose figures can be counted by hand."""

from dataclasses import replace

import pytest

from mlg.release.staging import Answer, TestResult, cut_off, report
from mlg.release.staging_compare import LEAST, CompareLimits, judge_compare, overlap
from mlg.release.staging_memory import judge_memory
from mlg.release.staging_page import page
from mlg.release.staging_robustness import Dropped, judge_robustness

OLD = Answer(
    status=200,
    items=(1, 2, 3, 4),
    scores=(4.0, 3.0, 2.0, 1.0),
    confidence=0.5,
    served_by="model",
    version="v1",
    prediction_id="p",
    k=4,
)
NEW = replace(OLD, version="v2")


def test_overlap_is_the_shared_part_of_the_longer_answer() -> None:
    assert overlap(OLD, replace(OLD, items=(4, 3, 2, 1))) == 1.0
    assert overlap(OLD, replace(OLD, items=(1, 9, 8, 7))) == 0.25
    assert overlap(OLD, replace(OLD, items=(1,))) == 0.25
    assert overlap(OLD, replace(OLD, items=())) == 0.0
    assert overlap(replace(OLD, items=()), replace(OLD, items=())) == 1.0


def pairs(changed: int, same: int = LEAST) -> list[tuple[Answer, Answer]]:
    """Return pairs that agree, and some of which half of the items and the first differ."""
    other = replace(NEW, items=(9, 1, 2, 8), confidence=0.25)
    return [(OLD, NEW)] * same + [(OLD, other)] * changed


def test_a_comparison_counts_overlap_first_items_and_confidence() -> None:
    # 30 agree, 10 share 2 of 4: (30 + 5) / 40 = 0.875; a quarter has another first item;
    # the mean confidence falls by 10 * 0.25 / 40 = 0.0625
    result = judge_compare(pairs(10, 30), CompareLimits())
    facts = dict(result.facts)
    assert result.verdict == "PASS"
    assert (facts["requests"], facts["overlap"], facts["top_changed"]) == (40, 0.875, 0.25)
    assert facts["confidence_shift"] == pytest.approx(-0.0625)
    assert (facts["overlap_least"], facts["list_after"]) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (CompareLimits(min_overlap=0.9), "overlap 0.88, 0.90 must be"),
        (CompareLimits(max_top_changed=0.2), "25% another first item, 20% may be"),
        (CompareLimits(max_confidence_shift=0.05), "confidence -0.062, 0.05 may be"),
    ],
)
def test_each_limit_is_one_of_its_own(limits: CompareLimits, words: str) -> None:
    result = judge_compare(pairs(10, 30), limits)
    assert (result.verdict, result.blocks) == ("FAIL", True)
    assert words in result.reason
    just = CompareLimits(min_overlap=0.875, max_top_changed=0.25, max_confidence_shift=0.0625)
    assert judge_compare(pairs(10, 30), just).verdict == "PASS"


def test_too_few_answers_of_production_are_no_comparison() -> None:
    few = judge_compare(pairs(0, LEAST - 1), CompareLimits(min_overlap=1.0))
    assert (few.verdict, few.blocks) == ("INCONCLUSIVE", False)
    assert judge_compare([], CompareLimits()).verdict == "ERROR"
    # what production does not answer is left out; what only the new one does not counts as 0
    silent = [(Answer(status=503), NEW)] * 50
    assert dict(judge_compare(pairs(0) + silent, CompareLimits()).facts)["requests"] == LEAST
    broken = pairs(0) + [(OLD, Answer(status=500))] * LEAST
    result = judge_compare(broken, CompareLimits(min_overlap=0.9))
    assert (result.verdict, dict(result.facts)["overlap"]) == ("FAIL", 0.5)


def dropped(field: str, *answers: Answer) -> list[Dropped]:
    return [Dropped(field=field, whole=NEW, without=answer) for answer in answers]


def judged(cases: list[Dropped], min_overlap: float = 0.0) -> TestResult:
    return judge_robustness(
        cases, version="v2", known=lambda item: item != 13, min_overlap=min_overlap
    )


def test_every_answer_without_a_field_keeps_the_contract() -> None:
    good = judged(dropped("history", NEW, replace(NEW, items=(1, 2, 8, 9))))
    assert (good.verdict, dict(good.facts)["overlap.history"]) == ("PASS", 0.75)
    assert "the most changes without history (overlap 0.75)" in good.reason
    bad = judged([*dropped("viewer.age", NEW, Answer(status=500, fault="nan")), *good_user()])
    assert (bad.verdict, bad.blocks) == ("FAIL", True)
    assert bad.reason == "without viewer.age 1 of 2 break it: status 500 nan"
    assert judged(dropped("user_id", replace(NEW, items=(13, 1, 2, 3)))).verdict == "FAIL"


def good_user() -> list[Dropped]:
    return dropped("user_id", NEW)


def test_a_declared_overlap_holds_for_each_field() -> None:
    cases = [*good_user(), *dropped("history", NEW, replace(NEW, items=(1, 2, 8, 9)))]
    assert judged(cases, 0.75).verdict == "PASS"
    result = judged(cases, 0.8)
    assert result.verdict == "FAIL"
    assert result.reason == "without history overlap 0.75, 0.80 must be"
    none = judged([])
    assert (none.verdict, none.blocks) == ("INCONCLUSIVE", False)


def test_memory_is_held_to_its_budget() -> None:
    assert judge_memory(2**20, 2**20).verdict == "PASS"
    over = judge_memory(3 * 2**20, 2**20)
    assert (over.verdict, over.reason) == ("FAIL", "3 MiB at the most, 1 MiB may be")
    assert judge_memory(None, 2**20).verdict == "ERROR"
    free = judge_memory(2**20, None)
    assert (free.verdict, free.blocks) == ("INCONCLUSIVE", False)


def test_a_battery_that_the_window_ends_never_passes() -> None:
    passed = TestResult(name="contract", verdict="PASS", reason="r")
    cut = report(["contract", "load"], [passed], cut=True)
    assert (cut.verdict, cut.cut) == ("INCONCLUSIVE", True)
    assert cut.reason == "load INCONCLUSIVE: the window closed"
    failed = replace(passed, verdict="FAIL")
    assert report(["contract", "load"], [failed], cut=True).verdict == "FAIL"
    assert report(["contract"], [], cut=True).verdict == "INCONCLUSIVE"
    assert cut_off("load", "r").blocks
    # without a cut what was not run is an ERROR
    assert report(["contract", "load"], [passed]).verdict == "ERROR"


def test_figures_are_named_by_their_test() -> None:
    found = report(["compare"], [judge_compare(pairs(0), CompareLimits())])
    kept = replace(found, document="d" * 64, about=(("window", "always"),))
    figures = kept.figures
    assert figures["figure.compare.overlap"] == 1.0
    assert (figures["report"], figures["staging.window"]) == ("d" * 64, "always")
    assert "report" not in found.figures


def test_the_page_escapes_everything_and_has_no_script() -> None:
    evil = "<script>alert(1)</script>\"'&"
    result = TestResult(
        name=evil, verdict="FAIL", reason=evil, facts=((evil, evil), ("n", 1 / 3), ("x", None))
    )
    found = report([evil], [result])
    text = page(evil, found, {evil: evil, "gone": None})
    assert "<script" not in text
    assert evil not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;") >= 6
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert "0.333333" in text
    assert "gone" not in text
    for outside in ("http:", "https:", "src=", "href=", "url("):
        assert outside not in text
    assert page(evil, found, {evil: evil}) == page(evil, found, {evil: evil})


def test_the_page_is_well_formed() -> None:
    from html.parser import HTMLParser

    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            del attrs
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.text += data

    tags = Tags()
    found = report(["compare", "load"], [judge_compare(pairs(4, 30), CompareLimits())])
    tags.feed(page("Staging of v2 for home", found, {"window": "01:00-05:00 UTC"}))
    assert not tags.open
    for words in ("Staging of v2 for home", "01:00-05:00 UTC", "compare", "it was not run"):
        assert words in tags.text
