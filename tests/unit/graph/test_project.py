"""Facts resolve by time and key, never by arrival."""

import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.core.clock import ManualClock
from mlg.core.events import EdgeFact
from mlg.core.nodes import ALLOWED, KINDS, ROLE_CLASS
from mlg.core.uris import make_uri
from mlg.graph.project import (
    NodeUpsert,
    check_edge,
    fold,
    intervals,
    project_event,
    resolve,
)
from mlg.graph.record import Recorder, edge, node

START = datetime(2026, 1, 1, tzinfo=UTC)
URI = make_uri("deployment", "p", "home", "d1")


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def new_id(self) -> str:
        self.count += 1
        return f"id-{self.count:06d}"


def recorder() -> Recorder:
    return Recorder(project="p", actor="local:ada", clock=ManualClock(START), ids=Counter())


def fact(minute: int, key: str, *, ended: bool = False, **attrs: object) -> NodeUpsert:
    return NodeUpsert(
        uri=URI,
        kind="deployment",
        order=(START + timedelta(minutes=minute), key, 0),
        attrs=tuple(sorted(attrs.items())),
        ended=ended,
    )


FACTS = st.lists(
    st.builds(
        lambda minute, key, ended, attrs: fact(minute, key, ended=ended, **attrs),
        st.integers(0, 5),
        st.text("abc", min_size=1, max_size=2),
        st.booleans(),
        st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9)),
    ),
    unique_by=lambda found: found.order,
    min_size=1,
)


@given(FACTS.flatmap(lambda facts: st.tuples(st.just(facts), st.permutations(facts))))
def test_any_order_resolves_to_one_node(both) -> None:
    facts, shuffled = both
    assert resolve(facts) == resolve(shuffled)


@given(FACTS)
def test_each_attribute_is_the_newest_fact_that_names_it(facts) -> None:
    newest = {}
    for found in sorted(facts, key=lambda found: found.order):
        newest.update(found.attrs)
    assert dict(resolve(facts).attrs) == newest


def test_an_ended_node_says_when_and_a_later_fact_opens_it_again() -> None:
    ended = resolve([fact(0, "a"), fact(1, "b", ended=True)])
    assert ended.valid_to == START + timedelta(minutes=1)
    assert resolve([fact(2, "c"), fact(0, "a"), fact(1, "b", ended=True)]).valid_to is None


def test_folding_an_older_fact_is_refused() -> None:
    with pytest.raises(ValueError, match="older"):
        fold(fold(None, fact(3, "a")), fact(2, "b"))


ENDS = st.lists(
    st.tuples(
        st.tuples(
            st.integers(0, 6).map(lambda minute: START + timedelta(minutes=minute)),
            st.text("ab", min_size=1, max_size=3),
            st.just(0),
        ),
        st.booleans(),
    ),
    unique_by=lambda found: found[0],
)


@given(ENDS.flatmap(lambda facts: st.tuples(st.just(facts), st.permutations(facts))))
def test_any_order_gives_the_same_intervals_which_never_overlap(both) -> None:
    facts, shuffled = both
    spans = intervals(facts)
    assert spans == intervals(shuffled)
    for before, after in itertools.pairwise(spans):
        assert before.valid_to is not None
        assert before.valid_to <= after.valid_from


@pytest.mark.parametrize("role", sorted(ROLE_CLASS))
def test_the_direction_table_decides_every_pair_of_kinds(role) -> None:
    taken = set()
    for src in KINDS:
        for dst in KINDS:
            found = EdgeFact(
                src=make_uri(src, "p", "a"), role=role, dst=make_uri(dst, "p", "b")
            )
            with contextlib.suppress(ValueError):
                assert check_edge(found) == ROLE_CLASS[role]
                taken.add((src, dst))
    assert taken == ALLOWED[role]


def test_a_forbidden_edge_is_refused_when_it_is_recorded() -> None:
    found = recorder()
    model, data = found.uri("model_version", "m", "1"), found.uri("dataset_version", "d", "1")
    with pytest.raises(ValueError, match="trained_on"):
        found.event(
            "mlg.x.done", key="k", subject=model, edges=[edge(model, "trained_on", data)]
        )


@pytest.mark.parametrize("uri", ["mlg://nonsense/mlg/p/x", "mlg://prediction/mlg/p/home@1"])
def test_a_node_of_an_unknown_or_virtual_kind_is_refused(uri) -> None:
    with pytest.raises(ValueError, match="kind"):
        recorder().event("mlg.x.done", key="k", subject=uri, nodes=[node(uri)])


def test_the_ends_of_an_edge_and_the_subject_become_nodes() -> None:
    found = recorder()
    run, pipeline = found.uri("run", "r", "1"), found.uri("pipeline", "r")
    told = found.event(
        "mlg.x.done", key="k", subject=run, edges=[edge(pipeline, "version_of", run)]
    )
    nodes, edges = project_event(told)
    assert {n.uri for n in nodes} == {run, pipeline}
    assert all(n.implied for n in nodes)
    assert edges[0].edge_class == "version"


def test_an_event_far_ahead_of_the_clock_is_marked() -> None:
    found = recorder()
    subject = found.uri("run", "r", "1")
    near = found.event("mlg.x.done", key="a", subject=subject, at=START + timedelta(minutes=5))
    far = found.event("mlg.x.done", key="b", subject=subject, at=START + timedelta(minutes=6))
    assert dict(near.data) == {}
    assert dict(far.data) == {"ahead_s": 360}
