"""Images and what runs: a damaged one never starts, a whole one is what replicas run from."""

import json

import psutil
import pytest
from tests.chaos.test_kill_control import events
from tests.conftest import Cli, until
from tests.e2e.test_bad_release import nothing_is_left
from tests.e2e.test_canary import FULL, rollout
from tests.e2e.test_tiny import ask


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


def command_lines(cli: Cli) -> list[str]:
    found = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    return [line for line in found if "mlg.app.replica" in line and str(cli.home) in line]


@pytest.mark.skipif(not FULL, reason="two runs and a crash loop: MLG_FULL=1")
def test_replicas_run_from_their_image_and_one_that_does_not_start_is_refused(cli: Cli) -> None:
    cli.env["MLG_LAUNCH"] = "image"
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    first = cli.json("run", "list", "--follow")["version"]
    until(lambda: cli.json("status")["services"][0]["live"])
    unpacked = str(cli.home / "images" / "unpacked" / first)
    lines = command_lines(cli)
    assert len(lines) == 2
    assert all(unpacked in line for line in lines)
    answer = ask(cli, "/v1/services/front/recommend", {"user_id": 3, "k": 5})
    assert (answer["model_version"], answer["served_by"]) == (first, "model")

    # the next version's processes end as they start
    (cli.home / "services" / "front" / "faults.json").write_text(
        '{"*": {"fails_to_start": true}}'
    )
    manifest = cli.folder / "mlg.yaml"
    text = manifest.read_text()
    manifest.write_text(
        text.replace("seed: 1", "seed: 1\n        params: {popularity_days: 3}")
    )
    cli("apply", "--yes")
    second = cli.json("run", "list", "--follow")["version"]
    done = until(
        lambda: (
            rollout(cli)
            if rollout(cli)["candidate"] == second and rollout(cli)["state"] == "failed"
            else None
        ),
        180,
    )
    assert "does not run: its replicas crash" in done["explanation"]
    nothing_is_left(cli, second)
    assert all(unpacked in line for line in command_lines(cli))
    answer = ask(cli, "/v1/services/front/recommend", {"user_id": 4, "k": 5})
    assert answer["model_version"] == first
