"""GraphQL over a real graph: the same answers as REST, walks both ways, limits, bad input."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query
from litestar.testing import TestClient
from tests.contract.test_graph_reader import Counter, story

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.api.app import create_app
from mlg.api.graphql_ask import MAX_S
from mlg.api.graphql_limits import (
    HEAVY,
    MAX_ALIASES,
    MAX_COST,
    MAX_DEPTH,
    MAX_QUERY,
    MAX_TOKENS,
    WEIGHTS,
    measured,
)
from mlg.api.graphql_pages import MAX_FIRST
from mlg.api.graphql_schema import measured_schema
from mlg.core.clock import ManualClock
from mlg.core.principal import Principal
from mlg.core.reading import Direction, WalkOptions
from mlg.core.uris import Uri, make_uri
from mlg.graph.record import Recorder, edge

A = make_uri("model_version", "movies", "ranker", "a" * 12)
B = make_uri("model_version", "movies", "ranker", "b" * 12)
SOURCE = make_uri("source", "movies", "movielens-100k://ratings")
TIME = "2026-01-01T00:20:00Z"


class SlowClock(ManualClock):
    """A clock of which a test may move the part that counts latency."""

    passed_s = 0.0

    def monotonic_s(self) -> float:
        return self.passed_s


class Door:
    """The application over the graph of the reader's contract."""

    def __init__(self, folder: Path, plane: Any) -> None:
        path = folder / "graph.sqlite3"
        self.clock = SlowClock()
        self.store, self.reader = SqliteGraph(path, self.clock), SqliteGraphReader(path)
        self.store.append(story(Counter()))
        self.plane = plane
        self.roles: list[Any] = ["viewer"]
        services = replace(
            plane.services(), store=self.store, reader=self.reader, clock=self.clock
        )
        app = create_app(
            services,
            allowed_hosts=("127.0.0.1",),
            principal_for=lambda _: Principal(
                subject="local:ada", roles=tuple(self.roles), via="loopback"
            ),
        )
        self.client = TestClient(
            app, base_url="http://127.0.0.1:7070", raise_server_exceptions=False
        )

    def post(self, query: str, **variables: Any) -> Any:
        return self.client.post("/graphql", json={"query": query, "variables": variables})

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self.post(query, **variables)
        assert answer.status_code == 200, answer.text
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"]

    def rest(self, path: str, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, fakes: Any) -> Iterator[Door]:
    it = Door(tmp_path_factory.mktemp("graph"), fakes.Plane())
    with it.client, it.store, it.reader:
        yield it


@pytest.fixture
def door(opened: Door) -> Iterator[Door]:
    head = opened.store.head()
    yield opened
    opened.roles[:] = ["viewer"]
    assert opened.plane.failures == []
    assert opened.store.head() == head


NODE = "uri kind name digest attrs validFrom validTo"
EDGE = "src dst role class validFrom validTo provenance event"


def snake(told: Any) -> Any:
    """Return an answer with the names that REST has."""
    if isinstance(told, list):
        return [snake(one) for one in told]
    if not isinstance(told, dict):
        return told
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name): (
            one if name in {"attrs", "data"} else snake(one)
        )
        for name, one in told.items()
    }


# the same answers as REST


@pytest.mark.parametrize("direction", ["trace", "impact"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"depth": 2},
        {"limit": 3},
        {"kinds": ["run", "source", "service"]},
        {"classes": ["version"], "roles": []},
        {"roles": ["used", "derived_from"]},
        {"stop_at": ["used"]},
        {"as_of": TIME},
        {"known_at": "20"},
    ],
)
def test_a_walk_is_that_of_rest(door: Door, direction: str, how: dict[str, Any]) -> None:
    names = {"stop_at": "stopAt", "as_of": "asOf", "known_at": "knownAt"}
    given = {names.get(name, name): value for name, value in {"limit": 500, **how}.items()}
    told = door.ask(
        "query($uri: ID!, $depth: Int, $limit: Int!, $kinds: [String!], $classes: [String!],"
        " $roles: [String!], $stopAt: [String!], $asOf: String, $knownAt: String) {"
        f" {direction}(uri: $uri, depth: $depth, limit: $limit, kinds: $kinds,"
        " classes: $classes, roles: $roles, stopAt: $stopAt, asOf: $asOf, knownAt: $knownAt)"
        f" {{ root direction total truncated nodes {{ depth node {{ {NODE} }} }}"
        f" edges {{ {EDGE} }} }} }}",
        uri=A,
        **given,
    )[direction]
    flat = [{"depth": one["depth"], **one["node"]} for one in told["nodes"]]
    assert snake({**told, "nodes": flat}) == door.rest(direction, uri=A, **how)


def test_the_other_questions_are_those_of_rest(door: Door) -> None:
    told = door.ask(
        "query($a: ID!, $b: ID!) {"
        f' node(uri: $a) {{ {NODE} }} nodes(kinds: ["model_version"], attr: "seed=7")'
        f" {{ totalCount edges {{ node {{ {NODE} }} }} }}"
        f' production(service: "home", at: "{TIME}") {{ service at versions {{ modelVersion'
        " deployment imageDigest shareBp since health } }"
        " diff(a: $a, b: $b) { a b same truncated things { sort onlyA onlyB both }"
        " values { sort name a b } }"
        f' search(text: "ranker", first: 3) {{ truncated nodes {{ {NODE} }} }}'
        " events(first: 2) { totalCount edges { node { seq hash prevHash key id at recordedAt"
        " type actor subject cause data nodes(first: 100) { uri name digest attrs ended }"
        " edges(first: 100) { src role dst provenance ended } } } } }",
        a=A,
        b=B,
    )
    assert snake(told["node"]) == door.rest("nodes", uri=A)["nodes"][0]
    page = door.rest("nodes", kind="model_version", attr="seed=7")
    assert [snake(edge["node"]) for edge in told["nodes"]["edges"]] == page["nodes"]
    assert told["nodes"]["totalCount"] == page["total"] == 2
    production = door.rest("production", service="home", at=TIME)
    assert snake(told["production"]) == production
    assert [one["share_bp"] for one in production["versions"]] == [9_500, 500]
    assert snake(told["diff"]) == door.rest("diff", a=A, b=B)
    assert snake(told["search"]) == door.rest("search", q="ranker", limit=3)
    events = door.rest("events", limit=2)
    assert [snake(edge["node"]) for edge in told["events"]["edges"]] == events["events"]
    assert told["events"]["totalCount"] == events["head"]["seq"]


def test_a_prediction_is_traced_and_an_unknown_node_is_null(door: Door) -> None:
    told = door.ask(
        'query($gone: ID!) { trace(uri: "p-1") { root nodes { node { kind } } }'
        " node(uri: $gone) { uri } }",
        gone=make_uri("model", "movies", "none"),
    )
    assert told["trace"]["nodes"] == [{"node": {"kind": "prediction"}}]
    assert told["node"] is None


# pages, both ways


def test_pages_follow_each_other_until_all_is_told(door: Door) -> None:
    found: list[str] = []
    after, pages = None, 0
    while True:
        told = door.ask(
            "query($after: String) { nodes(first: 7, after: $after) { totalCount"
            " edges { cursor node { uri } } pageInfo { hasNextPage hasPreviousPage"
            " startCursor endCursor } } }",
            after=after,
        )["nodes"]
        page = told["pageInfo"]
        assert page["hasPreviousPage"] is (pages > 0)
        assert page["startCursor"] == told["edges"][0]["cursor"]
        assert page["endCursor"] == told["edges"][-1]["cursor"]
        found += [edge["node"]["uri"] for edge in told["edges"]]
        after, pages = page["endCursor"], pages + 1
        if not page["hasNextPage"]:
            break
    assert found == [node["uri"] for node in door.rest("nodes", limit=10_000)["nodes"]]
    assert len(found) == told["totalCount"]
    assert pages == -(-len(found) // 7)


def test_every_arrow_of_the_log_is_found_by_one_step_up_and_by_one_step_down(
    door: Door,
) -> None:
    ended = {
        (edge["src"], edge["role"], edge["dst"]): edge["ended"]
        for event in door.rest("events", limit=10_000)["events"]
        for edge in event["edges"]
    }
    told = {ends for ends, is_over in ended.items() if not is_over}
    assert len(told) < len(ended)
    every = 'classes: ["lineage", "causal", "version", "ownership"]'
    for direction in ("upstream", "downstream"):
        nodes = door.ask(
            f"{{ nodes(first: 60) {{ edges {{ node {{ uri h: {direction}(first: 60, {every})"
            " { totalCount edges { role node { uri } } } } } } }"
        )["nodes"]["edges"]
        found = set()
        for one in (listed["node"] for listed in nodes):
            assert one["h"]["totalCount"] == len(one["h"]["edges"])
            for hop in one["h"]["edges"]:
                ends = (hop["node"]["uri"], one["uri"])
                src, dst = ends if direction == "upstream" else ends[::-1]
                found.add((src, hop["role"], dst))
        assert found == told


def test_the_arrows_next_to_a_node_come_a_page_at_a_time(door: Door) -> None:
    ask = (
        "query($u: ID!, $n: Int!, $after: String) { node(uri: $u) { downstream(first: $n,"
        " after: $after) { totalCount edges { role node { uri } }"
        " pageInfo { hasNextPage endCursor } } } }"
    )
    whole = door.ask(ask, u=A, n=100)["node"]["downstream"]
    assert len(whole["edges"]) == whole["totalCount"] > 3
    found, after = [], None
    while True:
        page = door.ask(ask, u=A, n=2, after=after)["node"]["downstream"]
        found += page["edges"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == whole["edges"]


def test_a_step_keeps_the_time_that_the_question_was_asked_for(door: Door) -> None:
    ask = (
        "query($uri: ID!, $asOf: String) { node(uri: $uri, asOf: $asOf)"
        ' { downstream(first: 50, kinds: ["deployment"]) { edges { node { attrs } } } } }'
    )
    image = door.ask(ask, uri=A, asOf=TIME)["node"]["downstream"]["edges"]
    assert [edge["node"]["attrs"]["share_bp"] for edge in image] == [9_500]
    now = door.ask(ask, uri=A)["node"]["downstream"]["edges"]
    assert [edge["node"]["attrs"]["share_bp"] for edge in now] == [0]


def test_events_about_a_subject_tell_how_far_the_log_was_read(door: Door) -> None:
    ask = (
        "query($s: ID!, $after: String) { events(first: 1, after: $after, subject: $s)"
        " { totalCount edges { node { seq subject } } pageInfo { hasNextPage endCursor } } }"
    )
    found, after = [], None
    while True:
        page = door.ask(ask, s=A, after=after)["events"]
        assert page["totalCount"] is None
        found += [edge["node"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    every = door.rest("events", limit=10_000)["events"]
    assert found == [
        {"seq": event["seq"], "subject": A} for event in every if event["subject"] == A
    ]
    assert found
    told = door.rest("events", limit=10_000, subject=A)
    assert [event["seq"] for event in told["events"]] == [one["seq"] for one in found]
    assert (told["cursor"], told["truncated"]) == (told["head"]["seq"], False)


def test_steps_from_many_nodes_are_read_together_and_once_each(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[tuple[Uri, Direction]] = []
    walk = SqliteGraphReader.walk

    def counted(self: Any, root: Uri, direction: Direction, options: WalkOptions) -> Any:
        walked.append((root, direction))
        return walk(self, root, direction, options)

    monkeypatch.setattr(SqliteGraphReader, "walk", counted)
    door.ask(
        "{ a: nodes(first: 30) { edges { node { upstream(first: 5) { totalCount"
        " edges { node { downstream(first: 2) { totalCount } } } } } } }"
        " b: nodes(first: 30) { edges { node { upstream(first: 9) { totalCount } } } } }"
    )
    assert walked
    assert len(walked) == len(set(walked))


def test_a_circle_is_walked_as_far_as_asked_and_no_further(tmp_path: Path, plane: Any) -> None:
    door = Door(tmp_path, plane)
    with door.client, door.store, door.reader:
        _walk_a_circle(door)


def _walk_a_circle(door: Door) -> None:
    clock = ManualClock()
    told = Recorder(project="movies", actor="local:ada", clock=clock, ids=Counter())
    ring = [told.uri("dataset", f"d{n}") for n in range(5)]
    arrows = [
        edge(a, "derived_from", b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)
    ]
    itself = edge(ring[0], "derived_from", ring[0])
    event = told.event("mlg.a.b", key="ring", subject=ring[0], edges=[*arrows, itself])
    door.store.append([replace(event, id="ring")])
    trace = door.ask(
        "query($u: ID!) { trace(uri: $u) { total edges { src } } impact(uri: $u) { total }"
        " node(uri: $u) { upstream { edges { node { uri } } } } }",
        u=ring[0],
    )
    assert (trace["trace"]["total"], trace["impact"]["total"]) == (5, 5)
    assert len(trace["trace"]["edges"]) == 6
    up = [edge["node"]["uri"] for edge in trace["node"]["upstream"]["edges"]]
    assert up == sorted([ring[0], ring[4]])


# limits


def cost(query: str, **variables: Any) -> int:
    return measured(query, measured_schema(), variables).cost


def test_the_cost_is_the_product_of_the_pages_and_the_weight_of_the_questions() -> None:
    assert cost("{ nodes(first: 7) { totalCount } }") == 10 + 7
    assert cost("{ nodes { totalCount } }") == 10 + 20  # the page's default
    hop = "{ edges { node { uri } } }"
    two = "{ nodes(first: 7) { edges { node { upstream(first: 5) " + hop + " } } } }"
    assert cost(two) == 10 + 7 * (1 + 2 + 5)
    assert cost("{ a: nodes(first: 7) { totalCount } b: nodes(first: 3) { totalCount } }") == 30
    assert cost("query($n: Int = 4) { nodes(first: $n) { totalCount } }") == 14
    assert cost("query($n: Int) { nodes(first: $n) { totalCount } }") == 30
    assert cost("query($n: Int = 4) { nodes(first: $n) { totalCount } }", n=9) == 19
    fragments = (
        "fragment f on Query { nodes(first: 2) { totalCount } } { ...f ... on Query { ...f } }"
    )
    assert cost(fragments) == 24
    assert cost('{ trace(uri: "x", limit: 50) { total } }') == 150
    assert cost('{ node(uri: "x", knownAt: "1") { uri } }') == 2_001
    assert cost("{ __schema { types { name } } }") == 0


def test_a_document_is_refused_before_it_is_run_when_it_costs_too_much(door: Door) -> None:
    ask = "{ nodes(first: %d) { edges { node { upstream(first: %d) { totalCount } } } } }"
    assert door.post(ask % (90, 100)).status_code == 200
    refused = door.post(ask % (100, 100))
    assert refused.status_code == 400
    assert "data" not in refused.json()
    (error,) = refused.json()["errors"]
    assert error["message"] == f"the document's cost is 10310, at most {MAX_COST} is run"
    assert error["extensions"]["error"] == "graphql"


def deep(levels: int) -> str:
    hops = "{ edges { node { upstream(first: 1) " * levels
    return "{ nodes(first: 1) " + hops + "{ totalCount }" + " } } }" * levels + " }"


def test_depth_aliases_tokens_and_length_are_limited(door: Door) -> None:
    assert measured(deep(4), measured_schema()).depth == 14
    assert door.post(deep(4)).status_code == 200
    assert f"depth is 17, at most {MAX_DEPTH}" in door.post(deep(5)).text
    many = [f'a{n}: node(uri: "{A}") {{ uri }}' for n in range(MAX_ALIASES + 1)]
    told = door.post("{ " + " ".join(many) + " }").text
    assert f"aliases is {MAX_ALIASES + 1}, at most {MAX_ALIASES}" in told
    assert "1000 tokens" in door.post("{ " + "node " * 1_000 + "}").text
    assert door.post("# " + "x" * 20_000).status_code == 400
    assert door.post("{ __typename }" + "#\n" * 2_000).status_code == 400


def test_fragments_that_double_at_each_step_are_measured_in_no_time() -> None:
    steps = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(60))
    last = "fragment f60 on Query { nodes(first: 1) { totalCount } } { ...f0 }"
    assert cost(f"{steps} {last}") == 10**9


def test_a_document_that_runs_too_long_is_given_up_with_what_it_has(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = SqliteGraphReader.nodes

    def slow(self: Any, query: Any) -> Any:
        door.clock.passed_s += 6
        return nodes(self, query)

    monkeypatch.setattr(SqliteGraphReader, "nodes", slow)
    one = "nodes(first: 1) { totalCount }"
    answer = door.post(f"{{ a: {one} b: {one} c: {one} }}").json()
    assert [error["extensions"]["error"] for error in answer["errors"]] == ["deadline"]
    assert answer["data"]["a"] == answer["data"]["b"] != answer["data"]["c"]
    assert answer["data"]["c"] is None


def test_the_page_of_the_docs_tells_these_limits_and_its_example_runs(door: Door) -> None:
    page = (Path(__file__).parents[3] / "docs" / "graphql.md").read_text("utf-8")
    for row in (
        f"| cost | {MAX_COST:,} |",
        f"| depth of fields | {MAX_DEPTH};",
        f"| aliases | {MAX_ALIASES} |",
        f"| tokens | {MAX_TOKENS:,} |",
        f"| characters | {MAX_QUERY:,} |",
        f"| `first` | {MAX_FIRST:,} |",
        f"| time | {MAX_S:g} s,",
    ):
        assert row in page
    for field, weight in WEIGHTS.items():
        assert re.search(rf"`{field.partition('.')[2]}`[^.]*? {weight}[,.]", page), field
    for weight in HEAVY.values():
        assert f"{weight:,} more" in page
    hop = "upstream(first: 50) { totalCount }"
    priced = cost("{ nodes(first: 100) { edges { node { " + hop + " } } } }")
    assert f"= {priced:,}." in page
    (example,) = re.findall(r"^```graphql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    told = door.ask(example, uri=A)
    assert told["node"]["downstream"]["totalCount"] == 1
    assert len(told["production"]["versions"]) == 2


# who may ask, and how


def test_only_posts_of_json_from_our_own_page_are_taken(door: Door) -> None:
    query = {"query": "{ __typename }"}
    assert door.client.post("/graphql", json=query).json() == {"data": {"__typename": "Query"}}
    assert door.client.get("/graphql", params=query).status_code == 405
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert door.client.post("/graphql", content="query=x", headers=form).status_code == 415
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    assert door.client.post("/graphql", content="--x--", headers=multipart).status_code == 415
    foreign = {"origin": "http://evil.example"}
    assert door.client.post("/graphql", json=query, headers=foreign).status_code == 403
    host = {"host": "evil.example"}
    assert door.client.post("/graphql", json=query, headers=host).status_code == 403
    door.roles.clear()
    assert door.client.post("/graphql", json=query).status_code == 403


def test_nothing_can_be_written_and_the_schema_can_be_read(door: Door) -> None:
    head = door.store.head()
    for query in ("mutation { rebuild }", "subscription { events }"):
        assert door.post(query).status_code == 400
    told = door.ask(get_introspection_query())["__schema"]
    assert told["mutationType"] is told["subscriptionType"] is None
    assert door.store.head() == head
    round_ = (
        "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    )
    assert "introspection depth" in door.post(round_).text


# bad input

COUNTED = (
    '{"query": "query($n: Int!) { nodes(first: $n) { totalCount } }", "variables": {"n": %s}}'
)
ODD = [
    "",
    " ",
    "'; DROP TABLE node; --",
    "../../etc/passwd",
    "%00",
    "x" * 4_000,
    "\u2028",
    "😀",
]


@pytest.mark.parametrize("text", [*ODD, "a\0b", "y" * 100_000, "mlg://", "mlg://nokind/a/b/c"])
def test_any_text_is_answered_or_refused_and_the_others_are_answered(
    door: Door, text: str
) -> None:
    answer = door.post(
        "query($t: ID!, $s: String!) { node(uri: $t) { uri } trace(uri: $t) { total }"
        " diff(a: $t, b: $t) { same } production(service: $s) { at }"
        " search(text: $s) { truncated } events(subject: $t) { totalCount }"
        " nodes(after: $s, attr: $s, kinds: [$s]) { totalCount } fine: nodes { totalCount } }",
        t=text,
        s=text,
    )
    assert answer.status_code == 200
    told = answer.json()
    assert told["data"]["fine"]["totalCount"] > 0
    for error in told["errors"]:
        assert error["extensions"]["error"] in {"manifest", "not_found"}
        assert len(error["message"]) < 500


@pytest.mark.parametrize(
    "body",
    [
        "", "null", "[]", "{}", '"x"', '{"query": 1}', '{"query": null}', "{", "\x00",
        '{"query": "{ __typename }", "variables": []}', '{"query": "\\ud800"}',
        '{"query": "{ node(uri: \\"\\\\ud800\\") { uri } }"}', '{"query": "{"}',
        '{"query": ""}', '{"query": "{ nodes(first: NaN) { totalCount } }"}',
        COUNTED % "NaN", COUNTED % "1e999", COUNTED % "1.5", COUNTED % ("9" * 5_000),
        '{"query": "{ nodes(first: %s) { totalCount } }"}' % ("9" * 5_000),
        '{"query": "{ trace(uri: 1, depth: %s) { total } }"}' % ("9" * 5_000),
        '{"query": "{ nodes(first: true) { totalCount } }"}',
        '{"query": "{ nodes(first: null) { totalCount } }"}',
        '{"query": "{ nope }"}', '{"query": "{ ...f }"}',
        '{"query": "fragment f on Query { ...f } { ...f }"}',
        '{"query": "query a { __typename } query b { __typename }"}',
        '{"query": "query a { __typename }", "operationName": "b"}',
        '{"query": "{ __typename @nope }"}', "[" * 50_000,
        '{"query": "%s"}' % ("{ nodes " * 300), '{"query": "%s"}' % ("[" * 19_000),
        '{"query": "{ __typename }", "variables": ' + '{"a":' * 20_000 + "1" + "}" * 20_001,
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_refused(door: Door, body: str) -> None:
    answer = door.client.post(
        "/graphql", content=body.encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    told = json.loads(answer.content)
    what = told["what"] if "what" in told else told["errors"][0]["message"]
    assert 0 < len(what) < 500


def test_what_nobody_expected_is_told_to_the_log_only(
    tmp_path: Path, plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(SqliteGraphReader, "production", broken)
    door = Door(tmp_path, plane)
    with door.client, door.store, door.reader:
        answer = door.post('{ production(service: "home") { at } nodes { totalCount } }')
    assert answer.status_code == 200
    assert "hunter2" not in answer.text
    assert answer.json()["data"]["production"] is None
    assert answer.json()["data"]["nodes"]["totalCount"] > 0
    assert ["hunter2" in failure.error for failure in plane.failures] == [True]
