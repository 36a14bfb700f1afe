"""Healing on a live gateway, and kill -9 of the control plane in each of its states."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.chaos.test_kill_control import control_pid, events
from tests.conftest import Cli, until
from tests.e2e.test_canary import ROLLOUT, Viewers, rollout

ENDED = {"done", "failed", "rolled_back"}
PHASES = ("opened", "training", "canary", "swapped", "healed")
SHORT = ("training",)
MONITOR = """
monitors:
  front-quality: {watch: front, window: 50 events, on_alert: heal}
"""


class Watchers(Viewers):
    """Viewers who say whether they liked an answer: 60 % of them did, until it is worse."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.worse = False

    def _post(self, path: str, session: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/services/front/{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", "mlg-sticky-key": session},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._number += 1
                number = self._number
            at = (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat()
            body = {"user_id": number % 60, "k": 5, "context": {"at": at}}
            try:
                answer = self._post("recommend", f"s{number}", body)
                liked = number * 7919 % 100 < (10 if self.worse else 60)
                told = {
                    "prediction_id": answer["prediction_id"],
                    "item_id": answer["items"][0]["id"],
                    "event": "play" if liked else "impression",
                    "at": at,
                }
                self._post("feedback", f"s{number}", told)
            except (urllib.error.URLError, OSError) as error:
                self.failed.append(repr(error))
            else:
                with self._lock:
                    self.answered += 1


@contextmanager
def watched(cli: Cli) -> Iterator[tuple[Watchers, str]]:
    """Serve a first version to viewers whom a monitor watches, past its phase I."""
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().replace(
        "  front: {model: list, replicas: 2, clock: request}",
        "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
        "    confidence: {abstain_below: 0.01, explore: 0%}" + ROLLOUT,
    )
    manifest.write_text(text + MONITOR)
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    until(lambda: cli.json("status")["services"][0]["live"])
    with Watchers(cli.json("status")["ports"]["gateway"]) as viewers:
        until(lambda: viewers.answered > 50 * 32)  # phase I has 20 windows
        yield viewers, first


def words(cli: Cli) -> list[str]:
    """Return what became of incidents, in order."""
    found = [e["type"] for e in events(cli)]
    return [t.removeprefix("mlg.incident.") for t in found if t.startswith("mlg.incident.")]


def reached(cli: Cli, first: str, phase: str) -> bool:
    said = words(cli)
    if phase in {"opened", "healed"}:
        return phase in said
    if phase == "training":
        return "retraining_begun" in said
    now = rollout(cli)
    order = ["staging", "warming", "canary", "promoting", "swapped", "done"]
    return now["candidate"] != first and order.index(now["state"]) >= order.index(phase)


@pytest.mark.parametrize("phase", PHASES if os.environ.get("MLG_FULL") else SHORT)
def test_a_loss_is_healed_once_whenever_the_control_plane_dies(cli: Cli, phase: str) -> None:
    with watched(cli) as (viewers, first):
        assert words(cli) == []
        viewers.worse = True
        until(lambda: reached(cli, first, phase), 90)
        os.kill(control_pid(cli), signal.SIGKILL)
        answered = viewers.answered
        until(lambda: viewers.answered > answered + 50)
        cli("up", "--wait", "--port", "0")
        viewers.worse = False
        until(lambda: "healed" in words(cli) and rollout(cli)["state"] == "done", 120)
    assert viewers.failed == []
    said, seen = Counter(words(cli)), events(cli)
    assert (said["retraining_begun"], said["healed"]) == (1, 1)
    causes = causes_of(seen)
    # calibration may leave its limit a window before the hit rate does
    assert "loss" in causes[0]
    # once it is healed, the viewers' return to what was usual may be told: it is no loss
    assert all("loss" not in one for one in causes[1:])
    assert set().union(*causes) <= {"loss", "covariate shift without loss"}
    assert max(Counter(event["key"] for event in seen).values()) == 1
    assert sum(e["type"] == "mlg.run.started" for e in seen) == 2
    assert sum(e["type"] == "mlg.rollout.swapped" for e in seen) == 2
    (serving,) = cli.json("production", "front")["versions"]
    assert serving["share_bp"] == 10_000
    assert not serving["model_version"].endswith(first)
    assert cli.json("audit", "verify")["ok"]
    told_why(cli, seen)
    taken_back(cli, first)


def taken_back(cli: Cli, first: str) -> None:
    """Check that a person may go back to the first version when no rollout is in flight."""
    with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
        told = cli.json("rollout", "rollback", "front", "--reason", "a person knows better")
        assert told["to"] == first
        until(lambda: rollout(cli)["rollout"] == told["rollout"], 30)
        end = until(lambda: rollout(cli) if rollout(cli)["state"] in ENDED else None, 60)
    assert (end["state"], end["candidate"]) == ("done", first), end
    assert "a person knows better" in end["explanation"]
    assert viewers.failed == []
    (serving,) = cli.json("production", "front")["versions"]
    assert serving["share_bp"] == 10_000
    assert serving["model_version"].endswith(first)


def causes_of(seen: list[dict[str, Any]]) -> list[set[str]]:
    """Return all that each incident was taken for, in the order in which they opened."""
    found: dict[str, set[str]] = {}
    for event in seen:
        if event["type"] in {"mlg.incident.opened", "mlg.incident.grown"}:
            (mine,) = [node for node in event["nodes"] if node["uri"] == event["subject"]]
            found.setdefault(event["subject"], set()).add(str(dict(mine["attrs"])["cause"]))
    return list(found.values())


def told_why(cli: Cli, seen: list[dict[str, Any]]) -> None:
    """Check that the paragraph goes from the alert to the version that healed."""
    incident = next(e["subject"] for e in seen if e["type"] == "mlg.incident.opened")
    answer = cli.json("why", incident)
    by_seq = {event["seq"]: event for event in seen}
    types = [by_seq[clause["seq"]]["type"] for clause in answer["clauses"]]
    for needed in ("alert.opened", "incident.retraining_begun", "incident.healed"):
        assert f"mlg.{needed}" in types
    assert types.index("mlg.alert.opened") < types.index("mlg.incident.healed")
    assert "hit_rate" in answer["paragraph"]
