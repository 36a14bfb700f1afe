"""What should run of commands and adopted recommenders, and what the graph is told."""

from datetime import UTC, datetime

from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.app.specs import has_list
from mlg.app.standing import stand
from mlg.core.clock import ManualClock
from mlg.core.events import Event
from mlg.core.uris import Digest
from mlg.graph.record import Recorder
from mlg.manifest.load import parse_manifest
from mlg.manifest.specs import ManifestSpec
from mlg.workflows.state import Wanted, WantedVersion, read_wanted, write_wanted

CLOCK = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
RECORDER = Recorder(project="p", actor="local:ada", clock=CLOCK, ids=Uuid7Ids(CLOCK))
RELEASED = WantedVersion(version="v1", artifact=Digest("1" * 64), bp=10_000, deployment="d1")
PIPELINE = """
pipelines:
  ranker:
    steps:
      t:
        model: popularity
        in: [ratings]
        roles: {interactions: {table: ratings, item: film, at: at, viewer: user}}
datasets:
  ratings: {source: {uri: ratings.csv}, columns: {film: {type: int64}}}
"""


def spec(home: str) -> ManifestSpec:
    text = f"version: 1\nproject: p\nservices:\n  home: {{{home}}}\n{PIPELINE}"
    return parse_manifest(text).spec


def stood(
    files: MemoryFiles, now: ManifestSpec, before: ManifestSpec | None = None
) -> tuple[list[str], tuple[Event, ...]]:
    told = stand(files, RECORDER, now, before, "k")
    return [f"{v.version} {v.bp}" for v in read_wanted(files, "home").versions], told


def test_a_command_runs_at_once_and_is_no_deployment() -> None:
    files = MemoryFiles()
    assert stood(files, spec("command: [a]")) == (["command 10000"], ())
    assert not has_list(spec("command: [a]").services["home"], read_wanted(files, "home"))


def test_an_adopted_recommender_is_told_once_and_again_when_it_moved() -> None:
    files = MemoryFiles()
    first, moved = spec('adopt: "http://u:w@a:1/x?key=1"'), spec('adopt: "http://b:1"')
    versions, (event,) = stood(files, first)
    assert versions == ["adopted 10000"]
    assert event.type == "mlg.deployment.started"
    known = {node.uri.rpartition("/")[2]: dict(node.attrs) for node in event.nodes}
    assert known["home@adopted"]["adopted"] == "http://a:1/x"
    assert stood(files, first, first)[1] == ()
    assert len(stood(files, moved, first)[1]) == 1


def test_a_released_version_stays_beside_an_adopted_one() -> None:
    files = MemoryFiles()
    write_wanted(files, Wanted(service="home", versions=(RELEASED,)))
    both = spec('adopt: "http://b:1", model: ranker')
    assert stood(files, both) == (["v1 10000"], ())
    assert has_list(both.services["home"], read_wanted(files, "home"))
    assert stood(files, spec('adopt: "http://b:1"'))[0] == ["adopted 10000"]


def test_a_service_that_is_a_model_again_wants_nothing_of_before() -> None:
    files = MemoryFiles()
    stood(files, spec("command: [a]"))
    assert stood(files, spec("model: ranker")) == ([], ())
    write_wanted(files, Wanted(service="home", versions=(RELEASED,)))
    assert stood(files, spec("model: ranker")) == (["v1 10000"], ())


def test_the_list_is_served_where_there_is_one() -> None:
    bare = Wanted(service="home")
    assert not has_list(spec('adopt: "http://b:1"').services["home"], bare)
    listed = spec('adopt: "http://b:1", fallback_list: a.json').services["home"]
    assert has_list(listed, bare)
    assert has_list(spec("model: ranker").services["home"], bare)
