"""An image that is damaged before its version starts: nothing of the version ever runs."""

import json

from tests.chaos.test_kill_control import events
from tests.conftest import Cli, until
from tests.e2e.test_bad_release import nothing_is_left
from tests.e2e.test_canary import rollout


def test_a_version_whose_image_is_damaged_never_starts(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    cli("freeze")  # the rollout waits where it looks at the image
    cli("run", "list")
    path = cli.home / "services" / "front" / "rollout.json"
    until(path.exists)
    version = rollout(cli)["candidate"]
    packaged = json.loads((cli.home / "packaged" / f"{version}.json").read_bytes())
    stored = packaged["image_artifact"]
    blobs = cli.home / "artifacts" / stored[:2] / stored / "blobs" / "sha256"
    blob = max(blobs.iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[700] ^= 1
    # one step from whole to damaged: the rollout may look at any moment
    blob.parent.chmod(0o755)
    spoiled = cli.home / "spoiled"
    spoiled.write_bytes(content)
    spoiled.replace(blob)
    done = until(lambda: rollout(cli) if rollout(cli)["state"] == "failed" else None)
    assert "its image is refused" in done["explanation"]
    assert "damaged" in done["explanation"]
    assert cli.json("production", "front")["versions"] == []
    nothing_is_left(cli, version)
    told = {e["type"] for e in events(cli) if "its image is refused" in json.dumps(e)}
    assert {"mlg.rollout.failed", "mlg.rollout.called", "mlg.deployment.ended"} <= told
