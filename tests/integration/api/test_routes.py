"""What each route answers."""

from typing import Any

import pytest


def test_a_trace_has_the_shape_that_programs_read(client: Any, fakes: Any) -> None:
    answer = client.get("/api/v1/trace", params={"uri": fakes.MODEL})
    assert answer.status_code == 200
    walk = answer.json()
    assert set(walk) == {"root", "direction", "total", "truncated", "nodes", "edges"}
    assert (walk["root"], walk["direction"], walk["total"]) == (fakes.MODEL, "up", 2)
    assert {"uri", "kind", "name", "depth", "attrs"} <= set(walk["nodes"][0])
    assert walk["nodes"][0]["attrs"]["seed"] == 7
    assert walk["edges"] == [
        {
            "src": fakes.DATASET,
            "dst": fakes.MODEL,
            "role": "trained_on",
            "class": "lineage",
            "valid_from": "2026-01-02T03:04:05.000000Z",
            "valid_to": None,
            "provenance": "declared",
            "event": "e",
        }
    ]


def test_the_options_of_a_walk_reach_the_reader(client: Any, plane: Any, fakes: Any) -> None:
    client.get(
        "/api/v1/impact",
        params={
            "uri": fakes.DATASET,
            "depth": 2,
            "limit": 5,
            "classes": ["lineage", "version"],
            "stop_at": "warm_started_from",
            "as_of": "2026-01-01T00:00:00+01:00",
        },
    )
    options = plane.reader.asked[-1]
    assert (options.depth, options.limit) == (2, 5)
    assert options.classes == ("lineage", "version")
    assert options.stop_at == ("warm_started_from",)
    assert options.as_of.isoformat() == "2025-12-31T23:00:00+00:00"


@pytest.mark.parametrize("named", ["p-1", "uri"])
def test_a_prediction_is_traced_by_its_uri_or_id(
    client: Any, plane: Any, fakes: Any, named: str
) -> None:
    asked = fakes.PREDICTION if named == "uri" else named
    answer = client.get("/api/v1/trace", params={"uri": asked}).json()
    assert answer["root"] == fakes.PREDICTION
    assert ("trace_prediction", asked) in plane.control.calls


def test_nothing_comes_of_a_prediction(client: Any, fakes: Any) -> None:
    answer = client.get("/api/v1/impact", params={"uri": fakes.PREDICTION}).json()
    assert [node["kind"] for node in answer["nodes"]] == ["prediction"]
    assert answer["edges"] == []
    assert client.get("/api/v1/impact", params={"uri": "p-2"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "code", "where"),
    [
        ("/api/v1/trace?uri=mlg://nowhere", 422, "manifest", "uri"),
        ("/api/v1/trace?uri=mlg://prediction/mlg/movies/home", 422, "manifest", "uri"),
        (
            "/api/v1/trace?uri=mlg://run/mlg/movies/x",
            404,
            "not_found",
            "mlg://run/mlg/movies/x",
        ),
        ("/api/v1/trace?uri=mlg://run/mlg/movies/x&classes=mood", 422, "manifest", "classes"),
        ("/api/v1/trace", 400, "request", "/api/v1/trace"),
        ("/api/v1/production?service=home&at=2026-01-01", 422, "manifest", "at"),
        ("/api/v1/production?service=home&at=soon", 422, "manifest", "at"),
        ("/api/v1/nodes?attr=x", 422, "manifest", "attr"),
        ("/api/v1/nodes?limit=10001", 400, "request", "/api/v1/nodes"),
        ("/api/v1/nodes?limit=many", 400, "request", "/api/v1/nodes"),
        ("/api/v1/runs/r-9", 404, "not_found", "r-9"),
        ("/api/v1/nothing", 404, "not_found", "/api/v1/nothing"),
        ("/api/v1/predictions/p-9", 404, "not_found", "p-9"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(
    client: Any, path: str, status: int, code: str, where: str
) -> None:
    answer = client.get(path)
    error = answer.json()
    assert (answer.status_code, error["error"], error["where"]) == (status, code, where)
    assert set(error) == {"error", "what", "where", "hint"}
    assert error["what"]


def test_nodes_come_as_pages(client: Any, plane: Any, fakes: Any) -> None:
    answer = client.get(
        "/api/v1/nodes",
        params={"kind": ["model", "model_version"], "attr": "note=a=b", "limit": 1},
    ).json()
    assert (answer["total"], answer["truncated"], answer["cursor"]) == (3, True, "next")
    assert {"uri", "kind", "name", "attrs"} <= set(answer["nodes"][0])
    query = plane.reader.asked[-1]
    assert query.kinds == ("model", "model_version")
    assert (query.attr, query.limit) == (("note", "a=b"), 1)


def test_production_is_asked_at_the_clock_or_at_a_given_time(client: Any) -> None:
    now = client.get("/api/v1/production", params={"service": "home"}).json()
    assert now["at"] == "2026-01-02T03:04:05.000000Z"
    assert now["versions"][0]["share_bp"] == 10_000
    then = client.get("/api/v1/production?service=home&at=2025-01-01T00:00:00Z").json()
    assert then["at"] == "2025-01-01T00:00:00.000000Z"


def test_events_are_listed_after_a_seq_or_from_the_end(
    client: Any, plane: Any, fakes: Any
) -> None:
    plane.log.append([fakes.make_event(n) for n in range(1, 6)])
    after = client.get("/api/v1/events", params={"after": 2, "limit": 2}).json()
    assert [event["seq"] for event in after["events"]] == [3, 4]
    assert after["head"] == {"seq": 5, "hash": plane.log.head().hash}
    assert after["events"][0]["data"] == {"rows": 3}
    newest = client.get("/api/v1/events", params={"newest": 2}).json()
    assert [event["seq"] for event in newest["events"]] == [4, 5]
    assert client.get("/api/v1/events?newest=100").json()["events"][0]["seq"] == 1


def test_a_search_without_words_asks_nothing(client: Any, plane: Any) -> None:
    assert client.get("/api/v1/search", params={"q": "  "}).json()["nodes"] == []
    assert plane.reader.asked == []
    # one more than asked for is looked for, to know whether there is more
    client.get("/api/v1/search", params={"q": "ranker", "kind": "model", "limit": 3})
    assert plane.reader.asked == [("ranker", ("model",), 4)]


def test_writes_carry_who_asked(client: Any, plane: Any) -> None:
    started = client.post("/api/v1/runs", json={"pipeline": "ranker", "params": {"seed": 1}})
    assert (started.status_code, started.json()) == (202, {"run_id": "r-1"})
    assert client.post("/api/v1/apply", json={"manifest_path": "m.yaml"}).status_code == 200
    assert client.post("/api/v1/restart", json={"service": "home"}).status_code == 200
    assert client.post("/api/v1/down", json={}).status_code == 202
    assert plane.control.calls == [
        ("run", "ranker", "local:ada", {"seed": 1}),
        ("apply", "m.yaml", "local:ada"),
        ("restart", "home", "local:ada"),
        ("down", "local:ada"),
    ]


def test_a_manifest_error_keeps_its_line(client: Any) -> None:
    answer = client.post("/api/v1/plan", json={"manifest_path": "x/bad.yaml"})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "manifest",
        "what": "expected a mapping",
        "where": "bad.yaml:3:1",
        "hint": "indent it.",
    }


def test_an_unknown_field_of_a_body_is_refused(client: Any, plane: Any) -> None:
    answer = client.post("/api/v1/restart", json={"service": "home", "forse": True})
    assert answer.status_code == 400
    assert "forse" in answer.json()["what"]
    assert plane.control.calls == []


def test_an_export_is_a_zip_whose_name_cannot_break_the_header(client: Any) -> None:
    answer = client.post("/api/v1/audit-exports", json={"prediction_id": "p-1"})
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == (
        'attachment; filename="audit--p-1---X--y.zip"'
    )
    assert "x" not in answer.headers
    assert answer.content.startswith(b"PK")


@pytest.mark.parametrize(
    "body",
    [
        {"prediction_id": ""},
        {"prediction_id": "p" * 2_049},
        {"model_version": 7},
        {"service": "home", "from": 1, "to": 2},
        {"prediction": "p-1"},
        [],
    ],
)
def test_an_export_of_nothing_that_can_be_named_is_refused(
    client: Any, plane: Any, body
) -> None:
    answer = client.post("/api/v1/audit-exports", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.json()["what"]
    assert plane.control.calls == []


def test_an_export_of_a_period_is_asked_for_in_its_own_words(client: Any, plane: Any) -> None:
    body = {"service": "home", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    assert client.post("/api/v1/audit-exports", json=body).status_code == 200
    asked = plane.control.calls[0][1]
    assert (asked.service, asked.from_, asked.to) == tuple(body.values())
    assert (asked.prediction_id, asked.model_version) == (None, None)


def test_the_other_reads_answer(client: Any, plane: Any) -> None:
    assert client.get("/api/v1/status").json()["ports"] == {"gateway": 7080}
    assert client.get("/api/v1/services").json()["services"][0]["service"] == "home"
    health = client.get("/api/v1/services/home/health").json()
    assert health["health"] == "healthy"
    assert (health["cpu_ratio"], health["unknown"]["cpu_ratio"]) == (None, "no replica runs")
    assert health["availability"]["budget_left_ratio"] == pytest.approx(0.8)  # 1 - 2 / 10
    assert client.get("/api/v1/runs").json()["runs"][0]["run_id"] == "r-1"
    assert client.get("/api/v1/live").json()["gateway_port"] == 7080
    assert client.get("/api/v1/predictions/p-1").json()["items"] == [1, 2]
    assert client.get("/api/v1/audit/verify").json()["ok"] is True
    targets = client.get("/api/v1/metrics/targets").json()
    assert targets == [{"targets": ["127.0.0.1:9000"], "labels": {"service": "home"}}]
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "mlg_events_total 3" in metrics.text
    assert client.post("/api/v1/graph/rebuild", json={}).json() == {"events": 0}
