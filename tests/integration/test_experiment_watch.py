"""What an experiment's watch makes of a real log: slow cells, splits, restarts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.router_memory import MemoryRouter
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.experiment_watch import ControlExperiments
from mlg.app.tail import Tail
from mlg.core.clock import ManualClock, rfc3339
from mlg.core.ports import Record
from mlg.core.traffic import (
    FULL_BP,
    Endpoint,
    Layer,
    ServiceEndpoints,
    Share,
    TrafficSplit,
    VersionEndpoints,
)
from mlg.core.uris import Digest
from mlg.release.experiment import begin, step
from mlg.release.experiment_types import Cell, ExperimentFacts, ExperimentPlan, ExperimentState
from mlg.workflows.experiments import ExperimentLook, ExperimentRequest
from mlg.workflows.state import Wanted, WantedVersion, write_wanted

T0 = datetime(2026, 3, 1, tzinfo=UTC)
A, B, CONTROL = "v2~rows.A", "v3~rows.B", "v1"
PLAN = ExperimentPlan(
    name="rows",
    service="home",
    control=CONTROL,
    cells=(
        Cell(name="A", version="v2", share_bp=2_500),
        Cell(name="B", version="v3", share_bp=2_500),
    ),
    metrics=("ctr",),
    min_viewers=10_000,
)
REQUEST = ExperimentRequest(
    id="e", model="ranker", plan=PLAN, min_effect={"ctr": 0.05}, versions={}, by="ada"
)
WHOLE = (Share(version=CONTROL, bp=FULL_BP),)


class Lab:
    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, LocalFiles(folder)
        self.log = SegmentStream(folder / "segments" / "home", "replica-home-1", header={})
        self.router, self.count = MemoryRouter(), 0
        at = (Endpoint(host="127.0.0.1", port=1),)
        versions = tuple(VersionEndpoints(version=v, endpoints=at) for v in (CONTROL, A, B))
        self.router.place(
            ServiceEndpoints(service="home", versions=versions, stable=CONTROL, fallback=())
        )
        whole = WantedVersion(
            version=CONTROL, artifact=Digest("a" * 64), bp=FULL_BP, deployment="d"
        )
        write_wanted(self.files, Wanted(service="home", versions=(whole,)))
        self.tail = Tail(folder, self.files, SystemClock(), lambda: ("home",))
        self.watch = self.control()

    def control(self) -> ControlExperiments:
        """Return a watch as a control plane makes it that has just begun."""
        return ControlExperiments(
            home=self.folder,
            files=self.files,
            clock=ManualClock(T0),
            manifests=cast("Any", SimpleNamespace(spec=lambda: None)),
            router=self.router,
            supervisor=lambda: cast("Any", SimpleNamespace(processes=tuple)),
            tail=self.tail,
        )

    def split(self, *cells: str) -> None:
        begins = {A: 0, B: 2_500}
        layer = Layer(
            salt="rows",
            shares=tuple(Share(version=cell, bp=2_500) for cell in cells),
            begins=tuple(begins[cell] for cell in cells),
        )
        self.router.apply(TrafficSplit(service="home", shares=WHOLE, layers=(layer,)))

    def answer(
        self, arm: str, viewers: Iterable[str], ms: float = 3.0, second: int = 0
    ) -> None:
        rows: list[Record] = []
        for who in viewers:
            self.count += 1
            row = {
                "prediction_id": f"p{self.count}", "service": "home", "arm": arm,
                "model_version": arm[:2], "served_by": "model", "viewer": who, "session": who,
                "items": [7], "features": b"", "latency_ms": ms,
                "at": rfc3339(T0 + timedelta(seconds=second)),
            }  # fmt: skip
            payload = msgspec.msgpack.encode(row)
            rows.append(Record(kind="prediction", key=f"p{self.count}", at=T0, payload=payload))
        self.log.append(rows)

    def look(self, look: ExperimentLook) -> tuple[ExperimentLook, ExperimentFacts]:
        """Look as a durable step does: what is kept goes through JSON."""
        kept, facts = self.watch.look(look)
        return msgspec.json.decode(msgspec.json.encode(kept), type=ExperimentLook), facts


def running(*stopped: str) -> ExperimentState:
    return replace(begin("e", PLAN, T0, started=True), phase="running", stopped=stopped)


def names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(n)]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.answer(CONTROL, names("early", 400), ms=3.0)  # what slow is, is known before
    made.split(A, B)
    return made


def guard(facts: ExperimentFacts, cell: str, name: str = "latency_p99") -> tuple[str, str]:
    (one,) = [c for c in facts.cells if c.cell == cell]
    (found,) = [g for g in one.guards if g.name == name]
    return found.verdict, found.reason


def test_a_slow_cell_is_dropped_and_the_others_stay(lab: Lab) -> None:
    look, facts = lab.look(ExperimentLook(state=running(), request=REQUEST))
    assert not facts.fresh  # the mark was set: counting begins now
    for block in range(30):
        for arm, ms in ((A, 30.0), (B, 3.0), (CONTROL, 3.0)):
            lab.answer(arm, [f"{arm}-{block}"], ms, second=4 * block)
    look, facts = lab.look(look)
    verdict, reason = guard(facts, "A")
    assert (verdict, "worse in 30 of 30 moments" in reason) == ("FAIL", True), reason
    assert guard(facts, "B")[0] == "INCONCLUSIVE"
    moved, _ = step(look.state, facts)
    assert (moved.phase, moved.stopped) == ("running", ("A",))
    assert "A harms: latency_p99 FAIL" in moved.reason
    # another control plane reads the same of the log
    lab.watch = lab.control()
    assert lab.look(look)[1].cells == facts.cells


def test_alike_cells_are_not_slow_for_all_the_looks(lab: Lab) -> None:
    look, _ = lab.look(ExperimentLook(state=running(), request=REQUEST))
    for block in range(40):  # in turn each of the three has the slow answer
        slow = (A, B, CONTROL)[block % 3]
        for arm in (A, B, CONTROL):
            lab.answer(arm, [f"{arm}{block}"], 30.0 if arm == slow else 3.0, second=4 * block)
        look, facts = lab.look(look)
        assert {guard(facts, cell)[0] for cell in "AB"} == {"INCONCLUSIVE"}


def test_without_answers_before_it_the_latency_guard_says_so(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.split(A, B)
    look, _ = lab.look(ExperimentLook(state=running(), request=REQUEST))
    lab.answer(A, names("a", 5))
    _, facts = lab.look(look)
    why = "the control's latency before the experiment is not known"
    assert guard(facts, "A") == ("INCONCLUSIVE", why)


def test_after_a_cell_ended_the_ratio_is_of_those_who_came_since(lab: Lab) -> None:
    look, _ = lab.look(ExperimentLook(state=running(), request=REQUEST))
    for arm, n in ((A, 500), (B, 500), (CONTROL, 1_000)):
        lab.answer(arm, names(arm, n))
    look, facts = lab.look(look)
    assert facts.mismatch is not None
    assert (facts.mismatch.verdict, facts.mismatch.n) == ("PASS", 2_000)
    look = msgspec.structs.replace(look, state=running("A"))
    assert lab.look(look)[1].fresh is False  # the gateway does not show it yet
    lab.split(B)
    look, facts = lab.look(look)
    assert facts.mismatch is not None
    assert facts.mismatch.n == 0
    # a quarter of the viewers is B's, and A's are the control's now
    lab.answer(B, names(B, 500))
    lab.answer(CONTROL, [*names(CONTROL, 1_000), *names(A, 500)])
    look, facts = lab.look(look)
    assert facts.mismatch is not None
    assert (facts.mismatch.verdict, facts.mismatch.n) == ("PASS", 2_000)
    # who was in A is no control: 1,000 viewers, not 1,500
    assert "500 and 1000 viewers" in facts.cells[0].metrics[0].reason
    lab.watch = lab.control()
    again = lab.look(look)[1]
    assert (again.mismatch, again.cells) == (facts.mismatch, facts.cells)
    # then B loses viewers: an ERROR, which ends the experiment
    lab.answer(CONTROL, names("more", 900))
    _, facts = lab.look(look)
    assert facts.mismatch is not None
    assert facts.mismatch.verdict == "ERROR"
    assert step(running("A"), replace(facts, serving=CONTROL))[0].phase == "stopped"


def test_slow_moments_of_the_split_before_still_count(lab: Lab) -> None:
    look, _ = lab.look(ExperimentLook(state=running(), request=REQUEST))

    def slow_b(start: int, blocks: int) -> None:
        for block in range(start, start + blocks):
            lab.answer(B, [f"b{block}"], 30.0, second=4 * block)
            lab.answer(CONTROL, [f"c{block}"], 3.0, second=4 * block)

    slow_b(0, 10)
    look, facts = lab.look(look)
    assert guard(facts, "B")[0] == "INCONCLUSIVE"
    lab.split(B)
    look, _ = lab.look(msgspec.structs.replace(look, state=running("A")))
    slow_b(10, 10)
    _, facts = lab.look(look)
    verdict, reason = guard(facts, "B")
    assert "worse in 20 of 20 moments" in reason
    assert verdict == "FAIL"


def test_a_mark_of_before_there_were_guards_still_counts(lab: Lab) -> None:
    cursor = msgspec.to_builtins(lab.tail.cursor("home"))
    look = ExperimentLook(state=running(), request=REQUEST, mark={"cursor": cursor})
    lab.answer(A, names("a", 5))
    _, facts = lab.look(look)
    assert facts.fresh
    assert facts.cells[0].viewers == 5
    assert [g.name for g in facts.cells[0].guards] == ["errors"]
