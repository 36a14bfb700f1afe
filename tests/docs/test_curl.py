"""Each `curl` in the docs is run as it stands, against real servers; only the port differs."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from tests.unit.serving import stubs

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.enrichment_memory import MemoryEnrichment
from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.provider_mlflow import MlflowProvider
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.adapters.stream_memory import MemoryStream
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.enrichment import Enricher, Enrichers
from mlg.app.hooks import CommitHooks
from mlg.app.manifests import Manifests
from mlg.app.serve_api import start_api
from mlg.core.uris import make_uri
from mlg.graph.record import Recorder, node
from mlg.serving.asgi import ServingApp
from mlg.serving.log import LogBatch
from mlg.workflows.enrich import States

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTROL = {"graphql.md", "providers.md", "automations.md"}
"""Pages whose `curl` asks the control plane."""
REPLICA = {"serving.md"}
"""Pages whose `curl` asks a model server."""
ELSEWHERE = {"README.md": "tests/e2e/test_readme.py", "stack.md": "tests/e2e/test_stack.py"}
"""Pages that another test reads, and runs against a whole instance."""


def scripts(page: Path) -> list[str]:
    """Return the page's blocks with a `curl`, each from its first command to its last."""
    found: list[str] = []
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if not re.search(r"\bcurl ", block):
            continue
        lines = [line.removeprefix("$ ") for line in block.splitlines()]
        found.append("\n".join(lines[next(n for n, s in enumerate(lines) if _begins(s)) :]))
    return found


def _begins(line: str) -> bool:
    return bool(re.match(r"(curl|\w+=)", line))


def run(script: str, port: int, **env: str) -> str:
    """Run a script with a `curl` that fails on 4xx and 5xx, and return what it printed."""
    asked = re.sub(r"(127\.0\.0\.1|localhost):(7070|7080)\b", f"127.0.0.1:{port}", script)
    assert asked != script
    strict = 'curl() { command curl -sS --fail-with-body --max-time 20 "$@"; }\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", strict + asked],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{asked}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def control(tmp_path: Path) -> Iterator[int]:
    clock = SystemClock()

    def recorder(actor: str) -> Recorder:
        return Recorder(project="movies", actor=actor, clock=clock, ids=Uuid7Ids(clock))

    files = MemoryFiles()
    with (
        SqliteGraph(tmp_path / "graph.sqlite3", clock) as store,
        SqliteGraphReader(tmp_path / "graph.sqlite3") as reader,
    ):
        ratings = make_uri("dataset", "movies", "ratings")
        nodes = [node(ratings, {}, name="ratings")]
        event = recorder("test").event("mlg.test.told", key="1", subject=ratings, nodes=nodes)
        store.append((event,))
        states = States(store=store, reader=reader, queue=MemoryEnrichment(), recorder=recorder)
        told = MlflowProvider(cast("Any", None), "prod", clock)  # asked later, by nobody here
        enricher = Enricher(
            name="mlflow",
            plugin="mlflow",
            provider=told,
            states=states,
            clock=clock,
            sweep_every_s=0.0,
        )
        hooks = CommitHooks(
            secret="secret://env/HOOK_SECRET",
            secrets=MemorySecrets({"secret://env/HOOK_SECRET": "s3cret"}),
            files=files,
            clock=clock,
            store=store,
            manifests=Manifests(tmp_path, files, LocalArtifacts(tmp_path / "a"), store),
            artifacts=LocalArtifacts(tmp_path / "a"),
            train=cast("Any", None),  # no manifest is in force, so nothing is trained
            recorder=recorder,
        )
        services = ApiServices(
            reader=reader,
            store=store,
            operations=cast("Any", None),
            clock=clock,
            ids=Uuid7Ids(clock),
            providers=Enrichers((enricher,), states, clock, ("mlflow",), lambda: None),
            hooks=hooks,
        )
        app = create_app(
            services, allowed_hosts=LOOPBACK_HOSTS, principal_for=loopback_principal("ada")
        )
        server = start_api(app, port=0)
        yield server.port
        server.stop()


@pytest.fixture
def replica() -> Iterator[int]:
    app = ServingApp(stubs.service(), LogBatch(MemoryStream(), lambda *_: None))
    app.warmed()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(cast("Any", app), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    yield int(listening.getsockname()[1])
    server.should_exit = True
    thread.join()
    listening.close()


def test_every_page_with_curl_is_run_by_a_test() -> None:
    pages = {page.name: page for page in PAGES if scripts(page)}
    assert set(pages) == CONTROL | REPLICA | set(ELSEWHERE)
    for name, test in ELSEWHERE.items():
        assert name in (ROOT / test).read_text(), f"{test} does not read {name}"


@pytest.mark.parametrize(
    ("page", "answer"),
    [
        ("graphql.md", '"nodes"'),
        ("providers.md", '"accepted":1'),
        ("automations.md", '"accepted"'),
    ],
)
def test_what_the_docs_ask_the_control_plane(control: int, page: str, answer: str) -> None:
    for script in scripts(ROOT / "docs" / page):
        assert answer in run(script, control, HOOK_SECRET="s3cret")


@pytest.mark.parametrize("page", sorted(REPLICA))
def test_what_the_docs_ask_a_model_server(page: str, replica: int) -> None:
    for script in scripts(ROOT / "docs" / page):
        assert '"item_id"' in run(script, replica)
