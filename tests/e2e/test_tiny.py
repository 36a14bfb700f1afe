"""The whole way of a small project, as a user goes it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from tests.conftest import Cli, until
from tests.instance import Graph, check_arrows, check_hops, check_whys

from mlg.adapters.audit_bundle import verified
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_layout import verify_layout
from mlg.adapters.keys_local import anchor_public_key


def ask(cli: Cli, path: str, body: dict[str, Any]) -> dict[str, Any]:
    port = cli.control()["gateway_port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def events(cli: Cli) -> list[dict[str, Any]]:
    """Return the newest events of the running instance."""
    url = f"http://127.0.0.1:{cli.control()['port']}/api/v1/events?newest=50"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())["events"]


def check_graph(cli: Cli, prediction: str) -> None:
    """Check hops, arrows and reasons of the whole graph, and why one answer was given."""
    graph = Graph(cli)
    steps = [n["uri"] for n in graph.get("nodes", kind="rollout_step")["nodes"]]
    check_hops(graph, steps[-1])
    check_arrows(graph)
    check_whys(graph)
    why = cli.json("why", prediction)
    told = [clause["text"] for clause in why["clauses"]]
    assert "answered front" in told[0]
    assert any("had all of the traffic of front" in text for text in told)
    assert any("was trained by step list/" in text for text in told)
    assert not cli.json("why", "front", "--not", "promoted")["holds"]
    assert "one of promoted" in cli("why", "front", "--not", "eaten", code=2)


def check_files(cli: Cli, model: str) -> None:
    """Check that the files answer without a control plane."""
    assert cli.json("audit", "verify")["ok"]
    assert cli.json("trace", model)["total"] > 3
    assert "was trained by step list/" in cli("why", model)
    assert cli.json("search", "list")["nodes"]


def test_from_manifest_to_a_proof(cli: Cli) -> None:
    assert "nothing runs" in cli("status", code=3)
    cli("up", "--wait", "--port", "0")
    planned = cli.json("plan")
    assert {c["action"] for c in planned["changes"]} == {"create"}
    cli("apply", "--yes")
    assert cli.json("apply", "--yes")["summary"] == "nothing to change"
    run = cli.json("run", "list", "--follow")
    assert run["state"] == "done"
    again = cli.json("run", "list", "--follow")
    # the evaluation runs again: it now also scores what is in production
    assert {s["name"] for s in again["steps"] if s["state"] != "cached"} == {"evaluate"}
    assert again["artifact"] == run["artifact"]

    status = cli.json("status")
    assert [s["live"] for s in status["services"]] == [True]
    serving = cli.json("production", "front")
    assert [v["share_bp"] for v in serving["versions"]] == [10_000]
    model = serving["versions"][0]["model_version"]
    kept = json.loads((cli.home / "packaged" / f"{run['version']}.json").read_bytes())
    stored = cli.home / "artifacts" / kept["image_artifact"][:2] / kept["image_artifact"]
    image = verify_layout(stored).digest
    assert serving["versions"][0]["image_digest"] == kept["image_digest"] == image
    images = [n for n in cli.json("impact", model)["nodes"] if n["kind"] == "image"]
    assert [n["name"] for n in images] == [f"tiny-list@{image[:12]}"]

    _columns_lead_to(cli, model, serving["versions"][0]["deployment"])

    answer = ask(cli, "/v1/services/front/recommend", {"user_id": 3, "k": 5})
    assert len(answer["items"]) == 5
    assert 0.0 <= answer["confidence"] <= 1.0
    prediction = answer["prediction_id"]
    walk = cli.json("trace", prediction)
    kinds = {node["kind"] for node in walk["nodes"]}
    assert {"prediction", "model_version", "dataset_version", "source", "run"} <= kinds
    assert model in {node["uri"] for node in walk["nodes"]}
    down = cli.json("impact", next(n["uri"] for n in walk["nodes"] if n["kind"] == "source"))
    assert model in {node["uri"] for node in down["nodes"]}

    check_graph(cli, prediction)
    bundle = cli.json("audit", "export", "--prediction", prediction, "--out", "out")
    with zipfile.ZipFile(cli.folder / bundle["path"]) as archive:
        archive.extractall(cli.folder / "proof")
    proof = cli.folder / "proof"
    check = [sys.executable, "-I", "verify.py"]
    assert subprocess.run(check, cwd=proof, check=False).returncode == 0
    row = proof / "prediction.json"
    row.write_bytes(row.read_bytes().replace(b'"served_by"', b'"served_bx"'))
    assert subprocess.run(check, cwd=proof, check=False).returncode != 0

    _exported(cli, model)
    _forget(cli, prediction)
    assert cli.json("audit", "verify")["ok"]
    pids = cli.pids()
    cli("down")
    assert not any(_alive(pid) for pid in pids.values())
    check_files(cli, model)


def _columns_lead_to(cli: Cli, model: str, deployment: str) -> None:
    """Check the way from a column of a source, through clean.sql, to what answers now."""
    broken = cli.json("impact", "plays.second")["breaks"]
    assert [(m["uri"], m["way"], m["live"]) for m in broken["models"]] == [
        (model, "values", True)
    ]
    assert [one["uri"] for one in broken["deployments"]] == [deployment]
    assert broken["services"] == ["front"]
    feature = cli.json("impact", "things.size")["breaks"]["features"]
    assert [(f["name"], f["way"]) for f in feature] == [("size", "values")]


def _forget(cli: Cli, prediction: str) -> None:
    """Erase the viewer of an answer; others are served as before."""
    mine = ("erase", "--viewer", "3", "--all")
    assert "nothing can be asked" in cli(*mine, "--json", code=2)
    would = cli.json(*mine, "--dry-run")
    assert (would["sealed_rows"], {t["rows"] for t in would["tables"]}) == (1, {25})
    erased = cli.json(*mine, "--reason", "ticket 1", "--yes")
    assert erased["tables"] == would["tables"]
    assert "was erased" in cli("trace", prediction, code=3)
    assert cli.json("gc")["services"] == []
    assert "mlg.erasure.performed" in {event["type"] for event in events(cli)}
    assert len(ask(cli, "/v1/services/front/recommend", {"user_id": 4, "k": 5})["items"]) == 5


def _exported(cli: Cli, model: str) -> None:
    """Export the model and its service too; each verifies under the home's key."""
    period = ("--from", "2000-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z")
    for choice in (("--model-version", model), ("--service", "front", *period)):
        made = cli.json("audit", "export", *choice, "--out", "out")
        key = anchor_public_key(LocalFiles(cli.home))
        assert verified(cli.folder / made["path"], key)["ok"]
    checked = cli.json("audit", "verify", made["path"], "--key", ".mlg/keys/anchor.pub")
    assert checked["problems"] == []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def test_ctrl_c_leaves_no_process_and_no_port(cli: Cli) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mlg", "up", "--port", "0"], cwd=cli.folder, env=cli.env
    )
    control = cli.home / "control.json"
    until(lambda: control.exists() and json.loads(control.read_bytes())["ready"])
    ports = json.loads(control.read_bytes())
    pids = cli.pids()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert not any(_alive(pid) for pid in pids.values())
    for port in (ports["port"], ports["gateway_port"]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_a_port_in_use_is_one_clear_message_and_leaves_nothing(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = cli("up", "--wait", "--port", str(port), "--gateway-port", "0", code=5)
    assert str(port) in said
    assert "--port" in said
    assert "nothing runs" in cli("status", code=3)


def test_a_missing_column_stops_the_run_and_the_former_model_goes_on(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    assert cli.json("run", "list", "--follow")["state"] == "done"
    plays = cli.folder / "plays.csv"
    good = plays.read_text()
    plays.write_text(good.replace("viewer,item,stars,second", "viewer,item,starz,second"))
    cli("apply", "--yes")
    failed = cli.json("run", "list", "--follow", code=5)
    assert failed["state"] == "failed"
    assert "plays" in failed["error"]["what"] + failed["error"]["where"]
    assert "stars" in failed["error"]["what"]
    assert [v["share_bp"] for v in cli.json("production", "front")["versions"]] == [10_000]
    assert ask(cli, "/v1/services/front/recommend", {"user_id": 3})["items"]
    types = {event["type"] for event in events(cli)}
    assert {"mlg.failure.recorded", "mlg.run.failed", "mlg.step.failed"} <= types
    fault = json.loads((cli.home / "sources" / "plays.json").read_bytes())
    assert (fault["kind"], fault["run"]) == ("broken", failed["run_id"])
    plays.write_text(good)
    cli("apply", "--yes")
    assert cli.json("run", "list", "--follow")["state"] == "done"
    assert not (cli.home / "sources" / "plays.json").exists()


def test_a_malformed_manifest_names_its_place_and_changes_nothing(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    manifest = cli.folder / "mlg.yaml"
    good = manifest.read_text()
    manifest.write_text(good.replace("replicas: 2", "replcas: 2"))
    said = cli("apply", "--yes", code=2)
    assert "mlg.yaml:33:" in said
    assert "replicas" in said
    refused = [e for e in events(cli) if e["data"].get("command") == "apply mlg.yaml"]
    assert [("mlg.yaml:33:" in e["data"]["where"], e["type"]) for e in refused] == [
        (True, "mlg.failure.recorded")
    ]
    manifest.write_text(good.replace("replicas: 2", "replicas: 3"))
    assert "replicas: 2 -> 3" in cli("plan")
    manifest.write_text(good)
    assert cli.json("plan")["changes"] == []


def test_a_corrupted_artifact_is_refused_with_its_name(cli: Cli) -> None:
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    run = cli.json("run", "list", "--follow")
    cli("down")
    model = next((cli.home / "artifacts").rglob(f"*{run['artifact'][2:]}*/model.json"))
    model.chmod(0o644)
    model.write_text(model.read_text().replace("popularity", "popularitx"))
    cli("up", "--wait", "--port", "0")
    port = cli.json("status")["ports"]["control"]

    def told() -> list[str]:
        url = f"http://127.0.0.1:{port}/api/v1/events?newest=50"
        events = json.loads(urllib.request.urlopen(url).read())["events"]
        refused = [e for e in events if e["type"] == "mlg.model_version.refused"]
        return [e["data"]["reason"] for e in refused if run["version"] in e["subject"]]

    assert "model.json: the file was altered" in until(told)[0]
    assert not cli.json("status")["services"][0]["live"]
    # the popularity server is up all the same, so a request is answered and not refused
    until(lambda: "fallback-front" in cli.pids())
