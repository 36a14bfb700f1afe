"""`mlg import mlflow`: registries that real MLflow wrote, in a server and in files."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.real_mlflow import Writer, interpreter, tracking_server
from typer.testing import CliRunner

from mlg.adapters import mlflow_files
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.enrichment_memory import MemoryEnrichment
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.provider_context import ProviderContext
from mlg.adapters.providers import opener, plugins
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.enrichment import Enrichers
from mlg.app.serve_api import start_api
from mlg.cli import commands_providers
from mlg.cli.main import app
from mlg.core.providers import Told
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, parse_uri
from mlg.graph.record import Recorder
from mlg.workflows.enrich import States

VERSIONS = tuple(Uri(f"mlg://model_version/mlflow/m/ranker@{number}") for number in (1, 2))


@dataclass(frozen=True, slots=True)
class Graph:
    home: Path
    store: SqliteGraph
    reader: SqliteGraphReader

    def attrs(self, uri: Uri, as_of: datetime | None = None) -> dict[str, Any]:
        (node,) = self.reader.nodes(NodeQuery(uri=uri, as_of=as_of)).nodes
        return dict(node.attrs)


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    clock = SystemClock()
    path = tmp_path / "graph.sqlite3"
    with SqliteGraph(path, clock) as store, SqliteGraphReader(path) as reader:

        def recorder(actor: str) -> Recorder:
            return Recorder(project="p", actor=actor, clock=clock, ids=Uuid7Ids(clock))

        states = States(store=store, reader=reader, queue=MemoryEnrichment(), recorder=recorder)
        services = ApiServices(
            reader=reader,
            store=store,
            operations=None,  # pyright: ignore[reportArgumentType]
            clock=clock,
            ids=Uuid7Ids(clock),
            providers=Enrichers((), states, clock, plugins(), lambda: None),
        )
        server = start_api(
            create_app(
                services, allowed_hosts=LOOPBACK_HOSTS, principal_for=loopback_principal("ada")
            ),
            port=0,
        )
        (tmp_path / "control.json").write_text(json.dumps({"port": server.port}))
        yield Graph(tmp_path, store, reader)
        server.stop()


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    found = Writer(interpreter(), tmp_path_factory.mktemp("writer"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(
    writer: Writer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Run MLflow's server: in the writer's process, which is quicker, or by its command."""
    folder = tmp_path_factory.mktemp("mlflow")
    if not os.environ.get("MLG_FULL"):
        yield writer("serve", f"sqlite:///{folder / 'mlflow.db'}")["url"], folder
        return
    with tracking_server(interpreter(), folder) as url:
        yield url, folder


def bring(home: Path, uri: str, *words: str, code: int = 0) -> dict[str, Any]:
    asked = ["import", "mlflow", uri, "--namespace", "m", "--home", str(home), "--json", *words]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == code, found.output
    return json.loads(found.stdout)


def told_by(uri: str) -> list[Told]:
    context = ProviderContext(
        url=uri,
        namespace="m",
        network=HttpNetwork(),
        secrets=MemorySecrets({}),
        clock=SystemClock(),
        requests_per_s=1_000,
    )
    return list(opener("mlflow")(context).tell_all())


def labelled(told: list[Told]) -> dict[str, Any]:
    """Return states under names instead of the store's own ids."""
    names = {one.subject: f"{parse_uri(one.subject).kind} {one.name}" for one in told}
    ids = {one.thing.id: one.name for one in told}

    def shown(uri: Uri) -> str:
        return names.get(uri, uri)

    return {
        shown(one.subject): (
            {
                key: ids[str(value)] if key.endswith("_id") else value
                for key, value in one.attrs
            },
            {(shown(e.src), e.role, shown(e.dst)) for e in one.edges},
            {fact.uri: fact.attrs for fact in one.nodes},
        )
        for one in told
    }


def test_a_server_its_database_and_a_file_store_tell_the_same(
    server: tuple[str, Path], writer: Writer, tmp_path: Path
) -> None:
    """Three readers of ours, and MLflow's two stores, are independent of each other."""
    url, folder = server
    files = tmp_path / "mlruns"
    writer("write", url)
    writer("write", f"file:{files}")
    by_server = labelled(told_by(url))
    assert labelled(told_by(f"sqlite:///{folder / 'mlflow.db'}")) == by_server
    assert labelled(told_by(str(files))) == by_server
    assert labelled(told_by(f"file://{files}")) == by_server
    attrs, edges, _ = by_server["run first"]
    assert (attrs["metric.ndcg"], attrs["metric.loss"]) == (0.5, "NaN")
    assert (attrs["param.rate"], attrs["tag.team/owner"]) == ("0.1", "discovery")
    assert ("run second", "triggered", "run child") in by_server["run child"][1]
    roles = {role for _, role, _ in edges}
    assert roles == {"used", "version_of", "owned_by"}
    assert {role for _, role, _ in by_server["evaluation first"][1]} == {
        "evaluated_on", "produced",
    }  # fmt: skip


def test_a_registry_comes_in_once_is_traced_and_changes_by_what_changed(
    graph: Graph, server: tuple[str, Path], writer: Writer
) -> None:
    url, _ = server
    runs = _written(writer, url)
    # experiments: Default and two; one evaluation; models: two
    kinds = {"pipeline": 3, "run": 3, "evaluation": 1, "model": 2, "model_version": 2}
    first = bring(graph.home, url)
    assert (first["kinds"], first["recorded"], first["complete"]) == (kinds, 11, True)
    head = graph.store.head()
    walk = graph.reader.walk(VERSIONS[0], "up", WalkOptions())
    reached = {found.node.uri for found in walk.nodes}
    commit = Uri(f"mlg://commit/mlflow/m/git%40example.org%3Amovies.git@{'a' * 40}")
    data = Uri("mlg://dataset_version/mlflow/m/ratings@d1")
    assert {commit, data, Uri(f"mlg://run/mlflow/m/{runs['first']}")} <= reached
    assert graph.attrs(VERSIONS[0])["aliases"] == "champion"
    assert graph.attrs(VERSIONS[0])["stage"] == "Production"
    before = SystemClock().now()

    again = bring(graph.home, url)
    assert (again["recorded"], again["unchanged"]) == (0, 11)
    assert graph.store.head() == head

    writer("change", url)
    changed = bring(graph.home, url)
    # the model, both versions, and the new run; the other model is gone
    assert (changed["recorded"], changed["unchanged"], changed["gone"]) == (5, 7, 1)
    assert graph.attrs(VERSIONS[1])["aliases"] == "champion"
    assert graph.attrs(VERSIONS[0])["aliases"] is None
    assert graph.attrs(VERSIONS[0])["tag.size"] is None
    assert graph.attrs(VERSIONS[0], as_of=before)["aliases"] == "champion"
    assert graph.attrs(VERSIONS[1], as_of=before)["aliases"] == "challenger"
    (lost,) = graph.reader.nodes(
        NodeQuery(uri=Uri("mlg://model/mlflow/m/it%27s%20%22new%22"))
    ).nodes
    assert lost.valid_to is not None
    assert bring(graph.home, url)["recorded"] == 0


def _written(writer: Writer, url: str) -> dict[str, Any]:
    """Return what the test before wrote into the server, or write it."""
    found = [one for one in told_by(url) if one.thing.type == "run"]
    if not found:
        return writer("write", url)
    return {one.name: one.thing.id for one in found}


def test_an_import_that_is_broken_off_keeps_what_is_in_and_the_next_one_goes_on(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a page, which the reader of files meets as an exception."""
    store = tmp_path / "mlruns"
    runs = commands_providers.BATCH + 50
    for number in range(runs):
        folder = store / "1" / f"r{number:04}"
        folder.mkdir(parents=True)
        (folder / "meta.yaml").write_text(f"run_id: r{number:04}\nexperiment_id: '1'\n")
    (store / "1" / "meta.yaml").write_text("experiment_id: '1'\nname: one\n")
    whole = mlflow_files.MlflowFiles._run
    read: list[Path] = []

    def broken_off(reader: mlflow_files.MlflowFiles, folder: Path) -> Any:
        read.append(folder)
        if len(read) > commands_providers.BATCH + 10:
            raise KeyboardInterrupt
        return whole(reader, folder)

    monkeypatch.setattr(mlflow_files.MlflowFiles, "_run", broken_off)
    told = bring(graph.home, str(store), code=130)
    assert (told["complete"], told["recorded"]) == (False, commands_providers.BATCH)
    monkeypatch.undo()
    told = bring(graph.home, str(store))
    assert told["complete"]
    assert told["unchanged"] == commands_providers.BATCH
    assert told["recorded"] == runs + 1 - commands_providers.BATCH


def test_a_server_that_does_not_answer_is_a_clear_error(graph: Graph) -> None:
    told = bring(graph.home, "http://127.0.0.1:9", code=5)
    assert (told["what"], told["where"]) == ("MLflow does not answer", "http://127.0.0.1:9")
    assert graph.store.head().seq == 0


@pytest.mark.parametrize(
    "uri", ["ftp://x", "http://", "http://[", "http://h:x", "http://a:b@h", ""]
)
def test_an_address_of_another_form_is_refused(graph: Graph, uri: str) -> None:
    assert bring(graph.home, uri, code=2)["error"] == "manifest"


def test_a_secret_on_the_command_line_is_refused_and_not_shown(graph: Graph) -> None:
    told = bring(graph.home, "http://127.0.0.1:9", "--token", "hunter2", code=2)
    assert "hunter2" not in json.dumps(told)


def test_what_is_no_store_is_told(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database")
    for uri in (f"sqlite:///{tmp_path}/none", f"sqlite:///{tmp_path}/text", "./none"):
        assert bring(graph.home, uri, code=5)["error"] == "backend"
