"""The levers of the page, clicked in a real browser on a running instance."""

import os

import pytest
from tests.browser import Browser, no_browser
from tests.conftest import Cli, until
from tests.e2e.test_canary import rollout
from tests.e2e.test_levers import USER
from tests.instance import Graph

FULL = os.environ.get("MLG_FULL") == "1"
VIEW = 'section[aria-label="rollout of front"]'
SERVICES = f"""services:
  front:
    model: list
    rollout:
      canary: {{steps: [50%, 100%], min_units: 1000000, max_hold: 1h}}
      approval: {{by: [{USER}], before: canary}}
"""


def stands(cli: Cli, page: Browser, state: str, words: str = "") -> None:
    """Wait until the rollout stands somewhere, and the page says so by itself."""
    until(lambda: (found := rollout(cli)) and found["state"] == state, 30)
    until(lambda: state in page.text(f"{VIEW} .head") and words in page.text(VIEW), 15)


@pytest.mark.skipif(not FULL, reason="half a minute: set MLG_FULL=1")
def test_each_lever_does_what_its_button_says(cli: Cli) -> None:
    if why := no_browser():
        pytest.skip(why)
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().partition("services:")[0]
    text = text.replace("seed: 1\n", "seed: 1\n        params: {popularity_days: 30}\n")
    manifest.write_text(text + SERVICES)
    cli("apply", "--yes")
    second = cli.json("run", "list", "--follow")["version"]
    graph = Graph(cli)
    with Browser() as page:
        page.open(f"http://127.0.0.1:{cli.json('status')['ports']['control']}/")
        stands(cli, page, "warming", f"may approve: {USER}")
        assert page.buttons(VIEW) == [
            "Pause", "Approve", "Roll back", "Start after this one",
        ]  # fmt: skip

        page.write(f"{VIEW} #reason-front", "let me look <b>first</b>")
        page.click(VIEW, "Pause")
        stands(cli, page, "paused", "let me look <b>first</b>")
        page.click(VIEW, "Resume")
        stands(cli, page, "warming")
        page.click(VIEW, "Roll back")
        stands(cli, page, "failed")
        assert page.dialogs == ["front: rollback?"]

        page.write(f"{VIEW} #version-front", second)
        page.click(VIEW, "Start")
        until(lambda: "waits for approval" in rollout(cli)["explanation"], 30)
        stands(cli, page, "warming", "waits for approval")
        page.click(VIEW, "Approve")
        stands(cli, page, "canary")
        page.click(VIEW, "Promote")
        stands(cli, page, "swapped")
        assert page.dialogs[1:] == [
            f"front: start the rollout of {second}?", "front: promote?",
        ]  # fmt: skip
        assert page.problems == []
        assert page.text("#problem") == ""

    asked = [e for e in graph.events() if e["type"] == "mlg.rollout.asked"]
    assert {e["actor"] for e in asked} == {f"local:{USER}"}
    assert [e["data"]["act"] for e in asked] == [
        "pause", "resume", "rollback", "start", "approve", "promote",
    ]  # fmt: skip
    assert asked[0]["data"]["reason"] == "let me look <b>first</b>"
    assert rollout(cli)["stable"] == first
