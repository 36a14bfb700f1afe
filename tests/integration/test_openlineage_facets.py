"""What the graph knows beside a run is told with it: owners, words, columns, commits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.events import Event
from mlg.core.uris import Uri, make_uri
from mlg.graph import record_automations, record_runs
from mlg.graph.openlineage_check import check
from mlg.graph.openlineage_emit import emitted
from mlg.graph.record import Recorder, edge, node

RUN = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01"


class World:
    def __init__(self, path: Path) -> None:
        clock = ManualClock()
        self.store = SqliteGraph(path, clock)
        self.reader = SqliteGraphReader(path)
        self.recorder = Recorder(
            project="shop", actor="local:ada", clock=clock, ids=Uuid7Ids(clock)
        )

    def told(self, event: Event) -> dict[str, Any]:
        """Append an event and return what others are told of it."""
        self.store.append([event])
        found = emitted(event, self.reader, version="1")
        assert found is not None
        check(found)
        return found

    def step(self, *outputs: Uri) -> Event:
        return record_runs.step_finished(
            self.recorder, key=f"s:{len(outputs)}", pipeline="p", run_id=RUN, step="join",
            seconds=1.5, outputs=outputs,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    it = World(tmp_path / "graph.sqlite3")
    yield it
    it.reader.close()
    it.store.close()


def test_owners_and_a_description_are_told(world: World) -> None:
    made = world.recorder.uri("feature_snapshot", "joined", "v1")
    team = world.recorder.uri("team", "data")
    world.store.append([
        world.recorder.event(
            "mlg.test.noted", key="k", subject=made,
            nodes=[node(made, {"description": "Orders by user."}), node(team, name="data")],
            edges=[edge(team, "owned_by", made)],
        )
    ])  # fmt: skip
    facets = world.told(world.step(made))["outputs"][0]["facets"]
    assert facets["ownership"]["owners"] == [{"name": "team:data", "type": "OWNER"}]
    assert facets["documentation"]["description"] == "Orders by user."


def test_columns_name_the_columns_they_were_made_of_and_rows_what_decided(
    world: World,
) -> None:
    """Told when the columns become known, by the step that made the table."""
    made = world.recorder.uri("feature_snapshot", "joined", "v1")
    total, rows = (
        world.recorder.uri("column", "joined/total"),
        world.recorder.uri("column", "joined/"),
    )
    price = world.recorder.uri("column", "lake%2Forders/price")
    day = world.recorder.uri("column", "lake%2Forders/day")
    theirs = make_uri("column", "s3://lake", "raw/tax", provider="openlineage")
    how = [{"column": price, "type": "DIRECT", "subtype": "AGGREGATION"}]
    columns = world.recorder.event(
        "mlg.columns.recorded", key="k", subject=made,
        nodes=[node(total, {"transformations": json.dumps(how)}), node(rows)],
        edges=[
            edge(total, "column_of", made),
            edge(rows, "column_derived_from", total),
            edge(price, "column_derived_from", total),
            edge(theirs, "column_derived_from", total),
            edge(day, "column_derived_from", rows),
        ],
    )  # fmt: skip
    assert emitted(columns, world.reader, version="1") is None  # nobody made it yet
    assert world.told(world.step(made))["job"]["name"] == "p.join"
    told = world.told(columns)
    assert (told["eventType"], told["job"]["name"]) == ("OTHER", "p.join")
    facet = told["outputs"][0]["facets"]["columnLineage"]
    orders = {"namespace": "mlg://shop", "name": "lake/orders"}
    assert facet["fields"] == {
        "total": {
            "inputFields": [
                {**orders, "field": "price",
                 "transformations": [{"type": "DIRECT", "subtype": "AGGREGATION"}]},
                {"namespace": "s3://lake", "name": "raw", "field": "tax"},
            ]
        }
    }  # fmt: skip
    assert facet["dataset"] == [{**orders, "field": "day"}]


def test_a_run_of_a_commit_says_where_its_code_lies(world: World) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    hook = record_automations.hook_accepted(
        world.recorder, key="h", repository="git@example.org:ada/shop.git", commit=commit,
        runs={"p": RUN}, facts={},
    )  # fmt: skip
    world.store.append([hook])
    begun = record_runs.run_started(world.recorder, key="b", pipeline="p", run_id=RUN)
    for event in (begun, world.step()):
        facet = world.told(event)["job"]["facets"]["sourceCodeLocation"]
        assert (facet["type"], facet["version"]) == ("git", commit)
        assert facet["url"] == "ssh://git@example.org/ada/shop.git"
        assert facet["repoUrl"] == "git@example.org:ada/shop.git"


def test_a_rejected_run_is_aborted_and_one_that_is_done_is_complete(world: World) -> None:
    for verdict, state in (("rejected", "ABORT"), ("done", "COMPLETE")):
        event = record_runs.run_finished(
            world.recorder, key=verdict, pipeline="p", run_id=RUN, seconds=1.0,
            facts={"verdict": verdict, "param.depth": 6},
        )  # fmt: skip
        told = world.told(event)
        assert told["eventType"] == state
        facets = told["run"]["facets"]
        assert facets["mlg_run"]["verdict"] == verdict
        assert facets["executionParameters"]["parameters"] == [{"key": "depth", "value": "6"}]


def test_what_is_about_no_run_is_not_told(world: World) -> None:
    subject = world.recorder.uri("service", "home")
    for type_ in ("mlg.process.started", "mlg.lineage.received", "mlg.emission.interrupted"):
        event = world.recorder.event(type_, key=type_, subject=subject)
        assert emitted(event, world.reader, version="1") is None
