"""From anywhere on the chain to anywhere else in one call, up and down."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.story import START, Story, whole_story

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.core.reading import WalkOptions
from mlg.core.uris import Uri
from mlg.graph.lineage import Answered, trace_prediction
from mlg.graph.record import feature_uri


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, SqliteGraphReader]]:
    path: Path = tmp_path_factory.mktemp("hops") / "graph.sqlite3"
    story = whole_story()
    with SqliteGraph(path, ManualClock(START)) as store, SqliteGraphReader(path) as reader:
        store.append(story.events)
        yield story, reader


def chain(story: Story) -> dict[str, Uri]:
    """Return the chain of version d, whose canary won."""
    return {
        "source": story.by.uri("source", "movielens-100k://ratings"),
        "dataset version": story.data("d"),
        "feature snapshot": story.features("d"),
        "run": story.run("d"),
        "model version": story.version("d"),
        "image": story.image("d"),
        "deployment": story.deployment("d"),
        "rollout step": story.rollout_step("d", 4),
        "health check": story.by.uri("health_check", "home/gates/4", "dd"),
    }


LINKS = tuple(chain(Story()))


def reached(reader: SqliteGraphReader, uri: Uri, direction) -> set[Uri]:
    return {found.node.uri for found in reader.walk(uri, direction, WalkOptions()).nodes}


@pytest.mark.parametrize(("first", "last"), list(itertools.combinations(LINKS, 2)))
def test_each_link_reaches_each_later_one_and_back_in_one_call(told, first, last) -> None:
    story, reader = told
    links = chain(story)
    assert links[last] in reached(reader, links[first], "down")
    assert links[first] in reached(reader, links[last], "up")


def test_staging_hangs_under_its_step_and_its_model(told) -> None:
    story, reader = told
    staged = story.by.uri("health_check", "home/staging", "dd")
    above = reached(reader, staged, "up")
    assert {story.rollout_step("d", 1), story.deployment("d"), story.version("d")} <= above


def test_a_prediction_reaches_its_sources_and_its_source_the_segment(told) -> None:
    story, reader = told
    links = chain(story)
    walk = trace_prediction(
        Answered(
            project="movies", service="home", prediction_id="p1", at=story.clock.now(),
            model_version=story.version("d"), segment=story.segment(),
        ),
        reader,
    )  # fmt: skip
    found = {one.node.uri for one in walk.nodes}
    assert (walk.nodes[0].node.kind, walk.nodes[0].depth) == ("prediction", 0)
    assert {*list(links.values())[:5], story.deployment("d"), story.segment()} <= found
    below = reached(reader, links["source"], "down")
    assert {story.version("d"), story.segment()} <= below


def test_a_model_has_no_data_above_it_that_another_run_read(told) -> None:
    story, reader = told
    above = reached(reader, story.version("a"), "up")
    assert story.data("a") in above
    assert not {story.data(letter) for letter in "bcd"} & above
    tables = reached(reader, story.features("d"), "up")
    assert not {found for found in tables if "://run/" in found}
    assert story.commit in tables


def test_an_alert_reaches_its_cause_and_its_healing(told) -> None:
    story, reader = told
    logged = feature_uri(story.by, "ranker", "raw_confidence")
    above = reached(reader, story.alert(), "up")
    assert {logged, story.version("a"), story.service} <= above
    assert any(uri.startswith("mlg://drift_signal/") for uri in above)
    below = reached(reader, story.alert(), "down")
    healed = {story.incident(), story.run("d"), story.version("d"), story.deployment("d")}
    assert healed <= below
    healing = reader.walk(story.incident(), "down", WalkOptions(roles=("healed_by",)))
    assert {one.node.uri for one in healing.nodes[1:]} == {
        story.run("d"), story.deployment("d"),
    }  # fmt: skip


def test_a_feature_reaches_the_models_that_learned_from_it(told) -> None:
    story, reader = told
    below = reached(reader, feature_uri(story.by, "train_set", "age"), "down")
    assert {story.version(letter) for letter in "abcd"} <= below
