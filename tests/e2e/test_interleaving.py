"""Lists of two versions on the real gateway: a worse one never reaches its canary.

Viewers of the tiny project take even things first, or only odd ones: which of the two lists
has more of them is made by the training data.
"""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conftest import Cli, until
from tests.e2e.test_canary import FULL, rollout
from tests.instance import Graph

ROLLOUT = """
    rollout:
      interleave: {share: 50%, min_viewers: 30, max_hold: 3650d, margin: 30%}
      canary: {steps: [20%, 100%], min_units: 30, max_hold: 3650d}
      gates: {errors: {max: 20%}}
      swap_back: 1h
"""
ENDED = {"done", "rolled_back", "failed"}


class Tasters:
    """Viewers who take the first item that they like, each of them asking once."""

    def __init__(self, port: int, likes: Any) -> None:
        self.port, self.likes, self.failed = port, likes, []
        self.versions: dict[str, int] = {}
        self._stop, self._lock, self._number = threading.Event(), threading.Lock(), 0

    def _post(self, path: str, body: dict[str, Any], session: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/services/front/{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", "mlg-sticky-key": session},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def ask(self) -> None:
        """Let one more viewer ask, and take what he likes."""
        with self._lock:
            self._number += 1
            number = self._number
        moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        at, session = moment.isoformat(), f"s{number}"
        asked = {"user_id": f"u{number}", "k": 5, "context": {"at": at, "history": []}}
        try:
            answer = self._post("recommend", asked, session)
            items = [item["id"] for item in answer["items"]]
            taken = next((item for item in items if self.likes(item)), None)
            told = {
                "prediction_id": answer["prediction_id"],
                "item_id": items[0] if taken is None else taken,
                "event": "impression" if taken is None else "play",
                "at": at,
            }
            self._post("feedback", told, session)
        except (urllib.error.URLError, OSError) as error:
            self.failed.append(repr(error))
        else:
            with self._lock:
                version = answer["model_version"]
                self.versions[version] = self.versions.get(version, 0) + 1

    def _keep_asking(self) -> None:
        while not self._stop.is_set():
            self.ask()

    def __enter__(self) -> "Tasters":
        self._threads = [threading.Thread(target=self._keep_asking) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def plays(favourites: range, others: range) -> str:
    """Return plays of which most are of some things: they lead the list."""
    rows = ["viewer,item,stars,second"]
    for n in range(1_500):
        items = favourites if n % 4 else others
        item = items[n // 4 * n % len(items)]
        rows.append(f"{n * 7 % 60},{item},{1 + n % 5},{1_700_000_000 + n * 600}")
    return "\n".join(rows) + "\n"


@contextmanager
def second_version(cli: Cli, likes: Any, *, fault: bool = False) -> Iterator[Tasters]:
    """Serve a list led by things 0-14, train one led by 15-29, and let viewers choose."""
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text().replace(
        "  front: {model: list, replicas: 2, clock: request}",
        "  front:\n    model: list\n    replicas: 1\n    clock: request" + ROLLOUT,
    )
    manifest.write_text(text)
    (cli.folder / "plays.csv").write_text(plays(range(15), range(15, 30)))
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    until(lambda: cli.json("status")["services"][0]["live"])
    (cli.folder / "plays.csv").write_text(plays(range(15, 30), range(15)))
    cli("apply", "--yes")
    viewers = Tasters(cli.json("status")["ports"]["gateway"], likes)
    for _ in range(10):  # event time begins with the first answer
        viewers.ask()
    second = cli.json("run", "list", "--follow")["version"]
    assert second != first
    if fault:
        faults = cli.home / "services" / "front" / "faults.json"
        faults.write_text(json.dumps({f"{second}~interleaved": {"errors": 1.0}}))
    until(lambda: rollout(cli)["state"] == "interleaving", 120)
    with viewers:
        yield viewers


def ended(cli: Cli) -> dict[str, Any]:
    return until(lambda: rollout(cli) if rollout(cli)["state"] in ENDED else None, 90)


def phases(cli: Cli, name: str) -> list[str]:
    """Return the types of a rollout's transitions, in order."""
    mine = [e for e in Graph(cli).events() if e["subject"].endswith(name)]
    return [e["type"].removeprefix("mlg.rollout.") for e in mine]


@pytest.mark.skipif(
    not FULL, reason="make e2e runs it: tests/integration/test_interleaving.py has the parts"
)
def test_a_worse_version_loses_on_interleaved_lists_and_never_reaches_its_canary(
    cli: Cli,
) -> None:
    with second_version(cli, lambda item: item < 15) as viewers:
        second = rollout(cli)["candidate"]
        done = ended(cli)
    assert (done["state"], done["candidate"]) == ("rolled_back", second), done
    assert "took the candidate's item first" in done["explanation"]
    assert viewers.failed == []
    went = phases(cli, done["rollout"])
    assert "interleaving" in went
    assert "canary" not in went
    serving = cli.json("production", "front")["versions"]
    assert [v["share_bp"] for v in serving] == [10_000]
    assert not serving[0]["model_version"].endswith(second)
    gates = {gate["name"]: gate["verdict"] for gate in done["gates"]}
    assert gates == {"interleaving": "FAIL", "interleaved_faults": "PASS"}
    checks = [n["uri"] for n in Graph(cli).get("nodes", kind="health_check")["nodes"]]
    assert any("gates" in uri and done["rollout"] in uri for uri in checks)
    until(lambda: not any("interleaved" in p for p in cli.json("status")["pids"]))


if FULL:

    def test_a_better_version_goes_on_and_wins(cli: Cli) -> None:
        with second_version(cli, lambda item: item >= 15) as viewers:
            done = until(
                lambda: rollout(cli) if rollout(cli)["state"] in {"swapped", *ENDED} else None,
                90,
            )
        assert done["state"] in {"swapped", "done"}, done
        assert viewers.failed == []
        went = phases(cli, done["rollout"])
        assert went.index("interleaving") < went.index("canary") < went.index("swapped")

    def test_a_version_that_fails_beside_the_other_is_gone_and_nobody_sees_an_error(
        cli: Cli,
    ) -> None:
        with second_version(cli, lambda item: item >= 15, fault=True) as viewers:
            done = ended(cli)
        assert done["state"] == "rolled_back", done
        assert "gave nothing" in done["explanation"]
        assert viewers.failed == []
        assert "canary" not in phases(cli, done["rollout"])
