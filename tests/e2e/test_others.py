"""A whole control plane that tells others of its runs, and is told by a script."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.conftest import Cli, until

from mlg.graph.openlineage_check import check

SCRIPT = """
import mlg
client = mlg.Client({url!r})
with client.record_run("churn", inputs=[client.dataset("plays", version="1")]) as run:
    run.log(metrics={{"auc": 0.81}})
    run.model("churn", path="plays.csv")
"""

if os.environ.get("MLG_FULL"):  # `make test` has the same parts in tests/integration

    def test_a_pipeline_and_a_script_are_told_to_another_server(cli: Cli) -> None:
        pytest.importorskip("openlineage.client", reason="mlg[openlineage] is not installed")
        got: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            cli.env["OPENLINEAGE_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
            cli.env["MLG_SPOOL"] = str(cli.folder / "spool")
            cli("up", "--wait", "--port", "0")
            cli("apply", "--yes")
            run = cli.json("run", "list", "--follow")
            assert run["state"] == "done"
            port = cli.json("status")["ports"]["control"]
            url = f"http://127.0.0.1:{port}"
            subprocess.run(
                [sys.executable, "-c", SCRIPT.format(url=url)],
                cwd=cli.folder, env=cli.env, check=True,
            )  # fmt: skip
            ends = {("list", "COMPLETE"), ("churn", "COMPLETE")}
            until(lambda: ends <= {(e["job"]["name"], e["eventType"]) for e in got})
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
                assert f"mlg_openlineage_emitted_total {len(got)}.0" in answer.read().decode()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        for event in got:
            check(event)
        assert run["run_id"] in {event["run"]["runId"] for event in got}
        model = cli.json("search", "churn", "--kind", "model_version")["nodes"][0]["uri"]
        up = {node["uri"] for node in cli.json("trace", model)["nodes"]}
        assert "mlg://dataset_version/mlg/tiny/plays@1" in up
