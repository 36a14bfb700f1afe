"""What a rendered pod is told to run does run, from the image's own files, laid out as mounted.

No cluster: the files of the image and the volumes lie in one folder, and its path is put
before the paths of the manifest. The rest is as rendered.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import yaml
from tests.conftest import until
from tests.kube_schemas import VERSIONS, errors_of, pod_of
from typer.testing import CliRunner

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_layout import store_image
from mlg.adapters.keys_signing import new_signing_key, write_trusted
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.images import image_of, serving_lock
from mlg.app.signing import sign_with
from mlg.cli.main import app
from mlg.core.ports import Cursor
from mlg.core.predict import ServingPolicy
from mlg.core.steps import StepCall
from mlg.core.uris import Digest
from mlg.manifest.specs_pipelines import PackageStep
from mlg.pipeline.config import PackageConfig, canonical
from mlg.recsys import kinds
from mlg.recsys.roles import roles_from
from mlg.release.image import OciImage, blob_path
from mlg.serving.log import decode_prediction
from mlg.workflows.packaged import Packaged, write_packaged
from mlg.workflows.state import Wanted, WantedVersion, write_wanted

MANIFEST = """
version: 1
project: radio
datasets:
  plays:
    source: {uri: "csv:plays.csv"}
    columns: {user_id: {type: int64}}
pipelines:
  ranker:
    steps:
      train:
        model: popularity
        in: [plays]
        roles:
          interactions: {table: plays, viewer: user_id, item: item_id, at: at}
      package: {image: radio-ranker, in: [train]}
services:
  home:
    model: ranker
    replicas: 2
    resources: {cpu: 0.5, memory: 512MiB}
    confidence: {abstain_below: 0.2}
"""
CALL = StepCall(
    project="radio",
    pipeline="ranker",
    name="package",
    kind="package",
    config=canonical(
        PackageConfig(step=PackageStep(image="radio-ranker"), model_input="train")
    ),
    inputs=(),
    code=Digest("0" * 64),
    folder=Digest("1" * 64),
    out="package",
)
KEY = bytes(range(32))


@dataclass
class Instance:
    """A home with one version of a service, as a control plane leaves it."""

    manifest: Path
    home: Path
    version: str
    image: OciImage
    layout: Path

    def render(self, *options: str) -> tuple[int, Any]:
        base = ["render", "kubernetes", "--json", "-f", str(self.manifest)]
        done = CliRunner().invoke(app, [*base, "--home", str(self.home), *options])
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    folder = tmp_path_factory.mktemp("radio")
    home = folder / ".mlg"
    (folder / "mlg.yaml").write_text(MANIFEST)
    rows = [(user, item, user * 100 + item) for user in range(1, 21) for item in range(1, 9)]
    user, item, at = zip(*rows, strict=True)
    plays = pa.table(
        {"user_id": user, "item_id": item, "at": pa.array(at, pa.timestamp("s", tz="UTC"))}
    )
    roles = roles_from(
        {"interactions": {"table": "plays", "viewer": "user_id", "item": "item_id", "at": "at"}}
    )
    model = folder / "model"
    fitted = kinds.fit("popularity", {"plays": plays}, roles, {}, 1, "ranker", lambda _: None)
    fitted.save(model)
    # what a project brings along: the signature covers it, so the image must hold it
    (model / "code" / "radio").mkdir(parents=True)
    (model / "code" / "radio" / "past.py").write_text("x = 1\n")
    store, files = LocalArtifacts(home / "artifacts"), LocalFiles(home)
    artifact = store.put(model)
    image = image_of(CALL, artifact, store.open(artifact), serving_lock())
    kept = store_image(image, store, folder / "work")
    key = new_signing_key()
    write_trusted(files, key.public_key())
    packaged = Packaged(
        artifact=artifact,
        image=f"radio-ranker:{artifact[:12]}",
        image_digest=image.digest,
        image_artifact=kept,
    )
    write_packaged(files, sign_with(key, packaged, store))
    version = WantedVersion(
        version=artifact[:12], artifact=artifact, bp=10_000, deployment="d1"
    )
    write_wanted(files, Wanted(service="home", versions=(version,)))
    files.write("keys/viewer.key", KEY, mode=0o600)
    layout = store.open(kept)
    return Instance(folder / "mlg.yaml", home, artifact[:12], image, layout)


class Pod:
    """One container of a rendered Deployment, as a process on loopback."""

    def __init__(
        self, deployment: Any, objects: list[Any], image: OciImage, layout: Path, root: Path
    ) -> None:
        self.root = root
        self.image = json.loads((layout / blob_path(image.config)).read_bytes())
        spec = pod_of(deployment)
        (self.container,) = spec["containers"]
        for layer in image.layers:
            with tarfile.open(layout / blob_path(layer)) as tar:
                tar.extractall(root, filter="data")
        self._mount(spec, {o["metadata"]["name"]: o for o in objects if "data" in o})
        self.before = self._image_files()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        env = {
            e["name"]: e.get("value", "radio-home-7c9d-x2v4k") for e in self.container["env"]
        }
        args = [a.replace("$(POD_NAME)", env["POD_NAME"]) for a in self.container["args"]]
        assert args[args.index("--listen") + 1] == "0.0.0.0:8080"
        args[args.index("--listen") + 1] = f"127.0.0.1:{self.port}"
        python, *words = self.container["command"]
        assert python == "python"
        self.log = root.parent / "log"
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, *words, *(self._at(arg) for arg in args)],
                env={"PATH": os.environ["PATH"], **env, "PYTHONPATH": self._python_path()},
                cwd=self._at(self.image["config"]["WorkingDir"]),
                stderr=sink,
            )

    def get(self, path: str, body: Any = None) -> tuple[int, Any]:
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"content-type": "application/json"}
            method = "GET" if body is None else "POST"
            wire.request(method, path, body and json.dumps(body).encode(), headers)
            answer = wire.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            wire.close()

    def probed(self, probe: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        asked = self.container[probe]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        assert ports[asked["port"]] == 8080
        try:
            return self.get(asked["path"])[0] == 200
        except OSError:
            return False

    def publish(self, folder: str, content: dict[str, str]) -> None:
        """Replace a ConfigMap's files as a kubelet does: a new folder, then one rename."""
        at = self.root / folder.lstrip("/")
        number = len(list(at.glob("..20*")))
        new = at / f"..2026_{number}"
        new.mkdir(parents=True)
        for name, text in content.items():
            (new / name).write_text(text)
        (at / "..tmp").symlink_to(new.name)
        (at / "..tmp").replace(at / "..data")
        for name in content:
            if not (at / name).is_symlink():
                (at / name).symlink_to(f"..data/{name}")

    def policies(self) -> list[str]:
        """Return the policy of every answer that the pod's log has."""
        log = SegmentStream(self.root / "var/lib/mlg/segments/home")
        records = log.read(Cursor(consumer="test")).records
        return [decode_prediction(r.payload)["policy"] for r in records]

    def wrote_into_the_image(self) -> set[Path]:
        return self._image_files() ^ self.before

    def _mount(self, spec: Any, maps: dict[str, Any]) -> None:
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = sorted(self.container["volumeMounts"], key=lambda mount: mount["mountPath"])
        for mount in mounts:
            volume = volumes[mount["name"]]
            (self.root / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
            if "configMap" in volume:
                self.publish(mount["mountPath"], maps[volume["configMap"]["name"]]["data"])
            elif "projected" in volume:
                secret, trusted = volume["projected"]["sources"]
                assert secret["secret"]["name"] == "radio-viewer-key"
                pem = maps[trusted["configMap"]["name"]]["data"]["trusted.pem"]
                self.publish(
                    mount["mountPath"], {"viewer.key": KEY.decode(), "trusted.pem": pem}
                )
            else:
                assert "emptyDir" in volume

    def _image_files(self) -> set[Path]:
        return {p for p in (self.root / "opt").rglob("*") if p.is_file()}

    def _at(self, text: str) -> str:
        return f"{self.root}{text}" if text.startswith("/") else text

    def _python_path(self) -> str:
        """Return the image's own, so that its copy of mlg runs and not this checkout's."""
        (entry,) = [e for e in self.image["config"]["Env"] if e.startswith("PYTHONPATH=")]
        paths = entry.removeprefix("PYTHONPATH=").split(":")
        return ":".join(self._at(path) for path in paths)


@pytest.fixture
def pods(instance: Instance, tmp_path: Path) -> Iterator[dict[str, Pod]]:
    code, document = instance.render()
    assert code == 0
    objects = [o for file in document["files"] for o in file["objects"]]
    started: dict[str, Pod] = {}
    try:
        for deployment in (o for o in objects if o["kind"] == "Deployment"):
            kind = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
            root = tmp_path / kind / "root"
            started[kind] = Pod(deployment, objects, instance.image, instance.layout, root)
        yield started
    finally:
        for pod in started.values():
            if pod.process.poll() is None:
                pod.process.kill()
            pod.process.wait()


def test_the_rendered_commands_answer_under_the_rendered_policy_and_drain(
    pods: dict[str, Pod], instance: Instance
) -> None:
    replica, fallback = pods["replica"], pods["fallback"]
    for pod in pods.values():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            until(lambda pod=pod, probe=probe: pod.probed(probe), deadline_s=60)
    ask = {"user_id": 1, "k": 3}
    status, answer = replica.get("/v1/services/home/recommend", ask)
    assert status == 200
    assert answer["model_version"] == instance.version
    assert len(answer["items"]) == 3
    status, rescued = fallback.get("/v1/services/home/recommend", ask)
    assert (status, rescued["served_by"]) == (200, "fallback")

    # another version of the ConfigMap is in force without a restart
    policy = ServingPolicy(service="home", version="9", abstain_below=1.0, explore_bp=0)
    text = msgspec.json.encode(policy).decode()
    replica.publish("/var/lib/mlg/services/home", {"policy.json": text})
    until(
        lambda: (
            replica.get("/v1/services/home/recommend", ask) and replica.policies()[-1] == "9"
        )
    )
    assert replica.policies()[0] == "1"  # what the manifest says
    for pod in pods.values():
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(10) == 0
        assert pod.wrote_into_the_image() == set()  # its root is read-only


def test_a_pod_whose_signature_was_changed_refuses_its_model(
    instance: Instance, tmp_path: Path
) -> None:
    _, document = instance.render()
    objects = [o for file in document["files"] for o in file["objects"]]
    (signature,) = [o for o in objects if "signature.json" in o.get("data", {})]
    bundle = json.loads(signature["data"]["signature.json"])
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
    signature["data"]["signature.json"] = json.dumps(bundle)
    deployment = next(o for o in objects if o["kind"] == "Deployment")
    pod = Pod(deployment, objects, instance.image, instance.layout, tmp_path / "root")
    try:
        assert pod.process.wait(60) == 5
    finally:
        pod.process.kill()
    assert "did not sign this statement" in pod.log.read_text()


def test_the_command_renders_what_the_instance_runs_with_its_image_by_digest(
    instance: Instance,
) -> None:
    code, document = instance.render("--image", "registry.example.com/radio")
    assert code == 0
    objects = [o for file in document["files"] for o in file["objects"]]
    images = {pod_of(o)["containers"][0]["image"] for o in objects if o["kind"] == "Deployment"}
    assert images == {f"registry.example.com/radio@sha256:{instance.image.digest}"}
    assert [error for o in objects for v in VERSIONS for error in errors_of(o, v)] == []
    assert any("radio-viewer-key" in note for note in document["notes"])
    # the key of the viewers is in none of them
    assert KEY.decode() not in json.dumps(document)


def test_files_are_written_whole_and_those_of_before_go(
    instance: Instance, tmp_path: Path
) -> None:
    out = tmp_path / "deploy"
    code, document = instance.render("--out", str(out))
    assert code == 0
    assert document["out"] == str(out)
    for file in document["files"]:
        text = (out / file["name"]).read_text()
        assert list(yaml.load_all(text, yaml.CSafeLoader)) == file["objects"]
    written = {path.name for path in out.iterdir()}
    assert written == {"10-settings.yaml", "20-workloads.yaml", "30-routes.yaml"}
    (out / "mine.yaml").write_text("a: 1\n")
    assert instance.render("--out", str(out), "--kserve")[0] == 0
    assert {path.name for path in out.iterdir()} == written - {"30-routes.yaml"} | {"mine.yaml"}


def test_without_an_instance_an_image_must_be_named(instance: Instance, tmp_path: Path) -> None:
    nowhere = ["--home", str(tmp_path / "none")]
    code, told = instance.render(*nowhere)
    assert (code, told["error"]) == (2, "manifest")
    assert "--image home=REPOSITORY@sha256:DIGEST" in told["hint"]
    assert not (tmp_path / "none").exists()
    code, told = instance.render(*nowhere, "--image", "radio:latest")
    assert (code, told["what"]) == (2, "the tag `latest` names another image tomorrow")
    code, told = instance.render(*nowhere, "--image", "radio:v7")
    assert code == 0
    assert any("which can be moved" in note for note in told["notes"])


def test_a_damaged_policy_is_reported_with_its_place(
    instance: Instance, tmp_path: Path
) -> None:
    LocalFiles(tmp_path).write("services/home/policy.json", b"{")
    code, told = instance.render("--home", str(tmp_path), "--image", "radio:v7")
    assert (code, told["where"]) == (5, "services/home/policy.json")
