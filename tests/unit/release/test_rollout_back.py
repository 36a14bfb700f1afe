"""The way back to a version that served before: one step, without tests and gates."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlg.core.traffic import Share
from mlg.core.uris import Digest
from mlg.release.rollout import begin_back, explain, step
from mlg.release.rollout_types import (
    Call,
    Fallen,
    OperatorAct,
    Retire,
    RollBack,
    RolloutFacts,
    RolloutState,
    SetShares,
    StartStaging,
    StartVersions,
)
from mlg.workflows.rollouts import Swaps
from mlg.workflows.state import WantedVersion

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ALL_OLD = (Share(version="old", bp=10_000),)


def back() -> RolloutState:
    return begin_back("b1", "home", "old", "new", T0, "rollback by ann: worse")


def warm() -> RolloutState:
    state, _ = step(back(), RolloutFacts(now=T0))
    state, _ = step(state, RolloutFacts(now=T0, ready=("old",)))
    assert state.phase == "promoting"
    return state


def test_it_warms_the_former_version_swaps_and_retires_what_it_left() -> None:
    state, commands = step(back(), RolloutFacts(now=T0))
    assert not [c for c in commands if isinstance(c, StartStaging)]
    (started,) = [c for c in commands if isinstance(c, StartVersions)]
    assert [v.label for v in started.versions] == ["old"], "no control: nothing is compared"
    assert step(state, RolloutFacts(now=T0))[0].phase == "warming"
    state, _ = step(state, RolloutFacts(now=T0, ready=("old",)))
    state, commands = step(state, RolloutFacts(now=T0, ready=("old",)))
    assert state.phase == "swapped"
    assert [c.shares for c in commands if isinstance(c, SetShares)] == [ALL_OLD]
    (taken,) = [c for c in commands if isinstance(c, RollBack)]
    assert (taken.to, taken.left, taken.swap) == ("old", "new", True)
    assert [c for c in commands if isinstance(c, Call)]
    state, commands = step(state, RolloutFacts(now=T0, ready=("old",), shares=ALL_OLD))
    assert state.phase == "done"
    assert [c.label for c in commands if isinstance(c, Retire)] == ["new"]
    assert "worse" in explain(state)


@pytest.mark.parametrize(
    "change",
    [
        {"swaps": tuple(T0 - timedelta(minutes=n) for n in range(9))},
        {"frozen": True},
        {"rejected": ("old",)},
        {"fresh": False},
        {"acts": (OperatorAct(id="a", act="rollback", by="ann"),)},
    ],
    ids=["swaps of the hour", "frozen", "rejected before", "no metrics", "told again"],
)
def test_nothing_holds_it_up(change: dict[str, object]) -> None:
    state = back()
    facts = replace(RolloutFacts(now=T0, ready=("old",)), **change)
    for _ in range(5):
        state, _ = step(state, facts)
    assert state.phase == "swapped"
    assert step(state, replace(facts, shares=ALL_OLD))[0].phase == "done"


def test_a_former_version_that_does_not_start_leaves_what_serves() -> None:
    state, _ = step(back(), RolloutFacts(now=T0))
    fallen = (Fallen(label="old", reason="crash loop"),)
    state, commands = step(state, RolloutFacts(now=T0, fallen=fallen))
    assert state.phase == "failed"
    assert not [c for c in commands if isinstance(c, SetShares)]
    assert [c.label for c in commands if isinstance(c, Retire)] == ["old"]


def test_it_needs_a_reason_and_another_version() -> None:
    with pytest.raises(ValueError, match="reason"):
        begin_back("b1", "home", "old", "new", T0, "")
    with pytest.raises(ValueError, match="old"):
        begin_back("b1", "home", "old", "old", T0, "why")


def served(version: str) -> WantedVersion:
    return WantedVersion(version=version, artifact=Digest("d" * 64), bp=0, deployment=version)


def test_versions_that_served_are_gone_back_to_in_turn_and_none_twice() -> None:
    swaps = Swaps().after_promotion("v1", None)
    assert swaps.former("v1") is None
    for former, version in (("v1", "v2"), ("v2", "v3"), ("v2", "v3")):
        swaps = swaps.after_promotion(version, served(former))
    assert [v.version for v in swaps.served] == ["v1", "v2"]
    first = swaps.former("v3")
    assert first is not None
    assert first.version == "v2"
    for _ in range(2):
        swaps = swaps.after_way_back("v2", "v3")
    again = swaps.former("v2")
    assert again is not None
    assert (again.version, swaps.rejected) == ("v1", ("v3",))
    swaps = swaps.after_way_back("v1", "v2")
    assert swaps.former("v1") is None
    swaps = swaps.after_promotion("v4", served("v1"))
    last = swaps.former("v4")
    assert last is not None
    assert last.version == "v1"
