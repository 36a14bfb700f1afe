"""What a running instance's graph must hold, whatever it has done: used by the e2e tests."""

import itertools
import json
import urllib.request
from typing import Any
from urllib.parse import urlencode

from mlg.core.uris import parse_uri
from tests.conftest import Cli
from tests.taxonomy import Triple, made_triples

CHAIN = (
    "source", "dataset_version", "feature_snapshot", "run", "model_version", "image",
    "deployment", "rollout_step", "health_check",
)  # fmt: skip


class Graph:
    """Questions to the API of a running instance."""

    def __init__(self, cli: Cli) -> None:
        self._port = cli.control()["port"]

    def get(self, path: str, **query: Any) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(query, doseq=True)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.loads(answer.read())

    def reached(self, way: str, uri: str) -> dict[str, str]:
        """Return the kinds of what a walk comes to, by URI."""
        return {node["uri"]: node["kind"] for node in self.get(way, uri=uri)["nodes"]}

    def events(self) -> list[dict[str, Any]]:
        """Return the whole log of a young instance."""
        return self.get("events", limit=10_000)["events"]


def check_hops(graph: Graph, end: str) -> None:
    """Check that each link of the chain above its end reaches each other in one call."""
    chain, up = [end], {end: graph.reached("trace", end)}
    for kind in reversed(CHAIN[: CHAIN.index(parse_uri(end).kind)]):
        above = up[chain[0]]
        found = [uri for uri, of in above.items() if of == kind]
        assert found, (kind, chain[0], sorted(set(above.values())))
        chain.insert(0, found[0])
        up[found[0]] = graph.reached("trace", found[0])
    down = {uri: graph.reached("impact", uri) for uri in chain}
    for first, last in itertools.combinations(chain, 2):
        assert last in down[first], (first, last)
        assert first in up[last], (first, last)


def check_rollout(graph: Graph, rollout: str, end: str) -> None:
    """Read one rollout of the tiny project node by node, from its beginning to its end."""

    def of(kind: str) -> list[dict[str, Any]]:
        found = graph.get("nodes", kind=kind, limit=1_000)["nodes"]
        mine = [n for n in found if parse_uri(n["uri"]).version == rollout]
        return sorted(mine, key=lambda n: n["valid_from"])

    (whole,) = of("rollout")
    assert whole["attrs"]["phase"] == end
    steps = of("rollout_step")
    walked = [(s["attrs"]["before"], s["attrs"]["after"]) for s in steps]
    assert walked[0][0] == "pending"
    assert all(a[1] == b[0] for a, b in itertools.pairwise(walked)), (
        "each goes on from the last"
    )
    assert walked[-1][1] == end
    model = next(u for u, k in graph.reached("trace", whole["uri"]).items() if k == "run")
    for step in steps:  # each is linked to the rollout, the model and what caused it
        above = graph.reached("trace", step["uri"])
        assert {whole["uri"], model} <= set(above)
        assert "model_version" in above.values()
    staged = [n for n in of("health_check") if parse_uri(n["uri"]).name.endswith("/staging")]
    assert [n["attrs"]["verdict"] for n in staged] == ["PASS"]
    gates = of("gate_verdict")
    for gate in gates:
        said = gate["attrs"]
        assert said["verdict"] in {"PASS", "FAIL", "INCONCLUSIVE", "ERROR"}
        assert {"e_value", "bound", "n", "share_bp", "reason"} <= set(said)
        failed = said["e_value"] >= said["bound"]
        if said["gate"] != "sample_ratio":
            assert (said["verdict"] == "FAIL") == failed, said
        assert whole["uri"] in graph.reached("trace", gate["uri"])
    errors = [g["attrs"] for g in gates if g["attrs"]["gate"] == "errors"]
    assert errors
    assert all({"events", "control_events", "control_n", "margin"} <= set(e) for e in errors)
    swaps = [s["attrs"] for s in of("swap")]
    assert len(swaps) == sum(after == "swapped" for _, after in walked) + sum(
        w == ("swapped", "rolling_back") for w in walked
    )
    for number, swap in enumerate(swaps, start=2):  # the first version's was the first
        assert 1 <= swap["number_in_hour"] <= number
        assert swap["from"] != swap["to"]
    back = of("rollback")
    assert len(back) == (end == "rolled_back")
    for one in back:
        above = graph.reached("trace", one["uri"])
        causes = [g["uri"] for g in gates if g["uri"] in above]
        names = {g["attrs"]["gate"] for g in gates if g["uri"] in causes}
        assert names == set(one["attrs"]["gates"].split(", ")), "the gates that failed"
        assert "model_version" in above.values()
        assert "deployment" in graph.reached("impact", one["uri"]).values()
        told = graph.get("why", uri=one["uri"])
        assert "traffic went back from" in told["paragraph"]


def check_arrows(graph: Graph) -> None:
    """Check that the instance drew no arrow that no recorder of the story draws."""
    drawn: set[Triple] = {
        (parse_uri(e["src"]).kind, e["role"], parse_uri(e["dst"]).kind)
        for event in graph.events()
        for e in event["edges"]
    }
    assert drawn <= set(made_triples()), drawn - set(made_triples())


def check_whys(graph: Graph) -> None:
    """Check that everything has its reasons, each of which is an event of the log."""
    places = {event["key"]: event["seq"] for event in graph.events()}
    for node in graph.get("nodes", limit=10_000)["nodes"]:
        told = graph.get("why", uri=node["uri"])
        assert told["clauses"], node["uri"]
        assert [places[c["event"]] for c in told["clauses"]] == [
            c["seq"] for c in told["clauses"]
        ]
