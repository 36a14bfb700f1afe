"""Columns by name, what is unused and how well things are described, through the door."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.core.clock import ManualClock, rfc3339
from mlg.core.principal import Principal
from mlg.graph.record import Recorder, edge, node
from mlg.graph.record_columns import ModelRead, column_uri, model_columns_recorded

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=60)


@pytest.fixture
def door(tmp_path: Path, fakes: Any) -> Iterator[Any]:
    clock = ManualClock(NOW)
    graph = SqliteGraph(tmp_path / "graph.sqlite3", clock)
    reader = SqliteGraphReader(tmp_path / "graph.sqlite3")
    ids = Uuid7Ids(clock)
    r = Recorder(project="shop", actor="local:ada", clock=ManualClock(OLD), ids=ids)
    age, users = column_uri(r, "users", "age"), r.uri("dataset", "users")
    team = r.uri("team", "data")
    graph.append(
        [
            r.event(
                "mlg.x.done", key="x", subject=users,
                nodes=[node(users), node(age, name="age")],
                edges=[edge(age, "column_of", users), edge(team, "owned_by", users)],
            ),
            model_columns_recorded(
                r, key="m", model="ranker", version="a" * 12,
                reads=[ModelRead(table="users", column="age", feature=True)],
            ),
        ]
    )  # fmt: skip
    services = ApiServices(
        reader=reader, store=graph, operations=fakes.Control(), clock=clock, ids=ids
    )
    app = create_app(
        services,
        allowed_hosts=("127.0.0.1",),
        principal_for=lambda _: Principal(
            subject="local:ada", roles=("viewer",), via="loopback"
        ),
    )
    with graph, reader, TestClient(app, base_url="http://127.0.0.1:7070") as client:
        yield client


def test_the_impact_of_a_column_by_its_name_says_what_breaks(door: Any) -> None:
    told = door.get("/api/v1/impact", params={"uri": "users.age"}).json()
    assert told["root"] == "mlg://column/mlg/shop/users%2Fage"
    assert [one["way"] for one in told["breaks"]["models"]] == ["values"]
    assert [one["name"] for one in told["breaks"]["features"]] == ["age"]
    assert told["breaks"]["services"] == []
    # whoever says which arrows to follow gets them, and the table with them
    whole = door.get(
        "/api/v1/impact", params={"uri": told["root"], "classes": ["lineage", "version"]}
    ).json()
    assert "mlg://dataset/mlg/shop/users" in {node["uri"] for node in whole["nodes"]}


def test_the_trace_of_a_column_by_its_name_goes_up(door: Any) -> None:
    told = door.get("/api/v1/trace", params={"uri": "shop.users.age"}).json()
    assert told["root"] == "mlg://column/mlg/shop/users%2Fage"
    assert "breaks" not in told


def test_a_name_that_nothing_has_is_not_found(door: Any) -> None:
    assert door.get("/api/v1/impact", params={"uri": "users.nothing"}).status_code == 404


def test_what_is_unused_is_told_with_its_last_use(door: Any) -> None:
    told = door.get("/api/v1/unused", params={"kind": ["dataset", "feature"]}).json()
    assert [(one["kind"], one["name"]) for one in told["items"]] == [
        ("dataset", "users"),
        ("feature", "age"),
    ]
    assert told["items"][1]["last_use"] == rfc3339(OLD)
    assert told["items"][1]["idle_s"] == 60 * 86_400
    short = door.get("/api/v1/unused", params={"kind": "dataset", "since": "90d"}).json()
    assert short["items"] == []


def test_how_well_things_are_described_is_told(door: Any) -> None:
    told = door.get("/api/v1/quality", params={"uri": "mlg://dataset/mlg/shop/users"}).json()
    (item,) = told["items"]
    assert (item["owners"], item["missing"]) == (
        ["mlg://team/mlg/shop/data"],
        ["description", "tags"],
    )
    assert told["summary"][0]["things"] == 1
    everything = door.get("/api/v1/quality").json()
    assert [one["kind"] for one in everything["summary"]] == ["dataset"]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("unused", {"kind": "nothing"}, 422),
        ("unused", {"since": "yesterday"}, 422),
        ("unused", {"since": "9" * 5_000 + "d"}, 422),
        ("unused", {"limit": 0}, 422),
        ("unused", {"limit": 10_001}, 422),
        ("quality", {"kind": "run"}, 422),
        ("quality", {"uri": "nothing"}, 404),
        ("quality", {"uri": "mlg://dataset/mlg/shop/none"}, 404),
        ("quality", {"uri": "x" * 10_000}, 404),
        ("impact", {"uri": "a." * 10_000}, 404),
        ("impact", {"uri": "'; DROP TABLE node; --."}, 404),
    ],
)
def test_bad_questions_are_refused(
    door: Any, path: str, params: dict[str, Any], status: int
) -> None:
    answer = door.get(f"/api/v1/{path}", params=params)
    assert answer.status_code in {status, 400}
    assert answer.json()["what"]
