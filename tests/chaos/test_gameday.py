"""Game days on a running instance: all in staging in `make chaos`, one in `make test`."""

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


def check_day(cli: Cli, fault: str, *args: str) -> dict[str, Any]:
    """Have a game day that all four scores of are good, and is on the graph."""
    before = cli.pids()
    day = cli.json("gameday", fault, *args)
    found = day["score"]
    assert (day["verdict"], day["state"], day["error"]) == ("PASS", "ended", ""), day
    assert found["detected_s"] <= found["acted_s"]
    assert found["model"] > 0.0
    assert found["nobody"] < 1.0
    events = {e["type"]: e for e in Graph(cli).events() if day["gameday"] in e["subject"]}
    ended = events["mlg.gameday.ended"]
    assert events["mlg.gameday.begun"]["actor"] == day["by"] == ended["actor"]
    facts = ended["nodes"][0]["attrs"]
    assert (facts["verdict"], facts["detected_s"]) == ("PASS", found["detected_s"])
    if day["environment"] == "staging":
        assert cli.pids() == before, "only the throw-away replica was hit"
        assert not [*(cli.home / "gameday").glob("*")]
    return day


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

    @pytest.mark.parametrize("fault", ["hang", "crash-loop", "errors", "nan", "corrupt"])
    def test_every_fault_in_staging(serving: Cli, fault: str) -> None:
        check_day(serving, fault)

    @pytest.mark.parametrize("fault", ["kill", "hang", "gateway"])
    def test_a_fault_in_production_costs_viewers_nothing(serving: Cli, fault: str) -> None:
        day = check_day(serving, fault, "--in", "production", "--yes")
        assert day["score"]["nobody"] <= 0.02
