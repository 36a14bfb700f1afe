"""The table of metrics, and log lines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mlg.telemetry.logs import TRACE_ID, setup_logs
from mlg.telemetry.metrics import METRICS, counter, gauge, histogram, spec


def test_names_are_unique_and_say_what_they_are() -> None:
    assert len({row.name for row in METRICS}) == len(METRICS)
    for row in METRICS:
        assert row.name.startswith("mlg_")
        assert row.help.endswith(".")
        assert row.name.endswith("_total") == (row.kind == "counter")
        assert bool(row.buckets) == (row.kind == "histogram")


def test_every_metric_can_be_made_and_scraped() -> None:
    registry = CollectorRegistry()
    make = {"counter": counter, "gauge": gauge, "histogram": histogram}
    for row in METRICS:
        make[row.kind](row.name, registry)
    text = generate_latest(registry).decode()
    assert all(f"# TYPE {row.name} {row.kind}" in text for row in METRICS)


def test_a_metric_outside_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="mlg_nothing"):
        spec("mlg_nothing", "counter")
    with pytest.raises(ValueError, match="mlg_ready"):
        spec("mlg_ready", "counter")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    text = io.StringIO()
    setup_logs(text, process="replica-home-1")
    yield text
    root.handlers[:] = before
    root.setLevel(level)


def test_a_log_line_is_one_json_object_without_secrets(lines: io.StringIO) -> None:
    token = TRACE_ID.set("ab" * 16)
    log = logging.getLogger("mlg.test")
    log.warning("sent to %s", "https://ada:pw1@host/", extra={"api_key": "k1", "rows": 3})
    TRACE_ID.reset(token)
    line = json.loads(lines.getvalue())
    assert line["level"] == "warning"
    assert line["process"] == "replica-home-1"
    assert line["trace_id"] == "ab" * 16
    assert (line["rows"], line["api_key"]) == (3, "***")
    assert "pw1" not in lines.getvalue()
    assert line["at"].endswith("Z")


def test_an_exception_is_in_its_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("Bearer abc123")
    except ValueError:
        logging.getLogger("mlg.test").exception("failed")
    assert lines.getvalue().count("\n") == 1
    line = json.loads(lines.getvalue())
    assert "ValueError" in line["exception"]
    assert "abc123" not in line["exception"]
