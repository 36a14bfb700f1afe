"""What people may tell rollouts, on a running instance: start, approve, take back, and who."""

import getpass
from typing import Any

import pytest
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, rollout
from tests.instance import Graph, check_arrows

USER = getpass.getuser()


def written(cli: Cli, by: str) -> None:
    """Put a manifest in force whose new versions wait for a person."""
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().partition("services:")[0]
    if "params:" not in text:  # another model than the first
        text = text.replace("seed: 1\n", "seed: 1\n        params: {popularity_days: 30}\n")
    manifest.write_text(
        text
        + f"""services:
  front:
    model: list
    rollout:
      canary: {{steps: [100%], max_hold: 1h}}
      approval: {{by: [{by}], before: canary}}
"""
    )
    cli("apply", "--yes")


def waits(cli: Cli, version: str) -> Any:
    return until(
        lambda: (
            (found := rollout(cli))
            and found["candidate"] == version
            and "waits for approval" in found["explanation"]
            and found
        )
    )


@pytest.mark.skipif(not FULL, reason="half a minute: set MLG_FULL=1")
def test_a_version_is_started_approved_and_taken_back_by_people(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    unknown = cli("rollout", "start", "front", "0123456789ab", code=3)
    assert f"there are, newest first: {first}" in unknown
    assert "serves front already" in cli("rollout", "start", "front", first, code=4)
    assert "no service 'nowhere'" in cli("rollout", "start", "nowhere", first, code=3)

    written(cli, "nobody-here")
    second = cli.json("run", "list", "--follow")["version"]
    found = waits(cli, second)
    assert found["only"] == {"approve": ["nobody-here"]}
    assert f"local:{USER} may not approve" in cli("rollout", "approve", "front", code=2)
    assert "on its way already" in cli("rollout", "start", "front", second, code=4)
    cli("rollout", "rollback", "front", "--reason", "nobody is there")
    until(lambda: rollout(cli)["state"] == "failed")

    # it failed for an outside reason, so it may be started without more ado
    written(cli, USER)
    told = cli.json(
        "rollout", "start", "front", second, "--key", "k1", "--reason", "he is back"
    )
    again = cli.json("rollout", "start", "front", second, "--key", "k1")
    assert (told["rollout"], again["rollout"]) == ("start-k1", "start-k1")
    waits(cli, second)
    cli("rollout", "approve", "front", "--reason", "looks good")
    until(lambda: rollout(cli)["state"] == "swapped")
    cli("rollout", "rollback", "front", "--reason", "it was not")
    until(lambda: rollout(cli)["state"] in {"rolled_back", "done"})
    refused = cli("rollout", "start", "front", second, code=4)
    assert "was taken back before" in refused
    assert "--again" in refused
    told = cli.json("rollout", "start", "front", second, "--again", "the cause was elsewhere")
    waits(cli, second)
    cli("rollout", "approve", "front")
    until(lambda: rollout(cli)["state"] == "swapped")

    graph = Graph(cli)
    asked = [e for e in graph.events() if e["type"] == "mlg.rollout.asked"]
    assert {e["actor"] for e in asked} == {f"local:{USER}"}
    assert [e["data"]["act"] for e in asked] == [
        "approve", "rollback", "start", "approve", "rollback", "start", "approve",
    ]  # fmt: skip
    assert "not among those who may" in asked[0]["data"]["refused"]
    approvals = graph.get("nodes", kind="approval")["nodes"]
    assert {a["attrs"]["by"] for a in approvals} == {f"local:{USER}"}
    assert len(approvals) == 2
    check_arrows(graph)
    rows = cli.json("rollout", "timeline", "front")
    assert (rows["version"], rows["state"]) == (second, "swapped")
    kinds = [row["kind"] for row in rows["rows"]]
    for kind in ("run", "step", "model_version", "rollout", "rollout_step"):
        assert kind in kinds, kinds
    assert any(row["event"] == "mlg.rollout.approved" for row in rows["rows"])
    assert rows["rows"][-1]["event"] == "mlg.rollout.swapped"
    assert "asked for start of version" in cli("rollout", "timeline", "front")
