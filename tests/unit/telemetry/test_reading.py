"""A replica's own text is read back as what it counted."""

import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from mlg.core.errors import BackendError
from mlg.core.predict import Prediction
from mlg.serving.instruments import Instruments
from mlg.telemetry.reading import quantile_ms, read_replica


def answer(raw: float) -> Prediction:
    return Prediction(
        prediction_id="p", service="home", version="v1", policy="0", items=(1,), scores=(1.0,),
        raw_confidence=raw, confidence=raw, served_by="model", reason="model",
        at=datetime(2026, 1, 1, tzinfo=UTC), latency_ms=1.0,
    )  # fmt: skip


def test_what_instruments_counted_is_read_back() -> None:
    instruments = Instruments("home", "v1")
    for raw, seconds in ((0.0, 0.0003), (0.12, 0.003), (1.0, 99.0)):
        instruments.answered(answer(raw), seconds)
    instruments.refused(500)
    instruments.refused(400)
    instruments.gap(7)
    found = read_replica(instruments.text().decode())
    assert (found.attempts, found.errors, found.answers) == (5, 1, 3)
    assert found.log_records_lost == 7
    assert (found.cache_hits, found.cache_lookups) == (None, 0)
    for hit in (True, False, True):
        instruments.looked_up(hit=hit)
    asked = read_replica(instruments.text().decode())
    assert (asked.cache_hits, asked.cache_lookups) == (2, 3)
    bins = {place: n for place, n in enumerate(found.confidence) if n}
    assert bins == {0: 1, 2: 1, 19: 1}  # 0..0.05, 0.1..0.15, 0.95..1
    assert len(found.seconds) == len(found.seconds_edges) + 1
    assert (found.seconds[0], found.seconds[-1]) == (1, 1)


def test_another_text_is_refused_with_words() -> None:
    with pytest.raises(BackendError, match="expected a replica's metrics"):
        read_replica("up 1\n")


def test_a_quantile_is_linear_in_its_bin() -> None:
    assert quantile_ms((0.1, 0.2), (10, 10, 0), 0.75) == pytest.approx(150.0)
    assert quantile_ms((0.1, 0.2), (10, 0, 0), 0.5) == pytest.approx(50.0)
    assert quantile_ms((0.1, 0.2), (0, 0, 3), 0.5) == pytest.approx(200.0)  # at least that


@pytest.mark.skipif(
    not shutil.which("promtool"), reason="the Debian package prometheus is not installed"
)
def test_promtool_finds_nothing_wrong_with_a_replicas_text() -> None:
    instruments = Instruments("home", "v1")
    instruments.answered(answer(0.5), 0.001)
    instruments.fault("nan")
    instruments.feedback("play")
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=instruments.text(),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
