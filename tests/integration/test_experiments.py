"""Levers of experiments: which may start, one at a time, once by key, and by whom it was."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from tests.integration.test_rollout_start import STORY, A, C, D, Plane

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.experiment_lengths import experiment_lengths
from mlg.app.experiment_watch import experiment_acts
from mlg.app.experiments import Experiments
from mlg.core.clock import rfc3339
from mlg.core.errors import ConflictError, ManifestError, NotFoundError
from mlg.core.ports import Record
from mlg.core.traffic import FULL_BP, HOLDOUT
from mlg.core.uris import Digest
from mlg.manifest.specs_experiments import ExperimentCell, ExperimentMetric, ExperimentSpec
from mlg.manifest.specs_services import ServiceSpec
from mlg.release.experiment import begin
from mlg.workflows.experiments import (
    ExperimentLook,
    ExperimentRequest,
    open_experiment,
    read_experiment,
    write_experiment,
)
from mlg.workflows.rollouts import Swaps, rollout_path, write_swaps
from mlg.workflows.state import Wanted, WantedVersion, write_wanted


def spec(version: str, holdout_bp: int = 100) -> ExperimentSpec:
    return ExperimentSpec(
        service="home",
        cells={"A": ExperimentCell(version=version, share_bp=500)},
        metrics={"ctr": ExperimentMetric(min_effect_bp=100)},
        holdout_bp=holdout_bp,
    )


def wanted(version: str, bp: int = FULL_BP, layer: str = "") -> WantedVersion:
    return WantedVersion(
        version=version,
        artifact=Digest(version[0] * 64),
        bp=bp,
        deployment=f"d{version[0]}",
        layer=layer,
    )


T0 = datetime(2026, 3, 1, tzinfo=UTC)


class Lab:
    def __init__(self, plane: Plane, home: Path) -> None:
        self.plane, self.files, self.home = plane, plane.files, home
        self.started: list[ExperimentRequest] = []
        self.known = {"old": spec("previous"), "same": spec("serving"), "c": spec(C)}
        manifest = SimpleNamespace(
            services={"home": ServiceSpec(model="ranker")}, experiments=self.known
        )
        self.levers = Experiments(
            files=self.files,
            ids=STORY.by.ids,
            manifests=cast("Any", SimpleNamespace(spec=lambda: manifest)),
            store=plane.store,
            recorder=plane.recorder,
            starts=plane.starts,
            there=lambda _: True,
            start=self.started.append,
            clock=plane.clock,
            lengths=partial(experiment_lengths, self.home),
            failed=lambda _: False,
        )
        write_wanted(self.files, Wanted(service="home", versions=(wanted(D),)))

    def end(self) -> None:
        document = read_experiment(self.files, "home") or {}
        path = "services/home/experiment.json"
        self.files.write(path, msgspec.json.encode({**document, "phase": "stopped"}))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    plane = Plane(tmp_path)
    yield Lab(plane, tmp_path)
    plane.reader.close()
    plane.store.close()


def test_one_at_a_time_starts_once_by_key_and_is_stopped_by_a_name(lab: Lab) -> None:
    assert [one["phase"] for one in lab.levers.list()] == ["", "", ""]
    told = lab.levers.start("same", "ada", "A/A", key="k")
    assert lab.levers.start("same", "ada", "A/A", key="k") == told
    assert [request.id for request in lab.started] == ["same-k"]
    plan = lab.started[0].plan
    assert (plan.control, plan.cells[0].version, plan.holdout) == (D, D, D)
    assert lab.started[0].min_effect == {"ctr": 0.01}
    assert open_experiment(lab.files, "home") == "same"
    with pytest.raises(ConflictError, match="'same' of home has not ended"):
        lab.levers.start("c", "ada")
    with pytest.raises(ConflictError, match="'c' does not run"):
        lab.levers.stop("c", "ada")
    del lab.known["same"]  # the manifest drops it while it runs
    assert [one["phase"] for one in lab.levers.list()] == ["", "", "pending"]
    lab.levers.stop("same", "bob", "seen enough", key="s")
    lab.levers.stop("same", "bob", "seen enough", key="s")
    acts = experiment_acts(lab.files, "home", "same-k")
    assert [(act.act, act.by, act.reason) for act in acts] == [("stop", "bob", "seen enough")]
    asked = [
        one.event
        for one in lab.plane.store.events(len(STORY.events), 1_000)
        if one.event.type == "mlg.experiment.asked"
    ]
    assert [(one.actor, dict(one.data)["reason"]) for one in asked] == [
        ("bob", "stop: seen enough")
    ]


def test_what_may_not_start_is_refused_with_a_reason(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="no version served home before"):
        lab.levers.start("old", "ada")
    with pytest.raises(NotFoundError, match="no packaged version"):
        lab.levers.start("c", "ada")
    with pytest.raises(NotFoundError, match="no experiment 'other'"):
        lab.levers.start("other", "ada")
    with pytest.raises(ManifestError, match="expected an act"):
        lab.levers.act("same", "pause", "ada")
    flying = {"rollout": "r", "state": "canary", "candidate": C}
    lab.files.write(rollout_path("home"), msgspec.json.encode(flying))
    with pytest.raises(ConflictError, match="in flight"):
        lab.levers.start("same", "ada")
    lab.files.write(rollout_path("home"), msgspec.json.encode({**flying, "state": "done"}))
    parts = (wanted(D, 9_000), wanted(A, 1_000))
    write_wanted(lab.files, Wanted(service="home", versions=parts))
    with pytest.raises(ConflictError, match="no version serves home alone"):
        lab.levers.start("same", "ada")
    assert lab.started == []


def test_a_version_that_was_taken_back_is_not_compared(lab: Lab, tmp_path: Path) -> None:
    digest = lab.plane.package(C, tmp_path / "c")
    write_swaps(lab.files, "home", Swaps(rejected=(digest[:12],)))
    with pytest.raises(ConflictError, match="was taken back"):
        lab.levers.start("c", "ada")
    write_swaps(lab.files, "home", Swaps(served=(wanted(A, 0),)))
    lab.levers.start("old", "ada")
    assert lab.started[0].plan.cells[0].version == A


def test_the_next_experiment_keeps_the_holdout_on_its_version(lab: Lab) -> None:
    held = wanted(f"{A}~holdout", 100, HOLDOUT)
    write_wanted(lab.files, Wanted(service="home", versions=(wanted(D), held)))
    lab.levers.start("same", "ada")
    request = lab.started[0]
    assert request.plan.holdout == A
    assert request.versions[A].artifact == Digest("a" * 64)


def test_before_it_starts_one_sees_what_it_needs_from_the_log(lab: Lab) -> None:
    plan = lab.levers.plan("same")
    assert plan["cells"][0]["metrics"][0]["measured"] is False
    assert (plan["seconds"], plan["log"]["new_per_day"], plan["refused"]) == (None, None, "")
    log = SegmentStream(lab.home / "segments" / "home", "replica-home-1", header={})
    at = datetime(2026, 3, 1, tzinfo=UTC)
    for n in range(2_400):  # a hundred viewers a day, a third of whom take something
        when = at + timedelta(days=n / 100)
        answer = {"prediction_id": f"p{n}", "arm": D, "model_version": D, "viewer": f"u{n}"}
        answer |= {"items": [7], "at": rfc3339(when), "features": b""}
        log.append([Record(kind="prediction", key=f"p{n}", at=at, payload=packed(answer))])
        if n % 3 == 0:
            taken = {"prediction_id": f"p{n}", "item_id": 7, "event": "play"}
            log.append([Record(kind="feedback", key=f"f{n}", at=at, payload=packed(taken))])
    plan = lab.levers.plan("same")
    (cell,) = plan["cells"]
    (metric,) = cell["metrics"]
    assert metric["measured"]
    assert metric["variance"] == pytest.approx(2 / 9, rel=0.01)  # of a third
    assert plan["log"]["new_per_day"] == pytest.approx(100, rel=0.05)
    # each viewer is new, so time is what the viewers are by a hundred a day
    days = cell["of_service"] / 100
    assert cell["seconds"] == pytest.approx(days * 86_400, rel=0.05)
    assert "will most likely end without a verdict" in plan["warnings"][0]
    lab.levers.start("same", "ada")
    assert "'same' of home has not ended" in lab.levers.plan("c")["refused"]
    with pytest.raises(NotFoundError, match="no experiment 'other'"):
        lab.levers.plan("other")
    log.close()


def packed(row: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(row)


def test_how_one_ended_is_told_after_the_next_was_started(lab: Lab) -> None:
    lab.levers.start("same", "ada")
    state, request = begin("x", lab.started[0].plan, T0), lab.started[0]
    ended = replace(state, phase="decided", reason="each cell has its verdict")
    write_experiment(lab.files, ExperimentLook(state=ended, request=request))
    lab.plane.files.write("services/home/experiment_acts.json", b"{}")
    write_swaps(lab.files, "home", Swaps(served=(wanted(A, 0),)))
    lab.levers.start("old", "ada")
    assert lab.levers.status("old")["phase"] == "pending"
    told = lab.levers.status("same")
    assert (told["phase"], told["reason"]) == ("decided", "each cell has its verdict")
