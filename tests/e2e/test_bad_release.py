"""Versions that cannot even be tested: viewers never meet them, and nothing of them is left."""

import json
from typing import Any

import psutil
import pytest
from tests.chaos.test_kill_control import events
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, ROLLOUT, Viewers, rollout


def serving(cli: Cli) -> list[tuple[str, int]]:
    found = cli.json("production", "front")["versions"]
    return [(v["model_version"].rpartition("@")[2], v["share_bp"]) for v in found]


def ended(cli: Cli, former: str) -> dict[str, Any]:
    """Return the newest rollout once it is over."""

    def over() -> dict[str, Any] | None:
        now = rollout(cli)
        mine = now["candidate"] != former and now["state"] in {"failed", "rolled_back", "done"}
        return now if mine else None

    return until(over, 120)


def nothing_is_left(cli: Cli, version: str) -> None:
    """Wait until no process and no route of a version exists."""

    def gone() -> bool:
        counted = cli.home / "gateway" / "counters.json"
        files = [p for p in (cli.home / "gateway").rglob("*.json") if p != counted]
        lines = [
            " ".join(process.info["cmdline"] or ())
            for process in psutil.process_iter(["cmdline"])
        ]
        running = any(version in line and str(cli.home) in line for line in lines)
        return not running and not any(version in path.read_text() for path in files)

    until(gone, 30)


KINDS = {
    # what warms a replica up does not count, the battery asks 64 requests twice
    "it hangs in staging": ({"hangs_after": 100}, "hung"),
    "it does not start": ({"fails_to_start": True}, "end as they start"),
}


if FULL:  # in `make e2e`; tests/e2e/test_image.py is what `make test` takes

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_version_that_cannot_be_tested_is_refused(cli: Cli, kind: str) -> None:
        fault, reason = KINDS[kind]
        manifest = cli.folder / "mlg.yaml"
        rules = ROLLOUT.replace("window: always,", "window: always, deadline: 3s,")
        text = manifest.read_text().replace(
            "  front: {model: list, replicas: 2, clock: request}",
            "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
            "    confidence: {abstain_below: 0.01, explore: 0%}" + rules,
        )
        manifest.write_text(text)
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        first = cli.json("run", "list", "--follow")["version"]
        until(lambda: cli.json("status")["services"][0]["live"])
        (tested,) = [e for e in events(cli) if e["type"] == "mlg.staging.ended"]
        assert "64 recorded answers came again" in json.dumps(tested)
        faults = cli.home / "services" / "front" / "faults.json"
        faults.write_text(json.dumps({"*": fault} if "fails_to_start" in fault else {}))
        params = "seed: 1\n        params: {popularity_days: 3}"
        manifest.write_text(text.replace("seed: 1", params))
        cli("apply", "--yes")
        with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
            version = cli.json("run", "list", "--follow")["version"]
            if "hangs_after" in fault:
                faults.write_text(json.dumps({version: fault}))
            done = ended(cli, first)
            assert done["candidate"] == version
            assert serving(cli) == [(first, 10_000)]
            nothing_is_left(cli, version)
        assert viewers.failed == []
        assert set(viewers.versions) == {first}
        assert done["state"] in {"failed", "rolled_back"}
        mine = [e for e in events(cli) if done["rollout"] in json.dumps(e)]
        told = [json.dumps(e) for e in mine if e["type"] == "mlg.staging.ended"]
        assert len(told) == 1
        assert "ERROR" in told[0]
        assert reason in told[0]
