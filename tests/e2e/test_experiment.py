"""An experiment on the real gateway: cells, holdout, kill -9, waiting rollouts, a way back."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from tests.chaos.test_kill_control import control_pid
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, Viewers, rollout
from tests.instance import Graph, check_arrows

from mlg.adapters.stream_segments import SegmentStream
from mlg.core.ports import Cursor
from mlg.serving.log import decode_prediction

EXPERIMENT = """
experiments:
  rows:
    service: front
    cells: {A: {version: previous, share: 40%}}
    metrics: {ctr: {min_effect: 5%}}
    holdout: 10%
    max_run: 3650d
"""


def done(cli: Cli) -> str:
    """Return the version that the newest rollout brought, once it is done."""
    newest = rollout(cli)
    return newest["candidate"] if newest["state"] == "done" else ""


def layers(cli: Cli) -> dict[str, tuple[str, int]]:
    wanted = json.loads((cli.home / "services" / "front" / "wanted.json").read_bytes())
    return {v["version"]: (v["layer"], v["bp"]) for v in wanted["versions"] if v.get("layer")}


def train(cli: Cli, text: str, days: int) -> str:
    params = f"seed: 1\n        params: {{popularity_days: {days}}}"
    (cli.folder / "mlg.yaml").write_text(text.replace("seed: 1", params))
    cli("apply", "--yes")
    return cli.json("run", "list", "--follow")["version"]


def experiment(cli: Cli) -> dict[str, Any]:
    return cli.json("experiment", "status", "rows")


if FULL:

    def test_an_experiment_runs_is_killed_goes_on_and_gives_way_to_a_way_back(cli: Cli) -> None:
        manifest = cli.folder / "mlg.yaml"
        text = manifest.read_text().replace(
            "  front: {model: list, replicas: 2, clock: request}",
            "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
            "    rollout: {swap_back: 1m}\n"
            "    confidence: {abstain_below: 0.01, explore: 0%}",
        )
        text += EXPERIMENT
        manifest.write_text(text)
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        first = cli.json("run", "list", "--follow")["version"]
        until(lambda: cli.json("status")["services"][0]["live"])
        with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
            second = train(cli, text, 30)
            until(
                lambda: (rollout(cli)["candidate"], rollout(cli)["state"]) == (second, "done")
            )
            assert experiment(cli)["phase"] == ""
            cli("experiment", "start", "rows", "--reason", "does the old one hold up?")
            until(lambda: experiment(cli)["phase"] == "running")
            cells = {
                f"{first}~rows.A": ("rows", 4_000),
                f"{second}~holdout": ("holdout", 1_000),
            }
            assert layers(cli) == cells
            until(lambda: experiment(cli)["cells"][0].get("viewers", 0) > 20)
            cli("experiment", "start", "rows", code=4)  # one at a time
            third = train(cli, text, 2)
            until(lambda: any("rollouts wait for it" in str(e) for e in Graph(cli).events()))
            assert rollout(cli)["candidate"] == second
            (waits,) = cli.json("rollout", "status", "front")["waiting"]
            assert (waits["version"], waits["waits_for"]) == (third, "experiment rows")

            os.kill(control_pid(cli), signal.SIGKILL)
            cli("up", "--wait", "--port", "0")
            assert experiment(cli)["phase"] == "running"
            assert layers(cli) == cells
            until(lambda: experiment(cli)["cells"][0]["viewers"] > 20)

            cli("rollout", "rollback", "front", "--reason", "seen it")
            until(lambda: experiment(cli)["phase"] == "stopped")
            assert "goes back" in experiment(cli)["reason"]
            # who was held out stays so, on what the way back brought
            until(lambda: layers(cli) == {f"{first}~holdout": ("holdout", 1_000)})
            until(
                lambda: (rollout(cli)["candidate"], rollout(cli)["state"]) == (third, "done"),
                60,
            )
            assert layers(cli) == {f"{first}~holdout": ("holdout", 1_000)}
        assert viewers.failed == []
        assert {first, second, third} <= set(viewers.versions)
        graph = Graph(cli)
        named = {n["name"] for n in graph.get("nodes", kind="experiment_cell")["nodes"]}
        assert named == {"A", "control", "holdout"}
        check_arrows(graph)
        kinds = [e["type"] for e in graph.events() if e["type"].startswith("mlg.experiment.")]
        assert kinds[0] == "mlg.experiment.begun"
        assert {"mlg.experiment.running", "mlg.experiment.stopped"} <= set(kinds)


ENDS = """
experiments:
  tells:
    service: front
    cells: {A: {version: previous, share: 40%}}
    metrics: {ctr: {min_effect: 20%}}
    min_viewers: 100
    max_run: 3650d
  harms:
    service: front
    cells: {A: {version: previous, share: 25%}, B: {version: serving, share: 25%}}
    metrics: {ctr: {min_effect: 1%}}
    min_viewers: 100
    max_run: 3650d
  slows:
    service: front
    cells: {A: {version: previous, share: 30%}}
    metrics: {watch_through: {min_effect: 1%}}  # which nobody tells of
    min_viewers: 100
    max_run: 3650d
"""


class Public(Viewers):
    """Ever new viewers who come three times, with one sticky key each, and take or take not."""

    def __init__(self, port: int, likes: Callable[[str, int], bool]) -> None:
        super().__init__(port)
        self._likes = likes

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._number += 1
                number = self._number
            at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
            who = number // 3
            body = {
                "user_id": who,
                "k": 5,
                "context": {"at": at.isoformat()},
                "session_id": f"s{who}",
            }
            answer = self._post("recommend", body, {"mlg-sticky-key": f"s{who}"})
            if answer is None:
                continue
            version = answer["model_version"]
            with self._lock:
                self.answered += 1
                self.versions[version] = self.versions.get(version, 0) + 1
            if self._likes(version, number):
                told = {"prediction_id": answer["prediction_id"], "event": "play"}
                item = answer["items"][0]["id"]
                self._post("feedback", {**told, "item_id": item, "at": at.isoformat()}, {})

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/services/front/{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                content = answer.read()
        except (urllib.error.URLError, OSError) as error:
            self.failed.append(repr(error))
            return None
        return json.loads(content) if content else {}


def arms_of_viewers(cli: Cli) -> dict[str, set[str]]:
    """Return the arms that each viewer was ever in, by the log."""
    stream, cursor = SegmentStream(cli.home / "segments" / "front"), Cursor(consumer="t")
    found: dict[str, set[str]] = {}
    while (batch := stream.read(cursor, 10**6)).cursor != cursor:
        cursor = batch.cursor
        for record in batch.records:
            if record.kind == "prediction":
                row = decode_prediction(record.payload)
                found.setdefault(str(row["viewer"]), set()).add(str(row["arm"]))
    return found


def cell(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in found["cells"] if one["cell"] == name)


@contextmanager
def two_versions(cli: Cli, text: str) -> Iterator[tuple[Public, str, str]]:
    """Let a second version replace the first, whose viewers take more, and go on asking."""
    text = text.replace(
        "  front: {model: list, replicas: 2, clock: request}",
        "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
        "    rollout: {swap_back: 1m}\n"
        "    confidence: {abstain_below: 0.01, explore: 0%}",
    )
    (cli.folder / "mlg.yaml").write_text(text)
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    until(lambda: cli.json("status")["services"][0]["live"])

    def likes(version: str, number: int) -> bool:
        return number % 10 < (8 if version == first else 2)

    with Public(cli.json("status")["ports"]["gateway"], likes) as viewers:
        second = train(cli, text, 30)
        until(lambda: (rollout(cli)["candidate"], rollout(cli)["state"]) == (second, "done"))
        yield viewers, first, second
    assert viewers.failed == []


if FULL:

    @pytest.mark.timeout(600)
    def test_one_is_decided_and_in_one_a_harmful_cell_goes_alone(cli: Cli) -> None:
        text = (cli.folder / "mlg.yaml").read_text() + ENDS
        status = partial(cli.json, "experiment", "status")
        with two_versions(cli, text) as (_, first, second):
            told = cli.json("experiment", "start", "tells", "--reason", "is the old one liked?")
            assert told["plan"]["log"]["new_per_day"] > 0
            assert told["plan"]["seconds"] is not None
            done = until(lambda: (s := status("tells"))["phase"] == "decided" and s, 90)
            said = cell(done, "A")
            assert said["metric.ctr"].startswith("PASS: better")
            assert said["viewers"] >= 100
            assert layers(cli) == {}

            cli("experiment", "start", "harms", "--reason", "A is broken, B is not")
            until(lambda: status("harms")["phase"] == "running")
            faults = cli.home / "services" / "front" / "faults.json"
            faults.write_text(json.dumps({f"{first}~harms.A": {"errors": 1.0}}))
            found = until(lambda: cell(s := status("harms"), "A")["stopped"] and s, 90)
            assert found["phase"] == "running"
            assert cell(found, "A")["guard.errors"].startswith("FAIL")
            until(lambda: layers(cli) == {f"{second}~harms.B": ("harms", 2_500)})
            before = cell(found, "B")["viewers"]
            until(lambda: cell(status("harms"), "B")["viewers"] > before + 300, 60)
            assert status("harms")["phase"] == "running"  # the ratio holds as well
            assert cell(status("harms"), "B")["share_bp"] == 2_500
            cli("experiment", "stop", "harms", "--reason", "seen it")
            until(lambda: status("harms")["phase"] == "stopped")
            assert status("tells")["phase"] == "decided"
        # who was in a cell was in no other cell of it, whatever ended meanwhile
        arms = arms_of_viewers(cli)
        a, b = f"{first}~harms.A", f"{second}~harms.B"
        assert {arm for each in arms.values() for arm in each} >= {a, b, second}
        assert not [who for who, each in arms.items() if {a, b} <= each]
        graph = Graph(cli)
        check_arrows(graph)
        kinds = [e["type"] for e in graph.events() if e["type"].startswith("mlg.experiment.")]
        assert kinds.count("mlg.experiment.called") == 1
        assert {"mlg.experiment.decided", "mlg.experiment.stopped"} <= set(kinds)

    @pytest.mark.timeout(600)
    def test_a_cell_that_is_only_slow_goes_too(cli: Cli) -> None:
        text = (cli.folder / "mlg.yaml").read_text() + ENDS
        status = partial(cli.json, "experiment", "status")
        with two_versions(cli, text) as (_, first, _):
            faults = cli.home / "services" / "front" / "faults.json"
            faults.write_text(json.dumps({f"{first}~slows.A": {"delay_ms": 100}}))
            cli("experiment", "start", "slows", "--reason", "A is slow")
            found = until(lambda: (s := status("slows"))["phase"] == "stopped" and s, 180)
            assert "A harms: latency_p99 FAIL" in found["reason"]
