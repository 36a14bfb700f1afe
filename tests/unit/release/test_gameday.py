"""The score of a game day, from events and probes made by hand."""

import pytest

from mlg.release.gameday import (
    DRILLS,
    LEAST_AFTER,
    Drill,
    Probe,
    Told,
    drill_of,
    recovered_s,
    score,
)


def drill(name: str) -> Drill:
    found = drill_of(name)
    assert found
    return found


def told(at_s: float, type_: str, words: str = "", about: str = "replica-home-1") -> Told:
    return Told(at_s=at_s, type=type_, key=f"k{at_s}", about=about, words=words)


def steady(first_s: float, count: int = LEAST_AFTER) -> list[Probe]:
    return [Probe(at_s=first_s + n / 10, served_by="model") for n in range(count)]


CRASH = told(0.5, "mlg.process.crashed", "crashed: crashed, exit code -9")
START = told(2.0, "mlg.process.started", "ready: port 1")


def test_a_kill_that_is_noticed_named_answered_and_overcome_passes() -> None:
    probes = [
        Probe(at_s=-0.1, served_by="nobody"),
        Probe(at_s=0.1, served_by="nobody"),
        Probe(at_s=0.2, served_by="fallback"),
        *steady(2.5, 18),
    ]
    found = score(
        drill("kill"), "staging", ["replica-home-1"], [CRASH, START], probes, ended_s=9.0
    )
    assert (found.detected_s, found.detected_by) == (0.5, "k0.5")
    assert (found.cause_named, found.cause) == (True, "crashed: crashed, exit code -9")
    assert (found.acted_s, found.action) == (2.0, "mlg.process.started")
    assert found.recovered_s == 2.5
    assert (found.probes, found.model, found.fallback, found.nobody) == (20, 0.9, 0.05, 0.05)
    assert found.passed


def test_events_about_others_or_from_before_are_no_detection() -> None:
    early = told(-1.0, "mlg.process.crashed", "exit code -9")
    other = told(0.5, "mlg.process.crashed", "exit code -9", about="replica-home-10")
    found = score(
        drill("kill"),
        "staging",
        ["replica-home-1"],
        [early, other, START],
        steady(0),
        ended_s=0,
    )
    assert (found.detected_s, found.acted_s, found.cause_named) == (None, None, False)
    assert not found.passed


def test_a_wrong_cause_is_detected_and_not_named() -> None:
    wrong = told(1.0, "mlg.process.crashed", "hung: hung")
    found = score(
        drill("kill"), "staging", ["replica-home-1"], [wrong, START], steady(0), ended_s=0
    )
    assert (found.detected_s, found.cause_named, found.cause) == (1.0, False, "hung: hung")
    assert not found.passed


def test_what_began_before_the_detection_is_no_action() -> None:
    start = told(0.2, "mlg.process.started", "ready")
    found = score(
        drill("kill"), "staging", ["replica-home-1"], [start, CRASH], steady(0), ended_s=0
    )
    assert found.acted_s is None


def test_a_check_that_passes_is_no_detection() -> None:
    passed = Told(
        at_s=1.0, type="mlg.gameday.checked", key="k", about="home", words="", passed=True
    )
    failed = told(2.0, "mlg.gameday.checked", "load FAIL: p99 is 900 ms", about="home")
    found = score(drill("slow"), "staging", ["home"], [passed], steady(0), ended_s=5.0)
    assert (found.detected_s, found.acted_s) == (None, None)
    found = score(drill("slow"), "staging", ["home"], [passed, failed], [], ended_s=5.0)
    assert (found.detected_s, found.cause_named, found.acted_s) == (2.0, True, 2.0)


def test_a_fault_that_lasts_is_overcome_after_its_end() -> None:
    probes = [Probe(at_s=n / 10, served_by="fallback") for n in range(52)] + steady(5.2)
    found = score(drill("nan"), "staging", ["home"], [], probes, ended_s=5.0)
    assert found.recovered_s == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("probes", "back"),
    [
        (steady(1.0), 0.0),
        (steady(1.0, LEAST_AFTER - 1), None),
        ([], None),
        ([*steady(0.0), Probe(at_s=3.0, served_by="nobody")], None),
    ],
)
def test_nobody_is_back_before_enough_good_answers_in_a_row(
    probes: list[Probe], back: float | None
) -> None:
    assert recovered_s(probes, 0.0) == back


def test_every_fault_has_a_name_of_its_own_and_something_to_be_scored_by() -> None:
    assert len({one.name for one in DRILLS}) == len(DRILLS)
    assert all(d.detected_by and d.cause_words and d.answered_by for d in DRILLS)
    assert all(word == word.lower() for one in DRILLS for word in one.cause_words)
    assert drill_of("nothing") is None
