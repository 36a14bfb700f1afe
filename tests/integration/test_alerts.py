"""The life of an alert over a real log, graph and desk, by monitors, API and CLI."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.integration.test_monitoring import MANIFEST, World, drained
from typer.testing import CliRunner

from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.stream_segments import segment_paths
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.alert_acts import AlertActs
from mlg.app.alert_desk import PATH, AlertDesk
from mlg.app.alert_operations import AlertOperations
from mlg.app.seals import Seals
from mlg.app.serve_api import start_api
from mlg.automations.triggers import matches
from mlg.cli.main import app as command_line
from mlg.core.principal import Principal, Role
from mlg.graph.record import Recorder
from mlg.manifest.load import parse_manifest
from mlg.manifest.specs_automations import TriggerSpec

ADA = Principal(subject="local:ada", roles=("operator",), via="loopback")
WHEN = "2026-03-01T13:20:00Z"
"""Event time at which the traffic changes: 24 windows of 100 answers, 20 s apart."""

PERSONAL = """
datasets:
  viewers:
    source: {uri: "file:viewers.csv"}
    columns: {age: {type: int64, personal: recommendations}}
"""
PROMOTION = """
calendar:
  - {promotion: launch, from: "2026-03-01T12:00Z", to: "2026-03-09"}
"""


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose monitor knows what is usual; it is closed."""
    world = World(tmp_path_factory.mktemp("learned"))
    world.answer(24)
    drained(world.monitoring()).stop()
    assert world.types().count("mlg.monitor.learned") == 2
    world.stream.close()
    world.store.close()
    return world.home


class Plane(World):
    """A home with monitors, a desk and the API's alerts over them."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.count, self.at = 24 * 100, datetime.fromisoformat(WHEN)
        self.clock.wait(24 * 0.1)
        self.reader = SqliteGraphReader(home / "graph.sqlite3")
        self.desk = AlertDesk(self.files, self.clock)

    def by(self, actor: str) -> Recorder:
        return Recorder(project="p", actor=actor, clock=self.clock, ids=self.ids)

    def acts(self) -> AlertActs:
        return AlertActs(
            desk=self.desk,
            clock=self.clock,
            store=self.store,
            reader=self.reader,
            spec=lambda: self.manifest,
            recorder=self.by,
        )

    def operations(self) -> AlertOperations:
        seals = Seals(
            self.home,
            self.files,
            self.artifacts,
            self.store,
            self.recorder,
            lambda _service, _version: "",
        )
        return AlertOperations(
            files=self.files,
            clock=self.clock,
            store=self.store,
            reader=self.reader,
            artifacts=self.artifacts,
            seals=seals,
            spec=lambda: self.manifest,
            recorder=self.by,
            versions=lambda _: {self.version: self.artifact},
            port=7070,
        )

    def told(self, manifest: str) -> None:
        self.manifest = parse_manifest(manifest, "mlg.yaml").spec

    def paged(self) -> list[str]:
        """Return the types of the events that a rule on any alert answers."""
        rule = TriggerSpec(alert="any")
        events = (one.event for one in self.store.events(limit=1_000))
        return [event.type for event in events if matches(rule, event)]

    def severity(self) -> float:
        policy = self.policies.read("home")
        assert policy is not None
        return policy.drift_severity

    def close(self) -> None:
        self.stream.close()
        self.store.close()
        self.reader.close()


@pytest.fixture
def plane(learned: Path, tmp_path: Path) -> Iterator[Plane]:
    shutil.copytree(learned, tmp_path / "home")
    made = Plane(tmp_path / "home")
    yield made
    made.close()


def silenced(plane: Plane, until: str = "2h", **matcher: str) -> str:
    names = dict.fromkeys(("service", "monitor", "kind", "feature"))
    found = plane.acts().silence({**names, **matcher}, until, "new feed", ADA)
    return str(found["id"])


def shifted(plane: Plane, windows: int = 7) -> None:
    plane.answer(windows, students=0.5)
    drained(plane.monitoring()).stop()


def test_a_silenced_alert_is_on_the_graph_and_starts_nothing(plane: Plane) -> None:
    name = silenced(plane, service="home")
    shifted(plane)
    (alert,) = plane.alerts()
    assert (alert["kind"], alert["standing"]) == ("input_drift", "silenced")
    assert name in str(alert["held"])
    assert (plane.healed, plane.paged(), plane.severity()) == ([], [], 0.0)
    (event,) = [o.event for o in plane.store.events(limit=1_000) if "silence" in o.event.type]
    assert (event.type, event.actor) == ("mlg.silence.set", "local:ada")
    assert dict(event.nodes[0].attrs)["reason"] == "new feed"


def test_an_alert_that_is_open_when_its_silence_ends_pages_then_and_once(plane: Plane) -> None:
    silenced(plane, service="home")
    shifted(plane)
    plane.clock.wait(2 * 3_600)
    shifted(plane, 1)
    assert plane.paged() == ["mlg.alert.released"]
    (released,) = plane.alerts("released")
    assert (released["standing"], released["held"], released["kind"]) == ("", "", "input_drift")
    assert len(plane.healed) == 1
    assert plane.severity() > 0.5
    shifted(plane, 1)
    assert plane.paged() == ["mlg.alert.released"]


def test_an_acknowledged_alert_pages_no_more_when_its_silence_ends(plane: Plane) -> None:
    silenced(plane, kind="input_drift")
    shifted(plane)
    found = plane.acts().acknowledge("home-features:1/input_drift", "looking", ADA)
    assert (found["acknowledged_by"], found["new"]) == ("local:ada", True)
    plane.clock.wait(2 * 3_600)
    shifted(plane, 1)
    assert plane.paged() == []
    (released,) = plane.alerts("released")
    assert released["acknowledged_by"] == "local:ada"


def test_a_silence_that_is_set_later_holds_what_is_open(plane: Plane) -> None:
    shifted(plane)
    assert plane.paged() == ["mlg.alert.opened"]
    assert plane.severity() > 0.5
    name = silenced(plane, monitor="home-features")
    shifted(plane, 1)
    (held,) = plane.alerts("held")
    assert held["standing"] == "silenced"
    assert plane.severity() == 0.0
    plane.acts().lift(name, ADA)
    shifted(plane, 1)
    assert plane.paged() == ["mlg.alert.opened", "mlg.alert.released"]
    assert plane.types().count("mlg.silence.lifted") == 1


def test_another_kind_is_not_silenced(plane: Plane) -> None:
    silenced(plane, kind="quality_drop")
    shifted(plane)
    assert plane.paged() == ["mlg.alert.opened"]


def test_a_declared_promotion_annotates_instead_of_paging(plane: Plane) -> None:
    plane.told(MANIFEST + PROMOTION)
    shifted(plane)
    (alert,) = plane.alerts()
    assert (alert["standing"], alert["cause"], alert["action"]) == (
        "annotated",
        "promotion or season",
        "annotate",
    )
    assert "promotion launch" in str(alert["held"])
    assert (plane.paged(), plane.severity()) == ([], 0.0)
    assert len({one.incident for one in plane.healed}) == 1  # healing only annotates


def test_the_calendar_goes_by_the_window_not_by_the_batch(plane: Plane) -> None:
    """One batch holds windows before and after the end of the promotion."""
    plane.told(MANIFEST + PROMOTION.replace("03-09", "03-01T18:00Z"))
    shifted(plane, 20)  # until half past midnight
    (alert,) = plane.alerts()
    assert (alert["standing"], alert["action"]) == ("annotated", "annotate")
    assert str(alert["opened_event_time"]) < "2026-03-01T18"
    assert plane.paged() == ["mlg.alert.released"]


def test_when_the_promotion_is_over_and_the_traffic_is_not_usual_it_pages(plane: Plane) -> None:
    plane.told(MANIFEST + PROMOTION.replace("03-09", "03-01T20:00Z"))
    shifted(plane, 7)
    assert plane.paged() == []
    shifted(plane, 12)
    assert plane.paged() == ["mlg.alert.released"]


def test_in_maintenance_alerts_page_nobody(plane: Plane) -> None:
    plane.acts().maintain("home", WHEN, "12h", "moving the feed", ADA)
    shifted(plane)
    (alert,) = plane.alerts()
    assert alert["standing"] == "maintenance"
    assert "moving the feed" in str(alert["held"])
    assert (plane.paged(), plane.healed, plane.severity()) == ([], [], 0.0)


@pytest.mark.parametrize("covered", [True, False])
def test_in_maintenance_nothing_is_learned(plane: Plane, covered: bool) -> None:
    before = _baseline(plane)
    if covered:
        plane.acts().maintain("home", WHEN, "12h", "moving the feed", ADA)
    plane.answer(14)  # all is quiet: what is learned, is learned ten windows late
    drained(plane.monitoring()).stop()
    assert (_baseline(plane) == before) == covered


def test_what_maintenance_moved_does_not_page_when_it_is_over(plane: Plane) -> None:
    plane.acts().maintain(None, WHEN, "4h", "moving the feed", ADA)
    shifted(plane, 7)  # 3 h 53 min
    plane.answer(9)
    drained(plane.monitoring()).stop()
    assert plane.paged() == []
    assert len(plane.alerts("closed")) == 1


def test_maintenance_by_the_wall_clock_covers_what_comes_during_it(plane: Plane) -> None:
    """Event time is March, the wall clock January: `--to 2h` means two hours from now."""
    found = plane.acts().maintain("home", None, "2h", "disks", ADA)
    assert found["from"].startswith("2026-01-01T")
    shifted(plane)
    assert [one["standing"] for one in plane.alerts()] == ["maintenance"]


def _baseline(plane: Plane) -> Any:
    kept = plane.files.read("monitors/home-features.json")
    assert kept is not None
    streams = json.loads(kept)["monitor"]["charts"]["streams"]
    return {name: one["baseline"]["usual"] for name, one in streams.items()}


def test_acts_are_told_once_whoever_dies_when(plane: Plane) -> None:
    shifted(plane)
    acts = plane.acts()
    alert = "home-features:1/input_drift"
    silenced(plane, until="2026-01-02", service="home")
    acts.acknowledge(alert, "looking", ADA)
    kept, told = plane.files.read(PATH), plane.types()
    for lost in (False, True):
        if lost:  # the events were written, the file was not
            plane.files.remove(PATH)
        silenced(plane, until="2026-01-02", service="home")
        acts.acknowledge(alert, "looking", ADA)
        assert (plane.files.read(PATH), plane.types()) == (kept, told)


def test_a_lift_that_was_not_told_is_told_by_the_next_one(plane: Plane) -> None:
    name = silenced(plane, service="home")
    with plane.desk.changing:
        from mlg.monitors.hold import lifted

        desk, _ = lifted(plane.desk.read(), name, by="local:ada", now=plane.clock.now())
        plane.desk.write(desk)
    for _ in range(2):
        assert plane.acts().lift(name, ADA)["lifted_by"] == "local:ada"
    assert plane.types().count("mlg.silence.lifted") == 1


def test_a_damaged_desk_pages(plane: Plane) -> None:
    silenced(plane, service="home")
    plane.files.write(PATH, b"{")
    shifted(plane)
    assert plane.paged() == ["mlg.alert.opened"]


def test_a_silence_survives_a_kill_of_the_monitors(plane: Plane) -> None:
    silenced(plane, service="home")
    plane.answer(7, students=0.5)
    dead = plane.monitoring()
    while dead.round():
        pass  # and is never stopped
    assert [one["standing"] for one in plane.alerts()] == ["silenced"]
    told = plane.types()
    drained(plane.monitoring()).stop()
    assert plane.types() == told


@pytest.fixture
def fakes() -> ModuleType:
    path = Path(__file__).parent / "api" / "fakes.py"
    spec = importlib.util.spec_from_file_location("mlg_api_fakes_alerts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def services(plane: Plane, fakes: ModuleType) -> ApiServices:
    return ApiServices(
        reader=plane.reader,
        store=plane.store,
        operations=fakes.Control(),
        alerts=plane.operations(),
        clock=plane.clock,
        ids=plane.ids,
    )


@pytest.fixture
def door(plane: Plane, fakes: ModuleType) -> Iterator[Any]:
    """Return a caller of the API, whose roles the test may change."""
    plane.told(MANIFEST + PERSONAL)
    shifted(plane)
    roles: list[Role] = ["operator"]
    app = create_app(
        services(plane, fakes),
        allowed_hosts=("127.0.0.1",),
        principal_for=lambda _: Principal(
            subject="local:ada", roles=tuple(roles), via="loopback"
        ),
    )
    with TestClient(app, base_url="http://127.0.0.1:7070") as client:
        caller: Any = client
        caller.roles = roles
        yield caller


def post(door: Any, path: str, **body: Any) -> Any:
    answer = door.post(f"/api/v1/alerts/{path}", json=body)
    return answer.status_code, answer.json()


ALERT = "home-features:1/input_drift"


def test_the_document_says_what_a_person_needs(door: Any) -> None:
    listed = door.get("/api/v1/alerts").json()
    assert [one["state"] for one in listed["alerts"]] == ["open"]
    found = door.get("/api/v1/alerts/one", params={"alert": ALERT}).json()
    assert found["alert"] == listed["alerts"][0]["alert"]
    assert found["alert"].startswith(f"{ALERT}@")
    assert (found["service"], found["monitor"]) == ("home", "home-features")
    assert found["chart"] in {"ewma", "cusum", "shewhart"}
    low, high = found["limits"]
    assert low == -high
    assert abs(found["statistic"]) > high
    assert found["window_start"] < found["window_end"]
    assert (found["cause"], found["slice"] != "") == ("covariate shift without loss", True)
    assert found["remediation"]
    assert found["feature"] in {one["feature"] for one in found["signals"]}
    assert all(abs(one["statistic"]) >= abs(one["limit"]) for one in found["signals"])
    assert 0 < found["sampled"] <= 1_000
    assert found["page"].startswith("http://127.0.0.1:7070/#trace=mlg%3A%2F%2Falert")
    assert found["uri"] == listed["alerts"][0]["uri"]
    for name in (found["alert"], found["uri"]):
        assert door.get("/api/v1/alerts/one", params={"alert": name}).json() == found


def test_the_sample_is_masked_and_only_for_operators(door: Any, plane: Plane) -> None:
    answer = door.get("/api/v1/alerts/sample", params={"alert": ALERT})
    found = answer.json()
    assert 0 < len(found["rows"]) <= 1_000
    assert (found["gone"], found["masked"]) == (0, ["session", "viewer", "viewer:age"])
    row = found["rows"][0]
    assert (row["viewer"], row["session"]) == ("***", None)
    assert set(row["features"]) == {
        "viewer:age",
        "viewer:job",
        "history_length",
        "score_margin",
    }
    assert {r["features"]["viewer:age"] for r in found["rows"]} == {"***"}
    assert {r["features"]["viewer:job"] for r in found["rows"]} <= {
        "artist", "doctor", "engineer", "lawyer", "student", "writer"
    }  # fmt: skip
    assert '"v1' not in answer.text  # no viewer of the log
    assert "salt" not in answer.text
    door.roles[:] = ["viewer"]
    assert door.get("/api/v1/alerts/sample", params={"alert": ALERT}).status_code == 403


def test_a_sealed_and_an_erased_sample_is_read_too(door: Any, plane: Plane) -> None:
    before = door.get("/api/v1/alerts/sample", params={"alert": ALERT}).json()
    seals = Seals(
        plane.home, plane.files, plane.artifacts, plane.store, plane.recorder, lambda _s, _v: ""
    )
    assert seals.seal("home") > 0
    for path in segment_paths(plane.home / "segments" / "home"):
        path.unlink()
    after = plane.operations().sample(ALERT)
    assert len(after["rows"]) == len(before["rows"])
    assert after["rows"][0]["features"]["viewer:age"] == "***"
    roots = [segment.root for segment in seals.segments("home")]
    seals.erase("home", roots, None)
    gone = plane.operations().sample(ALERT)
    assert (gone["rows"], gone["gone"]) == ([], len(before["rows"]))


def test_a_viewer_reads_and_an_operator_acts(door: Any) -> None:
    acts: list[tuple[str, dict[str, Any]]] = [
        ("acknowledge", {"alert": ALERT}),
        ("hand-over", {"alert": ALERT, "to": "team:data"}),
        ("silences", {"service": "home", "until": "1h", "reason": "x"}),
        ("maintenance", {"service": "home", "to": "1h", "reason": "x"}),
        ("lift", {"id": "s-1"}),
    ]
    door.roles[:] = ["viewer"]
    assert door.get("/api/v1/alerts").status_code == 200
    assert door.get("/api/v1/alerts/one", params={"alert": ALERT}).status_code == 200
    for path, body in acts:
        assert post(door, path, **body)[0] == 403
    door.roles[:] = ["operator"]
    assert [post(door, path, **body)[0] for path, body in acts] == [200, 200, 200, 200, 404]


def test_an_alert_is_handed_over_and_back(door: Any, plane: Plane) -> None:
    for to, new in (
        ("team:data", True),
        ("team:data", False),
        ("bob", True),
        ("team:data", True),
    ):
        status, found = post(door, "hand-over", alert=ALERT, to=to, note="theirs")
        assert (status, found["owner"], found["new"]) == (200, to, new)
    assert plane.types().count("mlg.alert.handed_over") == 3
    shown = door.get("/api/v1/alerts/one", params={"alert": ALERT}).json()
    assert (shown["owner"], shown["handed_over_by"]) == ("team:data", "local:ada")
    shifted(plane, 2)  # what the monitors say later takes nothing away
    shown = door.get("/api/v1/alerts/one", params={"alert": ALERT}).json()
    assert shown["owner"] == "team:data"


def test_holds_are_listed_while_they_last(door: Any, plane: Plane) -> None:
    _, one = post(door, "silences", feature="viewer:age", until="1h", reason="known")
    _, two = post(door, "maintenance", all=True, to="2h", reason="disks")
    listed = door.get("/api/v1/alerts").json()
    assert [s["id"] for s in listed["silences"]] == [one["id"]]
    assert [m["id"] for m in listed["maintenance"]] == [two["id"]]
    plane.clock.wait(3_600)
    assert door.get("/api/v1/alerts").json()["silences"] == []
    assert post(door, "lift", id=two["id"])[0] == 200
    assert door.get("/api/v1/alerts").json()["maintenance"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("acknowledge", {"alert": "home-features:9/input_drift"}, 404, "alerts"),
        ("acknowledge", {"alert": "mlg://nowhere"}, 404, "alerts"),
        ("acknowledge", {"alert": "@"}, 404, "alerts"),
        ("acknowledge", {"alert": ""}, 400, "/api/v1/alerts/acknowledge"),
        ("hand-over", {"alert": ALERT, "to": "  "}, 422, "to"),
        ("hand-over", {"alert": "x", "to": "bob"}, 404, "alerts"),
        ("silences", {"service": "shop", "until": "1h", "reason": "x"}, 404, "service"),
        ("silences", {"monitor": "no", "until": "1h", "reason": "x"}, 404, "monitor"),
        ("silences", {"kind": "mood", "until": "1h", "reason": "x"}, 404, "kind"),
        ("silences", {"until": "1h", "reason": "x"}, 422, "silence"),
        ("silences", {"service": "home", "until": "2020-01-01", "reason": "x"}, 422, "until"),
        ("silences", {"service": "home", "until": "soon", "reason": "x"}, 422, "until"),
        ("silences", {"service": "home", "until": "1h", "reason": " "}, 422, "reason"),
        ("silences", {"service": "home", "until": "1h"}, 400, "/api/v1/alerts/silences"),
        ("maintenance", {"to": "1h", "reason": "x"}, 422, "service"),
        (
            "maintenance",
            {"all": True, "service": "home", "to": "1h", "reason": "x"},
            422,
            "service",
        ),
        ("maintenance", {"service": "shop", "to": "1h", "reason": "x"}, 404, "service"),
        (
            "maintenance",
            {"all": True, "from": WHEN, "to": "2026-02-01", "reason": "x"},
            422,
            "to",
        ),
        ("lift", {"id": "s-none"}, 404, "alerts"),
        ("lift", {"id": "s-none", "more": 1}, 400, "/api/v1/alerts/lift"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_changes_nothing(
    door: Any, plane: Plane, path: str, body: dict[str, Any], status: int, where: str
) -> None:
    told = plane.types()
    found = post(door, path, **body)
    assert (found[0], found[1]["where"]) == (status, where)
    assert (plane.types(), plane.files.read(PATH)) == (told, None)


def test_an_unknown_alert_or_state_is_not_shown(door: Any) -> None:
    for path in ("one", "sample"):
        answer = door.get(f"/api/v1/alerts/{path}", params={"alert": "none:1/x"})
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert door.get("/api/v1/alerts", params={"state": "mood"}).status_code == 422
    assert door.get("/api/v1/alerts", params={"limit": 0}).status_code == 400


def test_the_command_line_does_it_all(plane: Plane, fakes: ModuleType) -> None:
    shifted(plane)
    api = create_app(
        services(plane, fakes),
        allowed_hosts=LOOPBACK_HOSTS,
        principal_for=loopback_principal("ada"),
    )
    server = start_api(api, port=0)
    try:
        control = {"port": int(server.url.rpartition(":")[2])}
        (plane.home / "control.json").write_text(json.dumps(control))

        def said(*words: str, code: int = 0, as_json: bool = True) -> Any:
            more = ["--json"] if as_json else []
            done = CliRunner().invoke(
                command_line, ["alerts", *words, "--home", str(plane.home), *more]
            )
            assert done.exit_code == code, (words, done.output)
            return json.loads(done.stdout) if as_json else done.stdout

        (one,) = said("list")["alerts"]
        assert said("ack", ALERT, "--note", "looking")["acknowledged_by"] == "local:ada"
        assert said("handover", ALERT, "team:data")["owner"] == "team:data"
        silence = said("silence", "--service", "home", "--until", "2h", "--reason", "feed")
        assert said("unsilence", silence["id"])["lifted_by"] == "local:ada"
        work = said("maintenance", "--all", "--to", "2h", "--reason", "disks")
        assert said("maintenance", "--end", work["id"])["lifted_by"] == "local:ada"
        shown = said("show", one["alert"], "--sample")
        assert shown["sample_rows"]["rows"]
        assert ALERT in said("list", "--all", as_json=False)
        assert "team:data" in said("show", ALERT, "--sample", as_json=False)
        assert said("show", "none", code=3)["error"] == "not_found"
        assert (
            said("silence", "--service", "home", "--until", "2h", code=2)["where"] == "--reason"
        )
        assert said("maintenance", "--to", "2h", "--reason", "x", code=2)["error"] == "manifest"
    finally:
        server.stop()
