"""A misspelt word finds what was meant, in a SQLite graph."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.conftest import until

from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.core.clock import ManualClock
from mlg.graph.record import Recorder, node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("ranker", "ranked list", "banker", "ratings of users", "Größe", "home page")


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteGraphReader]:
    path = tmp_path_factory.mktemp("graph") / "graph.sqlite3"
    r = Recorder(project="shop", actor="local:ada", clock=ManualClock(NOW), ids=Counter())
    nodes = [node(r.uri("dataset", f"d{n}"), name=name) for n, name in enumerate(NAMES)]
    nodes.append(node(r.uri("model", "ranker"), name="ranker"))
    subject = r.uri("dataset", "d0")
    with SqliteGraph(path, ManualClock(NOW)) as store, SqliteGraphReader(path) as found:
        store.append([r.event("mlg.x.done", key="k", subject=subject, nodes=nodes)])
        until(lambda: found.search("rnaker"))  # the index of words has caught up
        yield found


def names(reader: SqliteGraphReader, text: str, *kinds: str) -> list[str]:
    return [one.name for one in reader.search(text, kinds)]


def test_a_slip_finds_what_was_meant_the_nearest_first(reader: SqliteGraphReader) -> None:
    assert names(reader, "rnaker")[0] == "ranker"
    assert names(reader, "ratnigs") == ["ratings of users"]
    assert names(reader, "gröse") == ["Größe"]


def test_only_the_misspelt_word_is_changed(reader: SqliteGraphReader) -> None:
    assert names(reader, "ratings usres") == ["ratings of users"]
    assert names(reader, "home usres") == []


def test_what_is_spelt_right_finds_only_itself(reader: SqliteGraphReader) -> None:
    assert names(reader, "banker") == ["banker"]
    assert names(reader, "ranker", "service") == []  # the word is known; there is no such kind


def test_a_kind_narrows_a_corrected_search(reader: SqliteGraphReader) -> None:
    assert [one.kind for one in reader.search("rnaker", ("model",))] == ["model"]


@pytest.mark.parametrize(
    "text", ["qqqqqqqq", "*", '"', "x" * 5_000, "a b c", "\x01é", "ra\U0010ffff"]
)
def test_nonsense_finds_nothing_and_breaks_nothing(
    reader: SqliteGraphReader, text: str
) -> None:
    reader.search(text)
    assert names(reader, "qqqqqqqq") == []


def test_a_limit_holds(reader: SqliteGraphReader) -> None:
    assert len(reader.search("rnaker", limit=1)) == 1
