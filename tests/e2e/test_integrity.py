"""A model that was altered after it was signed: no server loads it, and the graph says so."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Cli, until
from tests.e2e.test_canary import rollout

from mlg.client.client import Client


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


def refusals(client: Client) -> list[dict[str, Any]]:
    """Return what is told of the replicas that refused their model."""
    told = client.events(limit=1_000)["events"]
    data = [dict(e["data"]) for e in told if e["type"] == "mlg.model_version.refused"]
    return [one for one in data if one["process"].startswith("replica-")]


def rollout_of_an_altered_version_fails(cli: Cli, client: Client) -> str:
    """Add a file to a version before its first replica starts; return the version."""
    client.apply(str(cli.folder / "mlg.yaml"))
    client.freeze()  # the rollout waits before its first replica
    client.run("list")
    path = cli.home / "services" / "front" / "rollout.json"
    until(path.exists, 120)
    began = rollout(cli)
    version = began["candidate"]
    folder_of(cli, version).chmod(0o755)
    extra = folder_of(cli, version) / "extra.py"
    extra.write_text("import os\n")
    client.freeze(on=False)
    done = until(lambda: rollout(cli) if rollout(cli)["state"] == "failed" else None, 120)
    assert "it is refused: extra.py: the file was added" in done["explanation"]
    told = refusals(client)
    assert {r["rollout"] for r in told} == {began["rollout"]}
    assert {r["process"] for r in told} <= {"replica-front-1", "replica-front-2"}
    extra.unlink()
    return version


@pytest.mark.skipif(
    not os.environ.get("MLG_FULL"), reason="make e2e runs it; test_tiny has a refused model too"
)
def test_an_altered_model_is_refused_and_serves_again_when_it_is_restored(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    control = json.loads((cli.home / "control.json").read_bytes())
    client = Client(f"http://127.0.0.1:{control['port']}", timeout_s=120)

    def front() -> dict[str, Any]:
        return client.status()["services"][0]

    def ready(count: int) -> bool:
        versions = front()["versions"]
        return bool(versions) and versions[0]["ready"] == count and front()["live"]

    version = rollout_of_an_altered_version_fails(cli, client)
    client.run("list")  # the same version once more: everything but its rollout is cached
    until(lambda: ready(2), 120)
    uri = f"mlg://model_version/mlg/tiny/list@{version}"
    good = cli.json("image", "verify", uri)
    (node,) = client.nodes(("model_version",))["nodes"]
    assert node["attrs"]["signature_key_id"] == good["key_id"]
    assert len(node["attrs"]["signature_digest"]) == 64

    before, altered = len(refusals(client)), folder_of(cli, version) / "popularity.json"
    flip(altered)
    bad = cli.json("image", "verify", uri, code=1)
    assert (bad["ok"], bad["file"]) == (False, "popularity.json")
    os.kill(client.status()["pids"]["replica-front-1"], signal.SIGKILL)
    until(lambda: len(refusals(client)) > before)
    *_, last = refusals(client)
    assert last["reason"].startswith("popularity.json: the file was altered")
    assert (last["process"], last["service"]) == ("replica-front-1", "front")
    assert ready(1)  # the other one has it in memory
    assert front()["versions"][0]["refused"] == last["reason"]
    assert client.production("front")["versions"][0]["health"] == "refused"
    assert "popularity.json: the file was altered" in cli("status")
    for asked in (uri, last["deployment"]):
        assert "popularity.json: the file was altered" in client.why(asked)["paragraph"]

    assert len(refusals(client)) == before + 1  # nobody tried again meanwhile
    flip(altered)
    client.restart("front")
    until(lambda: ready(2), 120)
    assert front()["versions"][0]["refused"] == ""
    (serving,) = client.production("front")["versions"]
    assert (serving["deployment"], serving["health"]) == (last["deployment"], "healthy")
