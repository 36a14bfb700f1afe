"""What is told of lost log records: nothing twice, nothing never, and one alert at a time."""

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mlg.monitors.losses import (
    QUIET_S,
    TELL_S,
    LossCommand,
    LossFacts,
    LossLook,
    LossState,
    LossTold,
    step,
)


def look(life: str = "a", total: int | None = 0, **more: Any) -> LossLook:
    fields = {"process": f"replica-home-{life}", "service": "home"} | more
    return LossLook(life=life, total=total, **fields)


class Watch:
    """The machine over time, through its written form at each step."""

    def __init__(self) -> None:
        self.state = LossState()
        self.told: list[LossTold] = []
        self.commands: list[LossCommand] = []

    def at(self, now_s: float, *looks: LossLook) -> list[str]:
        kept = msgspec.json.decode(msgspec.json.encode(self.state), type=LossState)
        facts = LossFacts(now_s=now_s, looks=looks)
        self.state, told, commands = step(kept, facts)
        self.told += told
        self.commands += commands
        return [one.kind for one in commands]


def test_nothing_lost_is_no_alert() -> None:
    watch = Watch()
    assert watch.at(0.0, look(), look("b", None)) == []
    assert watch.state == LossState()


def test_an_alert_opens_grows_and_closes_when_it_was_quiet() -> None:
    watch = Watch()
    assert watch.at(0.0, look(total=3)) == ["open"]
    assert watch.at(1.0, look(total=5)) == []  # told within the minute
    assert watch.at(TELL_S, look(total=5)) == []  # 5 are not twice 3
    assert watch.at(2 * TELL_S, look(total=6)) == ["grow"]
    assert watch.at(2 * TELL_S + 1, look(total=6), look("b", 1)) == ["grow"]  # another one
    last_s = 2 * TELL_S + 1
    assert watch.at(last_s + QUIET_S - 1, look(total=6), look("b", 1)) == []
    assert watch.at(last_s + QUIET_S, look(total=6), look("b", 1)) == ["close"]
    assert [one.records for one in watch.told] == [3, 2, 1, 1]
    closed = watch.commands[-1].alert
    assert (closed.records, closed.processes) == (7, ("replica-home-a", "replica-home-b"))
    assert watch.at(last_s + 2 * QUIET_S, look(total=7), look("b", 1)) == ["open"]
    assert watch.commands[-1].alert.number == 2


def test_services_are_apart() -> None:
    watch = Watch()
    assert watch.at(0.0, look(total=1), look("b", 2, service="other")) == ["open", "open"]
    assert {one.alert.service for one in watch.commands} == {"home", "other"}


def test_one_that_ends_is_told_at_once_and_its_successor_counts_from_zero() -> None:
    watch = Watch()
    watch.at(0.0, look(total=3))
    watch.at(1.0, look(total=4, ended=True))
    watch.at(2.0, look("b", 4, process="replica-home-a"))
    assert [one.records for one in watch.told] == [3, 1, 4]
    assert set(watch.state.told) == {"b"}


def test_one_that_is_not_seen_or_not_read_for_a_while_is_not_told_again() -> None:
    watch = Watch()
    watch.at(0.0, look(total=3))
    watch.at(100.0)
    watch.at(200.0, look(total=None))
    watch.at(300.0, look(total=3))
    assert len(watch.told) == 1


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    watch = Watch()
    watch.at(10_000.0, look(total=3))
    watch.at(0.0, look(total=4))
    assert [one.records for one in watch.told] == [3, 1]


@given(
    st.lists(st.tuples(st.floats(0.1, 400), st.integers(0, 5), st.integers(0, 5)), max_size=40)
)
def test_what_is_told_adds_up_to_what_was_lost(rounds: list[tuple[float, int, int]]) -> None:
    watch, now_s, totals = Watch(), 0.0, {"a": 0, "b": 0}
    told_s: dict[str, list[float]] = {"a": [], "b": []}
    for passed_s, more_a, more_b in rounds:
        now_s += passed_s
        totals["a"] += more_a
        totals["b"] += more_b
        before = len(watch.told)
        watch.at(now_s, *(look(life, total) for life, total in totals.items()))
        for one in watch.told[before:]:
            told_s[one.life].append(now_s)
    for times in told_s.values():
        assert all(b - a >= TELL_S for a, b in pairwise(times))
    watch.at(now_s + 2 * TELL_S, *(look(life, total) for life, total in totals.items()))
    assert sum(one.records for one in watch.told) == sum(totals.values())
    # opened and closed by turns, and an alert's records are all that was told while it was open
    turns = [one.kind for one in watch.commands if one.kind != "grow"]
    assert turns == ["open", "close"] * (len(turns) // 2) + ["open"] * (len(turns) % 2)
    ended = [one.alert.records for one in watch.commands if one.kind == "close"]
    still = [one.records for one in watch.state.open.values()]
    assert sum(ended) + sum(still) == sum(totals.values())
