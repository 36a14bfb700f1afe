"""What the replicas of an arm used is asked seldom, and never half."""

import os
from dataclasses import dataclass, field
from typing import cast

from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.app.arms_used import ArmsReader
from mlg.app.supervise import Supervisor
from mlg.core.clock import ManualClock
from mlg.core.ports import Reply

TEXT = b"""# TYPE mlg_attempts_total counter
mlg_attempts_total{code="200"} 40.0
mlg_attempts_total{code="500"} 2.0
mlg_cache_hits_total 3.0
mlg_cache_misses_total 9.0
mlg_faults_total{kind="nan"} 2.0
"""


@dataclass
class Process:
    port: int
    version: str
    pid: int = os.getpid()
    service: str = "home"
    ready: bool = True


@dataclass
class Replicas:
    """As much of a supervisor as is asked."""

    listed: list[Process] = field(default_factory=list[Process])

    def processes(self) -> list[Process]:
        return self.listed


class Asked:
    def __init__(self, *listed: Process) -> None:
        self.clock, self.network, self.times = ManualClock(), MemoryNetwork(), 0
        self.replicas = Replicas([*listed])
        for process in listed:
            self.network.serve(f"http://127.0.0.1:{process.port}", self._metrics)
        self.reader = ArmsReader(
            lambda: cast("Supervisor", self.replicas), self.network, self.clock
        )

    def _metrics(self, _: Request) -> Reply:
        self.times += 1
        return Reply(status=200, body=TEXT)


def test_counters_of_an_arms_replicas_are_summed() -> None:
    asked = Asked(Process(1, "v1"), Process(2, "v1"), Process(3, "v2"), Process(4, "v3"))
    found = asked.reader.read("home", ["v1", "v2", None])
    one = found.used["v1"]
    assert (one.attempts, one.cache_hits, one.cache_lookups) == (84, 6, 24)
    assert (found.withheld, sorted(found.used)) == ({"v1": 4, "v2": 2}, ["v1", "v2"])


def test_a_second_of_looks_asks_once() -> None:
    asked = Asked(Process(1, "v1"))
    for _ in range(4):
        asked.reader.read("home", ["v1"])
        asked.clock.wait(0.25)
    assert asked.times == 1  # the fourth came after 0.75 s, and now it is a second
    asked.reader.read("home", ["v1"])
    assert asked.times == 2


def test_where_counting_begins_and_for_other_arms_it_is_asked_anew() -> None:
    asked = Asked(Process(1, "v1"), Process(2, "v2"))
    asked.reader.read("home", ["v1"])
    asked.reader.read("home", ["v1"], anew=True)
    assert asked.times == 2
    asked.reader.read("home", ["v1", "v2"])
    assert asked.times == 4


def test_a_replica_that_does_not_answer_is_no_part_of_the_arm() -> None:
    asked = Asked(Process(1, "v1"), Process(2, "v1"))
    asked.network.unserve("http://127.0.0.1:2")
    one = asked.reader.read("home", ["v1"]).used["v1"]
    assert (one.attempts, len(one.lives)) == (42, 1)
