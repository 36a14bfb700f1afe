from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.events import Event
from mlg.core.nodes import Node
from mlg.core.providers import Thing, Told
from mlg.core.uris import Uri, make_uri
from mlg.graph.project import project_event, resolve
from mlg.graph.record import Recorder, edge, node
from mlg.graph.states import MAX_FACTS, MAX_TEXT, StateError, state_events

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BORN, CHANGED = NOW - timedelta(days=9), NOW - timedelta(days=5)
RUN = make_uri("run", "here", "r1", provider="memory")
DATA = make_uri("dataset_version", "here", "ratings", "d1", provider="memory")


def recorder() -> Recorder:
    clock = ManualClock(NOW)
    return Recorder(project="p", actor="provider:memory", clock=clock, ids=Uuid7Ids(clock))


def told(score: int | None = 1, at: datetime = NOW, **more: Any) -> Told:
    attrs = () if score is None else (("score", score),)
    return Told(
        thing=Thing(type="run", id="r1"),
        subject=RUN,
        name="first",
        observed_at=at,
        attrs=attrs,
        **more,
    )


def after(events: Sequence[Event], uri: Uri = RUN) -> Node | None:
    """Return the node as the graph would have it, in any order of the events."""
    facts = [fact for one in events for fact in project_event(one)[0] if fact.uri == uri]
    state = resolve(reversed(facts))
    if state is None:
        return None
    return Node(
        uri=uri, kind="run", name=state.name, attrs=state.attrs,
        valid_from=state.valid_from, valid_to=state.valid_to,
    )  # fmt: skip


def step(events: list[Event], state: Told) -> list[Event]:
    return [*events, *state_events(recorder(), "memory", state, after(events))]


def test_a_new_thing_is_from_when_it_came_to_be_and_its_state_from_when_it_changed() -> None:
    arrows = (edge(DATA, "used", RUN),)
    state = told(since=BORN, changed_at=CHANGED, edges=arrows)
    named, standing = step([], state)
    assert (named.at, named.edges) == (BORN, arrows)
    assert (standing.at, dict(standing.nodes[0].attrs)["score"]) == (CHANGED, 1)
    found = after([named, standing])
    assert found is not None
    assert (found.name, found.valid_from) == ("first", BORN)


def test_the_same_state_again_is_no_event_whenever_it_was_seen() -> None:
    events = step([], told(since=BORN, changed_at=CHANGED))
    again = told(at=NOW + timedelta(days=1), since=BORN, changed_at=CHANGED)
    assert step(events, again) == events


def test_a_change_is_from_when_it_was_seen() -> None:
    events = step([], told(since=BORN, changed_at=CHANGED))
    seen = NOW + timedelta(days=1)
    *_, last = step(events, told(2, at=seen, since=BORN, changed_at=CHANGED))
    assert last.at == seen


def test_a_state_that_comes_back_is_a_new_event() -> None:
    events: list[Event] = []
    for day, score in enumerate((1, 2, 1)):
        events = step(events, told(score, at=NOW + timedelta(days=day)))
        found = after(events)
        assert found is not None
        assert dict(found.attrs)["score"] == score
    keys = [one.key for one in events if one.type == "mlg.provider.told"]
    assert len(set(keys)) == 3


def test_an_attribute_that_is_told_no_more_becomes_none() -> None:
    events = step(step([], told(1)), told(None, at=NOW + timedelta(days=1)))
    found = after(events)
    assert found is not None
    assert dict(found.attrs)["score"] is None


def test_what_is_gone_ends_and_what_comes_back_begins_again() -> None:
    events = step([], told(1))
    gone = replace(told(None, at=NOW + timedelta(days=1)), gone=True)
    events = step(events, gone)
    found = after(events)
    assert found is not None
    assert found.valid_to == NOW + timedelta(days=1)
    assert step(events, replace(gone, observed_at=NOW + timedelta(days=2))) == events
    back = after(step(events, told(1, at=NOW + timedelta(days=3))))
    assert back is not None
    assert back.valid_to is None


def test_what_was_never_there_makes_no_event() -> None:
    assert step([], replace(told(None), gone=True)) == []


def test_a_state_that_was_seen_before_the_known_one_comes_too_late() -> None:
    events = step(step([], told(1)), told(2, at=NOW + timedelta(days=2)))
    assert step(events, told(3, at=NOW + timedelta(days=1))) == events


def test_two_who_tell_the_same_change_at_once_give_it_one_key() -> None:
    known = after(step([], told(1)))
    times = (NOW + timedelta(days=1), NOW + timedelta(days=2))
    ways = [state_events(recorder(), "memory", told(2, at=at), known) for at in times]
    assert [one.key for one in ways[0]] == [one.key for one in ways[1]]


OTHER = make_uri("run", "movies", "r1")


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"subject": OTHER}, "expected nodes of 'memory', got one of 'mlg'"),
        ({"nodes": (node(OTHER),)}, "got one of 'mlg'"),
        ({"edges": (edge(OTHER, "used", RUN),)}, "got one of 'mlg'"),
        ({"edges": (edge(RUN, "used", DATA),)}, "used"),
        ({"edges": (edge(RUN, "likes", DATA),)}, "likes"),
        ({"subject": Uri("run r1")}, "expected mlg://"),
        ({"subject": make_uri("nothing", "a", "b", provider="memory")}, "nothing"),
        ({"subject": make_uri("run", "a", "b" * 2_100, provider="memory")}, "2048"),
        ({"attrs": (("a", "x" * (MAX_TEXT + 1)),)}, "characters"),
        ({"attrs": (("a", "\0"),)}, "NUL"),
        ({"attrs": (("a", 2**60),)}, "run r1"),
        ({"attrs": (("a", float("nan")),)}, "run r1"),
        ({"attrs": tuple((f"a{n}", n) for n in range(MAX_FACTS + 1))}, "2000"),
        ({"attrs": (("a", 1), ("a", 2))}, "twice"),
        ({"thing": Thing(type="run", id="")}, "id"),
        ({"since": datetime(1960, 1, 1, tzinfo=UTC)}, "1970"),
    ],
)
def test_what_is_not_the_providers_to_tell_is_refused(more: dict[str, Any], what: str) -> None:
    with pytest.raises(StateError, match=what):
        state_events(recorder(), "memory", replace(told(), **more), None)
