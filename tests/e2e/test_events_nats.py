"""A control plane with `events:` copies the log to NATS, and its monitors read it there."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.conftest import Cli, until

from mlg.adapters.files_nats import NatsFiles
from mlg.adapters.nats_connection import NatsConnection
from mlg.adapters.stream_nats import NatsStream
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.monitoring_state import Stored, path_of
from mlg.core.ports import Cursor, Record
from mlg.core.predict import Prediction
from mlg.serving.log import Circumstances, prediction_record

MANIFEST = """\
version: 1
project: p
services:
  home: {adopt: "http://127.0.0.1:1"}
monitors:
  m: {watch: home, window: 100 events, on_alert: record}
"""

pytestmark = pytest.mark.skipif(
    os.environ.get("MLG_FULL") != "1", reason="half a minute: set MLG_FULL=1"
)


def answer(n: int) -> Record:
    at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=n)
    prediction = Prediction(
        prediction_id=f"p{n:05d}", service="home", version="v1", policy="1", items=(7, 8),
        scores=(2.0, 1.0), raw_confidence=0.3, confidence=0.3, served_by="model",
        reason="ranked", at=at, latency_ms=1.0,
    )  # fmt: skip
    around = Circumstances(
        viewer=f"v{n}", session=None, salt="s", received_at=at, features=(), arm="",
        propensity=1.0,
    )  # fmt: skip
    return prediction_record(prediction, around)


@pytest.fixture
def project(tmp_path: Path, nats_url: str) -> Iterator[Cli]:
    (tmp_path / "mlg.yaml").write_text(MANIFEST)
    (tmp_path / "mlg.env.yaml").write_text(f"events: {{url: '{nats_url}', namespace: e2e}}\n")
    run = Cli(tmp_path)
    yield run
    run("down", code=None)


def test_a_killed_control_plane_goes_on_and_every_record_counts_once(
    project: Cli, nats_url: str
) -> None:
    connection = NatsConnection(nats_url)
    stream = NatsStream(connection, "home", namespace="e2e")

    def there() -> list[str]:
        return [r.key for r in stream.read(Cursor(consumer="c"), 10_000).records]

    def stored() -> Stored | None:
        content = NatsFiles(connection, namespace="e2e").read(path_of("m"))
        return None if content is None else msgspec.json.decode(content, type=Stored)

    def counted(rows: int) -> bool:
        now = stored()
        return now is not None and now.monitor.fold.read >= rows

    up = ("up", "--wait", "--port", "0", "--gateway-port", "0")
    project(*up)
    project("apply", "--yes")
    log = SegmentStream(project.home / "segments" / "home", "replica-home-1")
    written = [answer(n) for n in range(1_500)]
    log.append(written[:500])
    until(lambda: len(there()) == 500)
    until(lambda: counted(500))
    log.append(written[500:1_000])
    os.kill(json.loads((project.home / "control.json").read_text())["pid"], signal.SIGKILL)
    log.append(written[1_000:])
    project(*up)
    until(lambda: counted(1_500))
    log.close()
    assert there() == [one.key for one in written]
    final = stored()
    assert final is not None
    assert (final.monitor.fold.read, final.monitor.fold.duplicates) == (1_500, 0)
    assert final.windows == 15
    connection.close()
