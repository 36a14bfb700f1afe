"""A version's containers on the real engine: started, asked, taken down whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from tests.conftest import until
from tests.containers import TRIAL, no_containers

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.compose_engine import ComposeEngine, compose_command, find_engine
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_signing import keep_signing_key, new_signing_key, write_trusted
from mlg.adapters.network_http import HttpNetwork
from mlg.app.images import pack
from mlg.app.signing import Signing
from mlg.app.stack_plan import StackImage, given_image
from mlg.app.staging import Staging
from mlg.app.staging_stack import ComposeStacks, project_of, sweep_stacks
from mlg.app.startable import startable_image
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.steps import StepCall
from mlg.core.uris import Digest
from mlg.manifest.load import parse_manifest
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_pipelines import PackageStep
from mlg.pipeline.config import PackageConfig, canonical
from mlg.recsys import kinds
from mlg.recsys.roles import roles_from
from mlg.workflows.packaged import Packaged, write_packaged
from mlg.workflows.state import Applied

MANIFEST = """\
version: 1
project: radio
datasets:
  plays: {source: {uri: "file:plays.csv"}, columns: {user: {type: int64}}}
pipelines:
  ranker:
    steps:
      train:
        model: popularity
        in: [plays]
        roles: {interactions: {table: plays, viewer: user, item: item, at: at}}
services:
  profiles: {command: [python, server.py], health: /alive}
  home:
    model: ranker
    depends_on: [profiles]
    resources: {memory: 512MiB, cpu: 1}
    clock: request
    rollout:
      staging: {compose: true, tests: [contract, golden, memory, robustness], deadline: 30s}
"""
SERVER = """\
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        well = self.path == "/alive" and Handler.asked > 2
        self.send_response(200 if well else 503); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["MLG_PORT"])), Handler).serve_forever()
"""


full = pytest.mark.skipif(
    os.environ.get("MLG_FULL") != "1", reason="half a minute each: MLG_FULL=1"
)


class Home:
    """A home with one packaged and signed version, and a manifest in force."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        self.files = LocalFiles(self.path)
        self.artifacts = LocalArtifacts(self.path / "artifacts")
        project = folder / "project"
        project.mkdir()
        (project / "server.py").write_text(SERVER)
        self.spec: ManifestSpec = parse_manifest(MANIFEST).spec
        applied = Applied(
            source="{}", digest="d", folder=self.artifacts.put(project), path="mlg.yaml"
        )
        self.files.write("applied.json", msgspec.json.encode(applied))
        key = new_signing_key()
        keep_signing_key(self.files, key)
        write_trusted(self.files, key.public_key(), ())
        self.artifact = self.artifacts.put(_model(folder / "model"))
        self.version = self.artifact[:12]
        digest, stored = pack(_call(), self.artifact, self.artifacts, folder / "work")
        packaged = Packaged(
            artifact=self.artifact, image="radio", image_digest=digest, image_artifact=stored
        )
        write_packaged(self.files, Signing(self.files, self.artifacts).sign(packaged))
        policy = {"service": "home", "version": "1", "abstain_below": 0.0, "explore_bp": 0}
        self.files.write("services/home/policy.json", msgspec.json.encode(policy))

    @property
    def label(self) -> str:
        return f"mlg.staging={project_of(self.path, 'home')}"

    def stacks(self, *, manifest: Any = None, **more: Any) -> ComposeStacks:
        return ComposeStacks(
            self.path,
            self.files,
            self.artifacts,
            manifest or (lambda: self.spec),
            HttpNetwork(),
            SystemClock(),
            **more,
        )

    def staging(self, **more: Any) -> Staging:
        return Staging(
            self.artifacts,
            lambda: pytest.fail("containers are asked, not processes"),
            HttpNetwork(),
            lambda _: None,
            stacks=self.stacks(**more),
        )

    def run(self, **more: Any) -> Any:
        spec = self.spec.services["home"]
        return self.staging(**more).run(
            "home", self.version, self.artifact, spec, about={"rollout": "r"}
        )

    def left(self, engine: ComposeEngine) -> list[Any]:
        """Return what there is of it: containers, mark, folder."""
        found: list[Any] = list(engine.containers(self.label))
        found += self.path.glob("services/*/stack.json")
        return found + list(self.path.glob("stacks/*"))


def _call() -> StepCall:
    return StepCall(
        project="radio",
        pipeline="ranker",
        name="package",
        kind="package",
        config=canonical(PackageConfig(step=PackageStep(image="radio"), model_input="train")),
        inputs=(),
        code=Digest("0" * 64),
        folder=Digest("1" * 64),
        out="package",
    )


def _model(folder: Path) -> Path:
    """A popularity list of plays, with its recorded requests."""
    at = [datetime(2026, 1, 1 + n % 20, tzinfo=UTC) for n in range(200)]
    plays = pa.table(
        {
            "user": pa.array([n % 40 for n in range(200)], pa.int64()),
            "item": pa.array([n * n % 23 for n in range(200)], pa.int64()),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
        }
    )
    roles = roles_from(
        {"interactions": {"table": "plays", "viewer": "user", "item": "item", "at": "at"}}
    )
    tables: Any = {"plays": plays}
    folder.mkdir()
    kinds.fit("popularity", tables, roles, {}, 7, "ranker", lambda _: None).save(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("stack"))


@pytest.fixture
def home(made: Home) -> Home:
    if why := no_containers():
        pytest.skip(f"no containers here: {why}")
    return made


@full
def test_the_versions_own_image_is_tested_beside_what_it_depends_on(home: Home) -> None:
    seen: list[dict[str, Any]] = []
    with find_engine() as engine:
        watching = threading.Event()

        def watch() -> None:
            while not watching.is_set():
                seen.append({c["Names"][0]: c for c in engine.containers(home.label)})
                watching.wait(0.2)

        watcher = threading.Thread(target=watch)
        watcher.start()
        found = home.run()
        watching.set()
        watcher.join()
        results = {r.name: (r.verdict, r.reason) for r in found.results}
        assert found.verdict == "PASS", results
        assert results["compose"][1].startswith("3 containers answer on ")
        assert "; 1 servers of one's own are healthy" in results["compose"][1]
        # the version ran from the image that `mlg image build` makes, and from it alone
        image = startable_image(home.path, home.version)
        assert image.built is False
        assert found.figures["figure.compose.image"] == image.digest
        told = {c["Names"][0]: c for c in most_of(seen).values()}
        assert not binds_of_this_machine(told, "home")
        assert binds_of_this_machine(told, "profiles")
        most = most_of(seen)
        ports = [p for one in most.values() for p in one.get("Ports") or []]
        assert len(most) == 3
        assert len({p["PublicPort"] for p in ports}) == 2
        assert {p["IP"] for p in ports} == {"127.0.0.1"}
        assert home.left(engine) == []
    page = home.artifacts.open(Digest(found.document)).read_text()
    assert f"Staging of {home.version} for home" in page
    assert dict(found.about)["rollout"] == "r"


def most_of(seen: list[dict[str, Any]]) -> dict[str, Any]:
    return max(seen, key=len)


def binds_of_this_machine(told: dict[str, Any], service: str) -> set[str]:
    """Return what of this machine's Python a container of a service has mounted."""
    (found,) = [
        c for c in told.values() if c["Labels"]["com.docker.compose.service"] == service
    ]
    mounts = {str(m["Destination"]) for m in found["Mounts"]}
    return mounts & {"/usr", "/lib", sys.prefix, sys.base_prefix}


@full
def test_a_server_that_never_becomes_healthy_is_an_error_and_nothing_stays(home: Home) -> None:
    """It runs and answers, but never at the path that the manifest names."""
    services = dict(home.spec.services)
    services["profiles"] = msgspec.structs.replace(services["profiles"], health="/nowhere")
    sick = msgspec.structs.replace(home.spec, services=services)
    began_s = SystemClock().monotonic_s()
    with find_engine() as engine, ExitStack() as stage:
        with pytest.raises(BackendError) as caught:
            home.stacks(manifest=lambda: sick).start("home", home.version, 30.0, stage)
        words = "profiles did not become healthy in time at /nowhere: it answers 503"
        assert words in str(caught.value)
        assert SystemClock().monotonic_s() - began_s < 40.0
        stage.close()
        assert home.left(engine) == []


@full
def test_a_server_that_ends_is_told_in_its_own_words(home: Home) -> None:
    services = dict(home.spec.services)
    command = ("python", "-c", "raise SystemExit('no such table')")
    services["profiles"] = msgspec.structs.replace(services["profiles"], command=command)
    broken = msgspec.structs.replace(home.spec, services=services)
    found = home.run(manifest=lambda: broken)
    assert (found.verdict, found.results[0].name) == ("ERROR", "compose")
    assert "the container of profiles ended: no such table" in found.results[0].reason
    with find_engine() as engine:
        assert home.left(engine) == []


@full
def test_a_container_that_ends_is_told_in_its_own_words_and_nothing_stays(home: Home) -> None:
    if why := no_containers():
        pytest.skip(why)

    def silent(_: Packaged) -> StackImage:
        return StackImage(reference=TRIAL, python="/busybox")  # `busybox -m` is no applet

    found = home.run(image_of=silent)
    (compose, *others) = found.results
    assert (found.verdict, compose.verdict) == ("ERROR", "ERROR")
    assert "ended: " in compose.reason
    assert {other.reason for other in others} == {"it was not run"}
    with find_engine() as engine:
        assert home.left(engine) == []


@full
def test_an_image_that_the_engine_does_not_have_is_an_error(home: Home) -> None:
    def unknown(_: Packaged) -> StackImage:
        return StackImage(reference="localhost/mlg-not-there:1")

    found = home.run(image_of=unknown)
    assert (found.verdict, found.results[0].name) == ("ERROR", "compose")
    assert "the containers did not start" in found.results[0].reason
    with find_engine() as engine:
        assert home.left(engine) == []


KILLED = """\
import sys
from contextlib import ExitStack
from pathlib import Path
from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.network_http import HttpNetwork
from mlg.app.staging_stack import ComposeStacks
from mlg.manifest.load import parse_manifest
home, version, text = Path(sys.argv[1]), sys.argv[2], sys.stdin.read()
stacks = ComposeStacks(
    home, LocalFiles(home), LocalArtifacts(home / "artifacts"),
    lambda: parse_manifest(text).spec, HttpNetwork(), SystemClock(),
)
with ExitStack() as stage:
    stacks.start("home", version, 60.0, stage)
    print("up", flush=True)
    sys.stdin.close()
    import threading
    threading.Event().wait()
"""


@full
def test_what_a_killed_control_plane_left_goes_at_the_next_start(home: Home) -> None:
    argv = [sys.executable, "-c", KILLED, str(home.path), home.version]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(MANIFEST.encode())
        process.stdin.close()
        assert process.stdout.readline() == b"up\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with find_engine() as engine:
        assert len(engine.containers(home.label)) == 3
        sweep_stacks(home.path)
        until(lambda: not home.left(engine), 30)
        sweep_stacks(home.path)  # again is nothing


def test_the_file_is_what_compose_takes(made: Home, tmp_path: Path) -> None:
    from mlg.app.staging_stack import planned, write_stack

    try:
        command = compose_command()
    except BackendError as error:
        pytest.skip(str(error))
    planner = planned(made.path, made.spec, given_image(TRIAL))
    plan = planner.plan("home", made.version)
    write_stack(tmp_path, plan, plan.stack)
    done = subprocess.run(
        [*command, "--file", str(tmp_path / "docker-compose.yaml"), "config", "--services"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"home", "home.fallback", "profiles"}
    assert not (tmp_path / "keys" / "viewer.key").exists()
    assert (tmp_path / "signatures" / "home.json").read_bytes()
    again = planner.plan("home", made.version)
    assert again == plan
    with pytest.raises(NotFoundError):
        planner.plan("home", "nope")


def test_a_missing_engine_or_compose_is_an_error_that_says_so(
    made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    found = made.run()
    assert (found.verdict, found.results[0].verdict) == ("ERROR", "ERROR")
    assert "no container engine answers at unix:" in found.results[0].reason
    assert not list(made.path.glob("services/*/stack.json"))
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr("mlg.adapters.compose_engine._SOCKETS", ())
    assert "no container engine answers" in made.run().results[0].reason
    with pytest.raises(BackendError, match="no docker-compose is installed"):
        compose_command()


def test_without_compose_beside_an_engine_nothing_is_left(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine answers, and Compose is not installed: an ERROR, and all is taken down."""
    with find_engine() as engine, ExitStack() as stage:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket_path}")
        monkeypatch.setenv("PATH", str(tmp_path))
        trial = home.stacks(image_of=given_image(TRIAL))
        with pytest.raises(BackendError, match="no docker-compose is installed"):
            trial.start("home", home.version, 30.0, stage)
        stage.close()
        assert home.left(engine) == []


def test_a_window_that_is_over_starts_nothing(home: Home) -> None:
    spec = home.spec.services["home"]
    found = home.staging().run(
        "home", home.version, home.artifact, spec, until=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert (found.verdict, found.cut) == ("INCONCLUSIVE", True)
    with find_engine() as engine:
        assert home.left(engine) == []


def test_a_podman_service_that_was_started_for_it_ends_with_it() -> None:
    if shutil.which("podman") is None or no_containers():
        pytest.skip("no podman that works here")
    with find_engine() as engine:
        assert engine.answers()
    if "mlg-engine-" in engine.socket_path:  # nobody's but its own
        assert not engine.answers()
        assert not Path(engine.socket_path).exists()
