"""Serving code that computes other features than training: the version is taken back."""

import json
from collections import Counter
from pathlib import Path

from tests.chaos.test_kill_control import events
from tests.chaos.test_kill_heal import words
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, ROLLOUT, Viewers, rollout

MONITOR = """
monitors:
  front-features: {watch: front, window: 50 events, on_alert: heal}
"""


def with_people(folder: Path) -> str:
    """Give the tiny project viewers with an age and a two-stage model; return its manifest."""
    rows = [f"{viewer},{20 + viewer * 13 % 40}" for viewer in range(60)]
    (folder / "people.csv").write_text("\n".join(["viewer,age", *rows]) + "\n")
    text = (folder / "mlg.yaml").read_text()
    people = (
        "  people:\n    source: {uri: 'file:people.csv'}\n    columns:\n"
        "      viewer: {type: int64, nullable: false}\n"
        "      age: {type: int64, nullable: false}\npipelines:\n"
    )
    model = (
        "model: two_stage\n        params: {candidates: 12, "
        "trees: {rounds: 20, min_data_in_leaf: 5}}"
    )
    return (
        text.replace("pipelines:\n", people)
        .replace("model: popularity", model)
        .replace("in: [clean, things]", "in: [clean, things, people]")
        .replace(
            "          items: {",
            "          viewers: {table: people, key: viewer, features: [age]}\n"
            "          items: {",
        )
        .replace(
            "  front: {model: list, replicas: 2, clock: request}",
            "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
            "    confidence: {abstain_below: 0, explore: 0%}" + ROLLOUT,
        )
    ) + MONITOR


if FULL:  # two trainings and forty windows: in `make e2e`

    def test_a_version_with_skewed_features_is_taken_back(cli: Cli) -> None:
        manifest = cli.folder / "mlg.yaml"
        text = with_people(cli.folder)
        manifest.write_text(text)
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        first = cli.json("run", "list", "--follow")["version"]
        until(lambda: cli.json("status")["services"][0]["live"])
        with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
            until(lambda: viewers.answered > 50 * 32, 120)  # phase I has 20 windows
            manifest.write_text(text.replace("seed: 1", "seed: 2"))
            cli("apply", "--yes")
            second = cli.json("run", "list", "--follow")["version"]
            assert second != first
            until(lambda: rollout(cli)["candidate"] == second, 30)
            cli("rollout", "promote", "front", "--reason", "a person knows better")
            until(lambda: rollout(cli)["state"] == "done", 120)
            assert words(cli) == []
            faults = cli.home / "services" / "front" / "faults.json"
            faults.write_text(json.dumps({second: {"skew": 7.0}}))
            until(lambda: "healed" in words(cli), 120)
        assert viewers.failed == []
        said = Counter(words(cli))
        assert (said["opened"], said["rolled_back"], said["healed"]) == (1, 1, 1)
        assert said["retraining_begun"] == 0
        (opened,) = [e for e in events(cli) if e["type"] == "mlg.incident.opened"]
        assert "skew" in json.dumps(opened), opened
        (serving,) = cli.json("production", "front")["versions"]
        assert serving["model_version"].endswith(first)
        assert serving["share_bp"] == 10_000
