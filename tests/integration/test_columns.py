"""From a column to what breaks: columns, features, models and deployments in a real graph."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.postgres import database

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.artifacts import Column, ModelVersion, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.columns import ColumnLineage
from mlg.core.errors import ManifestError
from mlg.core.reading import NodeQuery, Walk, WalkOptions
from mlg.core.uris import Uri
from mlg.graph.columns import breaks, named, of_column
from mlg.graph.record import Recorder, model_uri, snapshot_uri
from mlg.graph.record_columns import (
    ModelRead,
    column_uri,
    columns_recorded,
    model_columns_recorded,
)
from mlg.graph.record_models import model_registered
from mlg.graph.record_runs import dataset_snapshotted
from mlg.graph.record_services import deployment_started
from mlg.pipeline.columns import column_lineage, opaque

START = datetime(2026, 1, 1, tzinfo=UTC)
RATINGS = ["user_id", "item_id", "stars", "second"]
USERS = ["user_id", "age", "zip"]
CLEAN = (
    "SELECT user_id, item_id, stars, to_timestamp(second) AS at FROM ratings WHERE stars > 0"
)
ROWS = "SELECT c.*, u.age FROM clean AS c LEFT JOIN users AS u USING (user_id)"
TRAIN_SET = ["user_id", "item_id", "stars", "at", "age"]


class World:
    """A graph, and a pipeline that runs on paper."""

    def __init__(self, store: Any, reader: Any) -> None:
        self.store, self.reader, self.minute = store, reader, 0
        self._ids, self._keys = itertools.count(), itertools.count()

    @property
    def recorder(self) -> Recorder:
        clock = ManualClock(START + timedelta(minutes=self.minute))
        return Recorder(project="movies", actor="local:ada", clock=clock, ids=self)

    def new_id(self) -> str:
        return f"id-{next(self._ids):09d}"

    def table(
        self,
        name: str,
        columns: Sequence[str],
        letter: str,
        lineage: ColumnLineage | None = None,
        source: str | None = None,
    ) -> Any:
        """Record a version of a table and its columns; return the event about columns."""
        snapshot = Snapshot(
            dataset=name, digest=letter * 64, content_digest=letter * 64, rows=9, as_of=START,
            schema=tuple(Column(name=one, type="int64") for one in columns), location="x",
        )  # fmt: skip
        kind = "dataset_version" if source else "feature_snapshot"
        r = self.recorder
        key = f"k{next(self._keys)}"
        made = dataset_snapshotted(
            r, key=f"{key}:data", snapshot=snapshot, kind=kind, source=source
        )
        event = columns_recorded(
            r, self.reader, key=key, snapshot=snapshot, lineage=lineage, source=source,
            version=snapshot_uri(r, name, letter * 64, kind),
        )  # fmt: skip
        self.store.append([made, *([event] if event else [])])
        return event

    def sources(self) -> None:
        self.table("ratings", RATINGS, "1", source="file:ratings.csv")
        self.table("users", USERS, "2", source="file:users.csv")

    def steps(self, clean: str = CLEAN, letter: str = "3") -> None:
        names = ["user_id", "item_id", "stars", "at"]
        told = column_lineage(clean, {"ratings": RATINGS}, names)
        self.table("clean", names, letter, told)
        told = column_lineage(ROWS, {"clean": names, "users": USERS}, TRAIN_SET)
        self.table("train_set", TRAIN_SET, chr(ord(letter) + 1), told)

    def model(self, letter: str, *, serve: bool) -> Uri:
        r = self.recorder
        version = letter * 12
        reads = [
            *(ModelRead(table="train_set", column=c, feature=False) for c in TRAIN_SET[:4]),
            ModelRead(table="train_set", column="age", feature=True),
        ]
        model = ModelVersion(
            name="ranker", version=version, artifact=letter * 64, trained_on=(),
            code="c" * 64, params=(), metrics=(), seed=1,
        )  # fmt: skip
        uri = model_uri(r, "ranker", version)
        events = [
            model_registered(r, key=f"m{letter}", model=model, trained_on=[]),
            model_columns_recorded(
                r, key=f"c{letter}", model="ranker", version=version, reads=reads
            ),
        ]
        if serve:
            events.append(
                deployment_started(
                    r, key=f"d{letter}", service="home", deployment_id=letter,
                    model_version=uri, image_digest=letter * 64,
                )
            )  # fmt: skip
        self.store.append(events)
        return uri

    def impact(self, dataset: str, column: str, at: int | None = None) -> Walk:
        root = column_uri(self.recorder, dataset, column)
        as_of = None if at is None else START + timedelta(minutes=at)
        return self.reader.walk(root, "down", of_column(root, WalkOptions(as_of=as_of)))


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    pair: Any
    if request.param == "sqlite":
        path = tmp_path / "graph.sqlite3"
        pair = SqliteGraph(path, ManualClock(START)), SqliteGraphReader(path)
    else:
        url = database(request.getfixturevalue("postgres_url"), f"columns-{uuid4().hex}")
        pair = PostgresGraph(url), PostgresGraphReader(url)
    with pair[0] as store, pair[1] as reader:
        yield World(store, reader)


def ways(found: list[Any]) -> dict[str, str]:
    return {one.name: one.way for one in found}


def test_a_column_reaches_the_feature_the_model_and_what_serves_it(world: World) -> None:
    world.sources()
    world.steps()
    world.model("a", serve=False)
    world.model("b", serve=True)
    told = breaks(world.impact("users", "age"))
    assert ways(told.features) == {"age": "values"}
    assert ways(told.models) == {
        "ranker@bbbbbbbbbbbb": "values",
        "ranker@aaaaaaaaaaaa": "values",
    }
    assert [one.live for one in told.models] == [True, False]
    assert [(one.name, one.live, one.service) for one in told.deployments] == [
        ("home@b", True, "home")
    ]
    assert told.services == ["home"]


def test_a_column_that_nothing_reads_breaks_nothing(world: World) -> None:
    world.sources()
    world.steps()
    world.model("a", serve=True)
    walk = world.impact("users", "zip")
    told = breaks(walk)
    assert (told.features, told.models, told.deployments, told.services) == ([], [], [], [])
    assert walk.total == 1


def test_a_column_that_only_filters_breaks_by_the_rows(world: World) -> None:
    world.sources()
    world.steps(CLEAN.replace("stars > 0", "second > 0").replace("to_timestamp(second)", "1"))
    world.model("a", serve=True)
    told = breaks(world.impact("ratings", "second"))
    # no value of it is left, but which ratings there are hangs on it, and so the ages too
    assert ways(told.features) == {"age": "rows"}
    assert ways(told.models) == {"ranker@aaaaaaaaaaaa": "rows"}


def test_the_way_up_from_a_feature_ends_at_its_source(world: World) -> None:
    world.sources()
    world.steps()
    world.model("a", serve=False)
    feature = world.recorder.uri("feature", "train_set/age")
    walk = world.reader.walk(feature, "up", WalkOptions())
    reached = {one.node.uri for one in walk.nodes}
    assert column_uri(world.recorder, "users", "age") in reached
    assert world.recorder.uri("source", "file:users.csv") in reached
    assert column_uri(world.recorder, "users", "zip") not in reached


def test_the_same_table_again_says_nothing_of_columns_but_its_new_version(world: World) -> None:
    world.sources()
    world.steps()
    assert world.table("users", USERS, "2", source="file:users.csv") is None
    event = world.table("users", USERS, "9", source="file:users.csv")
    assert event.nodes == ()
    assert {edge.role for edge in event.edges} == {"column_of"}
    assert len(event.edges) == len(USERS)


def test_what_a_column_no_longer_comes_from_ends_and_history_stays(world: World) -> None:
    world.sources()
    world.steps()
    world.model("a", serve=True)
    world.minute = 10
    world.steps(CLEAN.replace("stars,", "1 AS stars,").replace("WHERE stars > 0", ""), "5")
    assert breaks(world.impact("ratings", "stars")).models == []
    before = breaks(world.impact("ratings", "stars", at=5))
    assert ways(before.models) == {"ranker@aaaaaaaaaaaa": "values"}


def test_a_column_that_is_gone_ends(world: World) -> None:
    world.sources()
    world.minute = 10
    world.table("users", ["user_id", "age"], "8", source="file:users.csv")
    gone = column_uri(world.recorder, "users", "zip")
    (node,) = world.reader.nodes(NodeQuery(uri=gone)).nodes
    assert node.valid_to == START + timedelta(minutes=10)
    dataset = world.recorder.uri("dataset", "users")
    walk = world.reader.walk(dataset, "up", WalkOptions(roles=("column_of",)))
    assert gone not in {one.node.uri for one in walk.nodes}
    world.minute = 20
    world.table("users", USERS, "7", source="file:users.csv")
    (again,) = world.reader.nodes(NodeQuery(uri=gone)).nodes
    assert again.valid_to is None


def test_a_step_that_hides_what_it_reads_breaks_as_a_table_without_pairs(world: World) -> None:
    wide = [f"c{n}" for n in range(40)]
    made = [f"d{n}" for n in range(30)]
    world.table("ratings", wide, "1", source="file:ratings.csv")
    event = world.table("train_set", made, "3", opaque({"ratings": wide}, made, "pandas"))
    drawn = [edge for edge in event.edges if edge.role == "column_derived_from"]
    assert len(drawn) == (40 + 1) + 30  # not 40 * 30
    r = world.recorder
    world.store.append(
        [
            model_columns_recorded(
                r, key="c", model="ranker", version="a" * 12,
                reads=[ModelRead(table="train_set", column="d7", feature=True)],
            )
        ]
    )  # fmt: skip
    told = breaks(world.impact("ratings", "c3"))
    assert ways(told.features) == {"d7": "table"}
    assert ways(told.models) == {"ranker@aaaaaaaaaaaa": "table"}
    (column,) = world.reader.nodes(NodeQuery(uri=column_uri(r, "train_set", "d7"))).nodes
    assert dict(column.attrs)["lineage"] == "opaque"


def test_a_column_is_found_by_its_name(world: World) -> None:
    world.sources()
    world.steps()
    age = column_uri(world.recorder, "users", "age")
    assert named(world.reader, "users.age") == age
    assert named(world.reader, "movies.Users.AGE") == age
    assert named(world.reader, "users.nothing") is None
    assert named(world.reader, "users") == world.recorder.uri("dataset", "users")
    with pytest.raises(ManifestError, match="things are called 'stars'"):
        named(world.reader, "stars")


def test_names_of_any_text_keep_apart(world: World) -> None:
    odd = ["a/b", "a.b", "a%2Fb", "größe", "a b", "/"]
    world.table("odd", odd, "1", source="file:odd.csv")
    dataset = world.recorder.uri("dataset", "odd")
    walk = world.reader.walk(dataset, "up", WalkOptions(roles=("column_of",), depth=1))
    assert sorted(one.node.name for one in walk.nodes[1:]) == sorted([*odd, "rows of odd"])
