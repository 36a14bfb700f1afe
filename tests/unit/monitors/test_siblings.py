"""One replica that differs is replaced; what moves all of them alike never is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mlg.monitors.siblings import (
    ReplicaLook,
    SiblingCommand,
    SiblingFacts,
    SiblingState,
    mean_of,
    step,
)


class Fleet:
    """Replicas of one version that answer with confidences around a mean each."""

    def __init__(self, replicas: int = 3, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.state = SiblingState()
        self.means = [0.3] * replicas
        self.lives = [f"life-{n}" for n in range(replicas)]
        self.now_s = 1_000.0
        self.helps = True
        """Whether a restart makes a replica as the others."""
        self.held: dict[str, str] = {}
        self.commands: list[SiblingCommand] = []

    def looks(self, count: int, answers: int = 10) -> Sequence[SiblingCommand]:
        """Look so many times; a replica that is restarted is a new one with the usual mean."""
        found: list[SiblingCommand] = []
        for _ in range(count):
            self.now_s += 1.0
            facts = SiblingFacts(
                now_s=self.now_s,
                replicas=tuple(
                    ReplicaLook(
                        process=f"replica-home-{n}",
                        life=self.lives[n],
                        service="home",
                        version="v1",
                        confidence=self._answers(mean, answers),
                    )
                    for n, mean in enumerate(self.means)
                ),
                held=self.held,
            )
            self.state, commands = step(self.state, facts)
            found += commands
            for command in commands:
                if command.kind == "restart":
                    place = int(command.process[-1])
                    self.lives[place] += "x"
                    if self.helps:
                        self.means[place] = 0.3
        self.commands += found
        return found

    def _answers(self, mean: float, answers: int) -> tuple[float, ...]:
        drawn = np.clip(self.rng.normal(mean, 0.1, answers), 0, 0.999)
        return tuple(float(n) for n in np.histogram(drawn, bins=20, range=(0, 1))[0])


def test_the_one_that_falls_is_restarted_within_five_looks() -> None:
    fleet = Fleet()
    assert not fleet.looks(60)
    fleet.means[1] = 0.05
    (command,) = fleet.looks(5)
    assert (command.kind, command.process) == ("restart", "replica-home-1")
    assert "its siblings have 0.3" in command.reason
    assert command.statistic is not None
    assert command.limit is not None
    assert command.statistic >= command.limit


def test_a_fall_of_all_restarts_none_and_is_told_once() -> None:
    fleet = Fleet()
    fleet.looks(60)
    fleet.means = [0.1] * 3
    fleet.looks(300)
    fleet.means = [0.3] * 3
    fleet.looks(300)
    assert [c.kind for c in fleet.commands] == ["hold"]
    assert fleet.commands[0].process == ""
    assert "siblings were alike" in fleet.commands[0].reason


def test_alike_replicas_are_not_restarted() -> None:
    """90 days are stated between two false restarts: 2,000 looks are 1 in 3,888 of it."""
    fleet = Fleet(replicas=2, seed=3)
    for at in range(20):
        fleet.means = [0.2 + 0.02 * (at % 10)] * 2  # the whole public changes
        fleet.looks(100, answers=4)
    assert not [c for c in fleet.commands if c.kind == "restart"]


def test_one_that_falls_while_its_siblings_move_is_not_restarted() -> None:
    fleet = Fleet()
    fleet.looks(60)
    fleet.means = [0.5, 0.5, 0.2]
    commands = fleet.looks(4)
    assert {c.kind for c in commands} == {"hold"}
    assert "its siblings moved" in commands[0].reason


@pytest.mark.parametrize("why", ["the input drifts", "everything is frozen"])
def test_what_holds_is_told_once_and_then_it_acts(why: str) -> None:
    fleet = Fleet()
    fleet.looks(60)
    fleet.held, fleet.means[2] = {"home": why}, 0.05
    (told,) = fleet.looks(20)
    assert (told.kind, told.process) == ("hold", "replica-home-2")
    assert told.reason.endswith(f", but {why}")
    fleet.held = {}
    assert [c.kind for c in fleet.looks(1)] == ["restart"]


def test_two_that_fall_are_restarted_one_after_the_other_and_ever_more_slowly() -> None:
    fleet = Fleet(replicas=5)
    fleet.looks(60)
    fleet.means[0] = fleet.means[1] = 0.05
    fleet.helps = False
    restarted: list[float] = []
    for _ in range(950):
        restarted += [fleet.now_s for c in fleet.looks(1, answers=3) if c.kind == "restart"]
    gaps = np.diff(restarted)
    assert len(restarted) == 3  # soon, after 300 s, after 600 more
    assert gaps[0] >= 300
    assert gaps[1] >= 600


def test_restarts_are_forgiven_after_six_hours() -> None:
    fleet = Fleet()
    fleet.state = replace(fleet.state, restarts={"home": (fleet.now_s - 21_600.0,) * 4})
    fleet.looks(60)
    fleet.means[0] = 0.05
    assert [c.kind for c in fleet.looks(5)] == ["restart"]


def test_a_lone_replica_has_no_siblings_to_differ_from() -> None:
    fleet = Fleet(replicas=1)
    fleet.looks(60)
    fleet.means[0] = 0.0
    assert not fleet.looks(60)
    now = mean_of(fleet.state.members["life-0"].now)
    assert now is not None
    assert now < 0.1
