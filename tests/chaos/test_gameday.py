"""Game days on a running instance: run by `make chaos`."""

import json
import os
from typing import Any

import pytest
from tests.conftest import Cli
from tests.instance import Graph

FULL = os.environ.get("MLG_FULL") == "1"


@pytest.fixture
def serving(cli: Cli) -> Cli:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    assert cli.json("run", "list", "--follow")["state"] == "done"
    return cli


def check_day(cli: Cli, fault: str, *args: str, verdict: str = "PASS") -> dict[str, Any]:
    """Have a game day, and check that it is on the graph and hit nothing else."""
    before = cli.pids()
    day = cli.json("gameday", fault, *args, code=0 if verdict == "PASS" else 1)
    found = day["score"]
    assert (day["verdict"], day["state"], day["error"]) == (verdict, "ended", ""), day
    assert found["detected_s"] <= found["acted_s"]
    events = {e["type"]: e for e in Graph(cli).events() if day["gameday"] in e["subject"]}
    ended = events["mlg.gameday.ended"]
    assert events["mlg.gameday.begun"]["actor"] == day["by"] == ended["actor"]
    facts = ended["nodes"][0]["attrs"]
    assert (facts["verdict"], facts["detected_s"]) == (verdict, found["detected_s"])
    if day["environment"] == "staging":
        assert cli.pids() == before, "only the throw-away replica was hit"
        assert not [*(cli.home / "gameday").glob("*")]
    return day


@pytest.mark.skipif(not FULL, reason="make chaos runs it: over 30 s; scores have unit tests")
def test_a_game_day_in_staging_and_none_in_production_unasked(serving: Cli) -> None:
    cli = serving
    listed = cli.json("gameday")
    assert listed["gameday"] is None
    assert {"kill", "hang", "nan"} <= {one["fault"] for one in listed["faults"]}
    day = check_day(cli, "kill", "--seconds", "12")
    assert "exit code -9" in day["score"]["cause"]
    assert day["score"]["nobody"] > 0.0  # a single replica, and nothing beside it
    before = Graph(cli).get("events", newest=1)["events"]
    assert "--yes" in cli("gameday", "kill", "--in", "production", code=4)
    assert "only" in cli("gameday", "gateway", code=4)
    assert "kill" in cli("gameday", "earthquake", code=3)
    assert Graph(cli).get("events", newest=1)["events"] == before
    cli("freeze", "--reason", "a holiday")
    assert "frozen" in cli("gameday", "kill", "--in", "production", "--yes", code=4)


if FULL:

    @pytest.mark.parametrize("fault", ["hang", "crash-loop", "errors"])
    def test_every_fault_in_staging(serving: Cli, fault: str) -> None:
        check_day(serving, fault)

    def test_a_damaged_model_is_refused_until_a_person_restarts_it(serving: Cli) -> None:
        found = check_day(serving, "corrupt", verdict="FAIL")["score"]
        assert (found["cause_named"], found["recovered_s"]) == (True, None)
        assert "altered" in found["cause"]

    def test_a_fault_that_no_test_of_staging_looks_for_is_not_noticed(serving: Cli) -> None:
        manifest = serving.folder / "mlg.yaml"
        slow = check_slow(serving)
        assert slow["detected_s"] is None, "contract and golden do not look at the clock"
        text = manifest.read_text().replace(
            "clock: request}",
            "clock: request, rollout: {staging: {tests: [contract, load]}}}",
        )
        manifest.write_text(text)
        serving("apply", "--yes")
        slow = check_slow(serving)
        assert slow["cause_named"], slow

    def check_slow(cli: Cli) -> dict[str, Any]:
        return json.loads(cli("gameday", "slow", "--json", code=None))["score"]

    @pytest.mark.parametrize("fault", ["kill", "hang", "gateway"])
    def test_a_fault_in_production_costs_viewers_nothing(serving: Cli, fault: str) -> None:
        day = check_day(serving, fault, "--in", "production", "--yes")
        assert day["score"]["nobody"] <= 0.02
