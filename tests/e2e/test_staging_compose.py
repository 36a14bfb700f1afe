"""A version on a running instance that comes to its viewers through its image in containers."""

import os
from typing import Any

import pytest
from tests.conftest import Cli, until
from tests.containers import no_containers
from tests.e2e.test_canary import Viewers, rollout
from tests.instance import Graph

from mlg.app.startable import startable_image

FULL = os.environ.get("MLG_FULL") == "1"
SERVICES = """services:
  front:
    model: list
    clock: request
    rollout:
      staging:
        compose: true
        tests: [contract, golden, load, compare]
        load: {rate: 20, for: 6s}
        budget: {p99: 5s}
        deadline: 2m
      swap_back: 1h
"""


@pytest.mark.skipif(not FULL, reason="a minute or more: set MLG_FULL=1")
def test_a_version_passes_staging_in_containers_and_is_compared_on_live_traffic(
    cli: Cli,
) -> None:
    if why := no_containers():
        pytest.skip(f"no containers here: {why}")
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    until(lambda: cli.json("status")["services"][0]["live"])
    with Viewers(cli.json("status")["ports"]["gateway"], threads=1) as viewers:
        until(lambda: viewers.answered > 300)
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().partition("services:")[0]
    text = text.replace("seed: 1\n", "seed: 1\n        params: {popularity_days: 30}\n")
    manifest.write_text(text + SERVICES)
    cli("apply", "--yes")
    second = cli.json("run", "list", "--follow")["version"]
    stands = until(
        lambda: (
            (found := rollout(cli))["candidate"] == second
            and found["state"] in {"swapped", "done", "failed", "rolled_back", "paused"}
            and found
        ),
        240,
    )
    assert (stands["state"], stands["stable"]) == ("swapped", first), stands

    graph = Graph(cli)
    order = [
        e["type"]
        for e in graph.events()
        if e["type"] in {"mlg.rollout.staging", "mlg.staging.ended", "mlg.rollout.warming"}
    ]
    # the first version had no staging; of the second it begins, is told, and is over
    assert order[-3:] == ["mlg.rollout.staging", "mlg.staging.ended", "mlg.rollout.warming"]
    checks = graph.get("nodes", kind="health_check")["nodes"]
    (told,) = [c["attrs"] for c in checks if "figure.compose.containers" in c["attrs"]]
    expected(told, startable_image(cli.home, second).digest)


def expected(told: dict[str, Any], image: str) -> None:
    """Check what the staging node says: which image, and whose requests were asked."""
    assert told["verdict"] == "PASS", told
    assert told["figure.compose.image"] == image
    for test in ("load", "compare"):
        reason, asked = told[f"test.{test}"], told[f"figure.{test}.from_log"]
        # a popularity list that keeps no viewers is asked what was recorded, and says so
        if asked:
            assert asked >= 300
            assert f"asked: {asked} requests of the log" in reason
        else:
            assert "asked: recorded requests: the log has 0 that can be made again" in reason
