"""The life of an alert: what holds it, when it flaps, what comes late; by value."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mlg.core.clock import rfc3339
from mlg.core.errors import ConflictError, ManifestError, NotFoundError
from mlg.manifest.specs_watch import CalendarEntry
from mlg.monitors.alert import (
    LASTING,
    AlertFacts,
    AlertState,
    Command,
    step,
)
from mlg.monitors.diagnose import Facts, classify
from mlg.monitors.evaluate import Signal
from mlg.monitors.hold import (
    MOST,
    Acknowledged,
    Desk,
    Maintenance,
    Silence,
    Subject,
    acknowledged,
    hold_of,
    lifted,
    maintained,
    moment,
    silenced,
)
from mlg.monitors.lasting import AWAY, COOL_DOWN, QUIET

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
AGE = "viewer:age.location"


def signal(metric: str = AGE, statistic: float = 2.0, at: int = 0) -> Signal:
    end = NOW + timedelta(minutes=at)
    return Signal(
        stream="requests", metric=metric, feature="viewer:age", chart="ewma", kind="location",
        statistic=statistic, limit=1.0, effect=0.3, usual=30.0, now=25.0, small=False,
        window=at, start=rfc3339(end - timedelta(minutes=1)), end=rfc3339(end), n=100,
    )  # fmt: skip


class Run:
    """Windows of one minute each, one after the other."""

    def __init__(self) -> None:
        self.state, self.at, self.commands = AlertState(service="home"), 0, list[Command]()

    def see(
        self,
        *metrics: str,
        times: int = 1,
        statistic: float = 2.0,
        at: int | None = None,
        stream: str = "requests",
        known: Facts | None = None,
    ) -> list[str]:
        """Return the keys of what the windows led to."""
        before = len(self.commands)
        for _ in range(times):
            self.at += at is None
            minute = self.at if at is None else at
            facts = AlertFacts(
                at=rfc3339(NOW + timedelta(minutes=minute)),
                stream=stream,
                signals=tuple(signal(m, statistic, minute) for m in metrics),
                cause=classify(known or Facts()),
            )
            # what is kept between two processes is enough
            self.state = msgspec.json.decode(msgspec.json.encode(self.state), type=AlertState)
            self.state, made = step(self.state, facts)
            self.commands += made
        return [one.key for one in self.commands[before:]]


@pytest.fixture
def over() -> Run:
    """Return a run whose first incident has closed."""
    run = Run()
    assert run.see(AGE) == ["home:1:open:0"]
    assert run.see(times=QUIET) == ["home:1:close:0"]
    return run


@pytest.mark.parametrize("gap", [1, 4, 6, 9])
def test_a_statistic_that_goes_in_and_out_is_one_incident(gap: int) -> None:
    run = Run()
    for _ in range(12):
        run.see(AGE, AGE)
        run.see(times=gap)
    opened = [one.key for one in run.commands if one.kind == "open"]
    # once the cool-down is over it may open again: 12 rounds hold this many cool-downs
    assert len(opened) <= 1 + 12 * (gap + 1) // (QUIET + COOL_DOWN)
    assert opened[0] == "home:1:open:0"


def test_an_incident_of_a_version_that_answers_no_more_ends() -> None:
    own = replace(signal("margin.location"), stream="v1")
    facts = AlertFacts(at=rfc3339(NOW), stream="v1", signals=(own,), cause=classify(Facts()))
    state, _ = step(AlertState(service="home"), facts)
    for number in range(AWAY):
        assert state.incident is not None
        at = rfc3339(NOW + timedelta(minutes=number))
        state, commands = step(state, AlertFacts(at=at, stream="requests", signals=()))
    assert [one.kind for one in commands] == ["close"]


def test_a_canary_with_few_windows_keeps_its_incident() -> None:
    own = replace(signal("margin.location"), stream="v1")
    facts = AlertFacts(at=rfc3339(NOW), stream="v1", signals=(own,), cause=classify(Facts()))
    state, _ = step(AlertState(service="home"), facts)
    for _ in range(3):
        for _ in range(200):  # half a percent of the traffic
            state, _ = step(state, replace(facts, stream="requests", signals=()))
        state, _ = step(state, facts)
    assert state.number == 1
    assert state.incident is not None


def test_without_a_cool_down_each_return_would_have_been_an_incident(over: Run) -> None:
    assert over.see(AGE) == []
    forgotten = Run()
    forgotten.state = replace(over.state, closed=())
    assert forgotten.see(AGE) == ["home:2:open:0"]


def test_what_comes_back_and_stays_opens_another_after_some_windows(over: Run) -> None:
    assert over.see(AGE, times=LASTING - 1) == []
    assert over.see(AGE) == ["home:2:open:0"]


def test_a_quiet_window_begins_the_count_of_returns_anew(over: Run) -> None:
    for _ in range(3):
        assert over.see(AGE, times=LASTING - 1) == []
        assert over.see() == []


def test_after_the_cool_down_the_same_statistic_opens_at_once(over: Run) -> None:
    over.see(times=COOL_DOWN)
    assert over.see(AGE) == ["home:2:open:0"]


def test_news_opens_another_at_once(over: Run) -> None:
    cases: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((AGE, "viewer:job=student.share"), {}),
        ((AGE,), {"statistic": 9.0}),
        ((AGE,), {"known": Facts(missing=("viewer:age",))}),
    ]
    for metrics, more in cases:
        run = Run()
        run.state, run.at = over.state, over.at
        assert run.see(*metrics, **more) == ["home:2:open:0"]


def test_windows_of_other_streams_do_not_end_the_cool_down(over: Run) -> None:
    over.see(times=COOL_DOWN, stream="v1")
    assert over.see(AGE) == []


def test_a_late_window_opens_no_incident_again_and_counts_for_nothing(over: Run) -> None:
    late = over.at - 2
    assert over.see(AGE, at=late, times=LASTING + 3) == []
    assert over.see(AGE, times=LASTING - 1) == []  # none of them counted
    assert over.see(AGE) == ["home:2:open:0"]


def test_a_late_window_with_another_statistic_is_news(over: Run) -> None:
    assert over.see("hit_rate.share", at=over.at - 2) == ["home:2:open:0"]


def test_what_was_dealt_with_has_no_cool_down() -> None:
    run = Run()
    run.see(AGE)
    done = AlertFacts(
        at=rfc3339(NOW + timedelta(minutes=1)), stream="", signals=(), handled=True
    )
    run.state, commands = step(run.state, done)
    assert [one.kind for one in commands] == ["close"]
    assert run.see(AGE, at=1) == []  # late
    assert run.see(AGE) == ["home:2:open:0"]


def test_memories_of_earlier_versions_open() -> None:
    old = b'{"service": "home", "number": 3, "incident": null}'
    state = msgspec.json.decode(old, type=AlertState)
    assert (state.number, state.closed) == (3, ())


def subject(**given: Any) -> Subject:
    usual: dict[str, Any] = {
        "service": "home", "monitor": "home-features", "kind": "input_drift",
        "features": ("viewer:age",), "start": NOW - HOUR, "end": NOW,
    }  # fmt: skip
    return Subject(**{**usual, **given})


def silence(**given: Any) -> Silence:
    usual: dict[str, Any] = {
        "id": "", "service": "home", "until": NOW + HOUR, "reason": "new feed", "by": "ada",
        "at": NOW,
    }  # fmt: skip
    return Silence(**{**usual, **given})


def work(**given: Any) -> Maintenance:
    usual: dict[str, Any] = {
        "id": "", "service": "home", "start": NOW, "end": NOW + HOUR, "reason": "disks",
        "by": "ada", "at": NOW,
    }  # fmt: skip
    return Maintenance(**{**usual, **given})


@pytest.mark.parametrize(
    ("matcher", "other", "holds"),
    [
        ({}, {}, True),
        ({"service": "shop"}, {}, False),
        ({"kind": "input_drift"}, {}, True),
        ({"kind": "quality_drop"}, {}, False),
        ({"monitor": "home-features"}, {}, True),
        ({"monitor": "else"}, {}, False),
        ({"feature": "viewer:age"}, {}, True),
        # an alert with a second feature is not only what was silenced
        ({"feature": "viewer:age"}, {"features": ("viewer:age", "viewer:job")}, False),
        ({"service": None, "feature": "viewer:age"}, {"service": "shop"}, True),
    ],
)
def test_a_silence_holds_what_it_names(matcher: Any, other: Any, holds: bool) -> None:
    desk, one, change = silenced(Desk(), silence(**matcher), now=NOW)
    held = hold_of(desk, (), subject(**other), NOW)
    assert (held is not None, change) == (holds, "new")
    if held:
        assert (held.standing, one.id in held.words) == ("silenced", True)


def test_a_silence_ends_by_the_wall_clock_whatever_event_time_says() -> None:
    desk, _, _ = silenced(Desk(), silence(), now=NOW)
    long_ago = subject(
        start=datetime(2001, 1, 1, tzinfo=UTC), end=datetime(2001, 1, 2, tzinfo=UTC)
    )
    just = timedelta(microseconds=1)
    assert hold_of(desk, (), long_ago, NOW + HOUR - just) is not None
    assert hold_of(desk, (), long_ago, NOW + HOUR) is None


@pytest.mark.parametrize(
    ("start_h", "end_h", "now_h", "holds"),
    [
        (-1.0, -0.5, 9, False),  # before it
        (-1.0, 0.0, 9, True),  # its end is the first moment of it
        (0.5, 2.0, 9, True),
        (1.0, 2.0, 9, False),  # begins at its end
        (-9.0, -8.0, 0.5, True),  # the wall clock is in it
        (-9.0, -8.0, 1.0, False),
    ],
)
def test_maintenance_covers_windows_in_it_and_what_comes_during_it(
    start_h: float, end_h: float, now_h: float, holds: bool
) -> None:
    desk, _, _ = maintained(Desk(), work(), now=NOW)
    one = subject(start=NOW + start_h * HOUR, end=NOW + end_h * HOUR)
    held = hold_of(desk, (), one, NOW + now_h * HOUR)
    assert (held.standing if held else None) == ("maintenance" if holds else None)


def test_maintenance_of_all_covers_every_service_and_of_one_only_that() -> None:
    one, _, _ = maintained(Desk(), work(), now=NOW)
    everything, _, _ = maintained(Desk(), work(service=None), now=NOW)
    shop = subject(service="shop")
    assert hold_of(one, (), shop, NOW) is None
    assert hold_of(everything, (), shop, NOW) is not None


def test_the_calendar_annotates_and_its_maintenance_entries_are_maintenance() -> None:
    expected = hold_of(Desk(), (), subject(expected=("promotion launch",)), NOW)
    assert expected is not None
    assert (expected.standing, expected.words) == (
        "annotated",
        "the calendar has promotion launch",
    )
    entry = CalendarEntry(maintenance="disks", start="2026-07-01", end="2026-07-01")
    held = hold_of(Desk(), (entry,), subject(), NOW + 48 * HOUR)
    assert held is not None
    assert held.standing == "maintenance"
    endless = CalendarEntry(maintenance="disks")
    assert hold_of(Desk(), (endless,), subject(), NOW) is None
    promotion = CalendarEntry(promotion="launch", start="2026-07-01", end="2026-07-01")
    assert hold_of(Desk(), (promotion,), subject(), NOW) is None  # of another cause: it pages


def test_the_same_silence_again_is_the_same_and_another_end_moves_it() -> None:
    desk, first, _ = silenced(Desk(), silence(), now=NOW)
    again, same, change = silenced(desk, silence(at=NOW + HOUR / 2), now=NOW + HOUR / 2)
    assert (same, change, len(again.silences)) == (first, "same", 1)
    moved, longer, change = silenced(again, silence(until=NOW + 2 * HOUR), now=NOW)
    assert (longer.id, longer.until, change) == (first.id, NOW + 2 * HOUR, "changed")
    assert len(moved.silences) == 1
    later, new, change = silenced(
        moved, silence(until=NOW + 9 * HOUR, at=NOW + 3 * HOUR), now=NOW + 3 * HOUR
    )
    assert (change, new.id != first.id, len(later.silences)) == ("new", True, 2)


def test_the_same_maintenance_again_is_the_same() -> None:
    desk, first, _ = maintained(Desk(), work(), now=NOW)
    desk, same, change = maintained(desk, work(), now=NOW)
    assert (same, change) == (first, "same")
    desk, longer, change = maintained(
        desk, work(start=NOW + HOUR / 2, end=NOW + 2 * HOUR), now=NOW
    )
    assert (longer.id, longer.end, change) == (first.id, NOW + 2 * HOUR, "changed")
    _, other, change = maintained(desk, work(reason="another"), now=NOW)
    assert (other.id != first.id, change) == (True, "new")


def test_lifting_ends_now_and_again_changes_nothing() -> None:
    desk, one, _ = silenced(Desk(), silence(), now=NOW)
    desk, over = lifted(desk, one.id, by="bob", now=NOW + HOUR / 4)
    assert isinstance(over, Silence)
    assert (over.until, over.lifted_by) == (NOW + HOUR / 4, "bob")
    assert hold_of(desk, (), subject(), NOW + HOUR / 4) is None
    again, same = lifted(desk, one.id, by="eve", now=NOW + HOUR / 2)
    assert (again, same) == (desk, over)
    desk, two, _ = maintained(desk, work(start=NOW + HOUR, end=NOW + 2 * HOUR), now=NOW)
    desk, never = lifted(desk, two.id, by="bob", now=NOW)
    assert isinstance(never, Maintenance)
    assert never.end == never.start
    assert hold_of(desk, (), subject(end=NOW + 3 * HOUR), NOW + 1.5 * HOUR) is None
    with pytest.raises(NotFoundError):
        lifted(desk, "s-none", by="bob", now=NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"until": NOW},
        {"until": NOW - HOUR},
        {"until": NOW + timedelta(days=400)},
        {"service": None},
        {"reason": " "},
        {"reason": "x" * 501},
    ],
)
def test_a_wrong_silence_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        silenced(Desk(), silence(**wrong), now=NOW)


@pytest.mark.parametrize(
    "wrong", [{"end": NOW}, {"end": NOW + timedelta(days=400)}, {"reason": ""}]
)
def test_a_wrong_maintenance_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        maintained(Desk(), work(**wrong), now=NOW)


def test_there_is_an_end_to_how_many_may_be_in_force() -> None:
    desk = Desk(
        silences=tuple(silence(id=f"s-{n}", feature=f"f{n}") for n in range(MOST)),
    )
    with pytest.raises(ConflictError):
        silenced(desk, silence(feature="one more"), now=NOW)
    after, _, _ = silenced(
        desk, silence(feature="one more", until=NOW + 3 * HOUR, at=NOW + HOUR), now=NOW + HOUR
    )
    assert len(after.silences) == MOST + 1


def test_an_acknowledgement_is_of_a_person_and_a_note() -> None:
    desk, first, new = acknowledged(Desk(), "a", Acknowledged(by="ada", at=NOW, note="looking"))
    assert new
    desk, same, new = acknowledged(
        desk, "a", Acknowledged(by="ada", at=NOW + HOUR, note="looking")
    )
    assert (same, new) == (first, False)
    desk, other, new = acknowledged(desk, "a", Acknowledged(by="bob", at=NOW + HOUR))
    assert (other.by, new, len(desk.acknowledged)) == ("bob", True, 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2h", NOW + 2 * HOUR),
        ("2026-07-01T13:00:00Z", NOW + HOUR),
        ("2026-07-01T15:00:00+02:00", NOW + HOUR),
        ("2026-07-02", datetime(2026, 7, 2, tzinfo=UTC)),
        ("soon", None),
        ("", None),
        ("-2h", None),
        ("99999999w", None),
        ("2026-13-01", None),
    ],
)
def test_times_are_read_as_people_write_them(text: str, found: datetime | None) -> None:
    if found is None:
        with pytest.raises(ManifestError, match="until"):
            moment(text, now=NOW, what="until")
    else:
        assert moment(text, now=NOW, what="until") == found
