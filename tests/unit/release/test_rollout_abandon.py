"""A rollout that nobody can follow any more ends at once, in whatever phase it is."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from mlg.core.traffic import Share
from mlg.release import rollout
from mlg.release.rollout_abandon import abandon
from mlg.release.rollout_types import (
    ENDED,
    Call,
    Phase,
    Record,
    Retire,
    RollBack,
    RolloutPlan,
    RolloutState,
    SetShares,
)

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = RolloutPlan(steps_bp=(500, 10_000))


def at(phase: Phase, share_bp: int, stable: str | None = "v0") -> RolloutState:
    begun = rollout.begin("r1", "home", "v1", stable, PLAN, T0)
    return replace(begun, phase=phase, share_bp=share_bp, control=phase == "canary")


@pytest.mark.parametrize("phase", get_args(Phase))
@pytest.mark.parametrize("share_bp", [0, 500, 10_000])
@pytest.mark.parametrize("stable", ["v0", None])
def test_each_ends_with_a_call_and_one_end(phase: Phase, share_bp: int, stable: str) -> None:
    before = at(phase, share_bp, stable)
    state, commands = abandon(before, "the disk is gone")
    if phase in ENDED:
        assert (state, commands) == (before, ())
        return
    assert state.phase in ENDED
    assert sum(isinstance(one, Call) for one in commands) == (
        phase != "rolling_back" or share_bp == 10_000
    )
    ends = [one for one in commands if isinstance(one, Record) and one.after in ENDED]
    assert [one.after for one in ends] == [state.phase]
    keys = [one.key for one in commands]
    assert len({*keys}) == len(keys)
    assert abandon(state, "again") == (state, ())


def test_a_canarys_viewers_go_back_and_the_version_may_come_again() -> None:
    state, commands = abandon(at("canary", 500), "why")
    assert state.phase == "rolled_back"
    (shares,) = [one for one in commands if isinstance(one, SetShares)]
    assert shares.shares == (Share(version="v0", bp=10_000),)
    (back,) = [one for one in commands if isinstance(one, RollBack)]
    assert not back.rejects
    assert [one.label for one in commands if isinstance(one, Retire)] == ["v1", "v0~control"]


def test_who_serves_everyone_goes_on_serving() -> None:
    state, commands = abandon(at("swapped", 10_000), "why")
    assert state.phase == "done"
    assert not [one for one in commands if isinstance(one, SetShares)]
    assert [one.label for one in commands if isinstance(one, Retire)] == ["v0"]
