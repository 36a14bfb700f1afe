"""How a version came, told from a real graph: each node once, in order, by its own run only."""

from collections.abc import Iterator

import pytest
from tests.story import START, whole_story

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.core.errors import NotFoundError
from mlg.core.uris import make_uri
from mlg.graph.timeline import TimelineAnswer, timeline

STORY = whole_story()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteGraphReader]:
    path = tmp_path_factory.mktemp("story") / "graph.sqlite3"
    store = SqliteGraph(path, ManualClock(START))
    store.append(tuple(STORY.events))
    opened = SqliteGraphReader(path)
    yield opened
    opened.close()
    store.close()


def told(reader: SqliteGraphReader, rollout: str, *, holds: bool = False) -> TimelineAnswer:
    uri = make_uri("rollout", STORY.by.project, "home", rollout)
    return timeline(reader, reader, uri, holds=holds)


def test_a_commit_is_followed_to_all_of_the_traffic(reader: SqliteGraphReader) -> None:
    found = told(reader, "da")
    assert (found.service, found.version, found.state) == ("home", "a" * 12, "done")
    kinds = list(dict.fromkeys(row.kind for row in found.rows))
    assert kinds == [
        "commit", "run", "step", "model_version", "image", "rollout", "rollout_step",
        "health_check",
    ]  # fmt: skip
    assert [row.seq for row in found.rows] == sorted({row.seq for row in found.rows})
    steps = {row.node.rpartition("%2F")[2] for row in found.rows if row.kind == "step"}
    assert steps == {"features@ra", "train@ra"}  # one made a table, one a model
    # the story's clock goes on by a minute an event
    swapped = next(row for row in found.rows if row.event == "mlg.rollout.swapped")
    assert found.total_s == swapped.since_start_s == 60.0 * (swapped.seq - found.rows[0].seq)
    assert sum(row.since_before_s for row in found.rows) == found.rows[-1].since_start_s


def test_no_other_run_and_no_other_rollout_is_told(reader: SqliteGraphReader) -> None:
    for letter in "acd":
        for row in told(reader, f"d{letter}").rows:
            assert row.node.endswith((f"@r{letter}", f"@d{letter}", letter * 12, "ab" * 20))


def test_what_failed_ends_where_it_ended_and_says_who_acted(reader: SqliteGraphReader) -> None:
    back = told(reader, "dc")
    assert (back.state, back.rows[-1].event) == ("rolled_back", "mlg.rollout.rolled_back")
    assert back.total_s == back.rows[-1].since_start_s
    approved = next(r for r in told(reader, "dd").rows if r.event == "mlg.rollout.approved")
    assert (approved.kind, approved.by) == ("approval", STORY.by.actor)
    assert approved.words == (
        f"{STORY.by.actor} approved it before all of the traffic at 5 %, because fine"
    )


def test_holds_are_told_only_where_they_are_asked_for(reader: SqliteGraphReader) -> None:
    held = "mlg.rollout.held"
    if not any(event.type == held for event in STORY.events):
        pytest.fail("the story holds no rollout")
    owner = next(e.subject for e in STORY.events if e.type == held).rpartition("@")[2]
    assert held not in {row.event for row in told(reader, owner).rows}
    assert held in {row.event for row in told(reader, owner, holds=True).rows}


def test_a_rollout_that_is_not_there_is_not_found(reader: SqliteGraphReader) -> None:
    with pytest.raises(NotFoundError, match="no such rollout"):
        told(reader, "never")
