"""A loss in one group of viewers: from the log of a service to the alert on the graph."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.test_monitoring import JOBS, MANIFEST, World, drained

from mlg.core.ports import Record
from mlg.core.predict import Prediction
from mlg.manifest.load import parse_manifest
from mlg.serving.log import Circumstances, feedback_record, prediction_record
from mlg.serving.requests import Feedback

WINDOW = 600
GROUPED = MANIFEST.replace("window: 100 events", f"window: {WINDOW} events, groups: viewer:job")
DOCTOR = JOBS.index("doctor")


class Hospital(World):
    """A tenth of the viewers are doctors; every answer is labelled."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.manifest = parse_manifest(GROUPED, "mlg.yaml").spec

    def served(self, windows: int, *, doctors: float) -> None:
        for _ in range(windows):
            wobble, records = float(self.rng.normal(0, 0.02)), list[Record]()
            for _ in range(WINDOW):
                job = DOCTOR if self.rng.random() < 0.1 else 5
                rate = (doctors if job == DOCTOR else 0.5) + wobble
                records += self.labelled(float(job), hit=bool(self.rng.random() < rate))
            self.stream.append(records)

    def labelled(self, job: float, *, hit: bool) -> list[Record]:
        self.count += 1
        self.at += timedelta(seconds=20)
        name = f"p{self.count:06d}"
        raw = float(self.rng.uniform(0.4, 0.6))
        prediction = Prediction(
            prediction_id=name, service="home", version=self.version, policy="1", items=(7, 8),
            scores=(2.0, 1.0), raw_confidence=raw, confidence=raw, served_by="model",
            reason="ranked", at=self.at, latency_ms=1.0,
        )  # fmt: skip
        around = Circumstances(
            viewer=f"v{self.count // 2}", session=None, salt="5a", received_at=self.at,
            features=(30.0 + self.count % 20, job, 3.0 + self.count % 7, 0.5), arm="",
            propensity=1.0,
        )  # fmt: skip
        event = "play" if hit else "impression"
        said = Feedback(
            prediction_id=name, item_id=7, event=event, watch_through=None, at=self.at
        )
        return [
            prediction_record(prediction, around),
            feedback_record(said, service="home", received_at=self.at),
        ]


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path)
    yield made
    made.stream.close()
    made.store.close()


def test_a_loss_of_doctors_is_told_with_their_name_and_kept(hospital: Hospital) -> None:
    monitoring = hospital.monitoring()
    for _ in range(23):  # as it comes, so that labels have their time
        hospital.served(1, doctors=0.6)
        drained(monitoring)
    assert hospital.alerts() == []
    found: list[dict[str, object]] = []
    for _ in range(14):
        hospital.served(1, doctors=0.3)
        drained(monitoring)
        found = [one for one in hospital.alerts() if one["kind"] == "quality_drop"]
        if found:
            break
    (alert,) = found
    assert alert["metric"] == "viewer:job=doctor.hit_rate.share"
    assert (alert["feature"], alert["slice"]) == ("viewer:job", "job = doctor")
    assert str(alert["text"]).startswith("hit_rate of job = doctor was ")
    assert {one["feature"] for one in hospital.alerts()} == {"viewer:job"}
    (healed,) = {one.incident for one in hospital.healed}
    assert monitoring.view("home-features", healed).action == "retrain"
    monitoring.stop()
    kept = json.loads(hospital.files.read("monitors/home-features.json") or b"{}")
    (column,) = kept["monitor"]["fold"]["remembered"]["groups"]
    assert (column["feature"], column["texts"]) == ("viewer:job", ["doctor", "writer"])
    again = drained(hospital.monitoring())  # another process goes on from the file
    assert again.view("home-features", healed).open
