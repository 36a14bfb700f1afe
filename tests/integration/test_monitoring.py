"""Monitors follow the log: an alert is told once, whatever dies when."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.monitor_group import MonitorGroup
from mlg.app.monitoring import Monitoring
from mlg.automations.freeze import FREEZE_FILE
from mlg.core.clock import Clock, ManualClock
from mlg.core.predict import Prediction, ServingPolicy
from mlg.graph.record import Recorder
from mlg.manifest.load import parse_manifest
from mlg.manifest.specs import ManifestSpec
from mlg.serving.log import Circumstances, prediction_record
from mlg.workflows.heal import HealRequest
from mlg.workflows.policies import Policies
from mlg.workflows.state import Wanted, WantedVersion, write_wanted

NAMES = ["viewer:age", "viewer:job", "history_length", "score_margin"]
JOBS = ["artist", "doctor", "engineer", "lawyer", "student", "writer"]
START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = 100

MANIFEST = """\
version: 1
project: p
services:
  home: {adopt: "http://127.0.0.1:1"}
monitors:
  home-features: {watch: home, window: 100 events, on_alert: heal}
"""


class World:
    """A home with a log, and monitors over it that can die."""

    def __init__(self, home: Path) -> None:
        self.home, self.files, self.clock = home, LocalFiles(home), ManualClock()
        self.store = SqliteGraph(home / "graph.sqlite3", self.clock)
        self.artifacts = LocalArtifacts(home / "artifacts")
        self.ids, self.rng = Uuid7Ids(self.clock), np.random.default_rng(5)
        self.policies = Policies(self.files, self.store)
        self.manifest: ManifestSpec = parse_manifest(MANIFEST, "mlg.yaml").spec
        self.healed: list[HealRequest] = []
        self.count, self.at = 0, START
        self.before: bytes | None = None
        model = home / "model"
        model.mkdir(exist_ok=True)
        about = {"features": NAMES, "levels": {"viewer:job": JOBS}}
        (model / "model.json").write_text(json.dumps(about))
        self.artifact = self.artifacts.put(model)
        self.version = self.artifact[:12]
        wanted = WantedVersion(
            version=self.version, artifact=self.artifact, bp=10_000, deployment="d1"
        )
        write_wanted(self.files, Wanted(service="home", versions=(wanted,)))
        if self.policies.read("home") is None:
            self.policies.change(
                self.recorder(),
                "home",
                lambda old: replace(old, abstain_below=0.05),
                reason="made",
            )
        self.stream = SegmentStream(home / "segments" / "home", writer_id="replica-home-1")

    def recorder(self) -> Recorder:
        return Recorder(project="p", actor="system:monitors", clock=self.clock, ids=self.ids)

    def monitoring(
        self, group: MonitorGroup | None = None, clock: Clock | None = None
    ) -> Monitoring:
        return Monitoring(
            home=self.home,
            files=self.files,
            clock=clock or self.clock,
            artifacts=self.artifacts,
            store=self.store,
            policies=self.policies,
            recorder=self.recorder,
            spec=lambda: self.manifest,
            heal=self.healed.append,
            group=group,
        )

    def answer(self, windows: int, *, students: float = 0.15) -> None:
        for _ in range(windows):
            share = float(np.clip(students + self.rng.normal(0, 0.02), 0, 1))
            self.stream.append([self.one(share) for _ in range(WINDOW)])

    def one(self, share: float):
        young = self.rng.random() < share
        features = (
            float(self.rng.integers(18, 25) if young else self.rng.integers(25, 60)),
            4.0 if young else float([0, 1, 2, 3, 5][self.rng.integers(0, 5)]),
            float(self.rng.gamma(2.0, 20.0)),
            float(self.rng.normal()),
        )
        raw = float(np.clip(self.rng.normal(0.3, 0.1), 0, 1))
        self.count += 1
        self.at += timedelta(seconds=20)
        self.clock.wait(0.001)
        prediction = Prediction(
            prediction_id=f"p{self.count:06d}", service="home", version=self.version,
            policy="1", items=(7, 8), scores=(2.0, 1.0), raw_confidence=raw, confidence=raw,
            served_by="model", reason="ranked", at=self.at, latency_ms=1.0,
        )  # fmt: skip
        around = Circumstances(
            viewer=f"v{self.count // 2}", session=None, salt="5a", received_at=self.at,
            features=features, arm="", propensity=1.0,
        )  # fmt: skip
        return prediction_record(prediction, around)

    def types(self) -> list[str]:
        return [one.event.type for one in self.store.events(limit=1_000)]

    def alerts(self, word: str = "opened") -> list[dict[str, object]]:
        return [
            dict(node.attrs)
            for one in self.store.events(limit=1_000)
            if one.event.type == f"mlg.alert.{word}"
            for node in one.event.nodes
            if node.uri == one.event.subject
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stream.close()
    made.store.close()


def drained(monitoring: Monitoring) -> Monitoring:
    while monitoring.round():
        pass
    return monitoring


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make a home whose monitor has alerted, once; it is closed."""
    world = World(tmp_path_factory.mktemp("made"))
    monitoring = world.monitoring()
    world.answer(24)
    drained(monitoring)
    assert world.alerts() == []
    world.clock.wait(10)
    monitoring.round()  # a quiet log: what was read is saved
    world.before = world.files.read("monitors/home-features.json")
    world.answer(9, students=0.5)
    drained(monitoring).stop()
    world.stream.close()
    world.store.close()
    return world


@pytest.fixture
def alerted(made: World, tmp_path: Path) -> Iterator[World]:
    """Return a copy of that home."""
    shutil.copytree(made.home, tmp_path / "copy")
    world = World(tmp_path / "copy")
    world.before, world.healed = made.before, list(made.healed)
    yield world
    world.stream.close()
    world.store.close()


def test_a_shift_is_one_incident_told_with_slice_sample_and_remedy(alerted: World) -> None:
    (alert,) = alerted.alerts()
    assert (alert["kind"], alert["service"]) == ("input_drift", "home")
    assert alert["slice"] in {"age < 25", "job = student", "job = student and age < 25"}
    assert str(alert["remediation"]).endswith(".")
    assert abs(float(str(alert["statistic"]))) > float(str(alert["limit"]))
    sample = json.loads(alerted.artifacts.open(alert["sample"]).read_bytes())
    assert 0 < len(sample["prediction_ids"]) <= 1_000
    assert alerted.types().count("mlg.incident.opened") == 1
    learned = [s for s in alerted.store.events(limit=1_000) if "learned" in s.event.type]
    assert {dict(s.event.data)["stream"] for s in learned} == {"requests", alerted.version}
    signals = [
        s.event for s in alerted.store.events(limit=1_000) if "alert.opened" in s.event.type
    ]
    drawn = {(e.src.split("/")[2], e.role, e.dst.split("/")[2]) for e in signals[0].edges}
    assert {
        ("feature", "detected_on", "drift_signal"),
        ("drift_signal", "caused", "alert"),
    } <= drawn
    assert {one.monitor for one in alerted.healed} == {"home-features"}
    assert len({one.incident for one in alerted.healed}) == 1


def test_new_monitors_go_on_where_the_old_ones_died_and_tell_nothing_twice(
    alerted: World,
) -> None:
    told = alerted.types()
    drained(alerted.monitoring()).stop()
    assert alerted.types() == told


def test_records_read_again_after_a_crash_are_not_told_again(alerted: World) -> None:
    told = alerted.types()
    assert "mlg.monitor.learned" in told
    assert alerted.before is not None
    alerted.files.write("monitors/home-features.json", alerted.before)
    again = drained(alerted.monitoring())
    assert alerted.types() == told
    assert again.view("home-features", alerted.healed[0].incident).open


def test_the_policy_follows_the_incident_and_returns_when_it_is_settled(
    alerted: World,
) -> None:
    policy = alerted.policies.read("home")
    assert policy is not None
    assert (policy.drift_severity > 0.5, policy.abstain_below) == (True, 0.05)
    monitoring, incident = alerted.monitoring(), alerted.healed[0].incident
    assert monitoring.settle("home-features", incident)
    assert not monitoring.settle("home-features", incident)
    monitoring.round()
    after = alerted.policies.read("home")
    assert after is not None
    assert (after.drift_severity, after.diversity, after.abstain_below) == (0.0, 0.0, 0.05)
    assert len(alerted.alerts("closed")) == 1
    assert alerted.types().count("mlg.incident.closed") == 1


def test_while_frozen_the_policy_stays_and_events_go_on(world: World) -> None:
    world.files.write(FREEZE_FILE, b"{}")
    monitoring = world.monitoring()
    world.answer(24)
    world.answer(7, students=0.5)
    drained(monitoring)
    assert len(world.alerts()) == 1
    assert world.policies.read("home") == ServingPolicy(
        service="home", version="1", abstain_below=0.05
    )


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_monitor_that_is_gone_or_changed_closes_what_it_had_open(
    alerted: World, change: str
) -> None:
    text = (
        MANIFEST.split("monitors:", maxsplit=1)[0]
        if change == "gone"
        else MANIFEST.replace("100", "50")
    )
    alerted.manifest = parse_manifest(text, "mlg.yaml").spec
    alerted.monitoring().round()
    assert len(alerted.alerts("closed")) == 1
    kept = alerted.files.read("monitors/home-features.json")
    assert (kept is None) == (change == "gone")


def test_a_damaged_memory_begins_anew_under_another_name(alerted: World) -> None:
    before = {one.incident for one in alerted.healed}
    alerted.files.write("monitors/home-features.json", b"{")
    drained(alerted.monitoring())
    assert len(alerted.alerts()) == 2
    assert {one.incident for one in alerted.healed} - before


def test_what_is_kept_is_small(alerted: World) -> None:
    content = alerted.files.read("monitors/home-features.json")
    assert content is not None
    assert len(content) < 1_000_000
    assert msgspec.json.decode(content)["windows"] >= 30


def test_tags_and_vectors_are_watched_from_the_log_and_new_columns_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    names = ["genre[drama]", "genre[war]", "taste[0]", "taste[1]"]
    world.answer(2)
    model = tmp_path / "second"
    model.mkdir()
    about = {"features": [*names, "viewer:city"], "levels": {"viewer:city": ["rome", "oslo"]}}
    (model / "model.json").write_text(json.dumps(about))
    second = world.artifacts.put(model)
    versions = [
        WantedVersion(version=v[:12], artifact=v, bp=5_000, deployment=f"d{n}")
        for n, v in enumerate((world.artifact, second))
    ]
    write_wanted(world.files, Wanted(service="home", versions=tuple(versions)))
    rng, first = np.random.default_rng(1), world.one(0.1)
    row = msgspec.msgpack.decode(first.payload)
    for n in range(24 * WINDOW):
        values = [*(rng.random(2) < 0.3), *rng.normal(size=2), rng.integers(0, 2)]
        row["prediction_id"], row["model_version"] = f"q{n:05d}", second[:12]
        row["features"] = np.array(values, "<f4").tobytes()
        payload = msgspec.msgpack.encode(row)
        record = replace(first, key=row["prediction_id"], payload=payload)
        world.stream.append([record])
    with caplog.at_level("WARNING", logger="mlg.monitoring"):
        drained(world.monitoring()).stop()
    stored = json.loads(world.files.read("monitors/home-features.json") or b"")
    known = stored["monitor"]["charts"]["streams"][second[:12]]["baseline"]["usual"]["metrics"]
    assert {"genre=war.share", "taste=component 1.location", "taste.norm.location"} <= set(
        known
    )
    told = f"viewer:city is new in {second[:12]} and not watched yet"
    assert stored["monitor"]["fold"]["odd"] == {told: 1}
    assert [one for one in caplog.messages if told in one]
    world.stream.close()
    world.store.close()
