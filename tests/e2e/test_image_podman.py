"""An image that is built without any registry, in a container of podman."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Cli, until
from tests.engine import LIMITS, no_podman, podman
from tests.registry import Registry

from mlg.adapters.loopback_ports import free_port
from mlg.app.container_run import container_run, podman_words
from mlg.app.staging import recorded_answers
from mlg.app.startable import startable_image
from mlg.core.uris import Digest
from mlg.release.image import (
    LAYOUT_MARKER,
    ContainerConfig,
    LayerBlob,
    blob_path,
    digest_of,
    documents_of,
    index_of,
)
from mlg.release.staging import Answer, judge_recorded
from mlg.serving.warmup import golden_requests

FULL = os.environ.get("MLG_FULL") == "1"
"""By way of a registry: half a gigabyte is sent, kept and fetched."""
NAME = f"mlg-image-test-{os.getpid()}"


@pytest.fixture
def container() -> Iterator[str]:
    """Name of a container that is gone afterwards, whatever happens."""
    if why := no_podman():
        pytest.skip(why)
    try:
        yield NAME
    finally:
        told = ["podman", "ps", "-a", "--filter", f"name={NAME}", "--format", "{{.ImageID}}"]
        images = subprocess.run(
            told, capture_output=True, text=True, check=False
        ).stdout.split()
        for words in (["rm", "-f", "-t", "0", NAME], ["rmi", "-f", *images]):
            subprocess.run(["podman", *words], capture_output=True, check=False)


def asked(port: int, path: str, body: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=body,
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}
    except OSError:
        return 0, {}


def base_layout(folder: Path, source: Path, digest: str) -> Path:
    """Write an image of one layer of another one."""
    layer = source / blob_path(digest)
    blob = LayerBlob(name="base", digest=Digest(digest), size=layer.stat().st_size)
    made = documents_of([blob], {}, ContainerConfig(env=(("PATH", "/usr/local/bin"),)))
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / blob_path(digest)).hardlink_to(layer)
    for content in (made.config, made.manifest):
        (folder / blob_path(digest_of(content))).write_bytes(content)
    (folder / "oci-layout").write_bytes(LAYOUT_MARKER)
    (folder / "index.json").write_bytes(index_of([made.entry("root:1")]))
    return folder


def answer_to(port: int, body: bytes) -> Answer:
    status, found = asked(port, "/v1/services/front/recommend", body)
    return Answer(
        status=status,
        items=tuple(item["id"] for item in found.get("items", ())),
        scores=tuple(item["score"] for item in found.get("items", ())),
        served_by=found.get("served_by", ""),
        version=found.get("model_version", ""),
        k=json.loads(body).get("k", 10),
    )


def test_an_image_starts_and_answers_as_it_was_packaged(
    cli: Cli, container: str, tmp_path: Path
) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    run = cli.json("run", "list", "--follow")
    cli("down")
    built = cli.json("image", "build", "list")
    assert (built["built"], built["signed"], built["starts"]) == (True, True, True)
    labels = built["labels"]
    assert labels["mlg.model_version"].endswith(f"list@{run['version']}")
    assert "mlg://dataset_version/mlg/tiny/things@" in labels["mlg.datasets"]
    assert len(labels["mlg.code"]) == 64
    plain = tmp_path / "pull"  # podman takes no path with a capital or a leading dot
    registry = Registry.or_none(tmp_path) if FULL else None
    if registry is None:
        plain.symlink_to(built["path"])
        image = podman("pull", "-q", f"oci:{plain}:{built['name']}")
    else:
        registry.begin()
        try:
            to = f"{registry.host}/tiny/list:1"
            pushed = cli.json("image", "push", "list", to, "--plain-http")
            assert (pushed["there"], pushed["digest"]) == (0, built["digest"])
            image = podman("pull", "-q", "--tls-verify=false", to)
        finally:
            registry.end()

    if FULL:  # the same root filesystem as a base in a layout of its own
        base = base_layout(tmp_path / "base", Path(built["path"]), built["layers"][0]["digest"])
        over = cli.json("image", "build", "list", "--base", f"oci:{base}:root:1")
        assert over["layers"] == built["layers"]
        assert over["labels"] == built["labels"]

    ready = startable_image(cli.home, run["version"])
    assert (ready.digest, ready.built) == (built["digest"], False)
    told = container_run(cli.home, ready, service="front", model="list", clock="request")
    port = free_port()
    words = podman_words(
        told, image, port=port, memory="512m", cpus="1", more=["-d", "--name", NAME, *LIMITS]
    )
    podman(*words[1:])
    until(lambda: asked(port, "/v2/health/ready")[0] == 200, 60)
    found = answer_to(port, b'{"user_id": 3, "k": 5}')
    assert (found.status, len(found.items), found.served_by) == (200, 5, "model")
    assert found.version == run["version"]
    artifact = cli.home / "artifacts" / run["artifact"][:2] / run["artifact"]
    recorded = recorded_answers(artifact)
    assert recorded
    answers = [answer_to(port, body) for body in golden_requests(artifact)]
    judged = judge_recorded(recorded, answers)
    assert judged.verdict == "PASS", judged.reason
    podman("rm", "-f", "-t", "0", NAME)
    ends_and_says_why(words)


def ends_and_says_why(words: list[str]) -> None:
    """Start what was not signed: it ends by itself, and says why."""
    words[words.index("--digest") + 1] = "0" * 64
    podman(*(word for word in words[1:] if word != "--rm"))
    until(lambda: podman("inspect", "--format", "{{.State.Status}}", NAME) == "exited", 60)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", NAME) == "5"
    logs = subprocess.run(["podman", "logs", NAME], capture_output=True, text=True, check=True)
    assert "the signature is of another artifact" in logs.stdout + logs.stderr


BUILD = """
import sys
from pathlib import Path
from mlg.adapters import image_host
from mlg.adapters.layer_pool import LayerPool
from mlg.app.images import serving_lock
wanted = {"msgspec", "uvicorn"}
lock = "\\n".join(n for n in serving_lock().splitlines() if n[:7] in wanted)
pool = LayerPool(Path(sys.argv[1]))
print(pool.layer("base", image_host.base_key(), image_host.base_entries).digest)
packages = lambda: image_host.package_entries(lock)
print(pool.layer("packages", image_host.packages_key(lock), packages).digest)
"""


def test_what_is_taken_from_this_machine_is_the_same_twice(tmp_path: Path) -> None:
    said: list[str] = []
    for number, umask in enumerate((0o022, 0o077)):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(folder / "pool")],
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": str(number), "TZ": f"UTC-{number}"},
            umask=umask,
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout)
    assert said[0] == said[1]
    assert len(said[0].split()) == 2
