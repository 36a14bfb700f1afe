"""What monitors hold for usual: kept as versions, told once, found from an alert."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.integration.test_alerts import fakes  # noqa: F401 - a fixture
from tests.integration.test_monitoring import MANIFEST, World, drained
from typer.testing import CliRunner

from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.baseline_operations import BaselineOperations
from mlg.app.baselines import Baselines
from mlg.app.monitoring_state import Stored
from mlg.app.serve_api import start_api
from mlg.cli.main import app as command_line
from mlg.core.events import Event
from mlg.core.ports import Cursor
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Digest, Uri
from mlg.manifest.load import parse_manifest
from mlg.monitors.baseline import Baseline
from mlg.monitors.baseline_versions import BaselineVersion
from mlg.monitors.monitor import Observed, new_monitor, plan_of
from mlg.monitors.usual import known

PHASE_I, QUIET = 20, 36
"""Windows of phase I, and quiet ones in all: sixteen more, of which six or so taught."""


def kept(world: World) -> list[Event]:
    told = (one.event for one in world.store.events(limit=1_000))
    return [event for event in told if event.type == "mlg.baseline.kept"]


def facts(event: Event) -> dict[str, Any]:
    return {k: v for one in event.nodes if one.uri == event.subject for k, v in one.attrs}


def digest(event: Event) -> Digest:
    (found,) = [one.digest for one in event.nodes if one.uri == event.subject]
    return Digest(found or "")


def document(world: World, event: Event) -> dict[str, Any]:
    return json.loads(world.artifacts.open(digest(event)).read_bytes())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make a home whose monitor learned on after phase I and then alerted; it is closed."""
    world = World(tmp_path_factory.mktemp("made"))
    monitoring = world.monitoring()
    world.answer(QUIET)
    drained(monitoring)
    world.clock.wait(10)
    monitoring.round()  # a quiet log: what was read is saved
    world.before = world.files.read("monitors/home-features.json")
    world.answer(9, students=0.5)
    drained(monitoring).stop()
    world.stream.close()
    world.store.close()
    return world


@pytest.fixture
def alerted(made: World, tmp_path: Path) -> Iterator[World]:
    """Return a copy of that home."""
    shutil.copytree(made.home, tmp_path / "copy")
    world = World(tmp_path / "copy")
    world.before = made.before
    yield world
    world.stream.close()
    world.store.close()


def test_a_version_is_kept_when_phase_i_ends_and_when_an_incident_opens(
    alerted: World,
) -> None:
    told = [facts(event) for event in kept(alerted)]
    assert [(one["stream"], one["reason"]) for one in told] == [
        ("requests", "learned"), (alerted.version, "learned"),
        ("requests", "incident"), (alerted.version, "incident"),
    ]  # fmt: skip
    assert [one["windows_learned"] for one in told[:2]] == [PHASE_I, PHASE_I]
    assert all(one["windows_learned"] > PHASE_I for one in told[2:])
    assert {(one["monitor"], one["service"], one["season"]) for one in told} == {
        ("home-features", "home", "level")
    }
    arrows = [{(e.role, e.src) for e in event.edges} for event in kept(alerted)]
    service, version = Uri("mlg://service/mlg/p/home"), f"@{alerted.version}"
    assert arrows[0] == {("version_of", service)}
    assert {role for role, _ in arrows[1]} == {"version_of", "derived_from"}
    assert [src.endswith(version) for role, src in arrows[1] if role == "derived_from"]
    first, second = kept(alerted)[0], kept(alerted)[2]
    assert ("supersedes", first.subject) in arrows[2]
    assert first.subject.endswith(f"@{digest(first)[:12]}")
    with SqliteGraphReader(alerted.home / "graph.sqlite3") as reader:
        nodes = {n.uri: n for n in reader.nodes(NodeQuery(kinds=("baseline",))).nodes}
    assert len(nodes) == 4
    assert nodes[first.subject].valid_to is not None
    assert nodes[second.subject].valid_to is None


def test_the_document_says_what_is_usual_and_nothing_of_a_viewer(alerted: World) -> None:
    found = document(alerted, kept(alerted)[0])
    statistics = {one["metric"]: one for one in found["statistics"]}
    student = statistics["viewer:job=student.share"]
    assert student["feature"] == "viewer:job"
    # 0.15 of 2,000 answers, whose share wobbles by 0.02 from window to window
    assert student["usual"] == pytest.approx(0.15, abs=0.04)
    assert student["sigma"] > 0.5 / 10  # never below what chance among 100 rows gives
    assert 0 < student["ewma_sd"] < student["sigma"]
    (age,) = found["numbers"]
    assert (age["feature"], len(age["scores"])) == ("viewer:age", len(age["edges"]) + 1)
    assert age["edges"] == sorted(age["edges"])
    assert 18 <= age["edges"][0] < age["edges"][-1] < 60
    assert found["texts"] == [
        {"feature": "viewer:job",
         "levels": ["artist", "doctor", "engineer", "lawyer", "student", "writer"]}
    ]  # fmt: skip
    assert (found["season"], found["regressors"]) == ("level", ["level"])
    assert (found["windows_learned"], found["memory_windows"]) == (PHASE_I, 5.0 * PHASE_I)
    # windows of 100 answers, 20 s apart: ends at 2,000 s, 4,000 s, …
    assert found["first_at"] == "2026-03-01T00:33:20.000000Z"
    assert found["last_at"] == "2026-03-01T11:06:40.000000Z"
    assert found["window_step_s"] == 2_000.0
    own = document(alerted, kept(alerted)[1])
    assert {"history_length", "score_margin"} == {one["feature"] for one in own["numbers"]}
    for event in kept(alerted):
        text = alerted.artifacts.open(digest(event)).read_text()
        words = set(text.replace('"', " ").replace(",", " ").split())
        assert not [w for w in words if w[:1] in "pv" and w[1:].isdigit()]
        assert hashlib.sha256(text.encode()).hexdigest() == digest(event)


def test_a_trace_from_the_alert_leads_to_what_it_was_found_against(alerted: World) -> None:
    (opened,) = [
        one.event
        for one in alerted.store.events(limit=1_000)
        if one.event.type == "mlg.alert.opened"
    ]
    with SqliteGraphReader(alerted.home / "graph.sqlite3") as reader:
        nodes = reader.walk(opened.subject, "up", WalkOptions()).nodes
    baselines = [one.node.uri for one in nodes if one.node.kind == "baseline"]
    assert baselines == [kept(alerted)[2].subject]  # the requests', as it was then


def test_what_is_read_again_after_a_crash_is_told_once(alerted: World) -> None:
    told = [event.key for event in kept(alerted)]
    assert alerted.before is not None
    alerted.files.write("monitors/home-features.json", alerted.before)
    drained(alerted.monitoring()).stop()
    assert [event.key for event in kept(alerted)] == told
    stored = json.loads(alerted.files.read("monitors/home-features.json") or b"")
    newest = {one["digest"] for one in stored["baselines"].values()}
    assert newest == {digest(event) for event in kept(alerted)[2:]}


def test_a_home_of_before_keeps_its_first_version_when_an_incident_opens(
    alerted: World,
) -> None:
    assert alerted.before is not None
    stored = json.loads(alerted.before)
    del stored["baselines"]
    alerted.files.write("monitors/home-features.json", json.dumps(stored).encode())
    told = len(kept(alerted))
    drained(alerted.monitoring()).stop()
    # the same content is the same version: it is on the graph already
    assert len(kept(alerted)) == told
    again = json.loads(alerted.files.read("monitors/home-features.json") or b"")
    assert set(again["baselines"]) == {"requests", alerted.version}


def test_another_window_begins_anew_and_supersedes_what_was_kept(alerted: World) -> None:
    last = kept(alerted)[2]
    text = MANIFEST.replace("100 events", "50 events")
    alerted.manifest = parse_manifest(text, "mlg.yaml").spec
    monitoring = alerted.monitoring()
    alerted.answer(12)  # 24 windows of 50
    drained(monitoring).stop()
    new = [one for one in kept(alerted)[4:] if facts(one)["stream"] == "requests"]
    assert [facts(one)["reason"] for one in new] == ["learned"]
    assert ("supersedes", last.subject) in {(e.role, e.src) for e in new[0].edges}


def test_quality_is_kept_under_its_version_and_an_incident_names_what_it_began_with(
    tmp_path: Path,
) -> None:
    """Two incidents within one look: each has its own versions."""
    world = World(tmp_path)
    spec = world.manifest.monitors["home-features"]
    plan = plan_of(spec)
    stored = Stored(
        born="ab12", spec=spec, monitor=new_monitor(plan), cursor=Cursor(consumer="m")
    )
    usual = known(["hit_rate.share"], ["share"], centre=0.6)
    later = replace(usual, learned=usual.learned + 1)
    seen = Observed(
        monitor=stored.monitor,
        baselines=tuple(
            BaselineVersion(
                stream="quality:v1", reason="incident", baseline=Baseline(usual=one),
                incident=incident,
            )
            for one, incident in ((usual, "home:1"), (later, "home:2"), (later, "home:3"))
        ),
    )  # fmt: skip
    against = Baselines(world.artifacts, world.store, world.recorder).keep(
        "home-features", stored, "ranker", seen
    )
    first, second = kept(world)
    assert {key: one["quality:v1"].digest for key, one in against.opened.items()} == {
        "home:1": digest(first), "home:2": digest(second), "home:3": digest(second),
    }  # fmt: skip
    assert against.newest["quality:v1"].digest == digest(second)
    arrows = {(e.src, e.role) for e in second.edges}
    assert ("mlg://model_version/mlg/p/ranker@v1", "derived_from") in arrows
    assert (first.subject, "supersedes") in arrows
    world.stream.close()
    world.store.close()


class Shown:
    """The API and the command line over a home."""

    def __init__(self, world: World, control: Any) -> None:
        self.world = world
        self.monitoring = world.monitoring()
        self.monitoring.round()
        self.reader = SqliteGraphReader(world.home / "graph.sqlite3")
        operations = BaselineOperations(
            standings=self.monitoring.standings, reader=self.reader, artifacts=world.artifacts
        )
        self.app = create_app(
            ApiServices(
                reader=self.reader, store=world.store, operations=control,
                baselines=operations, clock=world.clock, ids=world.ids,
            ),
            allowed_hosts=LOOPBACK_HOSTS,
            principal_for=loopback_principal("ada"),
        )  # fmt: skip
        self.server = start_api(self.app, port=0)
        control = {"port": int(self.server.url.rpartition(":")[2])}
        (world.home / "control.json").write_text(json.dumps(control))

    def said(self, *words: str, code: int = 0, as_json: bool = True) -> Any:
        more = ["--json"] if as_json else []
        home = ["--home", str(self.world.home)]
        done = CliRunner().invoke(command_line, ["drift", "baseline", *words, *home, *more])
        assert done.exit_code == code, (words, done.output)
        return json.loads(done.stdout) if as_json else done.output

    def close(self) -> None:
        self.server.stop()
        self.monitoring.stop()
        self.reader.close()


@pytest.fixture
def shown(alerted: World, fakes: ModuleType) -> Iterator[Shown]:  # noqa: F811
    made = Shown(alerted, fakes.Control())
    yield made
    made.close()


def test_the_command_lists_streams_and_shows_one_as_of_now_and_as_it_was(
    shown: Shown, tmp_path: Path
) -> None:
    first, _, second, _ = kept(shown.world)
    rows = shown.said()["baselines"]
    assert [one["stream"] for one in rows] == [shown.world.version, "requests"]
    requests = rows[1]
    assert (requests["monitor"], requests["state"]) == ("home-features", "known")
    assert (requests["version"], requests["season"]) == (digest(second)[:12], "level")
    assert requests["since"] == "2026-03-01T00:33:20.000000Z"
    now = shown.said("--monitor", "home-features")
    assert (now["stream"], now["version"], now["kept"]) == (
        "requests", digest(second)[:12], True,
    )  # fmt: skip
    assert now["baseline"] == document(shown.world, second)
    assert [(one["version"], one["reason"]) for one in now["versions"]] == [
        (digest(second)[:12], "incident"), (digest(first)[:12], "learned"),
    ]  # fmt: skip
    out = tmp_path / "then.json"
    then = shown.said(
        "--monitor", "home-features", "--version", digest(first)[:12], "--out", str(out)
    )
    assert then["baseline"]["windows_learned"] == PHASE_I
    assert hashlib.sha256(out.read_bytes()).hexdigest() == digest(first)
    (line,) = [one for one in shown.said(as_json=False).splitlines() if "requests" in one]
    assert line == (
        f"home-features/requests; {facts(second)['windows_learned']} windows; season level; "
        f"14 statistics; version {digest(second)[:12]}; since 2026-03-01T00:33Z"
    )
    text = shown.said("--monitor", "home-features", as_json=False)
    assert f"version {digest(second)[:12]}" in text
    assert "season: level" in text


def test_what_is_not_there_is_told_with_what_is(shown: Shown) -> None:
    told = shown.said("--monitor", "away", code=3)
    assert told["hint"] == "known: home-features"
    told = shown.said("--monitor", "home-features", "--stream", "v9", code=3)
    assert told["hint"] == f"known: {shown.world.version}, requests"
    told = shown.said("--monitor", "home-features", "--version", "f00", code=3)
    assert digest(kept(shown.world)[2])[:12] in told["hint"]
    for words in (
        ("--version", "f00"), ("--windows", "5"), ("a.parquet",),
        ("a.parquet", "--monitor", "m", "--out", "b"),
    ):  # fmt: skip
        assert shown.said(*words, code=2)["error"] == "manifest"


def test_while_it_learns_it_says_how_far_it_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    monitoring = world.monitoring()
    world.answer(7)
    drained(monitoring)
    reader = SqliteGraphReader(world.home / "graph.sqlite3")
    operations = BaselineOperations(
        standings=monitoring.standings, reader=reader, artifacts=world.artifacts
    )
    (own, requests) = operations.baselines()["baselines"]
    assert (requests["state"], requests["windows"], requests["wanted"]) == ("learning", 7, 20)
    assert (own["version"], own["since"]) == (None, None)
    with pytest.raises(Exception, match="7 of 20 windows") as caught:
        operations.baseline("home-features", "", "")
    assert type(caught.value).__name__ == "NotFoundError"
    assert kept(world) == []
    reader.close()
    world.stream.close()
    world.store.close()
