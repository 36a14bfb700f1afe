"""A class of the user's the whole way: trained, judged, packaged, loaded and asked."""

import asyncio
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import until

import mlg
from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.sources import Sources
from mlg.adapters.steps_process import ProcessSteps
from mlg.adapters.stream_memory import MemoryStream
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ContractError, LifecycleError, ManifestError
from mlg.core.predict import ServingPolicy
from mlg.core.steps import StepCall, StepResult
from mlg.manifest.load import load_manifest
from mlg.pipeline.code import stage
from mlg.pipeline.plan import PipelinePlan, cache_key, call_of, next_call
from mlg.pipeline.run import run_step
from mlg.recsys import kinds
from mlg.recsys.own_code import CodeFinder
from mlg.serving.asgi import ServingApp
from mlg.serving.instruments import Instruments
from mlg.serving.log import LogBatch
from mlg.serving.service import Identity, Service
from mlg.serving.warmup import golden_requests, warm_up

EXAMPLE = Path(__file__).parents[2] / "examples/own_models"


class Project:
    """A copy of the example, its steps run in this process."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "project"
        stage(EXAMPLE, self.folder)
        self.artifacts = LocalArtifacts(root / "store")
        self.engine = DuckDBEngine(
            self.artifacts,
            Sources(root / "cache", MemoryNetwork()),
            clock=ManualClock(),
            work=root / "work",
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def plan(self, pipeline: str, production: Any = None) -> PipelinePlan:
        spec = load_manifest(self.folder / "mlg.yaml").spec
        return PipelinePlan(
            project=spec.project,
            name=pipeline,
            spec=spec.pipelines[pipeline],
            datasets=spec.datasets,
            folder=self.folder,
            folder_digest=self.artifacts.put(self.folder),
            production=production,
        )

    def run(
        self, pipeline: str, production: Any = None, upto: str = ""
    ) -> tuple[dict[str, StepCall], dict[str, StepResult]]:
        plan = self.plan(pipeline, production)
        calls: dict[str, StepCall] = {}
        results: dict[str, StepResult] = {}
        while call := next_call(plan, results):
            calls[call.name] = call
            results[call.name] = run_step(
                call,
                engine=self.engine,
                artifacts=self.artifacts,
                work=self.root / "work",
                progress=lambda _line: None,
            )
            if call.name == upto:
                break
        return calls, results

    def packaged(self, results: dict[str, StepResult]) -> Path:
        artifact = results["package"].artifact
        assert artifact is not None
        return self.artifacts.open(artifact)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class Ran:
    """The example's pipelines, each run once for all tests."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root)
        self._of: dict[str, Any] = {}

    def __call__(self, pipeline: str) -> tuple[dict[str, StepCall], dict[str, StepResult]]:
        if pipeline == "graph":
            pytest.importorskip("onnxruntime")
            pytest.importorskip("onnx")
        if pipeline not in self._of:
            self._of[pipeline] = self.project.run(pipeline)
        return self._of[pipeline]

    def folder(self, pipeline: str) -> Path:
        return self.project.packaged(self(pipeline)[1])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    yield Ran(tmp_path_factory.mktemp("own"))
    for finder in [one for one in sys.meta_path if isinstance(one, CodeFinder)]:
        sys.meta_path.remove(finder)


def served(folder: Path) -> tuple[ServingApp, Service]:
    """Return the application that a replica would run for the artifact, warmed up."""
    clock = ManualClock()
    service = Service(
        Identity(service="home", model="own", version="v1", clock="request"),
        kinds.load(folder),
        rescue=False,
        policy=lambda: ServingPolicy(service="home", version="p1"),
        clock=clock,
        ids=type("Ids", (), {"new_id": lambda _self: "p-1"})(),
        draw=lambda: 0.999,
        salt=lambda: "00" * 16,
        viewer_key=b"k" * 32,
        instruments=Instruments("home", "v1"),
    )
    bodies = golden_requests(folder)
    assert warm_up(service, bodies, clock=clock, mode="request") >= 40
    app = ServingApp(service, LogBatch(MemoryStream(), lambda _n, _why: None))
    app.warmed()
    return app, service


def ask(app: ServingApp, body: dict[str, Any]) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path = "/v1/services/home/recommend"
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("pipeline", "file", "confidence"),
    [
        ("plain", "together.json", "own"),
        ("trees", "trees.txt", "fitted"),
        ("graph", "graph.onnx", "fitted"),
    ],
)
def test_an_example_is_trained_judged_packaged_and_served(
    ran: Ran, tmp_path: Path, pipeline: str, file: str, confidence: str
) -> None:
    _, results = ran(pipeline)
    assert results["evaluate"].passed, results["evaluate"].facts
    assert dict(results["train"].facts)["confidence"] == confidence
    folder = tmp_path / "elsewhere"  # a replica has the artifact alone
    shutil.copytree(ran.folder(pipeline), folder)
    assert (folder / "own/files" / file).is_file()
    about = json.loads((folder / "model.json").read_bytes())
    assert (about["kind"], about["class"].split(":")[0].split(".")[0]) == ("own", "own_models")

    app, _ = served(folder)
    odd = [{"item_id": item, "at": "2026-01-01T00:00:00Z"} for item in (1, 3, 5, 7, 9, 11)]
    at = "2026-03-01T00:00:00Z"
    status, answer = ask(app, {"k": 5, "context": {"at": at, "history": odd}})
    assert status == 200
    items = [item["id"] for item in answer["items"]]
    assert len(items) == 5
    assert not set(items) & {1, 3, 5, 7, 9, 11}
    assert sum(item % 2 for item in items) >= 4  # who likes odd ones gets odd ones
    assert 0.0 < answer["confidence"] < 1.0
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    unknown = {"k": 3, "context": {"at": at, "history": [{"item_id": 999}]}}
    assert [ask(app, body)[0] for body in ({"user_id": "nobody"}, {}, unknown)] == [200] * 3


@pytest.mark.parametrize("pipeline", ["trees", "graph"])
def test_a_batch_is_answered_as_each_alone(ran: Ran, pipeline: str) -> None:
    model: Any = kinds.load(ran.folder(pipeline))
    from mlg.recsys.golden import query_of

    queries = [query_of(request) for request in model.golden[:20]]
    together = model.recommend_many(queries)
    for one, query in zip(together, queries, strict=True):
        alone = model.recommend(query)
        assert one.items == alone.items
        assert one.scores == pytest.approx(alone.scores, rel=1e-5)
        assert one.raw_confidence == pytest.approx(alone.raw_confidence, rel=1e-4)


def test_its_code_is_part_of_the_key_and_of_the_artifact(ran: Ran, project: Project) -> None:
    calls, results = ran("plain")
    before = cache_key(calls["train"])
    project.write("own_models/trees.py", "# nothing of the plain one\n")
    assert cache_key(next(iter(_calls(project, results)))) == before
    counts = (project.folder / "own_models/counts.py").read_text()
    project.write("own_models/counts.py", counts + "\nMORE = 1\n")
    assert cache_key(next(iter(_calls(project, results)))) != before
    files = json.loads((ran.folder("plain") / "model.json").read_bytes())["files"]
    code = {name for name in files if name.startswith("own/code/")}
    assert code == {f"own/code/own_models/{n}.py" for n in ("__init__", "counts", "plain")}
    digest = hashlib.sha256(counts.encode()).hexdigest()
    assert files["own/code/own_models/counts.py"] == digest


def _calls(project: Project, results: dict[str, StepResult]) -> Iterator[StepCall]:
    done = {name: result for name, result in results.items() if name != "train"}
    yield call_of(project.plan("plain"), "train", done)


@pytest.mark.parametrize("name", ["own/code/own_models/plain.py", "own/files/together.json"])
def test_altered_code_or_files_are_refused(ran: Ran, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ran.folder("plain"), copy, copy_function=shutil.copyfile)
    with (copy / name).open("ab") as file:
        file.write(b"\n# more\n")
    with pytest.raises(BackendError, match="sha256"):
        kinds.load(copy)


def test_old_and_new_code_of_one_name_are_judged_side_by_side(
    ran: Ran, project: Project
) -> None:
    _, first = ran("plain")
    artifact = project.artifacts.put(ran.folder("plain"))
    text = (project.folder / "own_models/plain.py").read_text()
    project.write("own_models/plain.py", text.replace("history[-20:]", "history[-1:]"))
    _, second = project.run("plain", production=artifact)
    metrics = dict(second["evaluate"].metrics)
    assert metrics["production.recall@10"] == dict(first["evaluate"].metrics)["recall@10"]
    assert metrics["recall@10"] != metrics["production.recall@10"]


def test_the_protocol_is_what_the_examples_keep(ran: Ran) -> None:
    model: Any = kinds.load(ran.folder("plain"))
    assert isinstance(model._asked.model, mlg.Model)


OWN = """
import mlg
class Own:
    def __init__(self, items): self.items = items
    @classmethod
    def fit(cls, training): return cls(list(training.items))
    def recommend(self, query):
        items = self.items[:query.k]
        return mlg.Ranked(items=tuple(items), scores=tuple(1.0 for _ in items){confidence})
    def save(self, folder): (folder / "items.json").write_text(str(self.items))
    @classmethod
    def load(cls, folder):
        import json
        return cls(json.loads((folder / "items.json").read_text()))
"""


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (("class Own:", "class Other:"), ManifestError, "expected a class 'Own'"),
        (("def save", "def store"), ManifestError, "save is missing"),
        (("import mlg\n", "import mlg, no_such_lib\n"), ManifestError, "'no_such_lib'"),
        (("1.0 for", "float('nan') for"), ContractError, "a score that is not a finite"),
        (("self.items[:query.k]", "[1] * query.k"), ContractError, "an item twice"),
        (("self.items[:query.k]", "[99]"), ContractError, "not in the catalogue, 99"),
        (("self.items[:query.k]", "self.items"), ContractError, "where 10 were asked for"),
        (('"items.json").write_text(str(self.items))', '"m.pkl").write_text("")'),
         ContractError, "no pickled objects"),
        (("tuple(items),", "tuple(items), raw_confidence=2.0,"), ContractError, "outside 0..1"),
    ],
)  # fmt: skip
def test_what_a_class_does_wrong_is_said_at_training(
    project: Project, change: tuple[str, str], error: type[LifecycleError], words: str
) -> None:
    text = OWN.format(confidence="")
    assert change[0] in text
    project.write("own_models/plain.py", text.replace(*change))
    manifest = (project.folder / "mlg.yaml").read_text()
    project.write("mlg.yaml", manifest.replace("plain:Together", "plain:Own"))
    with pytest.raises(error, match=words):
        project.run("plain", upto="train")


def test_a_class_that_fails_is_told_with_its_line_and_the_next_one_trains(
    project: Project,
) -> None:
    _, made = project.run("plain", upto="clean")
    store, work = project.root / "store", project.root / "work"
    runner = ProcessSteps(store=store, work=work, clock=ManualClock())
    text = OWN.format(confidence=", raw_confidence=0.5")
    manifest = (project.folder / "mlg.yaml").read_text()
    project.write("mlg.yaml", manifest.replace("plain:Together", "plain:Own"))
    project.write(
        "own_models/plain.py", text.replace("return cls(list", "return 1 / 0 or cls(list")
    )
    with pytest.raises(BackendError) as caught:
        runner.run(call_of(project.plan("plain"), "train", made))
    assert caught.value.where == "step train, own_models/plain.py:6 in fit"
    assert "ZeroDivisionError" in str(caught.value)
    project.write("own_models/plain.py", text)
    trained = runner.run(call_of(project.plan("plain"), "train", made))
    assert dict(trained.facts)["confidence"] == "own"


def test_a_class_sees_nothing_from_the_cut_on(project: Project) -> None:
    """Its rows are all before the cut; the stand-in confidence is fitted on later ones."""
    text = OWN.format(confidence="")
    spying = text.replace(
        "return cls(list(training.items))",
        "return cls(list(training.items) if _past(training) else [])",
    )
    spying += (
        "def _past(training):\n"
        "    at = training.tables['clean'].column('played_at').to_pylist()\n"
        "    assert at and max(at) < training.cut.replace(tzinfo=None), 'leak'\n"
        "    return True\n"
    )
    project.write("own_models/plain.py", spying)
    manifest = (project.folder / "mlg.yaml").read_text()
    project.write("mlg.yaml", manifest.replace("plain:Together", "plain:Own"))
    _, results = project.run("plain", upto="train")
    artifact = results["train"].artifact
    assert artifact is not None
    assert (project.artifacts.open(artifact) / "confidence.json").is_file()
    assert dict(results["train"].facts)["confidence"] == "fitted"


def test_a_replica_serves_it_with_a_cache_and_batches(ran: Ran, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys/viewer.key").write_bytes(bytes(32))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        argv = [
            *(
                sys.executable,
                "-m",
                "mlg.app.replica",
                "--home",
                str(home),
                "--service",
                "home",
            ),
            *("--id", "replica-home-1", "--clock", "request", "--model", "own"),
            *("--version", "v1", "--artifact", str(ran.folder("plain")), "--unsigned"),
            *("--cache-entries", "10", "--batch-max", "4"),
        ]
        pinned = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
        )
        env = os.environ | pinned | {"MLG_LISTEN_FD": str(fd)}
        log = (home / "log").open("wb")
        process = subprocess.Popen(argv, pass_fds=[fd], env=env, stderr=log)

    def got(method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        wire = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            raw = None if body is None else json.dumps(body)
            wire.request(method, path, raw, {"content-type": "application/json"})
            answer = wire.getresponse()
            return answer.status, answer.read()
        finally:
            wire.close()

    def ready() -> bool:
        assert process.poll() is None, (home / "log").read_text()
        try:
            return got("GET", "/v2/health/ready")[0] == 200
        except OSError:
            return False

    try:
        until(ready)
        body = {"k": 5, "context": {"at": "2026-03-01T00:00:00Z", "history": [{"item_id": 1}]}}
        answers = [got("POST", "/v1/services/home/recommend", body) for _ in range(3)]
        assert [status for status, _ in answers] == [200] * 3
        told = [json.loads(content) for _, content in answers]
        assert told[0]["items"] == told[1]["items"] == told[2]["items"]
        assert len({one["prediction_id"] for one in told}) == 3
        metrics = got("GET", "/metrics")[1].decode()
        assert 'mlg_cache_hits_total{service="home",version="v1"} 2.0' in metrics
    finally:
        process.kill()
        process.wait()
        log.close()
    assert not list(ran.folder("plain").rglob("__pycache__"))
