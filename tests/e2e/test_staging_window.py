"""A version that waits for its night: it says until when, survives a kill, and a person may."""

import os
import signal
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.chaos.test_kill_control import control_pid, events
from tests.conftest import Cli, until
from tests.e2e.test_canary import rollout
from tests.instance import Graph, check_arrows, check_whys

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.ports import Cursor

NOW = SystemClock().now
TESTS = "contract, golden, load, memory, robustness, compare"


def manifest(cli: Cli, opens: datetime, seed: int) -> None:
    """Let staging run for two hours from a minute on, in UTC."""
    closes = opens + timedelta(hours=2)
    window = f"{opens:%H:%M}-{closes:%H:%M}"
    text = (cli.folder / "mlg.yaml").read_text().partition("services:")[0]
    text = text.replace("seed: 1\n", f"seed: {seed}\n        params: {{popularity_days: 30}}\n")
    staging = (
        f'window: "{window}", tests: [{TESTS}], load: {{rate: 50, for: 2s}}, '
        "budget: {p99: 2s, memory: 1GiB}"
    )
    (cli.folder / "mlg.yaml").write_text(
        f"{text}services:\n  front:\n    model: list\n    clock: request\n"
        f"    rollout: {{staging: {{{staging}}}, swap_back: 1s}}\n"
    )
    cli("apply", "--yes")


def is_in(cli: Cli, *phases: str) -> Any:
    """Return the rollout once it is in one of these phases; a first version's run waits too."""

    def there() -> Any:
        path = cli.home / "services" / "front" / "rollout.json"
        now = rollout(cli) if path.exists() else {"state": ""}
        assert now["state"] not in {"failed", "rolled_back"}, now
        return now if now["state"] in phases else None

    return until(there, 200)


if os.environ.get("MLG_FULL") == "1":

    def test_it_waits_for_its_window_through_a_kill_until_a_person_says_now(cli: Cli) -> None:
        cli("up", "--wait", "--port", "0")
        manifest(cli, NOW() + timedelta(hours=5), 1)
        cli("run", "list")
        is_in(cli, "scheduled")
        assert "staging waits for its window" in cli("rollout", "status", "front")
        assert not [e for e in events(cli) if e["type"] == "mlg.staging.ended"]
        os.kill(control_pid(cli), signal.SIGKILL)
        cli("up", "--wait", "--port", "0")
        is_in(cli, "scheduled")
        cli("rollout", "approve", "front", "--reason", "no need to wait")
        is_in(cli, "done")
        seen = events(cli)
        assert len({e["key"] for e in seen}) == len(seen)
        (told,) = [e for e in seen if e["type"] == "mlg.staging.ended"]
        (check,) = [n for n in told["nodes"] if "/health_check/" in n["uri"]]
        attrs = check["attrs"]
        assert (attrs["verdict"], attrs["staging.waived"]) == ("PASS", True)
        assert attrs["staging.waited_s"] > 0
        assert attrs["figure.load.requests"] == 100
        assert attrs["figure.memory.peak_bytes"] > 1 << 20
        kept = cli.home / "artifacts" / attrs["report"][:2] / attrs["report"]
        page = kept.read_text()
        assert "robustness" in page
        assert "<script" not in page
        shown = cli.json("rollout", "report", "front", "--out", "report.html")
        assert shown["report"] == attrs["report"]
        assert (cli.folder / "report.html").read_text() == page
        graph = Graph(cli)
        check_arrows(graph)
        check_whys(graph)
        assert cli.json("audit", "verify")["ok"]

    def test_it_begins_by_itself_when_the_window_opens(cli: Cli) -> None:
        cli("up", "--wait", "--port", "0")
        opens = NOW() + timedelta(minutes=3)
        manifest(cli, opens, 1)
        cli("run", "list")
        waits = is_in(cli, "scheduled", "staging", "done")
        if waits["state"] != "scheduled":
            pytest.skip("this machine took minutes to train")
        assert f"it opens at {opens:%Y-%m-%dT%H:%MZ}" in waits["explanation"]
        until(lambda: rollout(cli)["state"] != "scheduled", 200)
        late = NOW() - opens.replace(second=0, microsecond=0)
        assert timedelta(0) <= late < timedelta(seconds=20)
        is_in(cli, "done")
        moved = [e["type"] for e in events(cli) if e["type"].startswith("mlg.rollout.")]
        wanted = [f"mlg.rollout.{p}" for p in ("begun", "scheduled", "staging", "warming")]
        assert moved[:4] == wanted
        # the tests asked as no viewer
        stream = SegmentStream(cli.home / "segments" / "front")
        assert not stream.read(Cursor(consumer="test"), 10).records
