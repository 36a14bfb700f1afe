"""How a rollout waits for its staging's window, night after night."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mlg.manifest.specs_services import RolloutSpec, StagingSpec
from mlg.manifest.specs_watch import CalendarEntry
from mlg.release.rollout import begin, explain, step
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import (
    Call,
    Notify,
    OperatorAct,
    Record,
    Retire,
    RolloutCommand,
    RolloutFacts,
    RolloutState,
    StartStaging,
    StartVersions,
)
from mlg.release.staging_window import MISSED_MOST, closed_by, opening_at

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
SPEC = StagingSpec(window="01:00-05:00")
PLAN = plan_of(RolloutSpec(staging=SPEC))


def facts(hours: float, *, calendar: tuple[CalendarEntry, ...] = (), **more: Any) -> Any:
    """Return facts so many hours after noon; event time stands still, as of a replay."""
    assert PLAN.window
    at = NOON + timedelta(hours=hours)
    closed = closed_by(calendar, "home", "UTC")
    return RolloutFacts(now=NOON, window=opening_at(PLAN.window, closed, at), **more)


def waiting(hours: float = 0.0) -> RolloutState:
    state, commands = step(begin("r1", "home", "new", "old", PLAN, NOON), facts(hours))
    assert state.phase == "scheduled"
    assert not any(isinstance(c, StartStaging | StartVersions) for c in commands)
    return state


def kinds(commands: tuple[RolloutCommand, ...]) -> list[str]:
    return [type(command).__name__ for command in commands]


def act(word: Any, name: str = "a1") -> tuple[OperatorAct, ...]:
    return (OperatorAct(id=name, act=word, by="local:ann"),)


def test_it_says_until_when_it_waits_and_begins_by_itself() -> None:
    state = waiting()
    assert explain(state) == (
        "new for home (old serves) is scheduled, with 0 % of the traffic: staging waits for "
        "its window 01:00-05:00 UTC: it opens at 2026-06-11T01:00Z (Thu 11 Jun 01:00 UTC)."
    )
    for hours in (1, 5, 12.9):
        assert step(state, facts(hours)) == (state, ())
    begun, commands = step(state, facts(13))
    assert (begun.phase, kinds(commands)) == ("staging", ["Record", "StartStaging"])
    assert begun.reason.startswith("its window 01:00-05:00 UTC is open")
    passed, _ = step(begun, facts(13.1, staging="PASS", staging_reason="golden PASS"))
    assert passed.phase == "warming"


def test_within_its_window_it_does_not_wait() -> None:
    state, _ = step(begin("r1", "home", "new", "old", PLAN, NOON), facts(14))
    assert (state.phase, state.scheduled_at) == ("staging", None)


def test_without_a_wall_time_it_holds() -> None:
    state = begin("r1", "home", "new", "old", PLAN, NOON)
    held, commands = step(state, replace(facts(0), window=None))
    assert (held.phase, commands) == ("pending", ())
    assert "the wall time is not known" in held.reason


def test_a_person_starts_it_now_and_the_window_cuts_nothing() -> None:
    for state in (waiting(), step(waiting(), facts(0, acts=act("pause", "a0")))[0]):
        acts = (*act("pause", "a0"), *act("approve"))
        told = replace(state, acts=("a0",))
        begun, commands = step(told, facts(0, acts=acts))
        assert (begun.phase, begun.waived) == ("staging", True)
        record, start = commands
        assert isinstance(start, StartStaging)
        assert isinstance(record, Record)
        assert (record.by, record.reason) == ("local:ann", "approve by local:ann")


def test_a_missed_window_runs_at_the_next_or_at_once_within_one() -> None:
    state = waiting()
    # down from noon until the evening after: the night went by
    missed, commands = step(state, facts(30))
    assert (missed.phase, missed.windows_missed) == ("scheduled", 1)
    assert kinds(commands) == ["Notify"]
    assert "the window of 2026-06-11T01:00Z went by" in missed.reason
    assert step(missed, facts(30))[1] == ()
    assert "1 missed" in step(missed, facts(30))[0].reason
    assert step(missed, facts(37))[0].phase == "staging"
    # down into the middle of the night after the next
    assert step(state, facts(38))[0].phase == "staging"


def test_after_three_missed_windows_a_person_is_called() -> None:
    state = waiting()
    for night in range(MISSED_MOST):
        state, _ = step(state, facts(30 + 24 * night))
    paused, commands = step(state, facts(78))
    assert (paused.phase, paused.paused_from) == ("paused", "scheduled")
    assert any(isinstance(command, Call) for command in commands)
    assert "3 windows of staging went by without a verdict" in paused.reason
    assert "mlg rollout approve" in paused.reason
    again, _ = step(paused, facts(78, acts=act("resume")))
    assert (again.phase, again.windows_missed) == ("scheduled", 0)
    assert step(again, facts(85, acts=act("resume")))[0].phase == "staging"


def test_a_battery_that_the_window_ends_waits_for_the_next() -> None:
    state, _ = step(waiting(), facts(13))
    cut = facts(17, staging="INCONCLUSIVE", staging_reason="load", staging_cut=True)
    again, commands = step(state, cut)
    assert (again.phase, again.windows_missed) == ("scheduled", 1)
    assert kinds(commands) == ["Retire", "Notify", "Record"]
    assert isinstance(commands[0], Retire)
    assert commands[0].label == "new"
    assert isinstance(commands[1], Notify)
    assert "staging INCONCLUSIVE: load; it waits for the next window" in again.reason
    # the verdict of that night does not count any more
    held, _ = step(again, cut)
    assert held.phase == "scheduled"
    next_night, commands = step(held, replace(cut, window=facts(37).window))
    assert next_night.phase == "staging"
    assert kinds(commands) == ["Record", "StartStaging"]
    for hours in (41, 65):
        state, _ = step(next_night, facts(hours, staging="INCONCLUSIVE", staging_cut=True))
        next_night, _ = step(state, facts(hours + 20))
    assert state.windows_missed == MISSED_MOST
    assert step(state, facts(66))[0].phase == "paused"


def test_what_failed_before_the_window_closed_has_failed() -> None:
    state, _ = step(waiting(), facts(13))
    for verdict in ("FAIL", "ERROR"):
        odd = facts(17, staging=verdict, staging_reason="golden", staging_cut=True)
        assert step(state, odd)[0].phase == "failed"
    # and INCONCLUSIVE without a cut is no pass
    assert step(state, facts(14, staging="INCONCLUSIVE"))[0].phase == "failed"


def test_a_window_that_never_opens_calls_a_person_and_the_calendar_can_let_it_go() -> None:
    always = CalendarEntry(season="freeze", start="2026-01-01", end="2028-01-01", staging=False)
    shut = facts(0, calendar=(always,))
    state, _ = step(begin("r1", "home", "new", "old", PLAN, NOON), shut)
    assert state.phase == "scheduled"
    paused, commands = step(state, shut)
    assert (paused.phase, paused.share_bp) == ("paused", 0)
    assert any(isinstance(command, Call) for command in commands)
    assert "staging never begins" in paused.reason
    assert "season freeze" in paused.reason
    # without the entry it goes on
    again, _ = step(paused, facts(13, acts=act("resume")))
    assert step(again, facts(13, acts=act("resume")))[0].phase == "staging"


def test_a_freeze_and_a_rollback_go_before_the_window() -> None:
    state = waiting()
    held, commands = step(state, facts(13, frozen=True))
    assert (held.phase, commands) == ("scheduled", ())
    back, commands = step(state, facts(1, acts=act("rollback")))
    assert back.phase == "failed"
    assert isinstance(commands[0], Call)


@pytest.mark.parametrize("hours", [0.0, 13.0])
def test_state_and_facts_go_through_json(hours: float) -> None:
    state, _ = step(begin("r1", "home", "new", "old", PLAN, NOON), facts(hours))
    assert msgspec.convert(msgspec.to_builtins(state), RolloutState) == state
    seen = facts(hours)
    assert msgspec.convert(msgspec.to_builtins(seen), RolloutFacts) == seen
    # what an older version kept has no window, and stages at once
    plain = msgspec.to_builtins(begin("r1", "home", "new", "old", PLAN, NOON))
    for gone in ("scheduled_at", "window_opens", "windows_missed", "waived"):
        del plain[gone]
    del plain["plan"]["window"], plain["plan"]["compose"]
    assert step(msgspec.convert(plain, RolloutState), facts(0))[0].phase == "staging"
