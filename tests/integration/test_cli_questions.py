"""The commands ask what REST asks: on the files of a stopped instance the answers are equal."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.contract.test_graph_reader import Counter, story
from typer.testing import CliRunner

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.cli.main import app
from mlg.core.clock import ManualClock
from mlg.core.principal import Principal
from mlg.core.uris import make_uri

A = make_uri("model_version", "movies", "ranker", "a" * 12)
B = make_uri("model_version", "movies", "ranker", "b" * 12)
TIME = "2026-01-01T00:20:00Z"


class Both:
    """A stopped instance, and the API over its graph."""

    def __init__(self, home: Path) -> None:
        self.home = home
        path, clock = home / "graph.sqlite3", ManualClock()
        self.store, self.reader = SqliteGraph(path, clock), SqliteGraphReader(path)
        self.store.append(story(Counter()))
        services = ApiServices(
            reader=self.reader,
            store=self.store,
            operations=object(),  # type: ignore[arg-type]  # no question here needs it
            clock=clock,
            ids=Uuid7Ids(clock),
        )
        local = Principal(subject="local:ada", roles=("viewer",), via="loopback")
        api = create_app(
            replace(services), allowed_hosts=("127.0.0.1",), principal_for=lambda _: local
        )
        self.client = TestClient(api, base_url="http://127.0.0.1:7070")

    def command(self, *args: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, [*args, "--home", str(self.home), "--json"])
        assert done.exit_code == code, (args, done.output)
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    it = Both(tmp_path_factory.mktemp("home"))
    with it.client, it.store, it.reader:
        yield it


@pytest.mark.parametrize(
    ("words", "path", "query"),
    [
        (["trace", A], "trace", {"uri": A}),
        (["trace", A, "--depth", "2"], "trace", {"uri": A, "depth": 2}),
        (["impact", A, "--limit", "2"], "impact", {"uri": A, "limit": 2}),
        (
            ["trace", A, "--kind", "run", "--kind", "source"],
            "trace",
            {"uri": A, "kinds": ["run", "source"]},
        ),
        (["trace", B, "--class", "version"], "trace", {"uri": B, "classes": "version"}),
        (["trace", A, "--role", "used"], "trace", {"uri": A, "roles": "used"}),
        (["trace", A, "--stop-at", "used"], "trace", {"uri": A, "stop_at": "used"}),
        (["impact", A, "--as-of", TIME], "impact", {"uri": A, "as_of": TIME}),
        (["impact", A, "--known-at", "15"], "impact", {"uri": A, "known_at": "15"}),
        (
            ["production", "home", "--at", TIME, "--known-at", "15"],
            "production",
            {"service": "home", "at": TIME, "known_at": "15"},
        ),
        (["diff", A, B, "--as-of", TIME], "diff", {"a": A, "b": B, "as_of": TIME}),
        (["search", "ranker", "--limit", "2"], "search", {"q": "ranker", "limit": 2}),
        (
            ["graph", "nodes", "--kind", "run", "--limit", "1"],
            "nodes",
            {"kind": "run", "limit": 1},
        ),
        (["graph", "nodes", "--attr", "seed=7"], "nodes", {"attr": "seed=7"}),
        (["graph", "nodes", "--known-at", "3"], "nodes", {"known_at": "3"}),
        (
            ["graph", "events", "--after", "2", "--limit", "3"],
            "events",
            {"after": 2, "limit": 3},
        ),
        (["graph", "events", "--subject", A], "events", {"subject": A}),
    ],
)
def test_a_command_answers_as_rest(
    both: Both, words: list[str], path: str, query: dict[str, Any]
) -> None:
    answer = both.client.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert both.command(*words) == told
    assert any(told.get(name) for name in ("nodes", "events", "versions", "things"))


def test_the_pages_of_a_listing_follow_each_other(both: Both) -> None:
    whole = both.command("graph", "nodes", "--limit", "1000")
    found: list[Any] = []
    more: list[str] = []
    while True:
        page = both.command("graph", "nodes", "--limit", "10", *more)
        found += page["nodes"]
        if not page["truncated"]:
            break
        more = ["--cursor", page["cursor"]]
    assert found == whole["nodes"]


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["trace", A, "--kind", "unicorn"], 2, "expected a node kind, got 'unicorn'"),
        (["trace", A, "--role", "likes"], 2, "expected an edge role, got 'likes'"),
        (["trace", A, "--known-at", "soon"], 2, "expected an RFC 3339 time with a zone"),
        (["production", "home", "--at", "noon"], 2, "expected an RFC 3339 time with a zone"),
        (["graph", "nodes", "--attr", "seed"], 2, "expected name=value"),
        (["graph", "events", "--subject", "x"], 2, "expected mlg://"),
        (["trace", make_uri("model", "p", "none")], 3, "no such node"),
    ],
)
def test_a_wrong_question_is_refused_by_name(
    both: Both, words: list[str], code: int, what: str
) -> None:
    assert what in both.command(*words, code=code)["what"]
