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
        self._port = cli.json("status")["ports"]["control"]

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
