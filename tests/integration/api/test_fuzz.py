"""Requests made up from the OpenAPI document and from the GraphQL schema: never a 5xx.

Made-up requests, right and wrong ones, go through the whole application to a real graph; the
answers must be what the document says. `MLG_FULL=1` tries every route, also of a real control
plane; the short run tries those of the graph.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis_graphql import queries
from litestar.testing import TestClient
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.contract.test_graph_reader import Counter, story

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.api.app import create_app, openapi_document
from mlg.api.graphql_schema import sdl
from mlg.core.clock import ManualClock
from mlg.core.principal import Principal
from mlg.graph.audit import verify_chain

FULL = bool(os.environ.get("MLG_FULL"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
]
SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi_document()))
OPERATIONS = {
    f"{one.method.upper()} {one.path}": one
    for one in (found.ok() for found in SCHEMA.get_all_operations())
    if one.path != "/stream"  # it never ends; tests/integration/api/test_stream.py
}
GRAPH = {
    f"{method} {path}"
    for method, path in (
        ("GET", "/api/v1/diff"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/impact"),
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/production"),
        ("GET", "/api/v1/search"),
        ("GET", "/api/v1/trace"),
        ("POST", "/api/v1/lineage"),
        ("POST", "/graphql"),
    )
}
ENDS = {"POST /api/v1/down"}
"""What a real control plane does not survive."""

EXAMPLES = settings(
    max_examples=50 if FULL else 4,
    deadline=None,
    database=None,
    derandomize=not FULL,
    suppress_health_check=list(HealthCheck),
)
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


class Door:
    """The application over a real graph and a control plane in memory."""

    def __init__(self, folder: Path, plane: Any) -> None:
        path = folder / "graph.sqlite3"
        self.store, self.reader = SqliteGraph(path, ManualClock()), SqliteGraphReader(path)
        self.store.append(story(Counter()))
        self.plane = plane
        app = create_app(
            replace(plane.services(), store=self.store, reader=self.reader),
            allowed_hosts=("127.0.0.1",),
            principal_for=lambda _: Principal(
                subject="local:ada", roles=("admin",), via="loopback"
            ),
        )
        self.client = TestClient(
            app, base_url="http://127.0.0.1:7070", raise_server_exceptions=False
        )


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, fakes: Any) -> Iterator[Door]:
    it = Door(tmp_path_factory.mktemp("graph"), fakes.Plane())
    with it.client, it.store, it.reader:
        yield it
    assert it.plane.failures == []


def test_the_routes_of_the_graph_are_among_those_that_are_tried() -> None:
    assert set(OPERATIONS) >= GRAPH | ENDS


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", sorted(OPERATIONS if FULL else GRAPH))
def test_made_up_requests_are_answered_as_the_document_says(
    door: Door, name: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[name]
    if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
        pytest.skip("the route has no parameter that could be wrong")

    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def every(case: Any) -> None:
        given_ = case.as_transport_kwargs(base_url="http://127.0.0.1:7070")
        given_.pop("cookies", None)
        assume(len(str(given_.get("params", ""))) < 10_000)  # the test's client sends no more
        if "data" in given_:
            given_["content"] = given_.pop("data")
        case.validate_response(door.client.request(**given_), checks=CHECKS)

    every()


def _can_be_wrong(operation: Any) -> bool:
    return operation.method == "post" or bool(list(operation.query))


@EXAMPLES
@given(query=queries(sdl()))
def test_made_up_documents_are_run_or_refused_and_nothing_fails_inside(
    door: Door, query: str
) -> None:
    answer = door.client.post("/graphql", json={"query": query})
    assert answer.status_code in {200, 400}, answer.text
    told = answer.json()
    for error in told.get("errors", []):
        assert error["extensions"]["error"] in {"manifest", "not_found", "graphql"}, error
    if answer.status_code == 400:
        assert "data" not in told
        reasons = ("at most", "expected one operation", "cannot represent", "conflict")
        assert any(reason in answer.text for reason in reasons), answer.text


def test_after_all_of_it_the_chain_holds_and_a_rebuild_changes_nothing(door: Door) -> None:
    before = _everything(door)
    assert verify_chain(door.store, (), None)["ok"]
    assert door.store.rebuild() == door.store.head().seq
    assert _everything(door) == before


def _everything(door: Door) -> Any:
    nodes = door.client.get("/api/v1/nodes", params={"limit": 10_000}).json()
    root = {"uri": story(Counter())[0].subject, "classes": ["lineage", "causal", "version"]}
    return nodes, door.client.get("/api/v1/impact", params=root).json()


# a real control plane


@pytest.fixture
def control(cli: Any) -> str:
    cli("up", "--port", "0", "--wait")
    cli("apply", "--yes")
    return f"http://127.0.0.1:{cli.json('status')['ports']['control']}"


@pytest.mark.skipif(not FULL, reason="set MLG_FULL=1: starts a control plane")
@pytest.mark.timeout(1_200)
def test_a_real_control_plane_answers_as_the_document_says(
    control: str,
) -> None:
    wrong: list[str] = []
    for name, operation in sorted(OPERATIONS.items()):
        if name in ENDS:
            continue
        for mode in MODES:
            if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
                continue

            @settings(EXAMPLES, max_examples=5)
            @given(case=operation.as_strategy(generation_mode=mode))
            def every(case: Any) -> None:
                answer = case.call(base_url=control)
                # what is no HTTP, a line of 64 KiB for one, the server answers by itself
                assume(answer.content != b"Invalid HTTP request received.")
                case.validate_response(answer, checks=CHECKS)

            try:
                every()
            except (AssertionError, BaseExceptionGroup) as error:
                wrong.append(f"{name}: {error!r} {getattr(error, 'exceptions', '')}"[:2_000])
    assert wrong == []
