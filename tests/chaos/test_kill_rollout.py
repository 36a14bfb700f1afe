"""Kill -9 of the control plane in each phase of a rollout, in `make chaos`: the same end.

The killer reads the rollout's document every millisecond, so that phases of a few hundredths
of a second are hit too; which phase the document showed when the process was dead is printed.
"""

import getpass
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from typing import Any

import pytest
from tests.chaos.test_kill_control import control_pid, events
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, Viewers, rollout

ENDED = {"done", "rolled_back", "failed"}
APPROVAL = f"      approval: {{by: ['local:{getpass.getuser()}'], before: promote}}\n"
CASES = {
    "pending": "done",
    "staging": "done",
    "warming": "done",
    "interleaving": "done",
    "canary": "done",
    "awaiting": "done",
    "promoting": "done",
    "swapped": "done",
    "paused": "done",
    "rolling_back": "rolled_back",
    "reversed": "rolled_back",
}
"""Phase in which it is killed, and how the rollout ends without; `reversed` is `rolling_back`
after the swap, `awaiting` a canary that waits for a person. `scheduled` is in
tests/e2e/test_staging_window.py."""
ACTUAL = {"reversed": "rolling_back", "awaiting": "canary"}
"""The phase that such a case is in."""
BROKEN = {"rolling_back": "canary", "reversed": "swapped"}
"""When the version is broken on purpose."""
MANIFEST = """  front:
    model: list
    replicas: 1
    clock: request
    confidence: {abstain_below: 0.01, explore: 0%}
    rollout:
      staging: {window: always, tests: [contract, golden]}
      canary: {steps: [5%, 50%, 100%], min_units: 50, max_hold: 3650d}
      gates: {errors: {alpha: 0.01}}
      swap_back: SWAP_BACK
    rollback:
      error_rate: {max: 1%}
"""


def wanted(case: str) -> str:
    """Return the service's part of the manifest."""
    text = MANIFEST.replace("SWAP_BACK", "3650d" if case == "reversed" else "1h")
    if case == "interleaving":  # ends by the machine's clock, as nobody here clicks
        held = "      interleave: {share: 50%, min_viewers: 30, max_hold: 25s}\n"
        text = text.replace("      gates:", f"{held}      gates:").replace("1h", "2s")
        return text.replace("    clock: request\n", "")
    return text


def awaits(cli: Cli) -> Any:
    """Return the rollout while it waits for a person."""
    now = rollout(cli)
    return now if "waits for approval" in now["explanation"] else None


def check_shares(seen: list[dict[str, Any]]) -> None:
    """Traffic was never in a state that no rollout asked for."""
    known = [{0, 10_000}, {0, 500, 9_500}, {0, 5_000}]
    for event in seen:
        if event["type"] == "mlg.deployment.share_changed":
            parts = {n["attrs"]["share_bp"] for n in event["nodes"]}
            assert parts | {0} in known, parts


class Killer(threading.Thread):
    """Breaks or pauses the second version on its way, and kills the control plane once."""

    def __init__(self, cli: Cli, first: str, case: str) -> None:
        super().__init__(daemon=True)
        self.cli, self.first, self.case = cli, first, case
        self.pid, self.killed_in = control_pid(cli), ""
        self.port = cli.json("status")["ports"]["control"]
        self.paused = False

    def run(self) -> None:
        phase = ACTUAL.get(self.case, self.case)
        broken = False
        end = time.monotonic() + 120
        while time.monotonic() < end:
            now = self._document()
            if now.get("candidate") not in {None, self.first}:
                there = now["state"] == phase and not (self.case == "reversed" and not broken)
                if self.case == "awaiting":
                    there = "waits for approval" in now["explanation"]
                if there:
                    os.kill(self.pid, signal.SIGKILL)
                    self.killed_in = self._document()["state"]
                    return
                if now["state"] == BROKEN.get(self.case) and not broken:
                    broken = True
                    faults = self.cli.home / "services" / "front" / "faults.json"
                    faults.write_text(json.dumps({now["candidate"]: {"errors": 0.5}}))
                if now["state"] == "canary" and self.case == "paused" and not self.paused:
                    self.paused = True
                    self._pause()
            time.sleep(0.001)

    def _pause(self) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/rollouts/acts",
            data=json.dumps({"service": "front", "act": "pause"}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def _document(self) -> dict[str, Any]:
        try:
            return rollout(self.cli)
        except (OSError, ValueError):
            return {}


if FULL:

    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("case", CASES)
    def test_a_kill_in_any_phase_changes_nothing(cli: Cli, case: str) -> None:
        manifest = cli.folder / "mlg.yaml"
        mine = wanted(case)
        text = manifest.read_text().replace(
            "  front: {model: list, replicas: 2, clock: request}\n", mine
        )
        assert mine in text
        manifest.write_text(text)
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        first = cli.json("run", "list", "--follow")["version"]
        until(lambda: cli.json("status")["services"][0]["live"])
        until(lambda: rollout(cli)["state"] == "done")
        params = "seed: 1\n        params: {popularity_days: 30}"
        text = text.replace("seed: 1", params)
        if case == "awaiting":  # the first version waits for nobody
            text = text.replace("      gates:", f"{APPROVAL}      gates:")
        manifest.write_text(text)
        cli("apply", "--yes")
        with Viewers(cli.json("status")["ports"]["gateway"], threads=1) as viewers:
            killer = Killer(cli, first, case)
            killer.start()
            cli.json("run", "list")
            killer.join(150)
            assert killer.killed_in, "the phase was not seen"
            answered, began = viewers.answered, time.monotonic()
            until(lambda: viewers.answered > answered + 50)
            cli("up", "--wait", "--port", "0")
            down_s = time.monotonic() - began
            if case == "paused":
                now = rollout(cli)
                assert now["state"] == "paused"
                cli("rollout", "resume", "front")
            if case == "awaiting":
                until(lambda: awaits(cli), 60)
                cli("rollout", "approve", "front", "--reason", "seen")
            end = until(lambda: now if (now := rollout(cli))["state"] in ENDED else None, 120)
        second = end["candidate"]
        sys.stderr.write(
            f"{case}: killed in {killer.killed_in}, {viewers.answered} answers, "
            f"{len(viewers.failed)} failed, back after {down_s:.1f} s, {end['state']}\n"
        )
        assert (end["state"], second != first) == (CASES[case], True), end
        assert viewers.failed == []
        seen = events(cli)
        assert max(Counter(event["key"] for event in seen).values()) == 1
        of = [e for e in seen if e["subject"].endswith(end["rollout"])]
        swapped = sum(e["type"] == "mlg.rollout.swapped" for e in of)
        assert swapped == (0 if case == "rolling_back" else 1), "no double swap"
        serves = second if CASES[case] == "done" else first
        assert [
            (v["model_version"][-12:], v["share_bp"])
            for v in cli.json("production", "front")["versions"]
        ] == [(serves, 10_000)]
        check_shares(seen)
        # and every replica that was started for it is gone again
        kept = json.loads((cli.home / "services" / "front" / "wanted.json").read_bytes())
        assert [v["version"] for v in kept["versions"]] == [serves]
