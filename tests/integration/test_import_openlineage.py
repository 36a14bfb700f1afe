"""`mlg import openlineage` against a real server over a real graph."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.serve_api import start_api
from mlg.cli.main import app
from mlg.core.clock import ManualClock


class Unused:
    """Operations that no test here asks for."""


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[SqliteGraph]:
    clock = ManualClock()
    path = tmp_path / "graph.sqlite3"
    with SqliteGraph(path, clock) as store, SqliteGraphReader(path) as reader:
        services = ApiServices(
            reader=reader,
            store=store,
            operations=Unused(),  # pyright: ignore[reportArgumentType]
            clock=clock,
            ids=Uuid7Ids(clock),
        )
        server = start_api(
            create_app(
                services, allowed_hosts=LOOPBACK_HOSTS, principal_for=loopback_principal("ada")
            ),
            port=0,
        )
        control = {"port": int(server.url.rpartition(":")[2])}
        (tmp_path / "control.json").write_text(json.dumps(control))
        yield store
        server.stop()


def event(minute: int, **more: Any) -> dict[str, Any]:
    return {
        "eventTime": f"2026-01-01T00:{minute:02d}:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://example.org/s",
        "run": {"runId": "r-1"},
        "job": {"namespace": "n", "name": "j"},
        **more,
    }


def run(home: Path, *words: str, given: bytes | None = None) -> tuple[int, dict[str, Any]]:
    asked = ["import", "openlineage", *words, "--home", str(home), "--json"]
    found = CliRunner().invoke(app, asked, input=given)
    return found.exit_code, json.loads(found.stdout)


def test_lines_an_array_and_a_document_give_the_same_graph(
    graph: SqliteGraph, tmp_path: Path
) -> None:
    events = [event(minute) for minute in range(5)]
    forms = {
        "lines": "\n".join(map(json.dumps, events)) + "\n\n",
        "array": json.dumps(events),
        "document": json.dumps(events, indent=2),
    }
    for name, text in forms.items():
        file = tmp_path / name
        file.write_text(text)
        assert run(tmp_path, str(file)) == (0, {"accepted": 5, "refused": 0, "problems": []})
        assert graph.head().seq == 5


def test_standard_input_is_read_and_bad_lines_are_told_by_their_place(
    graph: SqliteGraph, tmp_path: Path
) -> None:
    large = event(2, inputs=[{"namespace": "n", "name": "x", "facets": {"f_x": {
        "_producer": "p", "_schemaURL": "s", "text": "y" * 1_100_000}}}])  # fmt: skip
    lines = [json.dumps(event(0)), "{", json.dumps({"run": {}}), json.dumps(large)]
    given = "\n".join([*lines, json.dumps(event(1))]).encode()
    code, told = run(tmp_path, "-", given=given)
    assert (code, told["accepted"], told["refused"]) == (1, 2, 3)
    places = {problem["place"] for problem in told["problems"]}
    assert places == {"line 2", "line 3", "line 4"}
    assert graph.head().seq == 2


def test_a_file_that_is_not_there_or_no_json_stores_nothing(
    graph: SqliteGraph, tmp_path: Path
) -> None:
    assert run(tmp_path, str(tmp_path / "none"))[0] == 3
    assert run(tmp_path, str(tmp_path))[0] == 2
    (tmp_path / "text").write_text("no json\nat all\n")
    assert run(tmp_path, str(tmp_path / "text"))[0] == 2
    assert graph.head().seq == 0
