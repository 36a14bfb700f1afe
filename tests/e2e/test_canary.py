"""A second version on the real gateway: a good one wins, a broken one is taken back."""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conftest import Cli, until
from tests.instance import Graph, check_arrows, check_hops, check_rollout

ROLLOUT = """
    rollout:
      staging: {window: always, tests: [contract, golden]}
      canary: {steps: [5%, 50%, 100%], min_units: 50, max_hold: 3650d}
      gates: {errors: {alpha: 0.01}}
      swap_back: 1h
    rollback:
      error_rate: {max: 5%}
"""


class Viewers:
    """Sixty viewers who keep asking, each request an hour of event time after the last."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.port, self.failed, self.answered = port, [], 0
        self._count = threads
        self.versions: dict[str, int] = {}
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._number = 0

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._number += 1
                number = self._number
            at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
            body = {
                "user_id": number % 60,
                "k": 5,
                "context": {"at": at.isoformat()},
                "session_id": f"s{number}",
            }
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}/v1/services/front/recommend",
                data=json.dumps(body).encode(),
                headers={"content-type": "application/json", "mlg-sticky-key": f"s{number}"},
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    version = json.loads(answer.read())["model_version"]
            except (urllib.error.URLError, OSError) as error:
                self.failed.append(repr(error))
            else:
                with self._lock:
                    self.answered += 1
                    self.versions[version] = self.versions.get(version, 0) + 1

    def __enter__(self) -> "Viewers":
        self._threads = [threading.Thread(target=self._ask) for _ in range(self._count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def rollout(cli: Cli) -> dict[str, Any]:
    path = cli.home / "services" / "front" / "rollout.json"
    return json.loads(path.read_bytes())


@contextmanager
def second_version(cli: Cli) -> Iterator[tuple[Viewers, str, str]]:
    """Serve a first version, train a second one, and let viewers ask meanwhile."""
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().replace(
        "  front: {model: list, replicas: 2, clock: request}",
        "  front:\n    model: list\n    replicas: 1\n    clock: request\n"
        "    confidence: {abstain_below: 0.01, explore: 0%}" + ROLLOUT,
    )
    manifest.write_text(text)
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")
    until(lambda: cli.json("status")["services"][0]["live"])
    params = "seed: 1\n        params: {popularity_days: 30}"
    manifest.write_text(text.replace("seed: 1", params))
    cli("apply", "--yes")
    with Viewers(cli.json("status")["ports"]["gateway"]) as viewers:
        second = cli.json("run", "list", "--follow")
        assert second["version"] != first["version"]
        yield viewers, first["version"], second["version"]


FAULTS = {
    "errors": {"errors": 1.0},
    "some errors": {"errors": 0.2},
    "nan": {"nan": 1.0},
    "abstains": {"abstain": True},
    "slow": {"slower": 3.0},
}
FULL = os.environ.get("MLG_FULL") == "1"
SHORT = ("some errors",) if not FULL else tuple(FAULTS)
"""`make test` takes one way to be broken, `make e2e` takes all five."""


@pytest.mark.parametrize("fault", [FAULTS[name] for name in SHORT], ids=SHORT)
def test_a_broken_version_is_taken_back(cli: Cli, fault: dict[str, Any]) -> None:
    with second_version(cli) as (viewers, first, second):
        until(lambda: rollout(cli)["share_bp"] >= 500 or rollout(cli)["state"] == "failed", 60)
        faults = cli.home / "services" / "front" / "faults.json"
        faults.write_text(json.dumps({second: fault}))
        done = until(
            lambda: rollout(cli) if rollout(cli)["state"] in {"done", "rolled_back"} else None,
            120,
        )
        assert (done["state"], done["candidate"]) == ("rolled_back", second), done
        graph = Graph(cli)
        checks = [n["uri"] for n in graph.get("nodes", kind="health_check")["nodes"]]
        for part in ("/staging@", "/gates/"):
            name = part.replace("/", "%2F")
            mine = [uri for uri in checks if name in uri and done["rollout"] in uri]
            check_hops(graph, mine[-1])
        check_arrows(graph)
        check_rollout(graph, done["rollout"], done["state"])
        told = cli.json("rollout", "status", "front")
        grew = told["evidence"]["errors"]
        assert 1 < len(grew) <= 100
        assert [p["n"] for p in grew] == sorted(p["n"] for p in grew)
        assert grew[-1]["verdict"] == "FAIL"
        assert "this rollout is over" in told["next"]
        assert "errors, as its evidence grew" in cli("rollout", "status", "front", "-v")
        held = [e for e in graph.events() if e["type"] == "mlg.rollout.held"]
        assert 0 < len(held) < 60  # one for each want, not one a look
        why = graph.get("why", uri="front", **{"not": "promoted"})
        assert why["holds"]
        assert "FAIL" in why["paragraph"]
        assert "rolled back" in why["paragraph"]
    assert viewers.failed == []
    serving = cli.json("production", "front")["versions"]
    assert [(v["model_version"][-12:], v["share_bp"]) for v in serving] == [(first, 10_000)]


if FULL:  # `make test` sees a good version win in tests/chaos/test_kill_canary.py

    def test_a_good_version_wins(cli: Cli) -> None:
        with second_version(cli) as (viewers, first, second):
            done = until(
                lambda: (
                    rollout(cli) if rollout(cli)["state"] in {"done", "rolled_back"} else None
                ),
                120,
            )
            assert (done["state"], done["candidate"]) == ("done", second), done
            check_rollout(Graph(cli), done["rollout"], "done")
        assert viewers.failed == []
        assert {first, second} <= set(viewers.versions)
        serving = cli.json("production", "front")["versions"]
        assert [(v["model_version"][-12:], v["share_bp"]) for v in serving] == [
            (second, 10_000)
        ]
