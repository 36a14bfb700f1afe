"""A model that was altered after it was signed: no server loads it, and the graph says so."""

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import Cli, until
from tests.e2e.test_canary import rollout


def folder_of(cli: Cli, version: str) -> Path:
    packaged = json.loads((cli.home / "packaged" / f"{version}.json").read_bytes())
    digest = packaged["artifact"]
    return cli.home / "artifacts" / digest[:2] / digest


def flip(path: Path) -> None:
    """Alter one byte, in one step, and leave size and times as they were."""
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    beside = path.parent.parent / "beside"
    beside.write_bytes(content)
    os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    beside.replace(path)


class Instance:
    """Asks the control plane itself, which is faster than a command each."""

    def __init__(self, cli: Cli) -> None:
        self.cli, self.port = cli, cli.json("status")["ports"]["control"]

    def ask(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())

    def front(self) -> dict[str, Any]:
        return self.ask("status")["services"][0]

    def refusals(self) -> list[dict[str, Any]]:
        """Return what is told of the replicas that refused their model."""
        told = self.ask("events?limit=1000")["events"]
        data = [dict(e["data"]) for e in told if e["type"] == "mlg.model_version.refused"]
        return [one for one in data if one["process"].startswith("replica-")]


def test_an_altered_model_is_refused_and_serves_again_when_it_is_restored(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    cli("freeze")  # the rollout waits before its first replica
    cli("run", "list")
    path = cli.home / "services" / "front" / "rollout.json"
    until(path.exists)
    began = rollout(cli)
    version, now = began["candidate"], Instance(cli)
    uri = f"mlg://model_version/mlg/tiny/list@{version}"
    folder = folder_of(cli, version)
    folder.chmod(0o755)
    extra = folder / "extra.py"
    extra.write_text("import os\n")
    cli("freeze", "--lift")
    done = until(lambda: rollout(cli) if rollout(cli)["state"] == "failed" else None)
    assert "it is refused: extra.py: the file was added" in done["explanation"]
    told = now.refusals()
    assert {r["rollout"] for r in told} == {began["rollout"]}
    assert {r["process"] for r in told} <= {"replica-front-1", "replica-front-2"}

    extra.unlink()  # the same version once more: everything but its rollout is cached
    assert cli.json("run", "list", "--follow")["version"] == version
    until(lambda: now.front()["live"] and now.front()["versions"][0]["ready"] == 2)
    good = cli.json("image", "verify", uri)
    (node,) = [n for n in now.ask("nodes?kind=model_version")["nodes"] if n["uri"] == uri]
    assert node["attrs"]["signature_key_id"] == good["key_id"]
    (image,) = [n["uri"] for n in now.ask("nodes?kind=image")["nodes"]]
    assert cli.json("image", "verify", image)["key_id"] == good["key_id"]

    before, altered = len(now.refusals()), folder / "popularity.json"
    flip(altered)
    bad = cli.json("image", "verify", uri, code=1)
    assert (bad["ok"], bad["file"]) == (False, "popularity.json")
    os.kill(now.ask("status")["pids"]["replica-front-1"], signal.SIGKILL)
    until(lambda: len(now.refusals()) > before)
    *_, last = now.refusals()
    assert last["reason"].startswith("popularity.json: the file was altered")
    assert (last["process"], last["service"]) == ("replica-front-1", "front")
    front = now.front()
    assert (front["live"], front["versions"][0]["ready"]) == (True, 1)  # the other one has it
    assert front["versions"][0]["refused"] == last["reason"]
    assert "popularity.json: the file was altered" in cli("status")
    assert "popularity.json" in cli.json("why", uri)["paragraph"]
    assert "popularity.json" in cli.json("why", last["deployment"])["paragraph"]

    assert len(now.refusals()) == before + 1  # nobody tried again meanwhile
    flip(altered)
    cli("restart", "front")
    until(lambda: now.front()["versions"][0]["ready"] == 2)
    assert now.front()["versions"][0]["refused"] == ""
