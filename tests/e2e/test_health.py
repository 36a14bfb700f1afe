"""One instance with two replicas: its health, a real Prometheus, traces, one that differs."""

import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.conftest import Cli, until

ALIKE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
                    ExportTraceServiceRequest,
                )

                body = self._body()
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {a.key: a.value.string_value for a in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        spans.extend(
                            (named["service.name"], s.trace_id.hex(), s.name)
                            for s in scope.spans
                        )
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers["content-length"]))
                parts: list[bytes] = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *args: Any) -> None:
                del args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra mlg[otel] is not installed")
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    yield found
    found.server.shutdown()
    found.server.server_close()


class Viewers:
    """Ask the gateway, with new viewers each time."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.port, self.control = ports["gateway"], ports["control"]
        self.asked, self.pool = 0, ThreadPoolExecutor(4)

    def one(self, viewer: int, traceparent: str = "") -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/services/front/recommend",
            data=json.dumps({"user_id": viewer}).encode(),
            headers={"content-type": "application/json"}
            | ({"traceparent": traceparent} if traceparent else {}),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            json.loads(answer.read())
            return answer.status

    def many(self, count: int) -> None:
        first, self.asked = self.asked, self.asked + count
        assert set(self.pool.map(self.one, range(first, first + count))) == {200}


def get(url: str, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as a:
        return a.read()


def health(viewers: Viewers) -> dict[str, Any]:
    return json.loads(get(f"http://127.0.0.1:{viewers.control}/api/v1/services/front/health"))


def check_health(cli: Cli, viewers: Viewers) -> None:
    def known() -> dict[str, Any]:
        viewers.many(20)
        found = health(viewers)
        asked = all(
            r["recent_attempts"] and r["cpu_ratio"] is not None for r in found["replicas"]
        )
        counted = found["availability"]["requests_total"] and found["raw_confidence_mean"]
        return found if asked and counted else {}

    found = until(known, 30)
    assert (found["health"], found["live"], len(found["replicas"])) == ("healthy", True, 2)
    assert all(r["memory_bytes"] > 10 * 2**20 for r in found["replicas"])
    assert found["availability"]["availability_ratio"] == 1.0
    assert found["availability"]["budget_left_ratio"] == 1.0  # 1 - 0 / (0.01 n)
    assert found["latency_p50_ms"] <= found["latency_p95_ms"] <= found["latency_p99_ms"]
    assert found["cache_hit_ratio"] is None
    assert "cache" in found["unknown"]["cache_hit_ratio"]
    assert "error budget left 100 %" in cli("health", "front")


def check_traces(viewers: Viewers, collector: Collector) -> None:
    """One trace id through gateway, replica and control plane."""
    assert viewers.one(1, ALIKE) == 200
    control = viewers.control
    get(f"http://127.0.0.1:{control}/api/v1/services/front/health", traceparent=ALIKE)
    trace = ALIKE.split("-")[1]
    wanted = {"gateway", "mlg-replica", "mlg-control"}

    def told() -> bool:
        mine = {name for name, of, _ in collector.spans if of == trace}
        return {n.rstrip("-12") for n in mine} >= wanted

    until(told, 20)


def check_prometheus(control: int, folder: Path) -> None:
    """A real Prometheus finds the series of the control plane and of both replicas."""
    targets = json.loads(get(f"http://127.0.0.1:{control}/api/v1/metrics/targets"))
    pages = [f"http://127.0.0.1:{control}/metrics"]
    pages += [f"http://{t['targets'][0]}/metrics" for t in targets]
    for page in pages:
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=get(page), capture_output=True, check=False
        )
        said = checked.stdout.decode() + checked.stderr.decode()
        assert checked.returncode == 0, (page, said)
        assert not said.strip(), (page, said)
    port = _free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: control\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{control}']}}]\n"
        "  - job_name: replicas\n"
        "    http_sd_configs:\n"
        f"      - {{url: 'http://127.0.0.1:{control}/api/v1/metrics/targets'}}\n"
    )
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        names = {
            "mlg_requests_total": "", "mlg_answers_total": "", "mlg_rollout_share_bp": "",
            "mlg_availability_ratio": "", "mlg_cpu_ratio": "process",
            "mlg_run_metric": "metric",
            "mlg_attempts_total": "process", "mlg_request_seconds_count": "process",
            "mlg_confidence_bucket": "process", "mlg_abstentions_total": "process",
            "mlg_error_budget_left_ratio": "",
        }  # fmt: skip

        def found(name: str) -> list[dict[str, Any]]:
            url = f"http://127.0.0.1:{port}/api/v1/query?query={quote(name)}"
            try:
                return json.loads(get(url))["data"]["result"]
            except OSError:
                assert process.poll() is None, (folder / "prometheus.log").read_text()
                return []

        for name, label in names.items():
            series = until(lambda name=name: found(name), 40)
            assert all(label in one["metric"] for one in series if label), (name, series)
            # our own labels and Prometheus' do not meet
            assert not any(k.startswith("exported_") for one in series for k in one["metric"])
        ready = "mlg_ready == 1"  # two replicas and the fallback server
        until(lambda: len({s["metric"]["process"] for s in found(ready)}) == 3, 20)
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    from mlg.adapters.loopback_ports import free_port

    return free_port()


def check_restart(cli: Cli, viewers: Viewers) -> None:
    """The one replica that differs is replaced within seconds, and the graph says why."""
    sick = health(viewers)["replicas"][0]["id"]
    viewers.many(600)
    faults = cli.home / "services" / "front" / "faults.json"
    faults.write_text(json.dumps({sick: {"unsure": 0.1}}))

    def replaced() -> bool:
        viewers.many(50)
        found = [r["id"] for r in health(viewers)["replicas"]]
        return sick not in found and len(found) == 2

    until(replaced, 40)
    found = until(lambda: _quiet(viewers), 20)
    assert len(found["restarts"]["recent"]) == 1
    why = cli.json("why", sick)["paragraph"]
    assert f"{sick} was restarted, because its confidence is" in why
    assert not cli.json("why", sick, "--not", "restarted")["holds"]
    # all alike: told, and nothing is restarted
    viewers.many(600)
    before = {r["id"] for r in found["replicas"]}
    faults.write_text(json.dumps({"*": {"unsure": 0.1}}))

    def told() -> bool:
        viewers.many(50)
        return any("siblings alike" in held for held in health(viewers)["restarts"]["held"])

    until(told, 40)
    assert "siblings were alike" in cli.json("why", "front", "--not", "restarted")["paragraph"]
    assert {r["id"] for r in health(viewers)["replicas"]} == before


def _quiet(viewers: Viewers) -> dict[str, Any]:
    found = health(viewers)
    return found if all(r["ready"] for r in found["replicas"]) else {}


@pytest.mark.skipif(not os.environ.get("MLG_FULL"), reason="make e2e runs it: over 30 s")
def test_health_metrics_traces_and_the_one_that_differs(cli: Cli, collector: Collector) -> None:
    manifest = cli.folder / "mlg.yaml"
    objective = "rollback: {availability: {min: 99%}}"
    text = manifest.read_text().replace("replicas: 2,", f"replicas: 2, {objective},")
    manifest.write_text(text)
    cli.env |= {name: os.environ[name] for name in os.environ if name.startswith("OTEL_")}
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    assert cli.json("run", "list", "--follow")["state"] == "done"
    viewers = Viewers(cli.json("status")["ports"])
    check_health(cli, viewers)
    check_traces(viewers, collector)
    there = all(map(shutil.which, ("prometheus", "promtool")))
    if there:
        check_prometheus(viewers.control, cli.folder)
    check_restart(cli, viewers)
    if not there:
        pytest.skip("all but Prometheus held: the Debian package prometheus is not installed")
