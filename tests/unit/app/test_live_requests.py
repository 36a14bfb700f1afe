"""The newest requests of a real log, made again for a version's own table of viewers."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mlg.adapters.stream_segments import SegmentStream
from mlg.app.live_requests import LogRequests, known_viewers, newest_rows
from mlg.core.ports import Record
from mlg.core.predict import Prediction
from mlg.serving.log import LOG_SCHEMA, Circumstances, hashed, prediction_record

KEY = b"k" * 32
T0 = datetime(2026, 3, 1, tzinfo=UTC)


def record(number: int, viewer: int | None) -> Record:
    at = T0 + timedelta(seconds=number)
    prediction = Prediction(
        prediction_id=f"p{number}",
        service="home",
        version="v1",
        policy="1",
        items=tuple(range(4)),
        scores=(1.0,) * 4,
        raw_confidence=0.5,
        confidence=0.5,
        served_by="model",
        reason="ranked",
        at=at,
        latency_ms=1.0,
    )
    around = Circumstances(
        viewer=hashed(KEY, viewer),
        session=None,
        salt="00",
        received_at=at,
        features=(0.0,) * 32,
        arm="v1",
        propensity=1.0,
    )
    return prediction_record(prediction, around)


def write(home: Path, writer: str, numbers: range) -> None:
    """Append answers to viewers 0..9, by turns, as one replica."""
    folder = home / "segments" / "home"
    stream = SegmentStream(folder, writer, header={"schema": LOG_SCHEMA})
    stream.append([record(n, n % 10) for n in numbers])
    stream.close()


def artifact(folder: Path, ids: list[int]) -> Path:
    folder.mkdir()
    table = pa.table({"id": pa.array(ids, pa.int64())})
    with pa.ipc.new_file(str(folder / "users.arrow"), table.schema) as writer:
        writer.write_table(table)
    return folder


def test_the_newest_requests_of_all_replicas_are_asked_again(tmp_path: Path) -> None:
    write(tmp_path, "replica-home-1", range(0, 3_000, 2))
    write(tmp_path, "replica-home-2", range(1, 3_000, 2))
    both = [artifact(tmp_path / "a", [0, 1, 2]), artifact(tmp_path / "b", [2, 3, 4])]
    found = LogRequests(tmp_path, lambda: KEY)("home", both)
    asked = [json.loads(body) for body in found.bodies]
    assert len(asked) == 2_000
    assert asked[-1] == {
        "user_id": None,  # viewer 9, whom neither version knows
        "k": 4,
        "context": {"at": "2026-03-01T00:49:59.000000Z"},
    }
    assert {one["user_id"] for one in asked} == {None, 0, 1, 2, 3, 4}
    assert found.known == 1_000
    times = [one["context"]["at"] for one in asked]
    assert times == sorted(times)


def test_of_a_long_file_only_the_end_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlg.app.live_requests._TAIL_BYTES", 20_000)
    write(tmp_path, "replica-home-1", range(2_000))
    rows = newest_rows(tmp_path / "segments" / "home")
    size = next((tmp_path / "segments" / "home").glob("*.seg")).stat().st_size
    assert len(rows) == pytest.approx(2_000 * 20_000 / size, abs=2)
    assert rows[-1]["prediction_id"] == "p1999"


def test_without_a_log_or_with_a_damaged_table_the_recorded_ones_are_asked(
    tmp_path: Path,
) -> None:
    ask = LogRequests(tmp_path, lambda: KEY)
    assert ask("home", []).why == "the log has none"
    write(tmp_path, "replica-home-1", range(100))
    assert "0 that can be made again" in ask("home", []).why
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "users.arrow").write_bytes(b"no table")
    found = ask("home", [broken])
    assert (found.bodies, found.why.partition(":")[0]) == ((), "the log cannot be read")
    assert known_viewers(tmp_path) is None
