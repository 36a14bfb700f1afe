import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.automations.asking import graph_functions
from mlg.automations.conditions import (
    GRAPH_NAMES,
    MAX_CHARS,
    MAX_QUESTIONS,
    holds,
    mistake_in,
    parts_of,
    unmet,
)
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.nodes import Node
from mlg.core.reading import InProduction, NodePage, NodeQuery, Production
from mlg.core.uris import make_uri

TRUE = [
    "event.data.drop > 0.2",
    "event.data.count > 0.5",  # CEL compares numbers of two kinds
    "event.type == 'mlg.alert.opened' && event.data.service == 'home'",
    "event.at > timestamp('2026-01-01T00:00:00Z') && event.at.getHours() == 3",
    "!has(event.data.missing)",
    "event.data.note == null",
    "true || event.data.missing > 1",
    "event.data.service in ['home', 'other']",
    "['home'].exists(name, name == event.data.service)",
    "event.subject.startsWith('mlg://alert/')",
]
FALSE = ["event.data.drop > 0.5", "false && event.data.missing > 1"]
ERRORS = [
    ("event.data.missing > 1", "no fact 'missing'"),
    ("event.data.drop", "expected true or false, got float"),
    ("'true'", "expected true or false, got str"),
    ("1 / 0 > 1", "division by zero"),
    ("event.data.count + 0.5 > 1.0", "No such overload"),
    ("event.data.service.matches('(')", ""),
    ("graph.production('home', 'x') == ''", "graph.production"),
    ("graph.alerts_open([1]) == 0", "takes texts and numbers"),
    ("graph.alerts_open(3) == 0", "expected a service's name"),
]
DATA = {"drop": 0.3, "count": 3, "service": "home", "note": None}
NO_GRAPH: dict[str, Any] = {}


class Graph:
    """One open alert of the service home, and what is in production."""

    def __init__(self, at: Any, kind: str = "input_drift") -> None:
        attrs = (("kind", kind), ("service", "home"))
        uri = make_uri("alert", "movies", "a9")
        self.alert = Node(uri=uri, kind="alert", name="a9", attrs=attrs, valid_from=at)
        self.asked: list[Any] = []
        self.error: Exception | None = None

    def nodes(self, query: NodeQuery) -> NodePage:
        self.asked.append(query)
        if self.error is not None:
            raise self.error
        found = query.uri == self.alert.uri or query.attr == ("service", "home")
        return NodePage(nodes=(self.alert,) if found else (), total=int(found), cursor=None)

    def production(self, service: str, at: Any) -> Production:
        def version(name: str, bp: int) -> InProduction:
            return InProduction(
                model_version=make_uri("model_version", "movies", "ranker", name),
                deployment=make_uri("deployment", "movies", service, "d"),
                image_digest="",
                share_bp=bp,
                since=at,
                health="healthy",
            )

        some = (version("new", 50), version("old", 9_950)) if service == "home" else ()
        return Production(service=service, at=at, versions=some)

    def walk(self, *_: Any) -> Any:
        raise NotImplementedError

    def search(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("condition", TRUE)
def test_holds(condition: str, event: Any) -> None:
    assert mistake_in(condition) is None
    assert holds(condition, event(data=DATA), NO_GRAPH).outcome == "true"


@pytest.mark.parametrize("condition", FALSE)
def test_does_not_hold(condition: str, event: Any) -> None:
    assert holds(condition, event(data=DATA), NO_GRAPH).outcome == "false"


def test_no_condition_always_holds(event: Any) -> None:
    assert holds(None, event(), NO_GRAPH).outcome == "true"


@pytest.mark.parametrize(("condition", "words"), ERRORS)
def test_an_error_is_an_outcome_with_its_reason(
    condition: str, words: str, event: Any, at: Any
) -> None:
    verdict = holds(condition, event(data=DATA), graph_functions(Graph(at), at))
    assert verdict.outcome == "error"
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        ("graph.input_drift_open('home')", "true"),
        ("graph.input_drift_open('other')", "false"),
        ("graph.input_drift_open(event.subject)", "true"),
        ("graph.input_drift_open('mlg://deployment/mlg/movies/home@d1')", "true"),
        ("graph.input_drift_open('mlg://run/mlg/movies/x@r')", "false"),
        ("graph.alerts_open('home') == 1", "true"),
        ("graph.production('home') == 'old' && graph.production('none') == ''", "true"),
        ("graph.attr(event.subject, 'kind') == 'input_drift'", "true"),
        ("graph.attr(event.subject, 'none') == null", "true"),
    ],
)
def test_asks_the_graph(condition: str, outcome: str, event: Any, at: Any) -> None:
    happened = event(name="a9")
    assert mistake_in(condition) is None
    assert holds(condition, happened, graph_functions(Graph(at), at)).outcome == outcome


def test_an_ended_alert_is_not_open(event: Any, at: Any) -> None:
    graph = Graph(at - timedelta(hours=2))
    graph.alert = dataclasses.replace(graph.alert, valid_to=at - timedelta(hours=1))
    asked = graph_functions(graph, at)
    assert holds("graph.input_drift_open('home')", event(), asked).outcome == "false"


def test_an_alert_of_another_kind_is_no_input_drift(event: Any, at: Any) -> None:
    asked = graph_functions(Graph(at, "confidence_drop"), at)
    assert holds("graph.input_drift_open('home')", event(), asked).outcome == "false"


def test_the_same_question_is_asked_once_and_not_too_many(event: Any, at: Any) -> None:
    graph = Graph(at)
    asked = graph_functions(graph, at)
    same = "graph.alerts_open('home') == 1 && graph.alerts_open('home') == 1"
    assert holds(same, event(), asked).outcome == "true"
    assert len(graph.asked) == 1
    names = ", ".join(f"'s{n}'" for n in range(MAX_QUESTIONS + 5))
    many = f"[{names}].all(s, graph.alerts_open(s) == 0)"
    verdict = holds(many, event(), asked)
    assert (verdict.outcome, verdict.reason) == ("error", "more than 20 questions to the graph")


def test_a_graph_that_is_down_is_the_callers_to_ask_again(event: Any, at: Any) -> None:
    graph = Graph(at)
    graph.error = BackendError("the disk is gone")
    with pytest.raises(BackendError, match="disk"):
        holds("graph.alerts_open('home') == 0", event(), graph_functions(graph, at))
    graph.error = NotFoundError("no such thing")
    verdict = holds("graph.alerts_open('home') == 0", event(), graph_functions(graph, at))
    assert verdict.outcome == "error"


@pytest.mark.parametrize(
    ("condition", "line", "column", "words", "hint"),
    [
        ("event.data.drop >", 1, 18, "mismatched input the end", ""),
        ("event.data.drop > > 1", 1, 19, "extraneous input '>'", ""),
        ("(event.data.drop\n  >> 1)", 2, 4, "extraneous input '>'", ""),
        ("evnt.data.drop > 1", 1, 1, "the unknown name 'evnt'", "did you mean event?"),
        ("true &&\n drop > 1", 2, 2, "the unknown name 'drop'", "`event` and `graph`"),
        (
            "graph.input_drift_opn('x')",
            1,
            7,
            "the unknown name",
            "did you mean input_drift_open?",
        ),
        ("event.data.x.lowerAscii() == 'a'", 1, 14, "the unknown name 'lowerAscii'", ""),
        ("input_drift_open('home')", 1, 1, "unknown name", "write graph.input_drift_open(…)"),
        ("__import__('os')", 1, 1, "the unknown name '__import__'", ""),
        ("", 1, 1, "mismatched input the end", ""),
        ("'" + "x" * MAX_CHARS + "'", 1, 1, "1002 characters", "make two rules"),
        ("[1].all(x, [1].all(y, true))", 1, 1, "more than one of all, exists", "use `in`"),
    ],
)
def test_a_text_that_is_no_condition_is_named_with_its_place(
    condition: str, line: int, column: int, words: str, hint: str, event: Any
) -> None:
    found = mistake_in(condition)
    assert found is not None
    assert (found.line, found.column) == (line, column)
    assert words in found.what
    assert hint in found.hint
    assert holds(condition, event(), NO_GRAPH).outcome == "error"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(
    ["event", ".data", ".x", "graph", ".attr(", "(", ")", "[", "]", "{", "}", "&&", "!", "==",
     "1", "1.5", "'a'", "'", '"', "\\", "\n", "//", "has(", "all(x,", "?", ":", ",", "9" * 30,
     "\x00", "é", "null", "size(", "timestamp('x')", "b'", "r'"]), max_size=10).map("".join)
)  # fmt: skip
def test_no_text_brings_the_evaluation_down(condition: str) -> None:
    mistake_in(condition)


def test_the_longest_condition_ends_soon(event: Any) -> None:
    ones = ",".join("1" * 460)
    long = f"[{ones}].all(x, event.data.text.contains('b') == false)"
    assert len(long) <= MAX_CHARS
    begun = time.perf_counter()
    assert holds(long, event(data={"text": "a" * 100_000}), NO_GRAPH).outcome == "true"
    assert time.perf_counter() - begun < 1.0


def test_one_compiled_condition_serves_many_threads(event: Any, at: Any) -> None:
    def ask(drop: int) -> str:
        graph = graph_functions(Graph(at), at)
        condition = "event.data.drop > 50 && graph.input_drift_open('home')"
        return holds(condition, event(data={"drop": drop}), graph).outcome

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(100)))
    assert found == ["false"] * 51 + ["true"] * 49


def test_every_function_of_the_graph_is_there(at: Any) -> None:
    assert set(graph_functions(Graph(at), at)) == set(GRAPH_NAMES)


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        ("a", ["a"]),
        ("a && b && c", ["a", "b", "c"]),
        ("a && (b && c)", ["a", "(b && c)"]),
        ("a && [b && c][0]", ["a", "[b && c][0]"]),
        ("a == '&&' && b", ["a == '&&'", "b"]),
        (r"a == 'it\'s && so' && b", [r"a == 'it\'s && so'", "b"]),
        ("a || b && c", ["a || b && c"]),
        ("a && b || c", ["a && b || c"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("(a || b) && c", ["(a || b)", "c"]),
    ],
)
def test_a_condition_falls_apart_at_its_outer_ands_only(
    condition: str, parts: list[str]
) -> None:
    assert parts_of(condition) == parts


def test_the_first_part_that_is_false_is_named(event: Any) -> None:
    told = event(attrs=DATA, data=DATA)
    whole = "event.data.drop > 0.2 && event.data.count > 5 && event.data.drop > 9.0"
    assert unmet(whole, told, NO_GRAPH) == "event.data.count > 5"
    alone = "event.data.drop > 0.5"
    assert unmet(alone, told, NO_GRAPH) == alone
    either = "event.data.drop > 0.5 || event.data.count > 5"
    assert unmet(either, told, NO_GRAPH) == either
