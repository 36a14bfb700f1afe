"""The tests of staging, asked of a replica that answers over the network in memory."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.app.staging_battery import Battery, Known, Target, without_a_field
from mlg.app.staging_memory import MemoryWatch, held_bytes, runs
from mlg.core.ports import Reply
from mlg.manifest.specs_services import (
    BudgetSpec,
    CompareSpec,
    LoadSpec,
    RobustnessSpec,
    RolloutSpec,
    ServiceSpec,
    StagingSpec,
)
from mlg.release.staging import TestResult
from mlg.release.staging_requests import LiveRequests, spread

HISTORY = [{"item_id": 7, "at": "2026-01-01T00:00:00Z"}]


def body(user: int) -> bytes:
    context = {
        "at": "2026-01-02T00:00:00Z",
        "history": HISTORY,
        "viewer": {"age": 9, "sex": "F"},
    }
    return json.dumps({"user_id": user, "k": 3, "context": context}).encode()


BODIES = tuple(body(user) for user in range(32))


def answer(asked: dict[str, Any], version: str) -> Reply:
    """Answer by the viewer's history and age, so that each matters to the items."""
    context = asked["context"]
    seen = 10 if context.get("history") else 20
    aged = 1 if (context.get("viewer") or {}).get("age") else 2
    items = [{"id": n, "score": 1.0 / n} for n in (aged, seen, 99)]
    told = {
        "items": items,
        "confidence": 0.5,
        "served_by": "model",
        "model_version": version,
        "prediction_id": "p",
    }
    return Reply(status=200, body=json.dumps(told).encode())


def replica(network: MemoryNetwork, port: int, version: str) -> list[Request]:
    """Serve a version, and return what it is asked, as it comes."""
    asked: list[Request] = []

    def handle(request: Request) -> Reply:
        asked.append(request)
        return answer(json.loads(request.body), version)

    network.serve(f"http://127.0.0.1:{port}", handle)
    return asked


def target(
    port: int = 1, version: str = "v2", *, alive: Callable[[], bool] = lambda: True
) -> Target:
    return Target(port=port, version=version, alive=alive, held_bytes=lambda: 5 * 2**20)


def run(network: MemoryNetwork, staging: StagingSpec, **known: Any) -> dict[str, TestResult]:
    spec = ServiceSpec(model="m", clock="request", rollout=RolloutSpec(staging=staging))
    battery = Battery(network, "home", target(), spec, Known(bodies=BODIES, **known))
    battery.run(staging.tests)
    return {result.name: result for result in battery.done}


def test_fields_are_taken_out_one_at_a_time_and_the_time_stays() -> None:
    less = {name: json.loads(text) for name, text in without_a_field(BODIES[0])}
    assert set(less) == {"user_id", "history", "viewer.age", "viewer.sex", "viewer"}
    assert less["user_id"]["user_id"] is None
    assert "history" not in less["history"]["context"]
    assert less["viewer.age"]["context"]["viewer"] == {"sex": "F"}
    assert "viewer" not in less["viewer"]["context"]
    assert {one["context"]["at"] for one in less.values()} == {"2026-01-02T00:00:00Z"}
    assert list(without_a_field(b'{"user_id":null,"k":3}')) == []


def test_nothing_that_is_asked_is_logged_as_a_viewers() -> None:
    network = MemoryNetwork()
    asked, served = replica(network, 1, "v2"), replica(network, 2, "v1")
    tests = ("contract", "golden", "robustness", "compare", "load", "memory")
    run(
        network,
        StagingSpec(tests=tests, load=LoadSpec(rate_hz=2_000.0, seconds=0.05)),
        production=target(2, "v1"),
    )
    for request in (*asked, *served):
        assert "mlg-shadow" in dict(request.headers)


def test_missing_fields_change_the_answers_by_as_much_as_declared() -> None:
    network = MemoryNetwork()
    replica(network, 1, "v2")
    found = run(network, StagingSpec(tests=("robustness",)))["robustness"]
    facts = dict(found.facts)
    assert found.verdict == "PASS"
    # one of three items follows the history, one the age
    assert facts["overlap.history"] == pytest.approx(2 / 3)
    assert facts["overlap.viewer"] == pytest.approx(2 / 3)
    assert facts["overlap.viewer.sex"] == facts["overlap.user_id"] == 1.0
    strict = StagingSpec(tests=("robustness",), robustness=RobustnessSpec(min_overlap=0.7))
    assert run(network, strict)["robustness"].verdict == "FAIL"


def test_both_versions_are_asked_the_requests_of_both() -> None:
    network = MemoryNetwork()
    mine, theirs = replica(network, 1, "v2"), replica(network, 2, "v1")
    staging = StagingSpec(tests=("compare",), compare=CompareSpec(min_overlap=0.9))
    others = (body(77), BODIES[0])
    found = run(network, staging, production=target(2, "v1"), production_bodies=others)
    assert found["compare"].verdict == "PASS"
    assert dict(found["compare"].facts)["requests"] == 33
    assert {r.body for r in mine} == {r.body for r in theirs} == {*BODIES, body(77)}
    alone = run(network, staging)["compare"]
    assert (alone.verdict, alone.blocks) == ("INCONCLUSIVE", False)


def test_load_and_compare_ask_what_viewers_asked_of_late_and_say_so() -> None:
    network = MemoryNetwork()
    mine, theirs = replica(network, 1, "v2"), replica(network, 2, "v1")
    lately = tuple(
        json.dumps({"user_id": n, "k": 2, "context": {"at": "2026-02-02T00:00:00Z"}}).encode()
        for n in range(300)
    )
    live = LiveRequests(bodies=lately, known=280, left_out=4)
    staging = StagingSpec(
        tests=("load", "compare"), load=LoadSpec(rate_hz=2_000.0, seconds=0.2)
    )
    found = run(network, staging, production=target(2, "v1"), live=live)
    # recorded requests are asked for contract and the like only
    asked = [request.body for request in mine if request.body not in BODIES]
    assert sorted(asked[:400]) == sorted(lately + lately[:100])
    assert {request.body for request in theirs} == set(spread(lately, 128))
    for name in ("load", "compare"):
        assert "asked: 300 requests of the log" in found[name].reason
        assert "20 of them of viewers whom no version knows" in found[name].reason
        facts = dict(found[name].facts)
        assert (facts["from_log"], facts["from_recorded"], facts["left_out"]) == (300, 0, 4)
    none = LiveRequests(why="the log has none")
    told = run(network, staging, production=target(2, "v1"), live=none)
    assert "asked: recorded requests: the log has none" in told["load"].reason
    assert dict(told["compare"].facts)["from_recorded"] == 32


def test_load_goes_by_what_is_declared_or_was_seen() -> None:
    network = MemoryNetwork()
    asked = replica(network, 1, "v2")
    tight = StagingSpec(
        tests=("load",),
        load=LoadSpec(rate_hz=100.0, seconds=1.5),
        budget=BudgetSpec(p99_ms=1e-6),
    )
    found = run(network, tight)["load"]
    assert found.verdict == "FAIL"
    facts = dict(found.facts)
    assert (facts["requests"], facts["p99_budget_ms"]) == (150, 1e-6)
    assert len(asked) == len(BODIES) + 150
    asked.clear()
    # whether this machine is quick enough for the rate is its own matter
    for seen_hz, sent in ((500.0, 250), (None, 100), (1.0, 100)):
        quick = StagingSpec(tests=("load",), load=LoadSpec(seconds=0.5))
        run(network, quick, expected_hz=seen_hz)
        assert len(asked) == len(BODIES) + sent
        asked.clear()


def test_memory_is_judged_last_by_its_budget() -> None:
    network = MemoryNetwork()
    replica(network, 1, "v2")
    staging = StagingSpec(
        tests=("memory", "contract"), budget=BudgetSpec(memory_bytes=4 * 2**20)
    )
    found = run(network, staging)
    assert list(found) == ["contract", "memory"]
    assert found["memory"].verdict == "FAIL"


def test_a_replica_that_dies_ends_the_battery_with_a_reason() -> None:
    network, count = MemoryNetwork(), 0
    alive = threading.Event()
    alive.set()

    def handle(request: Request) -> Reply:
        nonlocal count
        count += 1
        if count == len(BODIES) + 5:
            alive.clear()
            network.unserve("http://127.0.0.1:1")
            return Reply(status=0, body=b"")
        return answer(json.loads(request.body), "v2")

    network.serve("http://127.0.0.1:1", handle)
    tests = ("contract", "golden", "load", "robustness")
    spec = ServiceSpec(model="m", rollout=RolloutSpec(staging=StagingSpec(tests=tests)))
    battery = Battery(network, "home", target(alive=alive.is_set), spec, Known(bodies=BODIES))
    battery.run(tests)
    found = {result.name: (result.verdict, result.reason) for result in battery.done}
    assert found["contract"][0] == "PASS"
    for name in ("golden", "load", "robustness"):
        assert found[name] == ("ERROR", "its replica ended while it was tested")


def test_what_a_process_holds_is_measured() -> None:
    code = "import sys; a = bytearray(64 << 20); a[::4096] = b'x' * len(a[::4096]); " + (
        "print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with MemoryWatch(process.pid) as watch:
            held = watch.peak_bytes()
        assert held is not None
        assert 64 << 20 <= held < 128 << 20
        assert runs(process.pid)
        process.kill()
        process.wait()
        assert not runs(process.pid)
        # the most that was seen stays known
        assert watch.peak_bytes() == held
    assert held_bytes(0) is None
    assert held_bytes(process.pid) is None
    own = held_bytes(os.getpid())
    assert own is not None
    assert own > 0
