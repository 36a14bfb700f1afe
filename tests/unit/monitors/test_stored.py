"""What a monitor of before kept is read by the one of now, and goes on."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlg.monitors.fold import WindowPlan
from mlg.monitors.monitor import Monitor, Plan, observe
from mlg.monitors.usual import expected
from mlg.monitors.windows import REQUESTS, layout_of

KEPT = Path(__file__).parent / "stored" / "monitor_before_columns.json"
PLAN = Plan(
    window=WindowPlan(service="home", events=20, label_wait_s=20.0, label_lag=5), baseline=5
)
LAYOUTS = {
    "v1": layout_of(
        "v1", ["viewer:age", "viewer:job", "margin"], {"viewer:job": ["artist", "writer"]}
    )
}


def test_a_monitor_stored_before_columns_goes_on() -> None:
    monitor = msgspec.json.decode(KEPT.read_bytes(), type=Monitor)
    assert (monitor.fold.read, len(monitor.fold.answered)) == (130, 130)
    rows = [
        {
            "prediction_id": f"p{n}", "service": "home", "model_version": "v1", "items": [7],
            "served_by": "model", "reason": "ranked", "raw_confidence": 0.5, "viewer": f"v{n}",
            "at": f"2026-01-01T00:{n // 60:02d}:{n % 60:02d}.000000Z",
            "features": [30.0 + n % 20, float(n % 2), n % 7 - 3.0],
        }
        for n in range(120, 200)
    ]  # fmt: skip
    before = monitor.charts.streams[REQUESTS].baseline
    seen = observe(monitor, rows, [], plan=PLAN, layouts=LAYOUTS)
    state = seen.monitor.fold
    assert (state.duplicates, state.read, state.answered) == (10, 200, {})
    assert [w.n for w in seen.windows if w.stream == REQUESTS] == [20] * 4
    # every other answer of the six windows of before was played: what was read is not forgotten
    quality = [(one.number, one.labelled, one.hits) for one in seen.quality]
    assert quality[:6] == [(number, 20, 10) for number in range(6)]
    after = seen.monitor.charts.streams[REQUESTS].baseline
    # what was learned window by window is sums now: the same statistics, about the same centres
    usual = after.usual
    assert usual is not None
    assert set(usual.metrics) == set(before.values)
    centre, _ = expected(usual, 0.0)
    means = [float(np.mean(before.values[metric])) for metric in usual.metrics]
    assert centre == pytest.approx(np.array(means), abs=0.1)
    text = msgspec.json.encode(seen.monitor)
    assert msgspec.json.decode(text, type=Monitor) == seen.monitor
