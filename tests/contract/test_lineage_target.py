"""Whoever is told of our runs: what is sent arrives, again if need be; failures are said."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.lineage_memory import MemoryLineageTarget
from mlg.adapters.lineage_openlineage import OpenLineageTarget
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import LineageTarget
from mlg.graph.openlineage_check import check

FACET = {"_producer": "pkg:generic/mlg@1", "_schemaURL": "urn:mlg:test"}
JOB = {"namespace": "mlg://shop", "name": "p"}
RUN = "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01"
EVENT: dict[str, Any] = {
    "eventTime": "2026-01-02T03:04:05.000000Z",
    "eventType": "COMPLETE",
    "producer": "pkg:generic/mlg@1",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "run": {
        "runId": "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a02",
        "facets": {
            "parent": {
                **FACET,
                "run": {"runId": RUN}, "job": JOB,
                "root": {"run": {"runId": RUN}, "job": JOB},
            },
        },
    },
    "job": {"namespace": "mlg://shop", "name": "p.join", "facets": {}},
    "inputs": [{"namespace": "s3://lake", "name": "users", "facets": {}}],
    "outputs": [
        {"namespace": "mlg://shop", "name": "joined", "facets": {"version": {
            **FACET, "datasetVersion": "3f2a"}}}
    ],
}  # fmt: skip


@dataclass
class Case:
    target: LineageTarget
    arrived: Callable[[], list[dict[str, Any]]]
    fail: Callable[[str], None]
    """`down`: it does not answer; `refuse`: it never takes such an event."""


@pytest.fixture(params=["memory", "file", "http"])
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    if request.param == "memory":
        memory = MemoryLineageTarget()

        def fail(how: str) -> None:
            kind = BackendError if how == "down" else ManifestError
            memory.broken = kind("set by the test")

        yield Case(memory, lambda: memory.events, fail)
        return
    pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
    if request.param == "file":
        yield _file(tmp_path / "events.ndjson", monkeypatch)
        return
    got: list[dict[str, Any]] = []
    answer = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.extend([json.loads(body)] if answer[0] == 200 else [])
            self.send_response(answer[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    transport = {"type": "http", "url": f"http://127.0.0.1:{server.server_address[1]}",
                 "retry": {"total": 0}}  # fmt: skip
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))

    def refuse(how: str) -> None:
        answer[0] = 503 if how == "down" else 422

    yield Case(OpenLineageTarget(), lambda: got, refuse)
    server.shutdown()
    thread.join()
    server.server_close()


def _file(path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    transport = {"type": "file", "log_file_path": str(path), "append": True}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))

    def fail(how: str) -> None:
        if how == "refuse":
            pytest.skip("a file takes whatever it is given")
        path.unlink(missing_ok=True)
        path.mkdir()

    def arrived() -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    return Case(OpenLineageTarget(), arrived, fail)


def test_what_is_sent_arrives_as_it_is(case: Case) -> None:
    case.target.send(EVENT)
    (got,) = case.arrived()
    check(got)
    for name in ("eventTime", "eventType", "producer", "schemaURL"):
        assert got[name] == EVENT[name]
    assert got["run"]["runId"] == EVENT["run"]["runId"]
    parent, sent = got["run"]["facets"]["parent"], EVENT["run"]["facets"]["parent"]
    assert (parent["run"]["runId"], parent["root"]["run"]["runId"]) == (RUN, RUN)
    assert parent["job"]["name"] == sent["job"]["name"]
    assert got["outputs"][0]["facets"] == EVENT["outputs"][0]["facets"]


def test_the_same_event_may_be_sent_again_and_order_is_kept(case: Case) -> None:
    begun = {**EVENT, "eventType": "START"}
    for event in (begun, EVENT, EVENT):
        case.target.send(event)
    assert [one["eventType"] for one in case.arrived()] == ["START", "COMPLETE", "COMPLETE"]


def test_a_target_that_is_down_is_a_backend_error(case: Case) -> None:
    case.fail("down")
    with pytest.raises(BackendError):
        case.target.send(EVENT)


def test_what_is_never_taken_is_told_apart(case: Case) -> None:
    case.fail("refuse")
    with pytest.raises(ManifestError):
        case.target.send(EVENT)


def test_closing_is_harmless(case: Case) -> None:
    case.target.send(EVENT)
    case.target.close()
    assert len(case.arrived()) == 1
